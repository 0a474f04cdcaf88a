//! Rows and documents as `path → text`, so that what PostgreSQL, MongoDB, SQLite and `raw dump` say can be compared
//! value by value. Written without the product's own types on purpose: it is the other opinion.
//!
//! Numbers keep their digits, timestamps lose trailing zeros of the fraction, JSON columns are compared as JSON.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document};
use serde_json::value::RawValue;

/// A row or document: leaf paths to texts.
pub type Leaves = BTreeMap<String, String>;

/// The leaves of a JSON object, numbers with all their digits.
pub fn from_json(text: &str) -> Leaves {
    let mut leaves = Leaves::new();
    let value: &RawValue = serde_json::from_str(text).unwrap_or_else(|e| panic!("not JSON ({e}): {text}"));
    add_json(&mut leaves, String::new(), value);
    leaves
}

/// The leaves of a MongoDB document, without what Headwater keeps for itself.
pub fn from_bson(document: &Document) -> Leaves {
    let mut leaves = Leaves::new();
    for (name, value) in document.iter().filter(|(name, _)| *name != "_headwater") {
        add_bson(&mut leaves, name.clone(), value);
    }
    leaves
}

fn add_json(leaves: &mut Leaves, path: String, value: &RawValue) {
    let text = value.get().trim();
    match text.as_bytes().first() {
        Some(b'{') => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap();
            for (name, value) in fields {
                add_json(leaves, join(&path, &name), value);
            }
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap();
            for (index, value) in items.into_iter().enumerate() {
                add_json(leaves, join(&path, &index.to_string()), value);
            }
        }
        Some(b'"') => add_text(leaves, path, &serde_json::from_str::<String>(text).unwrap()),
        _ => {
            leaves.insert(path, text.to_string());
        }
    }
}

fn add_bson(leaves: &mut Leaves, path: String, value: &Bson) {
    match value {
        Bson::Document(document) => {
            document.iter().for_each(|(name, value)| add_bson(leaves, join(&path, name), value))
        }
        Bson::Array(items) => {
            items.iter().enumerate().for_each(|(i, value)| add_bson(leaves, join(&path, &i.to_string()), value));
        }
        Bson::String(text) => add_text(leaves, path, text),
        Bson::Null => drop(leaves.insert(path, "null".into())),
        Bson::Int32(n) => drop(leaves.insert(path, n.to_string())),
        Bson::Int64(n) => drop(leaves.insert(path, n.to_string())),
        Bson::Double(n) => drop(leaves.insert(path, n.to_string())),
        Bson::Boolean(b) => drop(leaves.insert(path, b.to_string())),
        Bson::Decimal128(n) => drop(leaves.insert(path, n.to_string())),
        Bson::DateTime(at) => add_text(leaves, path, &at.try_to_rfc3339_string().unwrap()),
        other => panic!("{path}: no expectation for {:?}", other.element_type()),
    }
}

/// Text; a JSON object in text (a json column) counts as its leaves.
fn add_text(leaves: &mut Leaves, path: String, text: &str) {
    if text.starts_with('{')
        && let Ok(value) = serde_json::from_str::<&RawValue>(text)
    {
        return add_json(leaves, path, value);
    }
    leaves.insert(path, format!("'{}'", trim_fraction(text)));
}

/// `12:00:00.500000Z` and `12:00:00.5Z` are one time; `+00:00` is `Z`.
fn trim_fraction(text: &str) -> String {
    let is_time = text.len() >= 19 && text.as_bytes()[4] == b'-' && text.as_bytes()[10] == b'T';
    if !is_time {
        return text.to_string();
    }
    let (body, zone) = match text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00")) {
        Some(body) => (body, "Z"),
        None => (text, ""),
    };
    let body = if body.contains('.') { body.trim_end_matches('0').trim_end_matches('.') } else { body };
    format!("{body}{zone}")
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

/// How two collections differ, in words; `None` when they are equal.
pub fn difference(what: &str, expected: &BTreeMap<String, Leaves>, found: &BTreeMap<String, Leaves>) -> Option<String> {
    let missing: Vec<&String> = expected.keys().filter(|key| !found.contains_key(*key)).collect();
    let extra: Vec<&String> = found.keys().filter(|key| !expected.contains_key(*key)).collect();
    let differing: Vec<&String> =
        expected.keys().filter(|key| found.get(*key).is_some_and(|f| *f != expected[*key])).collect();
    if missing.is_empty() && extra.is_empty() && differing.is_empty() {
        return None;
    }
    let mut text = format!(
        "{what}: {} expected, {} found; {} missing {:?}, {} extra {:?}, {} differ",
        expected.len(),
        found.len(),
        missing.len(),
        &missing[..missing.len().min(3)],
        extra.len(),
        &extra[..extra.len().min(3)],
        differing.len(),
    );
    for key in differing.iter().take(3) {
        let (expected, found) = (&expected[*key], &found[*key]);
        for path in expected.keys().chain(found.keys()).collect::<std::collections::BTreeSet<_>>() {
            if expected.get(path) != found.get(path) {
                text += &format!("\n  {key}: {path}: expected {:?}, found {:?}", expected.get(path), found.get(path));
            }
        }
    }
    Some(text)
}
