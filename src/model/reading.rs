//! Labelled rows of files and tables → a data set: line by line, texts normalized and kept once each.
//!
//! Invariants: a row that does not fit the header is an error with file and line, never skipped in silence; a column that
//! no row has is an error, too; lines are bounded.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use rustc_hash::FxBuildHasher;

use super::categorizer::UNCATEGORIZED;
use super::dataset::{Columns, Dataset, Other, Sample};
use super::facts::Facts;
use super::features::Scratch;
use super::lines::{Format, bad};
use crate::error::{Error, Result};

/// Longest line that is read, bytes.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// Most labels of a data set.
const MAX_LABELS: usize = super::weights::MAX_CLASSES;

/// Gives each distinct key a number in order of first sight.
#[derive(Default)]
struct Interner {
    numbers: HashMap<Box<[u8]>, u32, FxBuildHasher>,
}

impl Interner {
    fn number(&mut self, key: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(key.into(), number);
        number
    }

    fn into_keys(self) -> Vec<Box<[u8]>> {
        let mut keys: Vec<_> = self.numbers.into_iter().collect();
        keys.sort_unstable_by_key(|(_, number)| *number);
        keys.into_iter().map(|(key, _)| key).collect()
    }
}

/// A data set under way.
#[derive(Default)]
pub struct Reading {
    texts: Interner,
    periods: Interner,
    labels: Interner,
    rows: Vec<Sample>,
    others: HashMap<Other, u32, FxBuildHasher>,
    dropped: u64,
    scratch: Scratch,
    /// Columns that no row with names has had yet; `None` before the first such row.
    unseen: Option<Vec<String>>,
}

impl Reading {
    /// Adds the rows of a file.
    pub(super) fn file(&mut self, path: &Path, columns: &Columns) -> Result<()> {
        let mut lines = BufReader::with_capacity(1 << 16, open(path)?);
        let format = Format::of(path)?;
        let mut line = Vec::new();
        let (mut header, mut width) = (Vec::new(), 0);
        let mut number = 0u64;
        while read_line(&mut lines, &mut line).map_err(|e| e.at(format!("line {}", number + 1)))? {
            number += 1;
            let at = |e: Error| e.at(format!("line {number}"));
            let text = std::str::from_utf8(&line).map_err(|_| at(bad("not UTF-8")))?;
            // Spreadsheets begin their files with a byte order mark.
            let text = text.strip_prefix('\u{feff}').filter(|_| number == 1).unwrap_or(text);
            if text.is_empty() {
                continue;
            }
            let cells = format.split(text).map_err(at)?;
            match format {
                Format::JsonLines => {
                    let find = |name: &str| cells.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
                    self.named_row(find, columns).map_err(at)?;
                }
                _ if header.is_empty() => {
                    header = places(&cells, columns).map_err(at)?;
                    width = cells.len();
                }
                // A separator inside a text would move all cells behind it.
                _ if cells.len() > width => return Err(at(bad("more cells than the header"))),
                _ => {
                    let cell = |i: &Option<usize>| match i {
                        None => Ok(""),
                        Some(i) => {
                            cells.get(*i).map(|c| c.1.as_str()).ok_or_else(|| at(bad("fewer cells than the header")))
                        }
                    };
                    let picked = header.iter().map(cell).collect::<Result<Vec<_>>>()?;
                    self.row(&picked, columns).map_err(at)?;
                }
            }
        }
        self.complete()
    }

    /// Adds a row whose columns `find` gives by name. What one row does not have is empty; what no row has is a mistake
    /// that [`Reading::finish`] names.
    pub fn named_row<'c>(&mut self, find: impl Fn(&str) -> Option<&'c str>, columns: &Columns) -> Result<()> {
        let unseen = self.unseen.get_or_insert_with(|| columns.names().map(str::to_string).collect());
        unseen.retain(|name| find(name).is_none());
        let cell = |name: &String| find(name).unwrap_or_default();
        let mut picked = vec![cell(&columns.label)];
        picked.extend(columns.optional().map(|name| name.as_ref().map_or("", cell)));
        picked.extend(columns.hints.iter().chain(&columns.text).map(cell));
        self.row(&picked, columns)
    }

    /// After the last row of a file or table: no column may have been asked for in vain.
    fn complete(&mut self) -> Result<()> {
        match self.unseen.take().unwrap_or_default().first() {
            Some(name) => Err(bad(&format!("no row has the column `{name}`"))),
            None => Ok(()),
        }
    }

    /// Adds a row; `cells` are label, period, amount, direction, code, date, hints and texts.
    fn row(&mut self, cells: &[&str], columns: &Columns) -> Result<()> {
        let [label, period, amount, direction, mcc, date, rest @ ..] = cells else { return Err(bad("too few cells")) };
        let (hints, texts) = rest.split_at_checked(columns.hints.len()).ok_or_else(|| bad("too few cells"))?;
        if label.is_empty() {
            return Err(bad(&format!("the label `{}` is empty", columns.label)));
        }
        if columns.drop_labels.iter().any(|l| l == label) {
            self.dropped += 1;
            return Ok(());
        }
        if label.chars().any(char::is_control) {
            return Err(bad(&format!("the label `{}` holds a tab or a line feed", columns.label)));
        }
        if *label == UNCATEGORIZED {
            return Err(bad(&format!(
                "the label `{UNCATEGORIZED}` is what a model says when it is not sure; name it under drop_labels"
            )));
        }
        let class = self.labels.number(label.as_bytes());
        if class as usize >= MAX_LABELS {
            return Err(bad(&format!("more than {MAX_LABELS} labels: is `{}` the right column?", columns.label)));
        }
        let mut hint = |text: &&str| {
            self.scratch.set_texts([*text]);
            self.texts.number(self.scratch.normal_text())
        };
        let other = Other {
            direction: Facts::direction_of(direction),
            mcc: Facts::mcc_of(mcc),
            day: Facts::day_of(date),
            hints: hints.iter().filter(|text| !text.is_empty()).map(&mut hint).collect(),
        };
        let next = self.others.len() as u32;
        let other = *self.others.entry(other).or_insert(next);
        self.scratch.set_texts(texts.iter().copied());
        self.rows.push(Sample {
            text: self.texts.number(self.scratch.normal_text()),
            period: self.periods.number(period.as_bytes()),
            class: class as u16,
            amount: amount.parse().unwrap_or(f32::NAN),
            other,
        });
        Ok(())
    }

    /// Puts the labels in order, so that the order of rows does not decide the order of classes.
    pub fn finish(mut self) -> Result<Dataset> {
        self.complete()?;
        let text = |bytes: Box<[u8]>| String::from_utf8(bytes.into_vec()).unwrap_or_default();
        let labels: Vec<String> = self.labels.into_keys().into_iter().map(text).collect();
        let mut classes = labels.clone();
        classes.sort_unstable();
        let place = |label: &String| classes.binary_search(label).unwrap_or(0) as u16;
        let places: Vec<u16> = labels.iter().map(place).collect();
        let mut rows = self.rows;
        for row in &mut rows {
            row.class = places.get(usize::from(row.class)).copied().unwrap_or(0);
        }
        if rows.is_empty() {
            return Err(Error::Config("no labelled rows".to_string()));
        }
        let periods = self.periods.into_keys().into_iter().map(text).collect();
        let mut others: Vec<(Other, u32)> = self.others.into_iter().collect();
        others.sort_unstable_by_key(|(_, number)| *number);
        let others = others.into_iter().map(|(other, _)| other).collect();
        let texts = self.texts.into_keys();
        Ok(Dataset { texts, periods, classes, rows, others, taught: Vec::new(), dropped: self.dropped })
    }
}

/// Where the columns stand in the header, in the order of [`Reading::row`].
fn places(header: &[(String, String)], columns: &Columns) -> Result<Vec<Option<usize>>> {
    let find = |name: &String| {
        let place = header.iter().position(|(_, cell)| cell == name);
        place.map(Some).ok_or_else(|| {
            let known = header.iter().map(|(_, cell)| cell.as_str()).collect::<Vec<_>>().join(", ");
            bad(&format!("no column `{name}` in the header; there are: {known}"))
        })
    };
    let optional = |name: &Option<String>| name.as_ref().map_or(Ok(None), &find);
    let mut places = vec![find(&columns.label)?];
    for name in columns.optional() {
        places.push(optional(name)?);
    }
    for name in columns.hints.iter().chain(&columns.text) {
        places.push(find(name)?);
    }
    Ok(places)
}

/// The file's bytes, unpacked when they begin like gzip.
fn open(path: &Path) -> Result<Box<dyn Read>> {
    let unreadable = |e: std::io::Error| Error::Config(format!("cannot be read: {e}"));
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let packed = file.fill_buf().map_err(unreadable)?.starts_with(&[0x1f, 0x8b]);
    Ok(if packed { Box::new(flate2::bufread::MultiGzDecoder::new(file)) } else { Box::new(file) })
}

fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool> {
    line.clear();
    let read = from.take(MAX_LINE_BYTES).read_until(b'\n', line);
    let read = read.map_err(|e| Error::Config(format!("cannot be read: {e}")))?;
    if read as u64 == MAX_LINE_BYTES {
        return Err(bad("longer than 16 MB"));
    }
    while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(read > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Columns {
        Columns {
            text: vec!["merchant".into()],
            label: "category".into(),
            amount: Some("amount".into()),
            drop_labels: vec!["none".into()],
            ..Columns::default()
        }
    }

    fn read(name: &str, content: &[u8]) -> Result<Dataset> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        Dataset::read(&[path], &columns())
    }

    #[test]
    fn three_formats_read_the_same() {
        let tsv =
            read("a.tsv", b"merchant\tamount\tcategory\nJOE'S, INC #1\t1.5\tfood\nx\t\tnone\nAral\\\\x\t-2\tfuel\n")
                .unwrap();
        let csv =
            read("a.csv", b"category,merchant,amount\r\nfood,\"JOE'S, INC #1\",1.5\r\nnone,x,\r\nfuel,Aral\\x,-2\r\n")
                .unwrap();
        let json = read(
            "a.jsonl",
            br#"{"merchant":"JOE'S, INC #1","amount":1.5,"category":"food"}
{"merchant":"x","category":"none"}
{"merchant":"Aral\\x","amount":-2,"category":"fuel"}"#,
        )
        .unwrap();
        for data in [&tsv, &csv, &json] {
            assert_eq!(data.rows, tsv.rows);
            assert_eq!(data.texts, [b"JOE'S INC #0\n".as_slice().into(), b"ARAL X\n".as_slice().into()]);
            assert_eq!(data.classes, ["food", "fuel"]);
            assert_eq!(data.dropped, 1);
        }
    }

    #[test]
    fn gzip_is_unpacked() {
        use std::io::Write;
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(b"merchant\tamount\tcategory\nA\t1\tfood\n").unwrap();
        assert_eq!(read("a.tsv.gz", &gz.finish().unwrap()).unwrap().rows.len(), 1);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_line() {
        let error = |name, content: &[u8]| read(name, content).unwrap_err().to_string();
        assert!(error("a.tsv", b"merchant\tcategory\nA\tfood\n").contains("line 1: no column `amount`"));
        assert!(error("a.tsv", b"merchant\tamount\tcategory\nA\t1\n").contains("line 2: fewer cells"));
        assert!(error("a.tsv", b"merchant\tamount\tcategory\nA\t1\t\n").contains("line 2: the label"));
        assert!(error("a.csv", b"merchant,amount,category\n\"A,1,x\n").contains("line 2: a quote"));
        assert!(error("a.jsonl", b"[]\n").contains("line 1: not a JSON object"));
        let unsure = b"merchant\tamount\tcategory\nA\t1\tx\nB\t1\tuncategorized\n";
        let broken = b"merchant\tamount\tcategory\nA\t1\tfo\\nod\n";
        assert!(error("a.tsv", broken).contains("line 2: the label `category` holds a tab"));
        assert!(error("a.tsv", unsure).contains("line 3: the label `uncategorized`"));
        assert!(error("a.xls", b"").contains("unknown format"));
        assert!(error("a.tsv", b"").contains("no labelled rows"));
        assert!(error("a.tsv", b"merchant\tamount\tcategory\n\xff\t1\tx\n").contains("line 2: not UTF-8"));
        assert!(error("a.tsv", b"merchant\tamount\tcategory\nA\tB\t1\tfood\n").contains("line 2: more cells"));
        assert!(error("a.csv", b"merchant,amount,category\nA,1,food,x\n").contains("line 2: more cells"));
        let misnamed = b"{\"merchnt\":\"A\",\"amount\":1,\"category\":\"food\"}\n";
        assert!(error("a.jsonl", misnamed).contains("no row has the column `merchant`"));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_column() {
        for (name, text) in [
            ("a.csv", "\u{feff}merchant,amount,category\nA,1,food\n"),
            ("a.jsonl", "\u{feff}{\"merchant\":\"A\",\"amount\":1,\"category\":\"food\"}\n"),
        ] {
            assert_eq!(read(name, text.as_bytes()).unwrap().texts, [b"A\n".as_slice().into()]);
        }
    }
}
