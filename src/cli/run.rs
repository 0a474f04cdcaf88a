//! `headwater run`: runs pipelines until Ctrl-C, or to the end of what is there with `--until-end`.
//!
//! Invariant: nothing starts unless every file given is a good pipeline.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Context, Outcome, report};
use crate::pipeline::{Pipeline, ProcessVariables, load};
use crate::runner::{self, Ended, Fleet, RunOptions};
use crate::stage::Accepted;
use crate::status::Status;
use crate::stores::Stores;
use crate::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Pipeline files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// End with the recording, or with what is in the topics at start
    #[arg(long)]
    until_end: bool,
    /// Go on where offsets are gone from the log; each gap is logged with its range
    #[arg(long)]
    accept_gap: bool,
    /// Go on with topics that have got more partitions
    #[arg(long)]
    accept_partitions: bool,
    /// Go on with topics that were deleted and created anew: each is read from its beginning, what it says is newer
    #[arg(long)]
    accept_recreated: bool,
    /// Go on with tables of `on_schema_change: pause` whose columns have changed
    #[arg(long)]
    accept_schema: bool,
    /// Tell metrics and health over HTTP, on such as 127.0.0.1:9464: /metrics, /healthz, /readyz, /version
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// No progress on the terminal
    #[arg(long, short)]
    quiet: bool,
}

impl Args {
    /// One pipeline, to the end of what is there.
    pub fn until_end(file: PathBuf) -> Self {
        Args {
            files: vec![file],
            until_end: true,
            accept_gap: false,
            accept_partitions: false,
            accept_recreated: false,
            accept_schema: false,
            listen: None,
            quiet: false,
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let loaded: Vec<_> = args.files.iter().map(|file| load(file, &context.registry, &ProcessVariables)).collect();
    let (mut pipelines, mut failures) = (Vec::new(), Vec::new());
    for pipeline in loaded {
        match pipeline {
            Ok(pipeline) => pipelines.push(pipeline),
            Err(failure) => failures.push(failure),
        }
    }
    if !failures.is_empty() {
        return Ok(report::outcome(&failures, context));
    }
    different_names(&pipelines)?;
    Ok(outcome(&work(args, context, pipelines)?))
}

/// Two pipelines of one name would share a consumer group and a parking store.
fn different_names(pipelines: &[Pipeline]) -> Result<()> {
    let mut names: Vec<_> = pipelines.iter().map(|p| &p.name).collect();
    names.sort();
    match names.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
        Some([name, ..]) => Err(Error::Config(format!("two of the files are called `{name}`: names must differ"))),
        _ => Ok(()),
    }
}

/// Runs `pipelines` on a runtime of their own.
pub(super) fn work(args: &Args, context: &Context, pipelines: Vec<Pipeline>) -> Result<Vec<Ended>> {
    block_on(async {
        let shutdown = CancellationToken::new();
        runner::listen(shutdown.clone());
        let accepted = Accepted {
            gap: args.accept_gap,
            partitions: args.accept_partitions,
            recreated: args.accept_recreated,
            schema: args.accept_schema,
        };
        let options = RunOptions { until_end: args.until_end, accepted, ..options(context, shutdown) };
        let status = match args.listen.or(context.settings.listen) {
            Some(address) => Some(Status::bind(address).await?),
            None => None,
        };
        let fleet = Fleet::start(pipelines, &options);
        let telling = status.map(|status| AbortOnDropHandle::new(tokio::spawn(status.serve(fleet.progress()))));
        let ended = fleet.finish(args.quiet).await;
        drop(telling);
        Ok(ended)
    })?
}

/// What a run needs besides its flags.
pub(super) fn options(context: &Context, shutdown: CancellationToken) -> RunOptions {
    let data_dir = context.settings.data_dir.clone();
    let stores = Arc::new(stores(context));
    RunOptions { data_dir, stores, until_end: false, accepted: Accepted::default(), shutdown }
}

/// The stores that this process may open.
pub(super) fn stores(context: &Context) -> Stores {
    Stores::new(&context.settings.data_dir).with_names(context.settings.stores.clone())
}

/// Runs `work` on a new runtime with as many threads as there are cores.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::Unavailable(format!("no threads to run on: {e}")))?;
    let result = runtime.block_on(work);
    // Lanes that did not drain in time must not hold the process back.
    runtime.shutdown_background();
    Ok(result)
}

fn outcome(ended: &[Ended]) -> Outcome {
    let (mut text, mut results, mut errors) = (String::new(), Vec::new(), Vec::new());
    for Ended { pipeline, outcome, progress } in ended {
        let how = match outcome {
            runner::Outcome::Done => "done".to_string(),
            runner::Outcome::NotDrained => "not drained in time: what was in flight will be read again".to_string(),
            runner::Outcome::Failed(error) => format!("failed: {error}"),
        };
        let rate = progress.read as f64 / progress.elapsed_secs.max(0.001);
        let _ = write!(
            text,
            "{pipeline}: {how}; {} messages in {:.1} s ({rate:.0}/s), {} parked",
            progress.read, progress.elapsed_secs, progress.parked
        );
        let (whole, torn) = (progress.whole, progress.torn);
        let _ = match whole + torn {
            0 => writeln!(text),
            _ => writeln!(text, ", {whole} transactions whole, {torn} torn"),
        };
        results.push(json!({
            "pipeline": &**pipeline, "outcome": how, "messages": progress.read, "emitted": progress.emitted,
            "parked": progress.parked, "seconds": progress.elapsed_secs,
            "transactions": { "whole": whole, "torn": torn },
        }));
        match outcome {
            runner::Outcome::Done => {}
            runner::Outcome::NotDrained => errors.push(Error::Broken(format!("{pipeline}: did not drain in time"))),
            runner::Outcome::Failed(Error::Config(error)) => errors.push(Error::Config(format!("{pipeline}: {error}"))),
            runner::Outcome::Failed(error) => errors.push(Error::Broken(format!("{pipeline}: {error}"))),
        }
    }
    let summary = format!("{} of {} pipelines ended well", ended.len() - errors.len(), ended.len());
    Outcome { text, summary, result: json!(results), error: errors.into_iter().next() }
}
