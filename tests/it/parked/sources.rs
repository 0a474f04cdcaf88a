//! The classes under which the sources park messages: the first text that follows one of the calls that reject something.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What makes a rejection, up to where its class stands.
const CALLS: &[&str] = &[
    "Fault::new(",
    "reject(",
    "Rejected(",
    "Unfit::new(",
    "unfit(",
    "failed(",
    "Err((",
    "ok_or((",
    "let expected = || (",
    "|reason| (",
    "code:",
];

/// All classes that `src` names there.
pub fn classes() -> BTreeSet<String> {
    let mut files = Vec::new();
    for room in ["cdc", "stages", "stores", "sinks", "runner"] {
        rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut files);
    }
    let mut found = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for call in CALLS {
            found.extend(code.split(call).skip(1).filter_map(class));
        }
    }
    found
}

/// The class that an argument list begins with, a record or a place before it.
fn class(arguments: &str) -> Option<String> {
    let (before, rest) = arguments.split_once('"')?;
    let names = before.chars().all(|c| c.is_ascii_alphanumeric() || c.is_whitespace() || "_&.,".contains(c));
    let (text, _) = rest.split_once('"')?;
    let (room, reason) = text.split_once('.')?;
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    (names && before.len() < 60 && is_word(room) && is_word(reason)).then(|| text.to_string())
}

/// Files that are not tests.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() {
            rust_files(&path, found);
        } else if !name.ends_with("tests") && !["catalogue", "robustness", "testing"].contains(&name) {
            found.push(path);
        }
    }
}

#[test]
fn classes_are_read_out_of_calls() {
    assert_eq!(class("\"a.b\", \"text\")"), Some("a.b".into()));
    assert_eq!(class("\n    &record,\n    \"a_c.b\","), Some("a_c.b".into()));
    for other in ["\"text. of b\"", "format!(\"a.b\")", "fault.code, \"a.b.c\"", "\"ab\""] {
        assert_eq!(class(other), None, "{other}");
    }
}
