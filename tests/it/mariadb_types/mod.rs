//! Every type of MariaDB through the real Debezium into a raw store: what is stored equals what the database holds, value
//! by value, after a snapshot, inserts, updates, deletes, changed keys, a truncate, and columns added, retyped, renamed and
//! dropped while events flow. With and without the schema inside the events.

mod columns;

use std::path::Path;
use std::process::Command;

use columns::COLUMNS;
use headwater::record::{Row, Value};
use headwater::stores::ScannedRow;

use crate::mariadb::sql;
use crate::raw_copy::RawCopy;

#[tokio::test(flavor = "multi_thread")]
async fn every_type_survives_with_a_schema() {
    let settings = [
        "key.converter.schemas.enable=true",
        "value.converter.schemas.enable=true",
        "bigint.unsigned.handling.mode=precise",
    ];
    round_trip("with", &settings, "{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_survives_declared_in_the_pipeline() {
    let declared = COLUMNS.iter().filter(|column| !column.declared.is_empty());
    let columns: Vec<_> = declared.map(|c| format!("{}: \"{}\"", c.name, c.declared)).collect();
    let more = "added: \"decimal(10,2)\", zero_date: date";
    let section = format!("{{ tables: {{ all_types: {{ columns: {{ {}, {more} }} }} }} }}", columns.join(", "));
    round_trip("declared", &[], &section).await;
}

async fn round_trip(test: &str, settings: &[&str], debezium: &str) {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(server), Some(brokers), Some(dir)) =
        (variable("HEADWATER_TEST_MARIADB"), variable("HEADWATER_TEST_KAFKA"), variable("HEADWATER_TEST_DIR"))
    else {
        println!("skipped: needs HEADWATER_TEST_MARIADB, _KAFKA and _DIR (tests/all sets them)");
        return;
    };
    let name = format!("maria_{test}_{}", std::process::id());
    let source = Source { server, dir, name };
    source.create();
    source.connect(settings);
    let topic = format!("{0}.{0}.all_types", source.name);
    let copy = RawCopy::of(&source.name, &brokers, &topic, debezium);
    // What comes later is streamed, not part of the snapshot.
    copy.rows_up_to("all_types", &Row::of([("id", Value::Int(11))])).await;
    source.change();
    let rows = copy.rows_up_to("all_types", &Row::of([("id", Value::Int(999))])).await;
    let compared = source.compare(&rows);
    println!("{compared} values equal the database's");
    assert!(compared > 1_000, "only {compared} values were compared");
}

struct Source {
    server: String,
    dir: String,
    name: String,
}

impl Source {
    fn within(&self, statements: &str) -> Vec<Vec<String>> {
        // Zero dates are let in as old applications do.
        sql(
            &self.server,
            &format!("SET sql_mode = 'NO_ENGINE_SUBSTITUTION', time_zone = '+00:00'; USE {}; {statements}", self.name),
        )
    }

    fn create(&self) {
        sql(&self.server, &format!("CREATE DATABASE {} CHARACTER SET utf8mb4", self.name));
        let columns: Vec<_> = COLUMNS.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect();
        self.within(&format!(
            "CREATE TABLE all_types (id bigint PRIMARY KEY, touched int, dropped text, retyped int, old_name int,
             zero_date date NOT NULL, {})",
            columns.join(", ")
        ));
        (0..12).for_each(|id| self.insert(id));
    }

    fn insert(&self, id: usize) {
        let value = |c: &columns::Column| if id % 12 == 11 { "NULL" } else { c.values[id % c.values.len()] };
        let values: Vec<_> = COLUMNS.iter().map(value).collect();
        let names: Vec<_> = COLUMNS.iter().map(|c| c.name).collect();
        self.within(&format!(
            "INSERT INTO all_types (id, touched, zero_date, {}) VALUES ({id}, 0, '0000-00-00', {})",
            names.join(", "),
            values.join(", ")
        ));
    }

    /// What happens while events flow.
    fn change(&self) {
        (12..20).for_each(|id| self.insert(id));
        for statements in [
            "UPDATE all_types SET touched = touched + 1",
            "DELETE FROM all_types WHERE id IN (1, 13)",
            "TRUNCATE all_types",
        ] {
            self.within(statements);
        }
        (0..24).for_each(|id| self.insert(id));
        for statements in [
            "UPDATE all_types SET retyped = id, old_name = id, dropped = 'd'",
            "UPDATE all_types SET id = id + 100 WHERE id IN (4, 5, 14)",
            "DELETE FROM all_types WHERE id IN (6, 15)",
            "ALTER TABLE all_types ADD COLUMN added decimal(10,2) DEFAULT 1.10",
            "UPDATE all_types SET touched = touched + 1 WHERE id < 10",
            "ALTER TABLE all_types MODIFY retyped varchar(20)",
            "UPDATE all_types SET touched = touched + 1, retyped = concat(retyped, ' as text') WHERE id >= 2",
            "ALTER TABLE all_types DROP COLUMN dropped",
            "ALTER TABLE all_types RENAME COLUMN old_name TO new_name",
            "UPDATE all_types SET touched = touched + 1",
            "INSERT INTO all_types (id, zero_date) VALUES (999, '2000-01-01')",
        ] {
            self.within(statements);
        }
    }

    /// Compares every value with the database; how many were compared.
    fn compare(&self, stored: &[ScannedRow]) -> usize {
        let extra = ["touched", "retyped", "new_name", "added"];
        let told = extra.map(|name| format!("CAST({name} AS CHAR)"));
        let told: Vec<_> = told.into_iter().chain(COLUMNS.iter().map(columns::Column::expression)).collect();
        let told: Vec<_> = told.iter().map(|e| format!("IFNULL(CONCAT('=', {e}), '-')")).collect();
        let rows = self.within(&format!("SELECT id, {} FROM all_types ORDER BY id", told.join(", ")));
        let ids: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
        assert_eq!(ids, stored.iter().map(|s| s.key.get("id").unwrap().to_json()).collect::<Vec<_>>());
        let (mut compared, mut wrong) = (0, Vec::new());
        for (row, stored) in rows.iter().zip(stored) {
            for gone in ["dropped", "old_name"] {
                assert!(stored.row.get(gone).is_none(), "row {} still has the column {gone}", row[0]);
            }
            // The connector's stand-in for a day that no calendar has, in a column that cannot be null.
            let zero = if row[0] == "999" { "\"2000-01-01\"" } else { "\"1970-01-01\"" };
            assert_eq!(stored.row.get("zero_date").unwrap().to_json(), zero);
            let sql: Vec<_> = row[1..].iter().map(|text| text.strip_prefix('=')).collect();
            let plain = |name: &str| match stored.row.get(name) {
                Some(Value::Null) => None,
                Some(value) => Some(value.to_json().trim_matches('"').to_string()),
                None => Some("absent".to_string()),
            };
            let told = extra.map(|name| (name, plain(name))).into_iter();
            let typed =
                COLUMNS.iter().map(|c| (c.name, stored.row.get(c.name).map_or(Some("absent".into()), |v| c.tell(v))));
            for (i, (name, told)) in told.chain(typed).enumerate() {
                let same = match i.checked_sub(extra.len()) {
                    Some(n) => COLUMNS[n].agree(sql[i], told.as_deref()),
                    None => sql[i] == told.as_deref(),
                };
                match same {
                    true => compared += 1,
                    false => wrong.push(format!("{}.{name}: the database has {:?}, stored {told:?}", row[0], sql[i])),
                }
            }
        }
        let wrong: Vec<String> = wrong.into_iter().map(|line| line.chars().take(300).collect()).collect();
        assert!(wrong.is_empty(), "{} values differ:\n{}", wrong.len(), wrong.join("\n"));
        compared
    }

    fn script(&self, args: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/connector");
        let done = Command::new(script).arg(&self.dir).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn connect(&self, settings: &[&str]) {
        let table = format!("{}.all_types", self.name);
        let fixed = [&*self.name, &*self.name, &*self.name, &*table, "--mariadb", "skipped.operations=none"];
        self.script(&[&fixed, settings].concat());
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.script(&["--delete", &self.name]);
        sql(&self.server, &format!("DROP DATABASE {}", self.name));
    }
}
