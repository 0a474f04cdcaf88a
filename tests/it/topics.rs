//! Topics that change under a pipeline, on a real broker: deleted and created anew, with more partitions than before.
//! Unaccepted, nothing is read; accepted, the raw store and a target without one end as the fold of what was written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::pipeline::load_text;
use headwater::record::Value;
use headwater::runner::{Fleet, Outcome, RunOptions};
use headwater::stage::Accepted;
use headwater::stores::Stores;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use tokio_util::sync::CancellationToken;

/// What is written last: id → value, `None` for a delete.
type Fold = BTreeMap<i64, Option<i64>>;

struct World {
    brokers: String,
    topic: String,
    admin: AdminClient<DefaultClientContext>,
    dir: tempfile::TempDir,
    written: Fold,
    next: i64,
}

impl World {
    async fn start(test: &str, partitions: i32) -> Option<World> {
        let Ok(brokers) = std::env::var("HEADWATER_TEST_KAFKA") else {
            println!("skipped: {test} needs HEADWATER_TEST_KAFKA (tests/all sets it)");
            return None;
        };
        let admin = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let topic = format!("it-{test}-{}.public.account", std::process::id());
        let world = World { brokers, topic, admin, dir: tempfile::tempdir().unwrap(), written: Fold::new(), next: 0 };
        world.create(partitions).await;
        Some(world)
    }

    async fn create(&self, partitions: i32) {
        let topic = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1));
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let created = self.admin.create_topics([&topic], &AdminOptions::new()).await.unwrap().remove(0);
            match created {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn delete(&self) {
        self.admin.delete_topics(&[&self.topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    }

    async fn grow(&self, partitions: usize) {
        let grown = NewPartitions::new(&self.topic, partitions);
        self.admin.create_partitions([&grown], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    }

    /// Writes changes of `ids` with the partitioner of a new producer; every fifth is a delete.
    fn write(&mut self, ids: impl IntoIterator<Item = i64>, deletes: bool) {
        let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("acks", "all")
            .set("partitioner", "murmur2")
            .create()
            .unwrap();
        for id in ids {
            self.next += 1;
            let value = (!deletes || self.next % 5 != 0).then_some(self.next);
            let (key, event) = event(id, value);
            producer.send(BaseRecord::to(&self.topic).key(&key).payload(&event)).map_err(|(e, _)| e).unwrap();
            self.written.insert(id, value);
        }
        producer.flush(Duration::from_secs(20)).unwrap();
    }

    fn pipelines(&self) -> [String; 2] {
        let source = format!(
            "source: {{ kafka: {{ brokers: \"{}\", topics: [\"{}\"], settings: {{ topic.metadata.refresh.interval.ms: 300 }} }} }}",
            self.brokers, self.topic
        );
        let name = self.topic.split('.').next().unwrap();
        [
            format!("name: {name}-raw\nlanes: 2\n{source}\nstages: [ debezium: {{}}, raw: bank ]\n"),
            format!(
                "name: {name}-direct\nlanes: 2\n{source}\nstages: [ debezium: {{}}, sqlite: {{ path: direct.db, table: account }} ]\n"
            ),
        ]
    }

    /// Runs both pipelines, to the end of the topic unless `shutdown` says otherwise.
    async fn run(&self, accepted: Accepted, until_end: bool, shutdown: CancellationToken) -> Vec<Outcome> {
        let stores = Arc::new(Stores::new(self.dir.path()));
        let load = |yaml: &String| load_text("it", yaml, &headwater::builtin(), &|_: &str| None).unwrap();
        let options = RunOptions { data_dir: self.dir.path().into(), stores, until_end, accepted, shutdown };
        let ended = Fleet::start(self.pipelines().iter().map(load).collect(), &options).finish(true).await;
        ended.into_iter().map(|ended| ended.outcome).collect()
    }

    async fn run_to_the_end(&self, accepted: Accepted) {
        for outcome in self.run(accepted, true, CancellationToken::new()).await {
            assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
        }
        self.compare().await;
    }

    async fn run_and_be_refused(&self, accepted: Accepted, words: [&str; 2]) {
        for outcome in self.run(accepted, true, CancellationToken::new()).await {
            let text = format!("{outcome:?}");
            assert!(matches!(outcome, Outcome::Failed(headwater::Error::Broken(_))), "{text}");
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    }

    /// The raw store and the target equal the fold.
    async fn compare(&self) {
        let expected: BTreeMap<i64, i64> = self.written.iter().filter_map(|(id, v)| Some((*id, (*v)?))).collect();
        let store = Stores::new(self.dir.path()).get("bank").await.unwrap();
        let rows = store.snapshot().await.unwrap().scan("account", None, usize::MAX).await.unwrap();
        let number = |value: Option<&Value>| value.unwrap().to_json().parse::<i64>().unwrap();
        let stored: BTreeMap<i64, i64> =
            rows.iter().map(|r| (number(r.row.get("id")), number(r.row.get("value")))).collect();
        assert_eq!(stored, expected, "the raw store");
        let file = rusqlite::Connection::open(self.dir.path().join("direct.db")).unwrap();
        let mut statement = file.prepare("SELECT id, document ->> '$.value' FROM account").unwrap();
        let documents = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
        assert_eq!(documents.collect::<Result<BTreeMap<i64, i64>, _>>().unwrap(), expected, "the target");
    }

    async fn end(self) {
        let _ = self.admin.delete_topics(&[&self.topic], &AdminOptions::new()).await;
    }
}

/// A change without any position of the source: the log alone gives the order.
fn event(id: i64, value: Option<i64>) -> (String, String) {
    let after = value.map_or("null".to_string(), |v| format!("{{\"id\":{id},\"value\":{v}}}"));
    let op = if value.is_some() { "u" } else { "d" };
    let source = "{\"connector\":\"other\",\"name\":\"it\",\"db\":\"bank\",\"table\":\"account\"}";
    let event = format!("{{\"op\":\"{op}\",\"before\":{{\"id\":{id}}},\"after\":{after},\"source\":{source}}}");
    (format!("{{\"id\":{id}}}"), event)
}

const RECREATED: Accepted = Accepted { gap: false, partitions: false, recreated: true, schema: false };
const GROWN: Accepted = Accepted { gap: false, partitions: true, recreated: false, schema: false };

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_created_anew_is_refused_until_accepted_and_then_newer() {
    let Some(mut world) = World::start("anew", 2).await else { return };
    world.write(0..20, false);
    world.write(0..20, true);
    world.run_to_the_end(Accepted::default()).await;

    // Shorter than what was read: its offsets are lower than the stored ones.
    world.delete().await;
    world.create(2).await;
    world.write(0..6, false);
    world.run_and_be_refused(Accepted::default(), ["created anew", "--accept-recreated"]).await;
    world
        .run_and_be_refused(
            Accepted { recreated: false, gap: true, partitions: true, schema: true },
            ["created anew", "ends before"],
        )
        .await;
    world.run_to_the_end(RECREATED).await;
    world.write(0..20, true);
    world.run_to_the_end(Accepted::default()).await;

    // Longer than what was read: only the contents tell.
    world.delete().await;
    world.create(2).await;
    for _ in 0..4 {
        world.write(0..20, true);
    }
    world.run_and_be_refused(Accepted::default(), ["created anew", "another message at offset"]).await;
    world.run_to_the_end(RECREATED).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_created_anew_under_a_running_pipeline_stops_it() {
    let Some(mut world) = World::start("anew-live", 2).await else { return };
    world.write(0..20, true);
    let mut outcomes = Box::pin(world.run(Accepted::default(), false, CancellationToken::new()));
    let early = tokio::time::timeout(Duration::from_secs(8), &mut outcomes).await;
    assert!(early.is_err(), "{early:?}");
    world.delete().await;
    world.create(2).await;
    let mut other = World {
        dir: tempfile::tempdir().unwrap(),
        brokers: world.brokers.clone(),
        topic: world.topic.clone(),
        admin: ClientConfig::new().set("bootstrap.servers", &world.brokers).create().unwrap(),
        written: world.written.clone(),
        next: 1_000,
    };
    other.write(0..20, true);
    other.write(0..20, false);
    for outcome in tokio::time::timeout(Duration::from_secs(90), outcomes).await.unwrap() {
        let text = format!("{outcome:?}");
        assert!(text.contains("created anew"), "{text}");
    }
    world.written = other.written;
    world.run_to_the_end(RECREATED).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_partitions_under_load_stop_the_pipeline_until_accepted() {
    for (test, more) in [("grown", 4), ("grown-odd", 3)] {
        let Some(mut world) = World::start(test, 2).await else { return };
        world.write(0..40, true);
        let mut outcomes = Box::pin(world.run(Accepted::default(), false, CancellationToken::new()));
        let early = tokio::time::timeout(Duration::from_secs(5), &mut outcomes).await;
        assert!(early.is_err(), "{early:?}");
        world.grow(more).await;
        for outcome in tokio::time::timeout(Duration::from_secs(60), outcomes).await.unwrap() {
            let text = format!("{outcome:?}");
            assert!(text.contains("--accept-partitions") && text.contains(&format!("{more} partitions")), "{text}");
        }
        for _ in 0..3 {
            world.write(0..40, true);
        }
        world.run_and_be_refused(Accepted::default(), ["--accept-partitions", "had 2"]).await;
        world.run_to_the_end(GROWN).await;
        world.write(10..50, true);
        world.run_to_the_end(Accepted::default()).await;
        world.end().await;
    }
}
