//! Tables that change under a running pipeline, through the real PostgreSQL and Debezium: the raw store follows columns
//! that are added, dropped, retyped and renamed; a pipeline that uses what is gone stops with the place of the use, and
//! goes on from there once it is mended; a table that pauses at changes waits until a person has accepted them.

use std::sync::Arc;
use std::time::Duration;

use headwater::pipeline::load_text;
use headwater::runner::{Fleet, Outcome, RunOptions};
use headwater::stage::Accepted;
use headwater::stores::Stores;
use tokio_util::sync::CancellationToken;

use crate::accounts::{Source, as_json, key};
use crate::raw_copy::RawCopy;

#[tokio::test(flavor = "multi_thread")]
async fn the_raw_store_follows_columns_that_change() {
    let Some(source) = Source::start("evolve") else { return };
    let copy = RawCopy::of(&source.name, &source.brokers, &source.topic(), "{}");
    assert_eq!(as_json(&copy.rows_up_to("account", &key(20)).await), source.rows());
    let changes = [
        "ALTER TABLE account ADD COLUMN city text DEFAULT 'Ulm'; UPDATE account SET city = 'Bonn' WHERE id % 2 = 0",
        "ALTER TABLE account ALTER kind TYPE text USING 'kind ' || kind; UPDATE account SET kind = kind || '!' WHERE id > 5",
        "ALTER TABLE account RENAME COLUMN owner TO holder; DELETE FROM account WHERE id = 3",
        "ALTER TABLE account DROP COLUMN note; UPDATE account SET holder = holder",
    ];
    for (n, change) in changes.into_iter().enumerate() {
        source.sql(change);
        let last = 100 + n as i64;
        source.sql(&format!("INSERT INTO account (id) VALUES ({last})"));
        let rows = copy.rows_up_to("account", &key(last)).await;
        if n == changes.len() - 1 {
            // Every row was written again since the last change.
            assert_eq!(as_json(&rows), source.rows());
        }
    }
}

/// A pipeline over the source's topic in `dir`.
struct Pipeline<'a> {
    source: &'a Source,
    dir: tempfile::TempDir,
    owner: &'static str,
    policy: &'static str,
}

impl Pipeline<'_> {
    async fn run(&self, until_end: bool, accepted: Accepted) -> Outcome {
        let name = self.source.name.replace('_', "-");
        let yaml = format!(
            "name: {name}\nsource:\n  kafka: {{ brokers: \"{}\", topics: [\"{}\"] }}\nstages:\n  - debezium: {{ on_schema_change: {} }}\n  \
             - raw: bank\n  - document:\n      root: account\n      fields:\n        owner: .{}\n        loud: 'upcase(string(.{}) ?? \"\")'\n  \
             - sqlite: {{ path: documents.db, table: account }}\n",
            self.source.brokers,
            self.source.topic(),
            self.policy,
            self.owner,
            self.owner,
        );
        let pipeline = load_text("accounts.yaml", &yaml, &headwater::builtin(), &|_: &str| None);
        let pipeline = pipeline.unwrap_or_else(|failure| panic!("{:?}", failure.problems));
        let stores = Arc::new(Stores::new(self.dir.path()));
        let shutdown = CancellationToken::new();
        let options = RunOptions { data_dir: self.dir.path().into(), stores, until_end, accepted, shutdown };
        Fleet::start(vec![pipeline], &options).finish(true).await.remove(0).outcome
    }

    /// Runs while `change` happens, until the pipeline stops; the reason.
    async fn stops_at(&self, change: &str) -> String {
        let mut run = Box::pin(self.run(false, Accepted::default()));
        let early = tokio::time::timeout(Duration::from_secs(6), &mut run).await;
        assert!(early.is_err(), "{early:?}");
        self.source.sql(change);
        match tokio::time::timeout(Duration::from_secs(60), run).await.unwrap() {
            Outcome::Failed(headwater::Error::Broken(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn owners(&self) -> Vec<Option<String>> {
        let file = rusqlite::Connection::open(self.dir.path().join("documents.db")).unwrap();
        let mut rows = file.prepare("SELECT document ->> '$.owner' FROM account ORDER BY id").unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_uses_a_renamed_column_stops_with_the_place_and_goes_on_when_mended() {
    let Some(source) = Source::start("used") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut pipeline = Pipeline { source: &source, dir, owner: "owner", policy: "evolve" };
    let change = "ALTER TABLE account ADD COLUMN city text; INSERT INTO account (id, owner) VALUES (50, 'fine');
         ALTER TABLE account RENAME COLUMN owner TO holder; INSERT INTO account (id, holder) VALUES (51, 'renamed')";
    let reason = pipeline.stops_at(change).await;
    for word in
        ["column holder was added", "column owner was dropped", "accounts.yaml:10:", "accounts.yaml:11:", "offset"]
    {
        assert!(reason.contains(word), "{word}: {reason}");
    }
    let again = pipeline.run(true, Accepted { schema: true, ..Accepted::default() }).await;
    assert!(matches!(&again, Outcome::Failed(_)), "it is still wrong: {again:?}");
    pipeline.owner = "holder";
    let mended = pipeline.run(true, Accepted::default()).await;
    assert!(matches!(mended, Outcome::Done), "{mended:?}");
    let owners = pipeline.owners();
    assert_eq!(owners.len(), 22);
    assert_eq!(owners.last().unwrap().as_deref(), Some("renamed"), "nothing was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_pauses_at_changes_waits_for_a_person() {
    let Some(source) = Source::start("pause") else { return };
    let pipeline = Pipeline { source: &source, dir: tempfile::tempdir().unwrap(), owner: "owner", policy: "pause" };
    let change = "ALTER TABLE account ADD COLUMN city text; INSERT INTO account (id, owner) VALUES (51, 'new')";
    let reason = pipeline.stops_at(change).await;
    assert!(reason.contains("column city was added") && reason.contains("--accept-schema"), "{reason}");
    let again = pipeline.run(true, Accepted::default()).await;
    assert!(matches!(&again, Outcome::Failed(_)), "{again:?}");
    assert_eq!(pipeline.owners().len(), 20, "nothing of the new shape was written");
    let accepted = pipeline.run(true, Accepted { schema: true, ..Accepted::default() }).await;
    assert!(matches!(accepted, Outcome::Done), "{accepted:?}");
    let quiet = pipeline.run(true, Accepted::default()).await;
    assert!(matches!(quiet, Outcome::Done), "accepted once: {quiet:?}");
    assert_eq!(pipeline.owners().last().unwrap().as_deref(), Some("new"));
}
