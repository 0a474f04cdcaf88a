//! Tombstones that are deletes, as the first messages that a process reads of a topic: they take the row of the table that
//! the topic carries, which need not be the one that it is called after.

use std::path::Path;
use std::sync::Arc;

use headwater::pipeline::load_text;
use headwater::runner::{Fleet, Outcome, RunOptions};
use headwater::stores::Stores;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The pipeline goes on, as a new process would, with `lines` (topic, offset, id, row) behind what it has read.
async fn go_on(dir: &Path, lines: &[(&str, i64, i64, Option<&str>)]) {
    let line = |(topic, offset, id, row): &(&str, i64, i64, Option<&str>)| {
        let key = json!({ "id": id }).to_string();
        json!({ "topic": topic, "partition": 0, "offset": offset, "ts": 1, "key": key, "payload": row })
    };
    let file = dir.join("in.jsonl");
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    let more: String = lines.iter().map(line).map(|line: Value| format!("{line}\n")).collect();
    std::fs::write(&file, before + &more).unwrap();
    let yaml = format!(
        "name: tables\nsource: {{ file: {{ path: \"{}\" }} }}\nstages:\n  - debezium: {{ format: flattened }}\n  - raw: copy\n",
        file.display()
    );
    let pipeline = load_text("tables.yaml", &yaml, &headwater::builtin(), &|_: &str| None).unwrap();
    let options = RunOptions {
        data_dir: dir.into(),
        stores: Arc::new(Stores::new(dir)),
        until_end: true,
        accepted: Default::default(),
        shutdown: CancellationToken::new(),
    };
    let ended = Fleet::start(vec![pipeline], &options).finish(true).await.remove(0).outcome;
    assert!(matches!(ended, Outcome::Done), "{ended:?}");
}

/// Names and sizes of the tables in the store, and the classes of what was parked.
async fn stored(dir: &Path) -> (Vec<(String, u64)>, Vec<String>) {
    let store = Stores::new(dir).get("copy").await.unwrap();
    let parked = store.parked(None, None, 100).await.unwrap();
    (store.tables().await.unwrap(), parked.into_iter().map(|parked| parked.code).collect())
}

fn tables(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(name, rows)| ((*name).to_string(), *rows)).collect()
}

const ACCOUNT: Option<&str> = Some(r#"{"id":7,"__table":"account"}"#);
const CARD: Option<&str> = Some(r#"{"id":7,"__table":"card"}"#);

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_after_a_start_takes_the_row_of_the_table_that_was_read_before() {
    let dir = tempfile::tempdir().unwrap();
    // A topic that is called after a table whose rows come from another one.
    go_on(dir.path(), &[("routed.card", 0, 7, ACCOUNT), ("bank.public.card", 0, 7, CARD)]).await;
    assert_eq!(stored(dir.path()).await, (tables(&[("account", 1), ("card", 1)]), vec![]));
    go_on(dir.path(), &[("routed.card", 1, 7, None)]).await;
    assert_eq!(stored(dir.path()).await, (tables(&[("account", 0), ("card", 1)]), vec![]));
    go_on(dir.path(), &[("bank.public.card", 1, 7, None)]).await;
    assert_eq!(stored(dir.path()).await, (tables(&[("account", 0), ("card", 0)]), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_of_another_table_is_parked() {
    let dir = tempfile::tempdir().unwrap();
    go_on(dir.path(), &[("bank.public.card", 0, 7, CARD), ("both", 0, 7, CARD), ("both", 1, 7, ACCOUNT)]).await;
    // Nothing is known of a topic; two tables are in one.
    go_on(dir.path(), &[("routed.card", 0, 7, None), ("both", 2, 7, None)]).await;
    let parked = vec!["tombstone.table".to_string(); 2];
    assert_eq!(stored(dir.path()).await, (tables(&[("account", 1), ("card", 1)]), parked));
    // Nothing is there to be deleted, and nobody else's row can be meant.
    go_on(dir.path(), &[("bank.public.customer", 0, 7, None)]).await;
    assert_eq!(stored(dir.path()).await.1.len(), 2);
}
