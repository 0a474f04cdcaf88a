//! Labelled rows in memory: what a model is trained and judged on. `reading` makes them of files and tables.
//!
//! Invariants: memory is bounded by the number of distinct texts plus 20 bytes a row; no text is kept as it was, only its
//! normal form; labels are in order, whatever the order of rows.

use std::collections::HashSet;
use std::path::Path;

use rustc_hash::FxBuildHasher;
use serde::Deserialize;

use super::facts::Facts;
use super::features::Scratch;
use super::reading::Reading;
use crate::error::Result;

/// Which columns of a file are what.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Text columns, in the order in which the stage gives them.
    pub text: Vec<String>,
    /// The label.
    pub label: String,
    /// Signed amount.
    pub amount: Option<String>,
    /// Debit or credit, in whatever words.
    pub direction: Option<String>,
    /// Merchant category code.
    pub mcc: Option<String>,
    /// Date as `2016-01-21`; its day of the month may be a feature.
    pub date: Option<String>,
    /// A column that orders rows in time as text does (`2016-01`, `2016-01-21`).
    pub period: Option<String>,
    /// Labels that are not to be learned.
    #[serde(default)]
    pub drop_labels: Vec<String>,
    /// Columns that say in words what the label means, such as the name of a merchant category code: their distinct
    /// texts are learned, too, from the rows that are learned, but are no rows and are not remembered as texts.
    #[serde(default)]
    pub hints: Vec<String>,
}

impl Columns {
    /// All columns but the label.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let optional = self.optional().into_iter().flatten();
        optional.chain(&self.hints).chain(&self.text).map(String::as_str)
    }

    /// Columns that may be left out.
    pub(super) fn optional(&self) -> [&Option<String>; 5] {
        [&self.period, &self.amount, &self.direction, &self.mcc, &self.date]
    }
}

/// One labelled row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Index into [`Dataset::texts`].
    pub text: u32,
    /// Index into [`Dataset::periods`].
    pub period: u32,
    /// Index into [`Dataset::classes`].
    pub class: u16,
    /// NaN when missing; see [`Dataset::facts`].
    pub(super) amount: f32,
    /// Index into [`Dataset::others`].
    pub(super) other: u32,
}

/// What rows have in common besides text, label and amount.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Other {
    pub direction: Option<u64>,
    pub mcc: Option<u16>,
    pub day: Option<u8>,
    /// Indices of the row's hints in [`Dataset::texts`].
    pub hints: Box<[u32]>,
}

/// Labelled rows of one or more files.
#[derive(Debug, Default)]
pub struct Dataset {
    /// Distinct normal texts, fields ended by line feeds.
    pub texts: Vec<Box<[u8]>>,
    /// Distinct periods, in order of first sight.
    pub periods: Vec<String>,
    /// Labels, sorted.
    pub classes: Vec<String>,
    /// Rows in file order.
    pub rows: Vec<Sample>,
    /// Distinct facts and hints of rows.
    pub(super) others: Vec<Other>,
    /// Texts that say what a label means and are no row's: see [`Dataset::teach`].
    pub(super) taught: Vec<Sample>,
    /// Rows left out because of their label.
    pub dropped: u64,
}

impl Dataset {
    /// Reads all of `paths` into one data set.
    pub fn read(paths: &[impl AsRef<Path>], columns: &Columns) -> Result<Dataset> {
        let mut reading = Reading::default();
        for path in paths {
            let path = path.as_ref();
            reading.file(path, columns).map_err(|e| e.at(path.display()))?;
        }
        reading.finish()
    }

    /// The period of a row.
    pub fn period(&self, row: &Sample) -> &str {
        self.periods.get(row.period as usize).map_or("", String::as_str)
    }

    /// Adds texts that say what labels mean: category and text. Nothing is added when a category is no label.
    pub fn teach<'t>(&mut self, texts: impl Iterator<Item = (&'t str, &'t str)>) -> std::result::Result<(), String> {
        let mut scratch = Scratch::default();
        let (mut normals, mut hints) = (Vec::new(), Vec::new());
        for (category, text) in texts {
            let class = self.classes.binary_search_by(|c| c.as_str().cmp(category));
            let class = class.map_err(|_| format!("no row has the label `{category}`"))?;
            scratch.set_texts([text]);
            hints.push(hint((self.texts.len() + normals.len()) as u32, class as u16));
            normals.push(scratch.normal_text().into());
        }
        self.texts.extend(normals);
        self.taught.extend(hints);
        Ok(())
    }

    /// The hints of `rows` and what was taught: each once, by text and label.
    pub fn hints_of(&self, rows: &[Sample]) -> Vec<Sample> {
        let mut of_rows: HashSet<(u32, u16), FxBuildHasher> = HashSet::default();
        for row in rows {
            let texts = self.others.get(row.other as usize).map(|other| &other.hints);
            of_rows.extend(texts.into_iter().flatten().map(|text| (*text, row.class)));
        }
        let mut hints: Vec<Sample> = of_rows.into_iter().map(|(text, class)| hint(text, class)).collect();
        hints.extend(&self.taught);
        hints.sort_by(|a, b| (self.text(a), a.class).cmp(&(self.text(b), b.class)));
        hints.dedup_by(|a, b| a.class == b.class && self.text(a) == self.text(b));
        hints
    }

    /// What is known of a row besides its text.
    pub fn facts(&self, row: &Sample) -> Facts {
        let amount = (!row.amount.is_nan()).then_some(f64::from(row.amount));
        match self.others.get(row.other as usize) {
            Some(other) => Facts { amount, direction: other.direction, mcc: other.mcc, day: other.day },
            None => Facts::of_amount(amount),
        }
    }

    /// The normal text of a row.
    pub fn text(&self, row: &Sample) -> &[u8] {
        self.texts.get(row.text as usize).map_or(b"", |t| t)
    }
}

/// A text that stands for no row.
fn hint(text: u32, class: u16) -> Sample {
    Sample { text, period: 0, class, amount: f32::NAN, other: u32::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_kept_once_and_are_no_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "m,code,c\nA,Eating Places,food\nB,Eating places,food\nC,,fuel\n").unwrap();
        let columns =
            Columns { text: vec!["m".into()], label: "c".into(), hints: vec!["code".into()], ..Columns::default() };
        let mut data = Dataset::read(&[path], &columns).unwrap();
        let texts = |data: &Dataset| -> Vec<(String, u16)> {
            let text = |h: &Sample| (String::from_utf8_lossy(data.text(h)).trim().to_string(), h.class);
            data.hints_of(&data.rows).iter().map(text).collect()
        };
        assert_eq!((data.rows.len(), texts(&data)), (3, vec![("EATING PLACES".to_string(), 0)]));
        assert!(data.hints_of(&data.rows[2..]).is_empty(), "a row that is not learned taught something");
        data.teach([("fuel", "Gas"), ("food", "eating places")].into_iter()).unwrap();
        assert_eq!(texts(&data), [("EATING PLACES".to_string(), 0), ("GAS".to_string(), 1)]);
        assert!(data.teach([("pets", "Cat")].into_iter()).unwrap_err().contains("`pets`"));
    }
}
