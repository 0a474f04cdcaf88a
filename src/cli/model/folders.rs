//! `headwater model list|show|verify|publish`: what lies in model folders.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::Outcome;
use crate::model::{Categorizer, folder};
use crate::{Error, Result};

#[derive(clap::Args)]
pub struct ListArgs {
    /// Folder of model folders, or one of these
    #[arg(default_value = "models")]
    dir: PathBuf,
}

#[derive(clap::Args)]
pub struct ShowArgs {
    /// Model folder or version folder
    model: PathBuf,
}

#[derive(clap::Args)]
pub struct PublishArgs {
    /// Model folder
    model: PathBuf,
    /// Version to use
    version: String,
}

pub fn list(args: &ListArgs) -> Result<Outcome> {
    let unreadable = |e: std::io::Error| Error::Config(format!("{}: cannot be read: {e}", args.dir.display()));
    let mut folders = Vec::new();
    if args.dir.join(folder::CURRENT).exists() || !folder::versions(&args.dir)?.is_empty() {
        folders.push(args.dir.clone());
    } else {
        for entry in fs::read_dir(&args.dir).map_err(unreadable)? {
            folders.push(entry.map_err(unreadable)?.path());
        }
    }
    folders.sort();
    let (mut text, mut models) = (String::new(), Vec::new());
    for path in folders.iter().filter(|p| p.is_dir()) {
        let versions = folder::versions(path)?;
        let points = path.join(folder::CURRENT).exists();
        let rules_only = path.join(folder::RULES).is_file() && versions.is_empty() && !points;
        if versions.is_empty() && !rules_only {
            continue;
        }
        // A broken pointer of one model does not hide the others.
        let (current, broken) = match points.then(|| folder::current(path)).transpose() {
            Ok(current) => (current.filter(|current| versions.contains(current)), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let mark = |v: &String| if Some(v) == current.as_ref() { format!("{v} (in use)") } else { v.clone() };
        let described = if rules_only {
            "rules alone".to_string()
        } else {
            versions.iter().map(mark).collect::<Vec<_>>().join(", ")
        };
        text.push_str(&format!("{}: {described}\n", path.display()));
        if points && current.is_none() {
            let why = broken.unwrap_or_else(|| "`current` names a version that is not there".to_string());
            text.push_str(&format!("    none is in use: {why}\n"));
        }
        models.push(json!({ "model": path, "versions": versions, "current": current }));
    }
    let summary = format!("{} model(s) in {}", models.len(), args.dir.display());
    Ok(Outcome { text, summary, result: json!({ "models": models }), error: None })
}

pub fn show(args: &ShowArgs) -> Result<Outcome> {
    let loaded = Categorizer::load(&args.model)?;
    let mut text = format!("{} from {}\n", loaded.id, loaded.folder.display());
    let rules = loaded.rules().map_or(0, crate::model::Rules::len);
    text.push_str(&format!("rules: {rules}\n"));
    let mut result = json!({ "id": &*loaded.id, "folder": loaded.folder, "rules": rules });
    if let Some(model) = loaded.model() {
        let info = &model.info;
        text.push_str(&format!("categories: {}\n", info.classes.join(", ")));
        text.push_str(&format!("threshold: {}\n", info.threshold));
        text.push_str(&scores(&loaded.folder));
        if let Some(fields) = result.as_object_mut() {
            fields.insert("info".to_string(), json!(info));
        }
    }
    let summary = format!("{} loads", loaded.id);
    Ok(Outcome { text, summary, result, error: None })
}

/// One line a split from `metrics.json`.
fn scores(folder: &Path) -> String {
    let metrics: Value = fs::read(folder.join("metrics.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let line = |(split, judged): (&String, &Value)| {
        let number =
            |key: &str| judged.pointer(&format!("/evaluation/{key}")).and_then(Value::as_f64).unwrap_or(f64::NAN);
        format!(
            "{split}: accuracy {:.4}, macro-F1 {:.4}, ECE {:.4}\n",
            number("accuracy"),
            number("macro_f1"),
            number("ece15")
        )
    };
    metrics.get("splits").and_then(Value::as_object).map(|s| s.iter().map(line).collect()).unwrap_or_default()
}

pub fn verify(args: &ShowArgs) -> Result<Outcome> {
    let versions = folder::versions(&args.model)?;
    let folders: Vec<PathBuf> = match versions.is_empty() {
        true => vec![args.model.clone()],
        false => versions.iter().map(|v| args.model.join(v)).collect(),
    };
    let (mut text, mut bad, mut results) = (String::new(), 0, Vec::new());
    for folder in &folders {
        let outcome = folder::Checked::read(folder, true).and_then(|_| Categorizer::load(folder));
        let error = outcome.err().map(|e| e.to_string());
        bad += usize::from(error.is_some());
        text.push_str(&format!("{} {}\n", if error.is_none() { "ok" } else { "bad" }, folder.display()));
        if let Some(error) = &error {
            text.push_str(&format!("    {error}\n"));
        }
        results.push(json!({ "folder": folder, "ok": error.is_none(), "error": error }));
    }
    let summary = format!("{} of {} versions are whole", folders.len() - bad, folders.len());
    let error = (bad > 0).then(|| Error::Broken(summary.clone()));
    Ok(Outcome { text, summary, result: json!({ "versions": results }), error })
}

pub fn publish(args: &PublishArgs) -> Result<Outcome> {
    folder::check_version(&args.version).map_err(|e| Error::Config(format!("version `{}`: {e}", args.version)))?;
    let version = args.model.join(&args.version);
    if !version.is_dir() {
        let (model, there) = (args.model.display(), folder::versions(&args.model)?.join(", "));
        let message = format!("{model}: there is no version {}; there are: {there}", args.version);
        return Err(Error::Config(message));
    }
    // What would be refused by a running pipeline is refused here.
    folder::Checked::read(&version, true)?;
    let loaded = Categorizer::load(&version)?;
    let before = args.model.join(folder::CURRENT).exists().then(|| folder::current(&args.model)).transpose()?;
    folder::set_current(&args.model, &args.version)?;
    let summary = format!("{} is in use", loaded.id);
    let text = match &before {
        Some(old) if *old != args.version => format!(
            "{summary}; before: {old}\nrows that have a result keep it until: headwater recategorize PIPELINE.yaml --only changed\n"
        ),
        _ => format!("{summary}\n"),
    };
    let result = json!({ "model": args.model, "version": args.version, "before": before });
    Ok(Outcome { text, summary, result, error: None })
}
