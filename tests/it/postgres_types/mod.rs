//! Every type of PostgreSQL through the real Debezium into a raw store: what is stored equals what the database holds, value
//! by value, after a snapshot, inserts, updates that leave large values alone, deletes, changed keys, a truncate, and columns
//! added, retyped and dropped while events flow. With and without the schema inside the events.

mod columns;

use std::path::Path;
use std::process::Command;

use columns::COLUMNS;
use headwater::record::Value;
use headwater::stores::ScannedRow;
use postgres::{Client, NoTls, SimpleQueryMessage};

use crate::accounts::key;
use crate::raw_copy::RawCopy;

#[test]
fn every_type_survives_with_a_schema() {
    let settings = ["key.converter.schemas.enable=true", "value.converter.schemas.enable=true"];
    round_trip("with", &settings, "{}");
}

#[test]
fn every_type_survives_declared_in_the_pipeline() {
    let declared = COLUMNS.iter().filter(|column| !column.declared.is_empty());
    let columns: Vec<_> = declared.map(|c| format!("{}: \"{}\"", c.name, c.declared)).collect();
    let more = "big_bytes: bytes, c_interval: time, added: \"decimal(10,2)\"";
    let section = format!("{{ tables: {{ all_types: {{ columns: {{ {}, {more} }} }} }} }}", columns.join(", "));
    round_trip("declared", &[], &section);
}

fn round_trip(test: &str, settings: &[&str], debezium: &str) {
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
    let topic = format!("{}.public.all_types", source.name);
    let copy = RawCopy::of(&source.name, &brokers, &topic, debezium).with_retry();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // What comes later is streamed, not part of the snapshot.
    runtime.block_on(copy.rows_up_to("all_types", &key(11)));
    change(&mut sql);
    let rows = runtime.block_on(copy.rows_up_to("all_types", &key(999)));
    let compared = compare(&mut sql, &rows);
    println!("{compared} values equal the database's");
    assert!(compared > 900, "only {compared} values were compared");
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
        let fixed =
            [&*self.name, &*self.name, &*self.name, "public.all_types", "--streaming", "skipped.operations=none"];
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
    (12..18).for_each(|id| insert(sql, id));
    for statement in [
        "UPDATE all_types SET touched = touched + 1",
        "DELETE FROM all_types WHERE id IN (1, 13)",
        "TRUNCATE all_types",
    ] {
        sql.batch_execute(statement).unwrap();
    }
    (0..18).for_each(|id| insert(sql, id));
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

/// Compares every value with the database; how many were compared.
fn compare(sql: &mut Client, stored: &[ScannedRow]) -> usize {
    let extra = ["touched", "retyped", "added", "big_text", "big_json"].map(|name| format!("{name}::text AS {name}"));
    let told = COLUMNS.iter().map(|c| format!("{} AS {}", c.expression(), c.name));
    let list: Vec<String> =
        extra.into_iter().chain(["encode(big_bytes, 'hex') AS big_bytes".into()]).chain(told).collect();
    let rows = sql.simple_query(&format!("SELECT id, {} FROM all_types ORDER BY id", list.join(", "))).unwrap();
    let rows: Vec<_> =
        rows.iter().filter_map(|m| if let SimpleQueryMessage::Row(row) = m { Some(row) } else { None }).collect();
    let ids: Vec<_> = rows.iter().map(|row| row.get("id").unwrap().to_string()).collect();
    assert_eq!(ids, stored.iter().map(|s| s.key.get("id").unwrap().to_json()).collect::<Vec<_>>());
    let (mut compared, mut wrong) = (0, Vec::new());
    for ((row, id), stored) in rows.iter().zip(&ids).zip(stored) {
        let stored = &stored.row;
        assert!(stored.get("dropped").is_none(), "row {id} has a column that was dropped");
        for column in COLUMNS {
            let sql = row.get(column.name);
            let told = stored.get(column.name).map(|value| column.tell(value));
            match told {
                Some(told) if column.agree(sql, told.as_deref()) => compared += 1,
                told => wrong.push(format!("{id}.{}: the database has {sql:?}, stored {told:?}", column.name)),
            }
        }
        for name in ["touched", "retyped", "added", "big_text", "big_json", "big_bytes"] {
            let told = match stored.get(name) {
                Some(Value::Null) => None,
                Some(Value::Text(text) | Value::Json(text)) => Some(text.to_string()),
                Some(Value::Bytes(bytes)) => Some(bytes.iter().map(|b| format!("{b:02x}")).collect()),
                Some(other) => Some(other.to_json()),
                None => Some("absent".to_string()),
            };
            match row.get(name) == told.as_deref() {
                true => compared += 1,
                false => wrong.push(format!("{id}.{name}: the database has {:?}, stored {told:?}", row.get(name))),
            }
        }
    }
    assert!(wrong.is_empty(), "{} values differ:\n{}", wrong.len(), wrong.join("\n"));
    compared
}
