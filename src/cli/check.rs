//! `headwater check`: every problem of every file, without touching the network.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Context, Outcome, report};
use crate::pipeline::{ProcessVariables, load};
use crate::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Pipeline files, or folders: all their .yaml and .yml files, also deeper
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let mut files = Vec::new();
    for path in &args.files {
        collect(path, true, &mut files)?;
    }
    if files.is_empty() {
        return Err(Error::Config("no .yaml or .yml file in the given folders".to_string()));
    }
    let (mut text, mut results, mut problems, mut bad) = (String::new(), Vec::new(), 0, 0);
    for file in &files {
        match load(file, &context.registry, &ProcessVariables) {
            Ok(pipeline) => {
                text.push_str(&format!("ok {} ({})\n", file.display(), pipeline.name));
                results.push(json!({ "file": file, "ok": true, "pipeline": &*pipeline.name, "problems": [] }));
            }
            Err(failure) => {
                problems += failure.problems.len();
                bad += 1;
                text.push_str(&report::render(&failure, context.out.is_fancy()));
                results.push(json!({ "file": file, "ok": false, "problems": report::to_json(&failure) }));
            }
        }
    }
    let summary = match bad {
        0 => format!("{} checked, no problems", count(files.len(), "file")),
        _ => format!("{} in {bad} of {}", count(problems, "problem"), count(files.len(), "file")),
    };
    let error = (bad > 0).then(|| Error::Config(summary.clone()));
    Ok(Outcome { text, summary, result: json!({ "files": results }), error })
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
