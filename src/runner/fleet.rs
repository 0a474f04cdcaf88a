//! Several pipelines in one process: they share stores and the shutdown, and fail one by one.

use std::sync::Arc;

use super::pipeline::{Outcome, RunOptions, run};
use super::progress::{PipelineProgress, Snapshot};
use super::report::Report;
use crate::error::Error;
use crate::pipeline::Pipeline;

/// How one of several pipelines ended, and what it had done.
#[derive(Debug)]
pub struct Ended {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// How.
    pub outcome: Outcome,
    /// Its counters at the end.
    pub progress: Snapshot,
}

/// Runs all `pipelines` until each has ended. `quiet` shows no progress on a terminal.
pub async fn run_all(pipelines: Vec<Pipeline>, options: RunOptions, quiet: bool) -> Vec<Ended> {
    let running: Vec<_> = pipelines
        .into_iter()
        .map(|pipeline| {
            let progress = Arc::new(PipelineProgress::new(&pipeline.name, pipeline.lanes));
            let name = pipeline.name.clone();
            let task = tokio::spawn(run(Arc::new(pipeline), options.clone(), progress.clone()));
            (name, progress, task)
        })
        .collect();
    let report = Report::start(running.iter().map(|(_, progress, _)| progress.clone()).collect(), quiet);
    let mut ended = Vec::with_capacity(running.len());
    for (pipeline, progress, task) in running {
        let outcome = task
            .await
            .unwrap_or_else(|crash| Outcome::Failed(Error::Broken(format!("the pipeline ended by itself: {crash}"))));
        if let Outcome::Failed(error) = &outcome {
            tracing::error!(pipeline = &*pipeline, "stopped: {error}");
        }
        ended.push(Ended { pipeline, outcome, progress: progress.snapshot() });
    }
    drop(report);
    ended
}
