//! `train.toml`: what a model is trained on and how.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::dataset::Columns;
use super::splits::Splits;
use super::train::Settings;
use crate::error::{Error, Result};

/// The file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The model's name.
    pub name: String,
    /// The version to be made.
    pub version: String,
    /// Columns of the data.
    pub data: Columns,
    /// Where the data is, if not in files.
    pub store: Option<StoreTables>,
    /// How the model is judged.
    #[serde(default)]
    pub splits: Splits,
    /// How the model is trained.
    #[serde(default)]
    pub train: Settings,
    /// What the card says besides figures.
    #[serde(default)]
    pub card: CardTexts,
}

/// Two tables of a raw store: rows, and labels of some of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreTables {
    /// Name of the store.
    pub name: String,
    /// Table of the rows: all columns of `data` but the label stand in it.
    pub table: String,
    /// Table of the labels.
    pub labels: String,
    /// Column of the rows → column of the labels that has the same value.
    pub on: BTreeMap<String, String>,
}

/// Texts for the model card, under Mitchell et al.'s headings ("Model Cards for Model Reporting", 2019).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CardTexts {
    /// One sentence.
    pub summary: String,
    /// The day of training, as `2026-11-25`. It stands here and is no clock's, so that training again gives the same card.
    pub date: String,
    /// What it is for.
    pub intended_use: String,
    /// What it is not for.
    pub out_of_scope: String,
    /// What it was trained on.
    pub data: String,
    /// The sentence that the data's licence asks for.
    pub attribution: String,
    /// What the figures do not say by themselves.
    pub caveats: String,
    /// What it cannot do.
    pub limits: String,
    /// What it may do to people.
    pub ethics: String,
}

impl TrainConfig {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<TrainConfig> {
        let wrong = |text: String| Error::Config(format!("{}: {text}", path.display()));
        let bytes = super::file::read_bounded(path, 1 << 20).map_err(&wrong)?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("not UTF-8".to_string()))?;
        let source = config::File::from_str(&text, config::FileFormat::Toml);
        let read = config::Config::builder().add_source(source).build().and_then(config::Config::try_deserialize);
        let config: TrainConfig = read.map_err(|e| wrong(e.to_string()))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if config.name.is_empty() || !config.name.chars().all(plain) {
            return Err(wrong("`name` must consist of letters, digits, - and _".to_string()));
        }
        super::folder::check_version(&config.version).map_err(|e| wrong(format!("`version`: {e}")))?;
        if config.store.as_ref().is_some_and(|store| store.on.is_empty()) {
            return Err(wrong("`store.on`: expected a column of the rows and one of the labels".to_string()));
        }
        let date = &config.card.date;
        if !date.is_empty() && date.parse::<jiff::civil::Date>().is_err() {
            return Err(wrong(format!("`card.date`: expected a day such as 2026-11-25, found `{date}`")));
        }
        config.train.check().map_err(|e| wrong(format!("`train`: {e}")))?;
        Ok(config)
    }
}
