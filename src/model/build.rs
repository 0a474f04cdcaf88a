//! From labelled files to the files of a new version: judged on every split, trained on everything, with its card.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::card;
use super::config::TrainConfig;
use super::dataset::Dataset;
use super::evaluate::{Evaluation, evaluate};
use super::file::{read_bounded, sha256_of};
use super::folder::{MODEL, RULES, TAXONOMY};
use super::lexicon::Lexicon;
use super::rules::Rules;
use super::spent::{Since, Spent};
use super::taxonomy::{MccTable, Taxonomy};
use super::train::train;
use super::trained::Model;
use crate::error::{Error, Result};

/// Name of the code table's file.
pub const MCC: &str = "mcc.tsv";
/// Name of the file of words that say what a category is.
pub const WORDS: &str = "words.tsv";

/// What is trained last: the model itself.
const ALL_ROWS: &str = "all rows";

/// How a model trained on a part of the data did on the rest.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    /// Rows learned from.
    pub train_rows: usize,
    /// On the rows held out.
    pub evaluation: Evaluation,
}

/// A new version before it is written.
pub struct Built {
    /// The model trained on all rows.
    pub model: Model,
    /// By split.
    pub judged: BTreeMap<&'static str, Judged>,
    /// What the training of each split's model and of the model itself (`all rows`) took, calibration included.
    pub spent: BTreeMap<&'static str, Spent>,
    /// The files by name, the manifest excepted.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What a data set of files consists of, for the card: names, lengths and checksums.
pub fn sources(files: &[PathBuf]) -> Result<serde_json::Value> {
    let source = |path: &PathBuf| {
        let (bytes, sha256) = sha256_of(path).map_err(|e| Error::Config(format!("{}: {e}", path.display())))?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        Ok(json!({ "file": name, "bytes": bytes, "sha256": sha256 }))
    };
    files.iter().map(source).collect()
}

/// Hears after each pass over data: what is being trained on, passes done of all parts together, of how many, and whether
/// that part is trained.
pub type Progress<'p> = &'p mut dyn FnMut(&str, usize, usize, bool);

/// Trains and judges. `sources` says where `data` comes from. `beside` is the folder that holds rules, taxonomy, code table
/// and words.
pub fn build(
    config: &TrainConfig,
    mut data: Dataset,
    sources: &serde_json::Value,
    beside: &Path,
    progress: Progress<'_>,
) -> Result<Built> {
    let broken = |e: String| Error::Broken(format!("training {}: {e}", config.name));
    let mut files = companions(beside)?;
    check_taxonomy(&files, &data)?;
    let words = files.get(WORDS).map(|bytes| Lexicon::parse(&String::from_utf8_lossy(bytes)));
    let words = words.transpose().map_err(|e| Error::Config(format!("{WORDS}: {e}")))?.unwrap_or_default();
    data.teach(words.pairs()).map_err(|e| Error::Config(format!("{WORDS}: {e}")))?;
    let (mut judged, mut spent) = (BTreeMap::new(), BTreeMap::new());
    let divisions = config.splits.divide(&data);
    let (parts, each) = (divisions.len() + 1, config.train.passes());
    let mut tell = |part: usize, name: &str, done: usize, of: usize| {
        // Early stopping makes a part shorter; its passes then count the more.
        progress(name, part * each + done * each / of.max(1), parts * each, done == of);
    };
    for (part, division) in divisions.iter().enumerate() {
        let since = Since::now();
        let mut step = |done, of| tell(part, division.name, done, of);
        let model =
            train(&config.name, &config.version, &data, &division.train, &config.train, &mut step).map_err(broken)?;
        spent.insert(division.name, since.spent());
        let evaluation = evaluate(&model, &data, &division.test);
        judged.insert(division.name, Judged { train_rows: division.train.len(), evaluation });
    }
    let since = Since::now();
    let mut step = |done, of| tell(divisions.len(), ALL_ROWS, done, of);
    let mut model =
        train(&config.name, &config.version, &data, &data.rows, &config.train, &mut step).map_err(broken)?;
    spent.insert(ALL_ROWS, since.spent());
    if let Some(training) = model.info.training.as_object_mut() {
        let about = json!({
            "files": sources,
            "texts": model.memory.texts().len(),
            "hints": data.hints_of(&data.rows).len(),
            "words": words.len(),
            "dropped_rows": data.dropped,
        });
        training.insert("data".to_string(), about);
    }
    let metrics = json!({ "model": &config.name, "version": &config.version, "splits": &judged });
    let text = |value: &serde_json::Value| {
        serde_json::to_string_pretty(value).map(|t| t + "\n").map_err(|e| broken(e.to_string()))
    };
    files.insert("metrics.json".to_string(), text(&metrics)?.into_bytes());
    let bytes = model.to_bytes().map_err(broken)?;
    // What a pipeline would refuse is not written.
    Model::from_bytes(&bytes).map_err(|e| broken(format!("the model cannot be used: {e}")))?;
    files.insert(MODEL.to_string(), bytes);
    let rules = files.get(RULES).map(|r| String::from_utf8_lossy(r).into_owned());
    let card = card::write(config, &model, &judged, rules.as_deref());
    files.insert("card.md".to_string(), card.into_bytes());
    Ok(Built { model, judged, spent, files })
}

/// Rules, taxonomy, code table and words, those that are there, checked.
fn companions(beside: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for name in [RULES, TAXONOMY, MCC, WORDS] {
        let path = beside.join(name);
        if path.exists() {
            let wrong = |e: String| Error::Config(format!("{}: {e}", path.display()));
            let bytes = read_bounded(&path, 64 << 20).map_err(wrong)?;
            let text = std::str::from_utf8(&bytes).map_err(|_| wrong("not UTF-8".to_string()))?;
            match name {
                RULES => Rules::parse(text).map(drop).map_err(wrong)?,
                TAXONOMY => Taxonomy::parse(text).map(drop).map_err(wrong)?,
                WORDS => Lexicon::parse(text).map(drop).map_err(wrong)?,
                _ => MccTable::parse(text).map(drop).map_err(wrong)?,
            }
            files.insert(name.to_string(), bytes);
        }
    }
    Ok(files)
}

/// Every category that labels, rules or codes use has to be in the taxonomy, if there is one.
fn check_taxonomy(files: &BTreeMap<String, Vec<u8>>, data: &Dataset) -> Result<()> {
    let text = |name: &str| files.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let Some(taxonomy) = text(TAXONOMY).and_then(|t| Taxonomy::parse(&t).ok()) else { return Ok(()) };
    let refuse = |file: &str, missing: Vec<&str>| match missing.first() {
        None => Ok(()),
        Some(name) => Err(Error::Config(format!("{file}: category `{name}` is not in {TAXONOMY}"))),
    };
    refuse("the data", taxonomy.missing(data.classes.iter().map(String::as_str)))?;
    if let Some(rules) = text(RULES).and_then(|t| Rules::parse(&t).ok()) {
        refuse(RULES, taxonomy.missing(rules.categories().iter().map(|c| &**c)))?;
    }
    if let Some(codes) = text(MCC).and_then(|t| MccTable::parse(&t).ok()) {
        refuse(MCC, taxonomy.missing(codes.categories()))?;
    }
    Ok(())
}
