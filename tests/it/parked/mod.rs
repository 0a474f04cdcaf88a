//! Parked messages: for every class of reason a message that is parked under it, by the real binary. What is kept is the
//! message to the byte, with its place; what is said names the table and the column, what was expected and what to do,
//! and no value.
//!
//! The classes are those that the sources park under, found by reading the sources: a new one fails here until it has a
//! line in `table.rs` and a remedy in `record/remedy.rs`.

mod registry;
mod sources;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater::record::{REMEDIES, remedy};
use serde_json::{Value, json};

use table::{Case, Mongo, NOT_BY_A_MESSAGE, Target};

/// Stands in payloads where a value may stand, and nowhere else.
const SECRET: &str = "geheim-4711";

fn headwater(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.current_dir(folder).args(arguments).args(["--config", "/dev/null", "--data-dir", "data"]);
    command.args(["--output", "json"]).output().unwrap()
}

fn result(output: &Output) -> Value {
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    object["result"].clone()
}

/// Runs the cases of one target through one pipeline; every parked message by its offset.
fn run(target: &Target, cases: &[&Case]) -> BTreeMap<i64, Value> {
    let folder = tempfile::tempdir().unwrap();
    let limit = "parking: { stop_above: { records: 1000 } }\n";
    let pipeline = format!("name: {}\nsource: {{ file: {{ path: in.jsonl }} }}\n{limit}{}", target.name, target.stages);
    std::fs::write(folder.path().join("pipeline.yaml"), pipeline).unwrap();
    let encoded = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
    let line = |(at, case): (usize, &&Case)| {
        let headers: Vec<&str> = case.headers.iter().flat_map(|(name, value)| [*name, *value]).collect();
        let place = json!({ "topic": case.topic, "partition": 0, "offset": at, "ts": 1_700_000_000_000_i64 });
        let mut line = place;
        line["headers"] = json!(headers);
        line["key_b64"] = json!(encoded(&case.key));
        line["payload_b64"] = json!(encoded(&case.value));
        format!("{line}\n")
    };
    std::fs::write(folder.path().join("in.jsonl"), cases.iter().enumerate().map(line).collect::<String>()).unwrap();
    let ran = headwater(folder.path(), &["run", "pipeline.yaml", "--until-end", "--quiet"]);
    let log = [&ran.stdout[..], &ran.stderr].concat();
    let log = String::from_utf8_lossy(&log);
    assert!(ran.status.success(), "{}: {log}", target.name);
    assert!(!log.contains(SECRET), "{}: the log has a value: {log}", target.name);

    let list = headwater(folder.path(), &["parked", "list", "pipeline.yaml", "--limit", "1000"]);
    assert!(!String::from_utf8_lossy(&list.stdout).contains(SECRET), "{}: the list has a value", target.name);
    let parked = result(&list)["parked"].as_array().unwrap().clone();
    let show = |entry: &Value| {
        let id = entry["id"].as_str().unwrap();
        let shown = result(&headwater(folder.path(), &["parked", "show", "pipeline.yaml", "--id", id]));
        (shown["offset"].as_i64().unwrap(), shown)
    };
    parked.iter().map(show).collect()
}

/// What is wrong with what was parked for `case`.
fn wrong(case: &Case, offset: i64, shown: Option<&Value>) -> Vec<String> {
    let (code, shown) = match (case.code, shown) {
        (Some(code), Some(shown)) => (code, shown),
        (None, None) => return Vec::new(),
        _ => return vec![format!("{}:{offset}: expected {:?}, found {shown:?}", case.target, case.code)],
    };
    let encoded = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(Value::Null, |bytes| STANDARD.encode(bytes).into());
    let header = |(name, value): &(&str, &str)| json!([name, STANDARD.encode(value.as_bytes())]);
    let reason = shown["reason"].as_str().unwrap();
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{code}: {what}, found {}: {reason}, of table {}", shown["code"], shown["table"]));
        }
    };
    expect(shown["code"] == code, "the class");
    let place = json!([shown["topic"], shown["partition"], shown["offset"]]);
    expect(place == json!([case.topic, 0, offset]), "the place");
    expect(shown["key_base64"] == encoded(&case.key), "the key's bytes");
    expect(shown["value_base64"] == encoded(&case.value), "the value's bytes");
    expect(shown["headers_base64"] == case.headers.iter().map(header).collect::<Value>(), "the headers");
    expect(shown["table"] == json!(case.table), &format!("the table {:?}", case.table));
    for part in case.says {
        expect(reason.contains(part), &format!("expected `{part}`"));
    }
    expect(!reason.contains(SECRET), "no value");
    expect(!reason.starts_with(|c: char| c.is_uppercase()), "lower case");
    expect(shown["to_do"] == remedy(code), "what to do");
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_comes_with_the_bytes_the_place_and_a_way_out() {
    let mongo = Mongo::start().await;
    tokio::task::block_in_place(|| every_case(table::targets(mongo.as_ref())));
    if let Some(mongo) = mongo {
        mongo.remove().await;
    }
}

fn every_case(targets: Vec<Target>) {
    let cases = table::cases();
    let (mut seen, mut complaints) = (BTreeSet::new(), Vec::new());
    for target in &targets {
        let cases: Vec<&Case> = cases.iter().filter(|case| case.target == target.name).collect();
        let parked = run(target, &cases);
        for (offset, case) in (0..).zip(&cases) {
            complaints.extend(wrong(case, offset, parked.get(&offset)));
            seen.extend(case.code);
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let all: BTreeSet<&str> = REMEDIES.iter().map(|(code, _)| *code).collect();
    let others: BTreeSet<&str> = NOT_BY_A_MESSAGE.iter().map(|(code, _)| *code).collect();
    let skipped: BTreeSet<&str> = cases
        .iter()
        .filter(|case| !targets.iter().any(|t| t.name == case.target))
        .filter_map(|case| case.code)
        .collect();
    let missing: Vec<_> =
        all.iter().filter(|code| ![&seen, &others, &skipped].iter().any(|s| s.contains(**code))).collect();
    assert!(missing.is_empty(), "no line of the table parks under {missing:?}");
    let twice: Vec<_> = others.intersection(&seen).collect();
    assert!(twice.is_empty(), "a message can be parked under {twice:?}");
}

#[test]
fn every_class_in_the_sources_has_a_remedy() {
    let (used, known) = (sources::classes(), REMEDIES.iter().map(|(code, _)| code.to_string()).collect::<Vec<_>>());
    assert!(known.is_sorted(), "remedies are found by halving");
    let without: Vec<_> = used.iter().filter(|code| !known.contains(code)).collect();
    assert!(without.is_empty(), "no remedy for {without:?} in src/record/remedy.rs");
    let unused: Vec<_> = known.iter().filter(|code| !used.contains(*code)).collect();
    assert!(unused.is_empty(), "remedies for classes that nobody uses: {unused:?}");
    for (code, remedy) in REMEDIES {
        assert!(remedy.len() > 20 && remedy.starts_with(|c: char| c.is_ascii_lowercase()), "{code}: {remedy}");
    }
}
