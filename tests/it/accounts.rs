//! A PostgreSQL database with a table of accounts, captured by the real Debezium with the schema in its events.

use std::path::Path;
use std::process::Command;

use headwater::record::{Row, Value};
use headwater::stores::ScannedRow;
use postgres::{Client, NoTls};

pub struct Source {
    postgres: String,
    pub brokers: String,
    dir: String,
    pub name: String,
    connector: String,
    notified: bool,
    settings: Vec<String>,
}

impl Source {
    /// A database with a table of accounts, streamed.
    pub fn start(test: &str) -> Option<Source> {
        Source::start_with(test, &[])
    }

    /// The same by a connector with more settings.
    pub fn start_with(test: &str, settings: &[&str]) -> Option<Source> {
        let mut source = Source::create(test)?;
        source.settings = settings.iter().map(ToString::to_string).collect();
        source.sql(
            "CREATE TABLE account (id bigint PRIMARY KEY, owner text, kind int, note text);
             INSERT INTO account SELECT n, 'owner ' || n, n, 'note ' || n FROM generate_series(1, 20) n",
        );
        source.connect();
        Some(source)
    }

    /// A database with three tables, `note` of them without a key, whose connector tells how its snapshots go on.
    pub fn notified(test: &str) -> Option<Source> {
        let mut source = Source::create(test)?;
        source.notified = true;
        source.sql(
            "CREATE TABLE account (id bigint PRIMARY KEY, owner text);
             INSERT INTO account SELECT n, 'owner ' || n FROM generate_series(1, 20) n;
             CREATE TABLE other (id bigint PRIMARY KEY); INSERT INTO other VALUES (1);
             CREATE TABLE note (name text); ALTER TABLE note REPLICA IDENTITY FULL;
             INSERT INTO note VALUES ('a'), ('a'), ('b'), ('c')",
        );
        source.connect();
        Some(source)
    }

    /// A database with an empty table without a key, streamed into one partition.
    pub fn without_key(test: &str) -> Option<Source> {
        let source = Source::create(test)?;
        source.sql("CREATE TABLE account (name text); ALTER TABLE account REPLICA IDENTITY FULL");
        source.script(&source.of_one_partition(&source.connector, &[]));
        Some(source)
    }

    fn of_one_partition<'s>(&'s self, connector: &'s str, more: &[&'s str]) -> Vec<&'s str> {
        let fixed = [connector, &self.name, &self.name, "public.account", "--streaming"];
        [&fixed[..], &["topic.creation.default.partitions=1"], more].concat()
    }

    /// The slot of a connector that is to come: it keeps the log from here on.
    pub fn keep_log(&self) {
        let later = format!("{}_later", self.name);
        self.sql(&format!("CREATE PUBLICATION {later} FOR TABLE account"));
        self.sql(&format!("SELECT pg_create_logical_replication_slot('{later}', 'pgoutput')"));
    }

    /// Another connector takes over and sends all that the log has been kept of, into the same topic.
    pub fn send_again(&mut self) {
        self.script(&["--delete", &self.connector]);
        self.connector = format!("{}_later", self.name);
        self.script(&self.of_one_partition(&self.connector, &["snapshot.mode=no_data"]));
    }

    fn create(test: &str) -> Option<Source> {
        let variable = |name: &str| std::env::var(name).ok();
        let (Some(postgres), Some(brokers), Some(dir)) =
            (variable("HEADWATER_TEST_POSTGRES"), variable("HEADWATER_TEST_KAFKA"), variable("HEADWATER_TEST_DIR"))
        else {
            println!("skipped: needs HEADWATER_TEST_POSTGRES, _KAFKA and _DIR (tests/all sets them)");
            return None;
        };
        let name = format!("accounts_{test}_{}", std::process::id());
        let source =
            Source { postgres, brokers, dir, connector: name.clone(), name, notified: false, settings: Vec::new() };
        source.run("postgres", &format!("CREATE DATABASE {}", source.name));
        Some(source)
    }

    /// Starts a connector that takes a snapshot and streams what comes after it.
    fn connect(&mut self) {
        let tables = if self.notified { "public.account,public.other,public.note" } else { "public.account" };
        let fixed = [&*self.connector, &*self.name, &*self.name, tables, "--streaming"];
        // Keys have no schema: it would hold the database's name, and put them into other partitions in each run.
        let schemas = ["value.converter.schemas.enable=true"];
        let topic = format!("notification.sink.topic.name={}", self.notifications());
        let notified = ["notification.enabled.channels=sink", &*topic];
        let notified = if self.notified { &notified[..] } else { &[] };
        let more: Vec<_> = self.settings.iter().map(String::as_str).collect();
        self.script(&[&fixed[..], &schemas, notified, &more].concat());
    }

    /// The connector and its slot are lost; `unseen` happens; another one takes a new snapshot into the same topic.
    pub fn reconnect(&mut self, unseen: &str) {
        self.script(&["--delete", &self.connector]);
        self.sql(unseen);
        self.connector += "_2";
        self.connect();
    }

    /// The client blocks, and brings a runtime of its own.
    fn run(&self, database: &str, statements: &str) -> Vec<String> {
        let url = format!("{}/{database}", self.postgres.strip_suffix("/postgres").unwrap());
        let work = || {
            let mut client = Client::connect(&url, NoTls).unwrap();
            let messages = client.simple_query(statements).unwrap();
            let rows = messages.into_iter().filter_map(|m| match m {
                postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_string),
                _ => None,
            });
            rows.collect()
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    pub fn sql(&self, statements: &str) -> Vec<String> {
        self.run(&self.name, statements)
    }

    /// The table's rows as PostgreSQL writes them in JSON.
    pub fn rows(&self) -> Vec<serde_json::Value> {
        let rows = self.sql("SELECT row_to_json(account)::text FROM account ORDER BY id");
        rows.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    pub fn notifications(&self) -> String {
        format!("{}.notifications", self.name)
    }

    pub fn topic(&self) -> String {
        format!("{}.public.account", self.name)
    }

    fn script(&self, args: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/connector");
        let done = Command::new(script).arg(&self.dir).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.script(&["--delete", &self.connector]);
        self.run("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

pub fn key(id: i64) -> Row {
    Row::of([("id", Value::Int(id))])
}

pub fn as_json(rows: &[ScannedRow]) -> Vec<serde_json::Value> {
    rows.iter().map(|stored| serde_json::from_str(&stored.row.to_json()).unwrap()).collect()
}
