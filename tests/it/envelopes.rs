//! Rows alone, as Debezium's real transformation leaves them in each mode of deletes, in a topic that is called after another
//! table: the raw store equals the database after each step, each read by a new process.
//!
//! Deliberately absent: CloudEvents. Debezium's converter calls a method that Kafka Connect's JSON converter no longer has.

use crate::accounts::{Source, as_json, key};
use crate::raw_copy::RawCopy;

/// Compares the copy with the table while it changes.
async fn follow(source: &Source, topic: &str, debezium: &str) {
    let copy = RawCopy::of(&source.name, &source.brokers, topic, debezium);
    assert_eq!(as_json(&copy.rows_up_to("account", &key(20)).await), source.rows(), "snapshot");
    // A delete is all that a process reads of some partitions.
    source.sql("DELETE FROM account WHERE id <= 4; INSERT INTO account (id) VALUES (21)");
    assert_eq!(as_json(&copy.rows_up_to("account", &key(21)).await), source.rows(), "deletes");
    source.sql(
        "UPDATE account SET owner = 'other', note = NULL WHERE id > 10; UPDATE account SET id = 100 WHERE id = 7;
         DELETE FROM account WHERE id IN (8, 21); INSERT INTO account VALUES (3, 'back'); INSERT INTO account (id) VALUES (22)",
    );
    assert_eq!(as_json(&copy.rows_up_to("account", &key(22)).await), source.rows(), "changes");
    assert_eq!(copy.tables().await, ["account"]);
}

/// Rows alone, deletes in one of the transformation's modes.
async fn flattened(mode: &str, more: &[&str]) {
    let mode_setting = format!("transforms.unwrap.delete.tombstone.handling.mode={mode}");
    let settings = [
        "transforms=unwrap,route",
        "transforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState",
        "transforms.unwrap.add.fields=op,table,lsn,source.ts_ms",
        "transforms.route.type=org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.route.regex=(.*)account",
        "transforms.route.replacement=$1card",
        &mode_setting,
    ];
    let test = format!("flat_{}", mode.replace('-', "_"));
    let Some(source) = Source::start_with(&test, &[&settings[..], more].concat()) else { return };
    let topic = format!("{}.public.card", source.name);
    follow(&source, &topic, "{ format: flattened }").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_alone_whose_deletes_are_tombstones_are_the_table() {
    flattened("tombstone", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_alone_whose_deletes_are_rewritten_are_the_table() {
    flattened("rewrite", &["value.converter.schemas.enable=false"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_alone_whose_deletes_come_twice_are_the_table() {
    flattened("rewrite-with-tombstone", &[]).await;
}
