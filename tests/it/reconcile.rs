//! Rows that were deleted while no connector looked, through the real PostgreSQL and Debezium: a second snapshot in the same
//! topic does not show them; a table under `reconcile` loses them, another one keeps them. With notifications no change has
//! to follow the snapshot, and the table may have become empty. Targets that know no more than versions follow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::pipeline::load_text;
use headwater::runner::{Fleet, Outcome, RunOptions};
use headwater::stores::Stores;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::accounts::{Source, as_json, key};
use crate::mariadb::sql;
use crate::raw_copy::RawCopy;

/// Keys have the same partitions in each run, and each of the four has rows that stay.
async fn second_snapshot(test: &str, store: &str) {
    let Some(mut source) = Source::start(test) else { return };
    let (name, brokers, topic) = (source.name.clone(), source.brokers.clone(), source.topic());
    let reconciled = RawCopy::into(&name, &brokers, &topic, "{}", store, ", reconcile: [account]");
    let kept = RawCopy::of(&format!("{name}-kept"), &brokers, &topic, "{}");
    let before = reconciled.rows_up_to("account", &key(20)).await;
    assert_eq!((before.len(), kept.rows("account").await.len()), (20, 20));
    source.reconnect(
        "DELETE FROM account WHERE id % 4 = 0; UPDATE account SET owner = 'seen again' WHERE id = 3;
         INSERT INTO account (id, owner) VALUES (21, 'new')",
    );
    let shown = reconciled.rows_up_to("account", &key(21)).await;
    assert_eq!(shown.len(), 21, "nothing says yet that each partition has shown all that it has");
    // A change in each partition does; a row that was deleted in between stays deleted, one that came back stays.
    source.sql(
        "DELETE FROM account WHERE id = 5; INSERT INTO account (id, owner) VALUES (8, 'back');
         UPDATE account SET note = note || '!'; INSERT INTO account (id) VALUES (22)",
    );
    let rows = reconciled.rows_up_to("account", &key(22)).await;
    assert_eq!(as_json(&rows), source.rows());
    assert_eq!(as_json(&reconciled.rows("account").await), source.rows(), "read again");
    let stale = kept.rows("account").await.len() - rows.len();
    assert_eq!(stale, 4, "4, 12, 16 and 20 are nowhere but in a copy that is not reconciled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_snapshot_takes_out_what_it_does_not_show() {
    second_snapshot("again", "copy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_snapshot_takes_out_what_it_does_not_show_in_mongodb() {
    let Some((uri, drop)) = mongodb_store("reconcile") else { return };
    second_snapshot("mongo", &uri).await;
    drop.await;
}

/// A store in MongoDB, and what removes it.
fn mongodb_store(test: &str) -> Option<(String, impl Future<Output = ()>)> {
    let Ok(server) = std::env::var("HEADWATER_TEST_MONGODB") else {
        println!("skipped: HEADWATER_TEST_MONGODB is not set");
        return None;
    };
    let (host, options) = server.split_once("/?").unwrap_or((&server, ""));
    let name = format!("headwater_{test}_{}", std::process::id());
    let uri = format!("{}/{name}?{options}", host.trim_end_matches('/'));
    let place = uri.clone();
    let drop = async move {
        let client = mongodb::Client::with_uri_str(&place).await.unwrap();
        client.database(&name).drop().await.unwrap();
    };
    Some((uri, drop))
}

async fn told_of_its_end(test: &str, store: &str) {
    let Some(mut source) = Source::notified(test) else { return };
    let [other, note] = ["other", "note"].map(|table| format!("{}.public.{table}", source.name));
    let topics = [source.topic(), other, note, source.notifications()].join("\", \"");
    let (keyless, more) = ("{ tables: { note: { key: none } } }", ", reconcile: [account, note]");
    let copy = RawCopy::into(&source.name, &source.brokers, &topics, keyless, store, more);
    assert_eq!(copy.rows_up_to("account", &key(20)).await.len(), 20);
    let equal = async |source: &Source, why: &str| {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let rows = as_json(&copy.rows("account").await);
            let mut notes: Vec<_> = copy.rows("note").await.iter().map(|stored| stored.row.to_json()).collect();
            notes.sort();
            if rows == source.rows() && notes == source.sql("SELECT row_to_json(note)::text FROM note ORDER BY name") {
                return;
            }
            assert!(Instant::now() < deadline, "{why}: {rows:?} {notes:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    // Only one row stays: three of the four partitions show nothing.
    source.reconnect(
        "DELETE FROM account WHERE id <> 3; DELETE FROM note WHERE name = 'b'; INSERT INTO note VALUES ('d')",
    );
    equal(&source, "no change follows the snapshot").await;
    source.sql("INSERT INTO account VALUES (4, 'back'), (30, 'new')");
    copy.rows_up_to("account", &key(30)).await;
    source.sql("DELETE FROM note WHERE ctid = (SELECT min(ctid) FROM note WHERE name = 'a')");
    equal(&source, "what comes later is newer").await;
    source.reconnect("DELETE FROM account; INSERT INTO other VALUES (2)");
    equal(&source, "the table is empty").await;
    source.sql("INSERT INTO account VALUES (5, 'back'), (31, 'new')");
    copy.rows_up_to("account", &key(31)).await;
    equal(&source, "it has rows again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notified_snapshot_takes_out_what_it_does_not_show_from_quiet_partitions_and_empty_tables() {
    told_of_its_end("told", "copy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notified_snapshot_takes_out_what_it_does_not_show_in_mongodb() {
    let Some((uri, drop)) = mongodb_store("told") else { return };
    told_of_its_end("told_mongo", &uri).await;
    drop.await;
}

/// A MariaDB database of two tables, whose connector tells how its snapshots go on.
struct MariaDb {
    server: String,
    brokers: String,
    dir: String,
    name: String,
    connector: String,
}

impl MariaDb {
    fn start() -> Option<MariaDb> {
        let variable = |name: &str| std::env::var(name).ok();
        let (Some(server), Some(brokers), Some(dir)) =
            (variable("HEADWATER_TEST_MARIADB"), variable("HEADWATER_TEST_KAFKA"), variable("HEADWATER_TEST_DIR"))
        else {
            println!("skipped: needs HEADWATER_TEST_MARIADB, _KAFKA and _DIR (tests/all sets them)");
            return None;
        };
        let name = format!("maria_again_{}", std::process::id());
        let mut source = MariaDb { server, brokers, dir, connector: name.clone(), name };
        sql(&source.server, &format!("CREATE DATABASE {}", source.name));
        source.sql(
            "CREATE TABLE account (id bigint PRIMARY KEY, owner varchar(20)); CREATE TABLE other (id bigint PRIMARY KEY);
             INSERT INTO account SELECT seq, concat('owner ', seq) FROM seq_1_to_20; INSERT INTO other VALUES (1)",
        );
        source.connect();
        Some(source)
    }

    fn sql(&self, statements: &str) -> Vec<Vec<String>> {
        sql(&self.server, &format!("USE {}; {statements}", self.name))
    }

    fn script(&self, args: &[&str]) {
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/connector");
        let done = std::process::Command::new(script).arg(&self.dir).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn connect(&mut self) {
        let tables = ["account", "other"].map(|table| format!("{}.{table}", self.name)).join(",");
        let told = format!("notification.sink.topic.name={}.notifications", self.name);
        let fixed = [&*self.connector, &*self.name, &*self.name, &*tables, "--mariadb"];
        self.script(&[&fixed[..], &["notification.enabled.channels=sink", &*told]].concat());
    }

    /// The connector and all that it knew are lost; `unseen` happens; another one takes a new snapshot.
    fn reconnect(&mut self, unseen: &str) {
        self.script(&["--delete", &self.connector]);
        self.sql(unseen);
        self.connector += "_2";
        self.connect();
    }

    fn rows(&self) -> Vec<Value> {
        let rows = self.sql("SELECT id, owner FROM account ORDER BY id");
        let row = |row: &Vec<String>| json!({ "id": row[0].parse::<i64>().unwrap(), "owner": row[1] });
        rows.iter().map(row).collect()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.script(&["--delete", &self.connector]);
        sql(&self.server, &format!("DROP DATABASE {}", self.name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_snapshot_of_mariadb_takes_out_what_it_does_not_show() {
    let Some(mut source) = MariaDb::start() else { return };
    let name = source.name.clone();
    let topics = [format!("{name}.{name}.account"), format!("{name}.{name}.other"), format!("{name}.notifications")];
    let copy = RawCopy::into(&name, &source.brokers, &topics.join("\", \""), "{}", "copy", ", reconcile: [account]");
    assert_eq!(copy.rows_up_to("account", &key(20)).await.len(), 20);
    // Streamed, so that its place has a GTID.
    source.sql("UPDATE account SET owner = 'streamed' WHERE id IN (3, 4); INSERT INTO account VALUES (21, 'streamed')");
    copy.rows_up_to("account", &key(21)).await;
    let equal = async |source: &MariaDb, why: &str| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while as_json(&copy.rows("account").await) != source.rows() {
            assert!(Instant::now() < deadline, "{why}: {:?}", as_json(&copy.rows("account").await));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    equal(&source, "streamed").await;
    source.reconnect("DELETE FROM account WHERE id % 4 = 0 OR id > 10; INSERT INTO account VALUES (22, 'unseen')");
    equal(&source, "no change follows the snapshot").await;
    source.sql("INSERT INTO account VALUES (4, 'back'), (30, 'new'); DELETE FROM account WHERE id = 5");
    copy.rows_up_to("account", &key(30)).await;
    equal(&source, "what comes later is newer").await;
    source.reconnect("DELETE FROM account; INSERT INTO other VALUES (2)");
    equal(&source, "the table is empty").await;
    source.sql("INSERT INTO account VALUES (5, 'back')");
    copy.rows_up_to("account", &key(5)).await;
    equal(&source, "it has rows again").await;
}

/// The ids in a target that stands right behind a raw store, after these events of the table `account` (partition, offset,
/// event without its source, place in the source's log, mark of a snapshot) and a scan of so many rows at that time.
async fn ids_in_target(events: &[(i32, i64, Value, i64, &str)], scanned: Option<(u64, i64)>) -> Vec<i64> {
    let dir = tempfile::tempdir().unwrap();
    let event = |(partition, offset, event, lsn, snapshot): &(i32, i64, Value, i64, &str)| {
        let mut event = event.clone();
        event["source"] = json!({ "connector": "postgresql", "name": "bank", "db": "d", "schema": "public",
            "table": "account", "lsn": lsn, "ts_ms": lsn, "snapshot": snapshot });
        let key = (!event["after"].is_null()).then(|| json!({ "id": event["after"]["id"] }).to_string());
        json!({ "topic": "bank.public.account", "partition": partition, "offset": offset, "ts": 1, "key": key,
            "payload": event.to_string() })
    };
    let scan = |(rows, at): (u64, i64)| {
        let details = json!({ "scanned_collection": "public.account", "total_rows_scanned": rows.to_string() });
        let told = json!({ "id": "x", "aggregate_type": "Initial Snapshot", "type": "TABLE_SCAN_COMPLETED",
            "additional_data": details, "timestamp": at });
        json!({ "topic": "told", "partition": 0, "offset": 0, "ts": 1, "payload": told.to_string() })
    };
    let lines: String = events.iter().map(event).chain(scanned.map(scan)).map(|line| format!("{line}\n")).collect();
    std::fs::write(dir.path().join("in.jsonl"), lines).unwrap();
    let yaml = format!(
        "name: gone\nsource: {{ file: {{ path: \"{}\" }} }}\nstages:\n  - debezium: {{}}\n  \
         - raw: {{ store: copy, reconcile: [account] }}\n  - sqlite: {{ path: out.sqlite }}\n",
        dir.path().join("in.jsonl").display()
    );
    let pipeline = load_text("gone.yaml", &yaml, &headwater::builtin(), &|_: &str| None).unwrap();
    let options = RunOptions {
        data_dir: dir.path().into(),
        stores: Arc::new(Stores::new(dir.path())),
        until_end: true,
        accepted: Default::default(),
        shutdown: CancellationToken::new(),
    };
    let ended = Fleet::start(vec![pipeline], &options).finish(true).await.remove(0).outcome;
    assert!(matches!(ended, Outcome::Done), "{ended:?}");
    let file = rusqlite::Connection::open(dir.path().join("out.sqlite")).unwrap();
    let mut rows = file.prepare("SELECT id FROM account ORDER BY id").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn shown(op: &str, id: i64) -> Value {
    json!({ "op": op, "before": null, "after": { "id": id } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_its_partitions_last_leaves_the_target_when_it_is_swept() {
    let events =
        [(0, 5, shown("r", 1), 10, "first"), (1, 0, shown("r", 2), 10, "last"), (1, 1, shown("r", 2), 100, "last")];
    assert_eq!(ids_in_target(&events, None).await, [1, 2]);
    assert_eq!(ids_in_target(&events, Some((1, 110))).await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_empties_the_target_whatever_the_offsets_of_other_partitions() {
    let truncate = json!({ "op": "t", "before": null, "after": null });
    let mut events =
        vec![(1, 50, shown("r", 1), 10, "first"), (1, 51, shown("r", 2), 10, "last"), (0, 0, truncate, 200, "false")];
    assert_eq!(ids_in_target(&events, None).await, [0; 0]);
    events.push((1, 52, shown("c", 2), 250, "false"));
    assert_eq!(ids_in_target(&events, None).await, [2], "a row that comes back is newer");
}
