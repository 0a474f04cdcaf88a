//! A changed `document` stage over the same raw store: reading the log again replaces every document, although no row has
//! changed and the raw store has nothing to commit.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const PIPELINE: &str = "
name: rebuild
source: { file: { path: in.jsonl } }
stages:
  - debezium:
      tables: { t: { columns: { id: int64, name: text } } }
  - raw: { store: bank }
  - document: { root: t, fields: { label: EXPRESSION } }
  - TARGET
";

/// Three rows, so few that all their documents come from one snapshot.
fn recording() -> String {
    let event = |id: i64| {
        let source = r#"{"connector":"postgresql","schema":"public","table":"t","lsn":LSN,"snapshot":"false"}"#;
        let source = source.replace("LSN", &(100 + id).to_string());
        let payload = format!(r#"{{"op":"c","after":{{"id":{id},"name":"n{id}"}},"source":{source}}}"#);
        let key = format!(r#"{{"id":{id}}}"#);
        let message =
            serde_json::json!({ "topic": "b.public.t", "partition": 0, "offset": id, "key": key, "payload": payload });
        format!("{message}\n")
    };
    (1..=3).map(event).collect()
}

/// Runs the pipeline from the start of the log.
fn run(folder: &Path, target: &str, expression: &str) {
    let text = PIPELINE.replace("EXPRESSION", expression).replace("TARGET", target);
    std::fs::write(folder.join("pipeline.yaml"), text).unwrap();
    std::fs::write(folder.join("in.jsonl"), recording()).unwrap();
    for entry in std::fs::read_dir(folder.join("data")).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "position") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.current_dir(folder).args(["run", "pipeline.yaml", "--until-end", "--quiet"]);
    let output = command.args(["--data-dir", "data", "--config", "/dev/null"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn labels(of: impl Fn(i64) -> String) -> BTreeMap<i64, String> {
    (1..=3).map(|id| (id, of(id))).collect()
}

#[test]
fn a_changed_definition_replaces_every_document_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let documents = || {
        let file = rusqlite::Connection::open(folder.path().join("data/out.sqlite")).unwrap();
        let mut select = file.prepare("SELECT id, document ->> '$.label' FROM t").unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect::<BTreeMap<i64, String>>()
    };
    run(folder.path(), "sqlite: { path: out.sqlite }", ".name");
    assert_eq!(documents(), labels(|id| format!("n{id}")));
    run(folder.path(), "sqlite: { path: out.sqlite }", "'upcase(string!(.name))'");
    assert_eq!(documents(), labels(|id| format!("N{id}")));
}

#[tokio::test]
async fn a_changed_definition_replaces_every_document_in_mongodb() {
    let Ok(uri) = std::env::var("HEADWATER_TEST_MONGODB") else {
        return println!("skipped: HEADWATER_TEST_MONGODB is not set");
    };
    let folder = tempfile::tempdir().unwrap();
    let name = format!("headwater_rebuild_{}", std::process::id());
    let database = mongodb::Client::with_uri_str(&uri).await.unwrap().database(&name);
    let documents = async || {
        let mut cursor = database.collection::<bson::Document>("t").find(bson::doc! {}).await.unwrap();
        let mut found = BTreeMap::new();
        while cursor.advance().await.unwrap() {
            let document = cursor.deserialize_current().unwrap();
            found.insert(document.get_i64("_id").unwrap(), document.get_str("label").unwrap().to_string());
        }
        found
    };
    let target = format!("mongodb: {{ uri: '{uri}', database: {name} }}");
    run(folder.path(), &target, ".name");
    assert_eq!(documents().await, labels(|id| format!("n{id}")));
    run(folder.path(), &target, "'upcase(string!(.name))'");
    assert_eq!(documents().await, labels(|id| format!("N{id}")));
    database.drop().await.unwrap();
}
