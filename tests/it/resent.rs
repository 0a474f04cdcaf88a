//! A connector that crashed sends a run of events again, under other offsets. Rows of a table without a key must not be
//! doubled by it: every crash point, every place that the connector may go back to, on both engines; and the real Debezium,
//! a second time from an older slot.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use headwater::record::{Epoch, Kind, Op, Position, Record, Row, SourcePosition, TableSchema, Value};
use headwater::stores::SharedStore;

use crate::accounts::Source as Database;
use crate::raw_copy::RawCopy;
use crate::stores::Engine;

/// What happens at the source: the row before, the row after, the place. Three rows are of one `COPY` block.
const LOG: [(&str, &str, u64); 10] = [
    ("", "a", 10),
    ("", "a", 20),
    ("", "b", 30),
    ("", "b", 30),
    ("", "c", 30),
    ("a", "d", 40),
    ("b", "", 50),
    ("", "a", 60),
    ("d", "", 70),
    ("", "d", 80),
];

/// What the table has in the end: `LOG` as a person folds it.
const TRUTH: [(&str, usize); 4] = [("a", 2), ("b", 1), ("c", 1), ("d", 1)];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Source {
    /// All rows of a block have one place.
    Postgres,
    /// Each row of a block has a number.
    MySql,
}

fn row(name: &str) -> Option<Row> {
    let schema = TableSchema::new([("name", Kind::Text)]);
    (!name.is_empty()).then(|| Row::new(schema.into(), vec![Value::from(name)]))
}

/// `noted`: whether the connector knows the commit before it, as it does unless it has just begun.
fn event(table: &str, source: Source, index: usize, offset: i64, noted: bool) -> Record {
    let (before, after, place) = LOG[index];
    let source = match source {
        Source::Postgres => {
            SourcePosition::Postgres { incarnation: 1, commit_lsn: u64::from(noted) * (place - 5), lsn: place }
        }
        Source::MySql => {
            let row = LOG[..index].iter().filter(|(_, _, other)| *other == place).count() as u32;
            let (server_id, gtid_origin, gtid_number, file) = (1, 0, 0, 3);
            SourcePosition::MySql { incarnation: 1, server_id, gtid_origin, gtid_number, file, pos: place, row }
        }
    };
    let op = match (before, after) {
        ("", _) => Op::Create,
        (_, "") => Op::Delete,
        _ => Op::Update,
    };
    let position = Position { topic: table.into(), epoch: Epoch::default(), partition: 0, offset, source };
    Record {
        table: table.into(),
        op,
        key: Row::empty(),
        row: row(after),
        patch: None,
        before: row(before),
        version: offset as u64 + 1,
        position,
        changed_at: None,
        snapshot: Default::default(),
        origin: 0,
    }
}

async fn contents(store: &SharedStore, table: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let mut snapshot = store.snapshot().await.unwrap();
    for stored in snapshot.scan(table, None, 1_000).await.unwrap() {
        let name = stored.row.get("name").unwrap().as_str().unwrap().to_string();
        *counts.entry(name).or_default() += 1;
    }
    counts
}

async fn apply(store: &SharedStore, records: &[Record]) {
    let applied = store.apply(records.to_vec()).await.unwrap();
    assert!(applied.rejects.is_empty(), "{:?}", applied.rejects);
}

pub async fn events_sent_again_double_no_row_without_a_key(engine: &Engine) {
    let truth: BTreeMap<String, usize> = TRUTH.into_iter().map(|(name, count)| (name.to_string(), count)).collect();
    let shared = engine.open().await;
    let mut doubled = 0;
    for source in [Source::Postgres, Source::MySql] {
        for (crash, back) in (1..=LOG.len()).flat_map(|crash| (0..crash).map(move |back| (crash, back))) {
            for (anew, noted) in [(false, true), (true, true), (false, false)] {
                if source != Source::Postgres && !noted {
                    continue;
                }
                let table = format!("{source:?}_{crash}_{back}_{anew}_{noted}").to_lowercase();
                let case = format!("sent up to {crash}, again from {back}, anew: {anew}, noted: {noted}, {source:?}");
                let sent: Vec<Record> = (0..crash)
                    .chain(back..LOG.len())
                    .zip(0..)
                    .map(|(index, offset)| event(&table, source, index, offset, noted || offset < crash as i64))
                    .collect();
                for batch in sent.chunks(4) {
                    let store = if anew { engine.open().await } else { shared.clone() };
                    apply(&store, batch).await;
                }
                let found = contents(&shared, &table).await;
                // Nothing stands between a place and its repetition: two of PostgreSQL's rows may share one.
                let adjacent = LOG[back].2 == LOG[crash - 1].2 && LOG[back].0.is_empty();
                if source == Source::Postgres && (adjacent && noted || anew) {
                    let lost = truth.iter().filter(|(name, count)| found.get(*name).is_none_or(|n| n < *count));
                    assert_eq!(lost.collect::<Vec<_>>(), [], "{case}: {found:?}");
                    doubled += usize::from(found != truth);
                } else {
                    assert_eq!(found, truth, "{case}");
                }
                // And now the runner reads a part of the topic again.
                apply(&shared, &sent[sent.len() / 2..]).await;
                assert_eq!(contents(&shared, &table).await, found, "{case}, read again");
            }
        }
    }
    assert!(doubled <= 42, "too much is in doubt: {doubled}");
}

/// The end of the topic's only partition, once `enough` messages are there and no more come.
fn end_of(brokers: &str, topic: &str, enough: i64) -> i64 {
    use rdkafka::consumer::Consumer as _;
    let mut config = rdkafka::ClientConfig::new();
    let consumer: rdkafka::consumer::BaseConsumer = config.set("bootstrap.servers", brokers).create().unwrap();
    let deadline = Instant::now() + Duration::from_secs(90);
    let mut before = -1;
    loop {
        let end = consumer.fetch_watermarks(topic, 0, Duration::from_secs(10)).map_or(-1, |(_, end)| end);
        if end >= enough && end == before {
            return end;
        }
        before = end;
        assert!(Instant::now() < deadline, "{topic}: {end} messages, expected {enough}");
        std::thread::sleep(Duration::from_secs(2));
    }
}

fn names(rows: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    rows.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn debezium_from_an_older_slot_doubles_no_row_without_a_key() {
    let Some(mut database) = Database::without_key("resent") else { return };
    let (name, brokers, topic) = (database.name.clone(), database.brokers.clone(), database.topic());
    database.keep_log();
    database.sql("INSERT INTO account VALUES ('a'); INSERT INTO account VALUES ('a')");
    database.sql("COPY account FROM PROGRAM 'printf \"b\\nb\\nc\\n\"'");
    database.sql("UPDATE account SET name = 'd' WHERE ctid = (SELECT min(ctid) FROM account WHERE name = 'a')");
    database.sql("DELETE FROM account WHERE ctid = (SELECT min(ctid) FROM account WHERE name = 'b')");
    database.sql("INSERT INTO account VALUES ('a')");
    let sent = end_of(&brokers, &topic, 8);
    let copy = RawCopy::of(&name, &brokers, &topic, "{ tables: { account: { key: none, columns: { name: text } } } }");
    let stored = async || {
        let rows = copy.rows("account").await;
        names(rows.iter().map(|stored| stored.row.get("name").unwrap().as_str().unwrap().to_string()))
    };
    let truth = names(database.sql("SELECT name FROM account"));
    assert_eq!(truth, [("a", 2), ("b", 1), ("c", 1), ("d", 1)].map(|(name, n)| (name.to_string(), n)).into());
    assert_eq!(stored().await, truth);
    database.send_again();
    assert_eq!(end_of(&brokers, &topic, 2 * sent), 2 * sent, "everything was sent twice");
    assert_eq!(stored().await, truth);
}
