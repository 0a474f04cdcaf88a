//! Every type of PostgreSQL through the real Debezium: what is decoded equals what the database holds, value by value,
//! after inserts, updates that leave large values alone, deletes, changed keys, and columns added, retyped and dropped
//! while events flow. With and without the schema inside the events.

mod columns;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use columns::COLUMNS;
use headwater::cdc::{Config, DeclaredColumn, DeclaredKey, DeclaredTable, Decoder, Event};
use headwater::record::{Epoch, Message, Op, Order, Position, Record, Value, supersedes};
use postgres::{Client, NoTls, SimpleQueryMessage};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message as _, TopicPartitionList};

#[test]
fn every_type_survives_with_a_schema() {
    round_trip(
        "with",
        &["key.converter.schemas.enable=true", "value.converter.schemas.enable=true"],
        Config::default(),
    );
}

#[test]
fn every_type_survives_declared_in_the_pipeline() {
    let columns = COLUMNS.iter().filter(|column| !column.declared.is_empty());
    let mut columns: Vec<_> = columns.map(|c| DeclaredColumn::new(c.name, c.declared).unwrap()).collect();
    columns.push(DeclaredColumn::new("big_bytes", "bytes").unwrap());
    columns.push(DeclaredColumn::new("c_interval", "time").unwrap());
    let table = DeclaredTable { name: "all_types".into(), key: DeclaredKey::FromMessage, columns };
    let tables = BTreeMap::from([("all_types".to_string(), Arc::new(table))]);
    round_trip("declared", &[], Config { tables, ..Config::default() });
}

fn round_trip(test: &str, settings: &[&str], config: Config) {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(postgres), Some(brokers), Some(dir)) =
        (variable("HEADWATER_TEST_POSTGRES"), variable("HEADWATER_TEST_KAFKA"), variable("HEADWATER_TEST_DIR"))
    else {
        println!("skipped: needs HEADWATER_TEST_POSTGRES, _KAFKA and _DIR (tests/all sets them)");
        return;
    };
    let name = format!("types_{test}_{}", std::process::id());
    let source = Source { postgres, dir, name };
    let mut sql = source.create();
    source.connect(settings);
    change(&mut sql);
    let topic = format!("{}.public.all_types", source.name);
    let state = fold(&brokers, &topic, Decoder::new(config));
    let compared = compare(&mut sql, &state);
    println!("{compared} values equal the database's");
    assert!(compared > 400, "only {compared} values were compared");
}

struct Source {
    postgres: String,
    dir: String,
    name: String,
}

impl Source {
    fn create(&self) -> Client {
        let mut admin = Client::connect(&self.postgres, NoTls).unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {}", self.name)).unwrap();
        let url = format!("{}/{}", self.postgres.strip_suffix("/postgres").unwrap(), self.name);
        let mut sql = Client::connect(&url, NoTls).unwrap();
        let columns: Vec<_> = COLUMNS.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect();
        sql.batch_execute(&format!(
            "SET timezone = 'UTC'; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION hstore;
             CREATE TYPE mood AS ENUM ('sad', 'it''s ok'); CREATE DOMAIN positive AS integer CHECK (value > 0);
             CREATE TABLE all_types (id bigint PRIMARY KEY, touched int, dropped text, retyped int,
                 big_text text, big_json jsonb, big_bytes bytea, {});
             ALTER TABLE all_types ALTER big_text SET STORAGE EXTERNAL, ALTER big_bytes SET STORAGE EXTERNAL;
             ALTER TABLE all_types ALTER big_json SET STORAGE EXTERNAL;",
            columns.join(", ")
        ))
        .unwrap();
        for id in 0..12 {
            insert(&mut sql, id);
        }
        sql
    }

    fn script(&self, args: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/connector");
        let done = Command::new(script).arg(&self.dir).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn connect(&self, settings: &[&str]) {
        let fixed = [&*self.name, &*self.name, &*self.name, "public.all_types", "--streaming"];
        self.script(&[&fixed, settings].concat());
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.script(&["--delete", &self.name]);
        let mut admin = Client::connect(&self.postgres, NoTls).unwrap();
        admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).unwrap();
    }
}

fn insert(sql: &mut Client, id: usize) {
    let literal = |c: &columns::Column| match id {
        11 => "NULL".to_string(),
        _ => format!("'{}'", c.values[id % c.values.len()].replace('\'', "''")),
    };
    let values: Vec<_> = COLUMNS.iter().map(literal).collect();
    let names: Vec<_> = COLUMNS.iter().map(|c| c.name).collect();
    let big = "repeat(md5(random()::text), 200)";
    sql.batch_execute(&format!(
        "INSERT INTO all_types (id, touched, dropped, retyped, big_text, big_json, big_bytes, {})
         VALUES ({id}, 0, 'd', {id}, {big}, to_jsonb({big}), convert_to({big}, 'UTF8'), {})",
        names.join(", "),
        values.join(", ")
    ))
    .unwrap();
}

/// What happens while events flow.
fn change(sql: &mut Client) {
    for id in 12..18 {
        insert(sql, id);
    }
    for statement in [
        "UPDATE all_types SET touched = touched + 1",
        "UPDATE all_types SET big_text = 'short now' WHERE id = 3",
        "UPDATE all_types SET id = id + 100 WHERE id IN (4, 5, 14)",
        "DELETE FROM all_types WHERE id IN (6, 15)",
        "ALTER TABLE all_types ADD COLUMN added numeric(10,2) DEFAULT 1.10",
        "UPDATE all_types SET touched = touched + 1 WHERE id < 10",
        "ALTER TABLE all_types ALTER retyped TYPE text USING retyped::text || ' as text'",
        "UPDATE all_types SET touched = touched + 1 WHERE id >= 2",
        "ALTER TABLE all_types DROP COLUMN dropped",
        "UPDATE all_types SET touched = touched + 1",
        "INSERT INTO all_types (id) VALUES (999)",
    ] {
        sql.batch_execute(statement).unwrap();
    }
}

type State = BTreeMap<String, (Position, Option<Record>)>;

/// The records of the topic up to row 999, folded by key: newer ones win, unchanged values are kept.
fn fold(brokers: &str, topic: &str, mut decoder: Decoder) -> State {
    let mut state = State::new();
    let mut last_seen = false;
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", topic).create().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut offsets = TopicPartitionList::new();
    for partition in 0..4 {
        offsets.add_partition_offset(topic, partition, rdkafka::Offset::Beginning).unwrap();
    }
    consumer.assign(&offsets).unwrap();
    let mut quiet = 0;
    while !last_seen || quiet < 20 {
        assert!(Instant::now() < deadline, "row 999 does not arrive");
        let Some(read) = consumer.poll(Duration::from_millis(100)) else {
            quiet += 1;
            continue;
        };
        quiet = 0;
        let read = read.unwrap();
        let message = Message {
            topic: read.topic().into(),
            epoch: Epoch::default(),
            partition: read.partition(),
            offset: read.offset(),
            timestamp_ms: None,
            key: read.key().map(Bytes::copy_from_slice),
            value: read.payload().map(Bytes::copy_from_slice),
            headers: Vec::new(),
        };
        let event = decoder.decode(&message, 0).unwrap_or_else(|fault| panic!("{fault:?}"));
        let Event::Change(record) = event else { continue };
        last_seen |= record.key.to_json() == r#"{"id":999}"#;
        apply(&mut state, record);
    }
    state
}

fn apply(state: &mut State, mut record: Record) {
    let key = record.key.to_json();
    let stored = state.get(&key);
    if stored.is_some_and(|(position, _)| supersedes(position, &record.position) != Order::Newer) {
        return;
    }
    if record.op == Op::Delete {
        state.insert(key, (record.position, None));
        return;
    }
    let stored_row = stored.and_then(|(_, record)| record.as_ref()).and_then(|record| record.row.clone());
    let row = record.row.as_mut().unwrap();
    let names: Vec<_> = row.schema().columns.iter().map(|c| c.name.clone()).collect();
    for (name, value) in names.iter().zip(row.values_mut()) {
        if *value == Value::Unchanged {
            // A changed key arrives as a new row, without what it left out: the row under the old key has it.
            let kept = stored_row.as_ref().and_then(|row| row.get(name)).cloned();
            *value = kept.unwrap_or(Value::Unchanged);
        }
    }
    state.insert(key, (record.position.clone(), Some(record)));
}

/// Compares every value with the database; how many were compared.
fn compare(sql: &mut Client, state: &State) -> usize {
    let live: BTreeMap<i64, &Record> = state
        .values()
        .filter_map(|(_, record)| record.as_ref())
        .map(|record| match record.key.get("id") {
            Some(Value::Int(id)) => (*id, record),
            other => panic!("{other:?}"),
        })
        .collect();
    let extra = ["touched", "retyped", "added", "big_text", "big_json"].map(|name| format!("{name}::text AS {name}"));
    let told = COLUMNS.iter().map(|c| format!("{} AS {}", c.expression(), c.name));
    let list: Vec<String> =
        extra.into_iter().chain(["encode(big_bytes, 'hex') AS big_bytes".into()]).chain(told).collect();
    let rows = sql.simple_query(&format!("SELECT id, {} FROM all_types ORDER BY id", list.join(", "))).unwrap();
    let rows: Vec<_> =
        rows.iter().filter_map(|m| if let SimpleQueryMessage::Row(row) = m { Some(row) } else { None }).collect();
    let ids: Vec<i64> = rows.iter().map(|row| row.get("id").unwrap().parse().unwrap()).collect();
    assert_eq!(ids, live.keys().copied().collect::<Vec<_>>());
    let (mut compared, mut wrong) = (0, Vec::new());
    for (row, (id, record)) in rows.iter().zip(live) {
        let decoded = record.row.as_ref().unwrap();
        let names: Vec<_> = decoded.iter().map(|(name, _)| name.to_string()).collect();
        assert!(!names.contains(&"dropped".to_string()), "row {id} has a column that was dropped");
        for column in COLUMNS {
            let sql = row.get(column.name);
            let told = decoded.get(column.name).map(|value| column.tell(value));
            match told {
                Some(told) if column.agree(sql, told.as_deref()) => compared += 1,
                told => wrong.push(format!("{id}.{}: the database has {sql:?}, decoded {told:?}", column.name)),
            }
        }
        for name in ["touched", "retyped", "added", "big_text", "big_json", "big_bytes"] {
            let told = match decoded.get(name) {
                // The new row of a changed key: only the stored row of the old key has these.
                Some(Value::Unchanged) if id > 100 && name.starts_with("big") => continue,
                Some(Value::Null) => None,
                Some(Value::Text(text) | Value::Json(text)) => Some(text.to_string()),
                Some(Value::Bytes(bytes)) => Some(bytes.iter().map(|b| format!("{b:02x}")).collect()),
                Some(other) => Some(other.to_json()),
                None => Some("absent".to_string()),
            };
            match row.get(name) == told.as_deref() || (name == "added" && told.as_deref() == Some("bg==")) {
                true => compared += 1,
                false => wrong.push(format!("{id}.{name}: the database has {:?}, decoded {told:?}", row.get(name))),
            }
        }
    }
    assert!(wrong.is_empty(), "{} values differ:\n{}", wrong.len(), wrong.join("\n"));
    compared
}
