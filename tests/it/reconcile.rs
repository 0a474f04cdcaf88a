//! Rows that were deleted while no connector looked, through the real PostgreSQL and Debezium: a second snapshot in the same
//! topic does not show them; a table under `reconcile` loses them, another one keeps them.

use crate::accounts::{Source, as_json, key};
use crate::raw_copy::RawCopy;

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
    let Ok(server) = std::env::var("HEADWATER_TEST_MONGODB") else {
        println!("skipped: HEADWATER_TEST_MONGODB is not set");
        return;
    };
    let (host, options) = server.split_once("/?").unwrap_or((&server, ""));
    let name = format!("headwater_reconcile_{}", std::process::id());
    let uri = format!("{}/{name}?{options}", host.trim_end_matches('/'));
    second_snapshot("mongo", &uri).await;
    let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
    client.database(&name).drop().await.unwrap();
}
