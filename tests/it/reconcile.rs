//! Rows that were deleted while no connector looked, through the real PostgreSQL and Debezium: a second snapshot in the same
//! topic does not show them; a table under `reconcile` loses them, another one keeps them. With notifications no change has
//! to follow the snapshot, and the table may have become empty.

use std::time::{Duration, Instant};

use crate::accounts::{Source, as_json, key};
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
