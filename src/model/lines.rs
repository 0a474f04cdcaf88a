//! Lines of labelled files → cells: TSV, CSV and JSON lines.

use std::path::Path;

use crate::error::{Error, Result};

/// How a file's lines are to be read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Format {
    /// Tab-separated, `\` escapes `\`, tab and line feed.
    Tsv,
    /// Comma-separated, RFC 4180 quotes; no line breaks inside cells.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

impl Format {
    /// The format that a file's name tells.
    pub fn of(path: &Path) -> Result<Format> {
        let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit('.').next() {
            Some("tsv" | "tab") => Ok(Format::Tsv),
            Some("csv") => Ok(Format::Csv),
            Some("jsonl" | "ndjson") => Ok(Format::JsonLines),
            _ => Err(bad("unknown format: expected a name ending in .tsv, .csv or .jsonl, with or without .gz")),
        }
    }

    /// Cells as (name, text); names only where the format has them in each line.
    pub fn split(self, line: &str) -> Result<Vec<(String, String)>> {
        let nameless = |cell: String| (String::new(), cell);
        match self {
            Format::Tsv => Ok(line.split('\t').map(|cell| nameless(unescape(cell))).collect()),
            Format::Csv => Ok(split_csv(line)?.into_iter().map(nameless).collect()),
            Format::JsonLines => {
                let object: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(line).map_err(|_| bad("not a JSON object that can be read"))?;
                let text = |value: serde_json::Value| match value {
                    serde_json::Value::Null => String::new(),
                    serde_json::Value::String(text) => text,
                    other => other.to_string(),
                };
                Ok(object.into_iter().map(|(name, value)| (name, text(value))).collect())
            }
        }
    }
}

fn unescape(cell: &str) -> String {
    if !cell.contains('\\') {
        return cell.to_string();
    }
    let mut out = String::with_capacity(cell.len());
    let mut chars = cell.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    out
}

fn split_csv(line: &str) -> Result<Vec<String>> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(cell) = cells.last_mut() else { break };
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => cell.push(other),
        }
    }
    if quoted { Err(bad("a quote is not closed on its line")) } else { Ok(cells) }
}

/// What is wrong with a line or a file; the caller says where.
pub fn bad(text: &str) -> Error {
    Error::Config(text.to_string())
}
