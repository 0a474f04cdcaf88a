//! Golden cases: each folder in `golden/` is a pipeline, its input and what must come of it. Adding a folder adds a case.
//!
//! - `pipeline.yaml` reads `in.jsonl` and writes into `out.sqlite`;
//! - `expected.jsonl` has a line for each document and each deleted one there, in the order of tables and ids;
//! - `expected-parked.jsonl` has a line for each parked message; without the file none may be parked.
//!
//! The real binary runs each case three times: from nothing, then again over its own results from the start of the
//! input, then in small batches over an input whose messages are all there twice. All three must end the same (law 2).
//! `UPDATE_GOLDEN=1` writes the expected files from the first run: read them before you commit them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

/// Runs `headwater` in `folder` with its data in `data`.
fn headwater(folder: &Path, data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.current_dir(folder).args(arguments).arg("--data-dir").arg(data);
    command.args(["--config", "/dev/null", "--output", "json"]).output().unwrap()
}

fn run(folder: &Path, data: &Path) {
    let output = headwater(folder, data, &["run", "pipeline.yaml", "--until-end", "--quiet"]);
    let name = folder.display();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Every document and tombstone of the sink, a line each, the documents' text as it is stored.
fn documents(data: &Path) -> String {
    let file = Connection::open(data.join("out.sqlite")).unwrap();
    let mut names = file.prepare("select name from sqlite_master where type = 'table' order by name").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut lines = String::new();
    for table in names.iter().filter(|name| !name.ends_with("_tombstones")) {
        let each = format!("select id, document from \"{table}\" order by id");
        for (id, document) in rows::<String>(&file, &each) {
            writeln!(lines, "{{\"table\":{},\"id\":{id},\"document\":{document}}}", json!(table)).unwrap();
        }
        // A key that lives again may have a tombstone or not: that depends on where batches ended.
        let dead = format!(
            "select id, version from \"{table}_tombstones\" t where not exists (select 1 from \"{table}\" d where d.id = t.id) order by id"
        );
        for (id, version) in rows::<i64>(&file, &dead) {
            assert!(version > 0);
            writeln!(lines, "{{\"table\":{},\"id\":{id},\"deleted\":true}}", json!(table)).unwrap();
        }
    }
    lines
}

fn rows<T: rusqlite::types::FromSql>(file: &Connection, query: &str) -> Vec<(Value, T)> {
    let id = |id: Sql| match id {
        Sql::Integer(n) => json!(n),
        Sql::Real(n) => json!(n),
        Sql::Text(text) => json!(text),
        other => panic!("an id of another type: {other:?}"),
    };
    let mut statement = file.prepare(query).unwrap();
    let rows = statement.query_map([], |row| Ok((id(row.get(0)?), row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Every parked message: where it came from, who parked it and why.
fn parked(folder: &Path, data: &Path) -> String {
    let output = headwater(folder, data, &["parked", "list", "pipeline.yaml", "--limit", "10000"]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut entries: Vec<&Value> = object["result"]["parked"].as_array().unwrap().iter().collect();
    entries.sort_by_key(|e| (e["topic"].to_string(), e["partition"].as_i64(), e["offset"].as_i64()));
    let line = |e: &&Value| {
        let (place, reason) = (json!([e["topic"], e["partition"], e["offset"]]), &e["reason"]);
        format!("{}\n", json!({ "place": place, "stage": e["stage"], "code": e["code"], "reason": reason }))
    };
    entries.iter().map(line).collect()
}

fn forget_positions(data: &Path) {
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "position") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// A copy of the case with every message twice, ten and ten again, and small batches.
fn with_duplicates(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_files(folder, copy.path());
    let pipeline = std::fs::read_to_string(folder.join("pipeline.yaml")).unwrap();
    std::fs::write(copy.path().join("pipeline.yaml"), pipeline + "batch: { records: 3 }\n").unwrap();
    let input = std::fs::read_to_string(folder.join("in.jsonl")).unwrap();
    let lines: Vec<&str> = input.lines().collect();
    let twice: String = lines.chunks(10).flat_map(|part| part.iter().chain(part)).map(|l| format!("{l}\n")).collect();
    std::fs::write(copy.path().join("in.jsonl"), twice).unwrap();
    copy
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        match path.is_dir() {
            true => copy_files(&path, &to.join(name)),
            false => drop(std::fs::copy(path, to.join(name)).unwrap()),
        }
    }
}

fn expected(path: PathBuf, actual: &str) -> String {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        match actual {
            "" => drop(std::fs::remove_file(&path)),
            text => std::fs::write(&path, text).unwrap(),
        }
    }
    std::fs::read_to_string(&path).unwrap_or_default()
}

fn check(folder: &Path) {
    let name = folder.display();
    let data = tempfile::tempdir().unwrap();
    run(folder, data.path());
    let (documents_expected, parked_expected) = (
        expected(folder.join("expected.jsonl"), &documents(data.path())),
        expected(folder.join("expected-parked.jsonl"), &parked(folder, data.path())),
    );
    assert!(!documents_expected.is_empty(), "{name}: a case expects documents");
    let compare = |when: &str, data: &Path| {
        assert_eq!(documents(data), documents_expected, "{name}, {when}: documents");
        assert_eq!(parked(folder, data), parked_expected, "{name}, {when}: parked");
    };
    compare("from nothing", data.path());

    forget_positions(data.path());
    run(folder, data.path());
    compare("again over its own results", data.path());

    let (copy, data) = (with_duplicates(folder), tempfile::tempdir().unwrap());
    run(copy.path(), data.path());
    compare("with every message twice, in batches of three", data.path());
}

#[test]
fn every_golden_case_ends_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases.iter().for_each(|case| check(case));
}
