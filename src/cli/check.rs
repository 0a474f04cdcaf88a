//! `headwater check`: every problem of every file, without touching the network. Warnings tell what is allowed and yet
//! probably not meant.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Context, Outcome, report};
use crate::pipeline::{LoadFailure, Pipeline, ProcessVariables, load};
use crate::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Pipeline files, or folders: all their .yaml and .yml files, also deeper
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Fail when there are warnings, too
    #[arg(long)]
    deny_warnings: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let mut files = Vec::new();
    for path in &args.files {
        collect(path, true, &mut files)?;
    }
    if files.is_empty() {
        return Err(Error::Config("no .yaml or .yml file in the given folders".to_string()));
    }
    let (mut text, mut results, mut problems, mut bad, mut warnings) = (String::new(), Vec::new(), 0, 0, 0);
    for file in &files {
        match load(file, &context.registry, &ProcessVariables) {
            Ok(pipeline) => {
                let found = warnings_of(file, &pipeline);
                warnings += found.problems.len();
                if !found.problems.is_empty() {
                    text.push_str(&format!(
                        "warnings in {}:\n{}",
                        file.display(),
                        report::render(&found, context.out.is_fancy())
                    ));
                }
                text.push_str(&format!("ok {} ({})\n", file.display(), pipeline.name));
                let (name, found) = (&*pipeline.name, report::to_json(&found));
                results.push(json!({ "file": file, "ok": true, "pipeline": name, "problems": [], "warnings": found }));
            }
            Err(failure) => {
                problems += failure.problems.len();
                bad += 1;
                text.push_str(&report::render(&failure, context.out.is_fancy()));
                results.push(json!({ "file": file, "ok": false, "problems": report::to_json(&failure) }));
            }
        }
    }
    let checked = count(files.len(), "file");
    let summary = match (bad, warnings) {
        (0, 0) => format!("{checked} checked, no problems"),
        (0, _) => format!("{checked} checked, no problems, {}", count(warnings, "warning")),
        _ => format!("{} in {bad} of {checked}", count(problems, "problem")),
    };
    let refused = bad > 0 || (args.deny_warnings && warnings > 0);
    let error = refused.then(|| Error::Config(summary.clone()));
    Ok(Outcome { text, summary, result: json!({ "files": results }), error })
}

/// A file's warnings, shown like problems.
fn warnings_of(file: &Path, pipeline: &Pipeline) -> LoadFailure {
    let source = if pipeline.warnings.is_empty() { None } else { std::fs::read_to_string(file).ok() };
    let (file, problems) = (file.display().to_string(), pipeline.warnings.clone());
    LoadFailure { file, source: source.unwrap_or_default(), problems }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The files that `path` stands for, in the order of their names. Links to folders are not followed: they may lead in
/// circles.
fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> Result<()> {
    let is_folder = if named { path.is_dir() } else { path.is_dir() && !path.is_symlink() };
    if !is_folder {
        let is_yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        if named || is_yaml {
            files.push(path.to_path_buf());
        }
        return Ok(());
    }
    let unreadable =
        |e: std::io::Error| Error::Config(format!("folder {} cannot be read: {}", path.display(), e.kind()));
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        entries.push(entry.map_err(unreadable)?.path());
    }
    entries.sort();
    entries.iter().try_for_each(|entry| collect(entry, false, files))
}
