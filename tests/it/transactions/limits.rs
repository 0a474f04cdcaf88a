//! Transactions that go beyond a limit, as a connector would tell them, through real Kafka and the binary: what their
//! documents and the log say.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mongodb::bson::Document;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use serde_json::json;

use super::reader::Database;
use crate::e2e::runner::Runner;
use crate::e2e::services::Services;

/// A connector's topics, written by hand.
struct Connector {
    services: Services,
    name: String,
    runtime: tokio::runtime::Runtime,
    admin: AdminClient<DefaultClientContext>,
    producer: FutureProducer,
    dir: tempfile::TempDir,
    order: u64,
    /// What is on its way to the broker.
    sent: RefCell<Vec<DeliveryFuture>>,
}

impl Connector {
    fn open(services: Services, test: &str, end_partitions: i32) -> Connector {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &services.kafka).set("enable.idempotence", "true");
        let name = format!("{test}-{}", std::process::id());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (admin, producer) = {
            let _inside = runtime.enter();
            (config.create::<AdminClient<_>>().unwrap(), config.create().unwrap())
        };
        let dir = tempfile::tempdir().unwrap();
        let connector = Connector { services, name, runtime, admin, producer, dir, order: 0, sent: RefCell::default() };
        let topics = [("account", 2), ("payment", 2), ("transaction", end_partitions)];
        let topics = topics.map(|(topic, partitions)| (connector.topic(topic), partitions));
        let new = topics.iter().map(|(topic, n)| NewTopic::new(topic, *n, TopicReplication::Fixed(1)));
        let new: Vec<_> = new.collect();
        let made = connector.runtime.block_on(connector.admin.create_topics(&new, &AdminOptions::new())).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        // What is sent before the client knows a topic's partitions may be overtaken by what is sent after.
        let begun = Instant::now();
        for (topic, _) in &topics {
            let known = || connector.producer.client().fetch_metadata(Some(topic), Duration::from_secs(30)).unwrap();
            while known().topics()[0].partitions().is_empty() {
                assert!(begun.elapsed() < Duration::from_secs(30), "{topic} does not appear");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        connector
    }

    fn topic(&self, table: &str) -> String {
        format!("{}.{table}", self.name)
    }

    fn send(&self, table: &str, key: &str, value: &serde_json::Value) {
        let (topic, value) = (self.topic(table), value.to_string());
        let record = FutureRecord::to(&topic).key(key).payload(&value);
        self.sent.borrow_mut().push(self.producer.send_result(record).map_err(|(e, _)| e).unwrap());
    }

    /// Returns when all of it is in the topics.
    fn flush(&self) {
        let sent: Vec<_> = self.sent.borrow_mut().drain(..).collect();
        for sent in self.runtime.block_on(futures::future::join_all(sent)) {
            sent.unwrap().unwrap();
        }
    }

    fn begin(&mut self, id: &str) {
        self.order = 0;
        self.send("transaction", id, &json!({ "status": "BEGIN", "id": format!("{id}:1"), "ts_ms": 1 }));
    }

    fn change(&mut self, id: Option<&str>, table: &str, key: i64, note: &str) {
        self.order += 1;
        let block =
            id.map(|id| json!({ "id": format!("{id}:2"), "total_order": self.order, "data_collection_order": 1 }));
        let source =
            json!({ "connector": "postgresql", "name": self.name, "db": "d", "schema": "", "table": table, "lsn": 1 });
        let after = json!({ "id": key, "note": note });
        let event =
            json!({ "before": null, "after": after, "source": source, "op": "c", "ts_ms": 1, "transaction": block });
        self.send(table, &json!({ "id": key }).to_string(), &event);
    }

    fn end(&self, id: &str, counts: &[(&str, u64)]) {
        let tables: Vec<_> =
            counts.iter().map(|(table, n)| json!({ "data_collection": table, "event_count": n })).collect();
        let all: u64 = counts.iter().map(|(_, n)| n).sum();
        let end = json!({ "status": "END", "id": format!("{id}:3"), "ts_ms": 1, "event_count": all, "data_collections": tables });
        self.send("transaction", id, &end);
    }

    fn pipeline(&self, limits: &str) -> PathBuf {
        let (topic, topics) = (self.topic("transaction"), ["account", "payment", "transaction"].map(|t| self.topic(t)));
        let text = format!(
            "name: {}
source: {{ kafka: {{ brokers: {}, topics: [{}] }} }}
consistency: {{ transaction: {{ topic: {topic}, {limits} }} }}
stages:
  - debezium: {{}}
  - mongodb: {{ uri: \"{}\", database: {} }}
",
            self.name.replace('_', "-"),
            self.services.kafka,
            topics.join(", "),
            self.services.mongodb,
            self.name
        );
        let path = self.dir.path().join("limits.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn runner(&self, limits: &str) -> Runner {
        Runner::new(self.dir.path(), &self.pipeline(limits), Vec::new())
    }

    fn database(&self) -> Database {
        Database::open(&self.services.mongodb, &self.name)
    }

    /// `id: mark` of all accounts once there are so many.
    fn accounts(&self, count: usize, runner: &Runner) -> Vec<(i64, String)> {
        self.flush();
        let (begun, database) = (Instant::now(), self.database());
        loop {
            let [found] = database.snapshot(["account"]);
            if found.len() == count {
                return found.iter().map(mark).collect();
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{} accounts:\n{}", found.len(), runner.log_tail());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        let topics = ["account", "payment", "transaction"].map(|table| self.topic(table));
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let _ = self.runtime.block_on(self.admin.delete_topics(&topics, &AdminOptions::new()));
        self.database().drop();
    }
}

fn mark(found: &Document) -> (i64, String) {
    let guard = found.get_document("_headwater").unwrap();
    (found.get_i64("_id").unwrap(), guard.get_str("torn").unwrap_or("whole").to_string())
}

fn marks(of: &[(i64, &str)]) -> Vec<(i64, String)> {
    of.iter().map(|(id, mark)| (*id, (*mark).to_string())).collect()
}

#[test]
fn beyond_each_limit_documents_are_written_by_key_marked_and_counted() {
    let Some(services) = Services::from_env("transaction limits") else { return };
    let mut connector = Connector::open(services, "txlimits", 1);
    // Whole; too many; too large; one change never comes; no end comes; no transaction told; whole.
    connector.begin("1");
    connector.change(Some("1"), "account", 1, "a");
    connector.change(Some("1"), "payment", 1, "a");
    connector.end("1", &[("account", 1), ("payment", 1), ("unread", 7)]);
    let mut runner = connector.runner("events: 40, bytes: 20KB, age: 2s");
    runner.start();
    assert_eq!(connector.accounts(1, &runner), marks(&[(1, "whole")]));
    connector.begin("2");
    (10..60).for_each(|id| connector.change(Some("2"), "account", id, "b"));
    connector.end("2", &[("account", 50)]);
    let found = connector.accounts(51, &runner);
    assert!(found[1..].iter().all(|(_, mark)| mark == "events"), "{found:?}");
    connector.begin("3");
    (60..63).for_each(|id| connector.change(Some("3"), "account", id, &"x".repeat(8_000)));
    connector.end("3", &[("account", 3)]);
    assert_eq!(connector.accounts(54, &runner)[51..], marks(&[(60, "bytes"), (61, "bytes"), (62, "bytes")]));
    let waiting = Instant::now();
    connector.begin("4");
    connector.change(Some("4"), "account", 70, "d");
    connector.end("4", &[("account", 2)]);
    assert_eq!(connector.accounts(55, &runner)[54..], marks(&[(70, "age")]));
    assert!(waiting.elapsed() > Duration::from_secs(2), "it waits as long as it may");
    connector.change(Some("4"), "account", 71, "late");
    assert_eq!(connector.accounts(56, &runner)[55..], marks(&[(71, "age")]));
    connector.begin("5");
    connector.change(Some("5"), "account", 80, "e");
    assert_eq!(connector.accounts(57, &runner)[56..], marks(&[(80, "age")]));
    connector.change(None, "account", 90, "f");
    assert_eq!(connector.accounts(58, &runner)[57..], marks(&[(90, "untold")]));
    connector.begin("6");
    connector.change(Some("6"), "account", 70, "whole now");
    connector.change(Some("6"), "account", 91, "g");
    connector.end("6", &[("account", 2)]);
    assert_eq!(
        connector.accounts(59, &runner)[54..],
        marks(&[(70, "whole"), (71, "age"), (80, "age"), (90, "untold"), (91, "whole")])
    );
    std::thread::sleep(Duration::from_secs(11));
    let log = runner.log_tail();
    for reason in ["events", "bytes", "age", "untold"] {
        assert!(
            log.contains(&format!("reason=\"{reason}\"")) || log.contains(&format!("reason={reason}")),
            "{reason}:\n{log}"
        );
    }
    assert!(log.contains("transactions_whole=2 transactions_torn=5"), "{log}");
    assert_eq!(runner.terminate(Duration::from_secs(30)), Some(0));
}

#[test]
fn what_was_held_back_at_a_stop_is_read_again() {
    let Some(services) = Services::from_env("held back transactions") else { return };
    let mut connector = Connector::open(services, "txheld", 1);
    connector.begin("1");
    connector.change(Some("1"), "account", 1, "a");
    connector.end("1", &[("account", 1)]);
    connector.begin("2");
    connector.change(Some("2"), "account", 2, "a");
    let mut runner = connector.runner("age: 10m");
    runner.start();
    assert_eq!(connector.accounts(1, &runner), marks(&[(1, "whole")]));
    assert_eq!(runner.terminate(Duration::from_secs(30)), Some(0));
    connector.change(Some("2"), "payment", 2, "a");
    connector.end("2", &[("account", 1), ("payment", 1)]);
    connector.flush();
    runner.start();
    assert_eq!(connector.accounts(2, &runner), marks(&[(1, "whole"), (2, "whole")]));
    let [payments] = connector.database().snapshot(["payment"]);
    assert_eq!(payments.len(), 1);
    assert_eq!(runner.terminate(Duration::from_secs(30)), Some(0));
}

#[test]
fn a_transaction_topic_of_several_partitions_is_refused() {
    let Some(services) = Services::from_env("partitions of the transaction topic") else { return };
    let mut connector = Connector::open(services, "txparts", 3);
    for id in 0..20 {
        connector.begin(&id.to_string());
    }
    connector.flush();
    let mut runner = connector.runner("age: 10s");
    runner.start();
    let begun = Instant::now();
    while !runner.log_tail().contains("has several partitions") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", runner.log_tail());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Topics of very different density: what is read of one runs far ahead of what belongs to it in another.
#[test]
fn a_long_log_is_caught_up_with_although_little_is_held_back() {
    let Some(services) = Services::from_env("catching up") else { return };
    let mut connector = Connector::open(services, "txlong", 1);
    let transactions = 4_000;
    for id in 0..transactions {
        let text = id.to_string();
        connector.begin(&text);
        connector.change(Some(&text), "account", id, "a");
        connector.change(Some(&text), "account", id + transactions, "a");
        let pays = id % 16 == 0;
        if pays {
            connector.change(Some(&text), "payment", id, &"p".repeat(3_000));
        }
        connector.end(&text, if pays { &[("account", 2), ("payment", 1)] } else { &[("account", 2)] });
    }
    connector.flush();
    let mut runner = connector.runner("events: 600, age: 60s");
    let begun = Instant::now();
    runner.start();
    let found = connector.accounts(2 * transactions as usize, &runner);
    println!("{transactions} transactions in {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(found.iter().filter(|(_, mark)| mark != "whole").count(), 0, "{}", runner.log_tail());
    assert_eq!(runner.terminate(Duration::from_secs(30)), Some(0));
}

#[test]
fn a_second_process_waits_until_the_first_has_ended() {
    let Some(services) = Services::from_env("two processes") else { return };
    let mut connector = Connector::open(services, "txtwo", 1);
    let one_more = |connector: &mut Connector, id: i64| {
        let text = id.to_string();
        connector.begin(&text);
        connector.change(Some(&text), "account", id, "a");
        connector.change(Some(&text), "account", id + 100, "a");
        connector.end(&text, &[("account", 2)]);
    };
    one_more(&mut connector, 1);
    let (mut first, mut second) = (connector.runner("age: 60s"), connector.runner("age: 60s"));
    first.start();
    connector.accounts(2, &first);
    second.start();
    let begun = Instant::now();
    while !second.log_tail().contains("takes over when that one ends") {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", second.log_tail());
        std::thread::sleep(Duration::from_millis(50));
    }
    (2..20).for_each(|id| one_more(&mut connector, id));
    assert!(connector.accounts(38, &first).iter().all(|(_, mark)| mark == "whole"));
    first.kill();
    (20..30).for_each(|id| one_more(&mut connector, id));
    assert!(connector.accounts(58, &second).iter().all(|(_, mark)| mark == "whole"));
    assert_eq!(second.terminate(Duration::from_secs(30)), Some(0));
}
