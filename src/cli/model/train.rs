//! `headwater model train`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::super::progress::Progress;
use super::super::{Context, Outcome};
use super::stored;
use crate::model::{Dataset, TrainConfig, build, folder, sources};
use crate::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// What to train on and how; rules.tsv, taxonomy.tsv and mcc.tsv beside it go into the version
    #[arg(value_name = "TRAIN.toml")]
    training: PathBuf,
    /// Labelled data: TSV, CSV or JSON lines, plain or gzip; not needed where TRAIN.toml names tables of a raw store
    #[arg(long, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    /// Folder that the version's folder is made in [default: the folder of TRAIN.toml]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Version to make instead of the one in TRAIN.toml
    #[arg(long = "set-version", value_name = "VERSION")]
    set_version: Option<String>,
    /// Make it the version in use
    #[arg(long)]
    publish: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let start = Instant::now();
    let mut config = TrainConfig::read(&args.training)?;
    if let Some(version) = &args.set_version {
        folder::check_version(version).map_err(|e| Error::Config(format!("version `{version}`: {e}")))?;
        config.version.clone_from(version);
    }
    // A bare file name has the parent ``, which is no folder that could be written to.
    let beside = args.training.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let out = args.out.as_deref().unwrap_or(beside);
    if out.join(&config.version).exists() {
        let taken = out.join(&config.version);
        return Err(Error::Config(format!("{} exists: a version never changes, choose a new one", taken.display())));
    }
    let (data, sources) = match (&config.store, args.data.as_slice()) {
        (None, []) => {
            return Err(Error::Config("name labelled files with --data, or tables under [store]".to_string()));
        }
        (None, files) => (Dataset::read(files, &config.data)?, sources(files)?),
        (Some(tables), []) => stored::read(context, tables, &config.data)?,
        (Some(_), _) => return Err(Error::Config("both --data and [store] are given: leave one out".to_string())),
    };
    tracing::info!(rows = data.rows.len(), texts = data.texts.len(), "read the data");
    let mut progress = Progress::new(context.out.is_json(), "training", "passes");
    let mut say = |part: &str, done: usize, of: usize, ended: bool| {
        progress.say(part, done as u64, of as u64);
        if ended && progress.is_hidden() {
            tracing::info!("trained on {part} after {:.0} s", start.elapsed().as_secs_f64());
        }
    };
    let built = build(&config, data, &sources, beside, &mut say)?;
    progress.end();
    let created = jiff::Timestamp::now().to_string();
    let folder = folder::write_version(out, &config.name, &config.version, &created, &built.files)?;
    if args.publish {
        folder::set_current(out, &config.version)?;
    }
    let mut text = String::new();
    for (split, judged) in &built.judged {
        let e = &judged.evaluation;
        text.push_str(&format!(
            "{split:9} {} rows  accuracy {:.4}  macro-F1 {:.4}  ECE {:.4}\n",
            e.rows, e.accuracy, e.macro_f1, e.ece15
        ));
    }
    for (part, spent) in &built.spent {
        text.push_str(&format!("training on {part}: {spent}\n"));
    }
    let seconds = start.elapsed().as_secs_f64();
    let size = built.files.get(folder::MODEL).map_or(0, Vec::len);
    let summary = format!("{} written in {seconds:.0} s, model.bin {:.1} MB", folder.display(), size as f64 / 1e6);
    text.push_str(&summary);
    text.push('\n');
    if !args.publish {
        text.push_str(&format!("use it with: headwater model publish {} {}\n", out.display(), config.version));
    }
    let result = json!({ "folder": folder, "seconds": seconds, "model_bytes": size, "splits": built.judged, "spent": built.spent });
    Ok(Outcome { text, summary, result, error: None })
}
