//! The rules of the house, kept by a test: what each file opens with, who may know whom, an example for each component.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which rooms (modules of the crate) a room may use. `cli` and `registry` may use all; nobody may use them.
const MAY_USE: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("error", &["record"]),
    ("pipeline", &["record", "stage"]),
    ("stage", &["error", "record", "pipeline", "stores"]),
    ("mongo", &["error"]),
    ("stores", &["error", "record", "mongo"]),
    ("cdc", &["record"]),
    ("expr", &["record", "pipeline"]),
    ("model", &["error"]),
    ("sources", &["error", "record", "pipeline", "stage", "stores"]),
    ("stages", &["error", "record", "pipeline", "stage", "stores", "cdc", "expr", "model"]),
    ("sinks", &["error", "record", "pipeline", "stage", "stores", "mongo"]),
    ("runner", &["error", "record", "pipeline", "stage", "stores"]),
    ("status", &["error", "runner"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn rust_files(folders: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    folders.iter().map(|f| root().join(f)).filter(|f| f.is_dir()).for_each(|f| files(&f, "rs", &mut found));
    found
}

/// The rooms that a source text names after `crate::`, comments and the unit tests at its end left out.
fn rooms_used(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).flat_map(|l| [l, "\n"]).collect();
    let mut used = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let list = match after.strip_prefix('{') {
            Some(group) => outer_names(group),
            None => vec![first_name(after)],
        };
        used.extend(list.into_iter().filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())));
    }
    used
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// The first name of each entry of a `{…}` group whose `{` is already read.
fn outer_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut entry) = (1, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(first_name(&std::mem::take(&mut entry))),
            _ => entry.push(c),
        }
        if depth == 0 {
            break;
        }
    }
    names.push(first_name(&entry));
    names
}

#[test]
fn every_file_says_what_it_is_for() {
    for file in rust_files(&["src", "tests", "benches", "examples", "fuzz/src", "fuzz/targets"]) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with `//! `", file.display());
    }
}

#[test]
fn arrows_point_from_components_to_the_core_and_never_back() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src"]) {
        let path = file.strip_prefix(root().join("src")).unwrap();
        let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = first.trim_end_matches(".rs");
        let Some((_, may)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
            assert!(["cli", "registry", "lib", "main"].contains(&room), "room `{room}` has no entry in MAY_USE");
            continue;
        };
        for used in rooms_used(&std::fs::read_to_string(&file).unwrap()) {
            if used != room && !may.contains(&used.as_str()) {
                wrong.push(format!("{} uses crate::{used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The fuzz targets compile two rooms by themselves: with the same libraries as the crate does, and one target a reader.
#[test]
fn the_fuzz_targets_read_with_the_same_libraries() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let (manifest, fuzz) = (read("Cargo.toml"), read("fuzz/Cargo.toml"));
    let dependencies = fuzz.split("[dependencies]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let own = ["cap", "libfuzzer-sys"];
    for line in dependencies.lines().filter(|line| !own.contains(&line.split(' ').next().unwrap())) {
        assert!(manifest.lines().any(|known| known == line), "Cargo.toml says otherwise than fuzz/Cargo.toml: {line}");
    }
    for file in rust_files(&["fuzz/targets"]) {
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(fuzz.contains(&format!("path = \"targets/{name}.rs\"")), "fuzz/Cargo.toml does not know {name}");
        assert!(root().join("fuzz/seeds").join(name).is_dir(), "{name} has no seeds");
    }
}

#[test]
fn rooms_are_read_out_of_use_lines() {
    let text = "use crate::record::{Row, Value};\n// crate::cli\nuse crate::{\n  Error,\n  stores::{self, x},\n  pipeline,\n};\n";
    let expected = ["pipeline", "record", "stores"].map(String::from);
    assert_eq!(rooms_used(text), expected.into());
}

#[test]
fn every_component_has_an_example_that_runs() {
    let mut examples = Vec::new();
    files(&root().join("pipelines"), "yaml", &mut examples);
    files(&root().join("tests/it/golden"), "yaml", &mut examples);
    let texts: String = examples.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let named = |name: &str| {
        let component =
            |line: &str| line.trim().trim_start_matches("- ").trim_start_matches("source: { ").starts_with(name);
        texts.lines().any(component)
    };
    let registry = headwater::builtin();
    let missing: Vec<_> = registry.source_names().chain(registry.stage_names()).filter(|name| !named(name)).collect();
    assert!(missing.is_empty(), "no pipeline shows {missing:?}");
}
