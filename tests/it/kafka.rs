//! The kafka source against a real broker: what is committed, what is lost, what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater::pipeline::{BatchLimits, Section, parse};
use headwater::stage::{Accepted, LaneContext, Offsets, Source};
use headwater::stores::Stores;
use headwater::{Error, sources};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// A topic of one test, removed at its end.
struct Topic {
    brokers: String,
    name: String,
    admin: AdminClient<DefaultClientContext>,
    producer: FutureProducer,
}

impl Topic {
    async fn create(test: &str, partitions: i32) -> Option<Topic> {
        let Some(brokers) = std::env::var("HEADWATER_TEST_KAFKA").ok() else {
            println!("skipped: {test} needs HEADWATER_TEST_KAFKA (tests/all sets it)");
            return None;
        };
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &brokers).set("message.max.bytes", "40000000");
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let name = format!("it-{test}-{}", std::process::id());
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1)).set("max.message.bytes", "40000000");
        for created in admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap() {
            created.unwrap();
        }
        Some(Topic { brokers, name, admin, producer: config.create().unwrap() })
    }

    async fn produce(&self, numbers: std::ops::Range<usize>) {
        self.produce_to(0, numbers).await;
    }

    async fn produce_to(&self, partition: i32, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let value = number.to_string();
            let record = FutureRecord::to(&self.name).key("k").payload(&value).partition(partition);
            self.producer.send(record, Duration::from_secs(10)).await.map_err(|(e, _)| e).unwrap();
        }
    }

    async fn delete_records_before(&self, offset: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.name, 0, Offset::Offset(offset)).unwrap();
        self.admin.delete_records(&offsets, &AdminOptions::new()).await.unwrap();
    }

    fn source(&self) -> Box<dyn Source> {
        source(&self.brokers, &self.name)
    }

    async fn remove(self) {
        let _ = self.admin.delete_topics(&[&self.name], &AdminOptions::new()).await;
    }
}

fn source(brokers: &str, topic: &str) -> Box<dyn Source> {
    let node = parse(&format!("{{ brokers: \"{brokers}\", topics: [\"{topic}\"], group: \"{topic}\" }}")).unwrap();
    let mut section = Section::new(&node);
    let source = sources::kafka::make(&mut section);
    assert_eq!(section.finish(), []);
    source
}

fn lane(accept_gap: bool) -> LaneContext {
    LaneContext {
        pipeline: "it".into(),
        lane: 0,
        lanes: 1,
        batch: BatchLimits::default(),
        data_dir: std::env::temp_dir(),
        stores: Arc::new(Stores::new(std::env::temp_dir())),
        shutdown: Default::default(),
        until_end: true,
        state: "state".into(),
        accepted: Accepted { gap: accept_gap, ..Accepted::default() },
    }
}

/// Reads to the end without committing; the payloads.
async fn read(source: &mut dyn Source) -> Result<Vec<String>, Error> {
    let mut payloads = Vec::new();
    while let Some(batch) = source.next().await? {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        payloads.extend(batch.messages.iter().map(|m| text(m.value.as_deref().unwrap())));
    }
    Ok(payloads)
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_committed_is_not_read_again() {
    let Some(topic) = Topic::create("commit", 1).await else { return };
    topic.produce(0..5).await;
    let mut first = topic.source();
    first.open(&lane(false)).await.unwrap();
    assert_eq!(read(&mut *first).await.unwrap(), numbers(0..5));
    first.close().await;

    let mut second = topic.source();
    second.open(&lane(false)).await.unwrap();
    assert_eq!(read(&mut *second).await.unwrap(), numbers(0..5), "nothing was committed");
    second.commit(&Offsets::new()).await.unwrap();
    second.close().await;

    topic.produce(5..7).await;
    let mut third = topic.source();
    third.open(&lane(false)).await.unwrap();
    assert_eq!(read(&mut *third).await.unwrap(), numbers(5..7));
    third.close().await;
    topic.remove().await;
}

/// Lanes that come and go make the broker refuse commits of the others for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_while_the_group_is_balanced_is_no_outage() {
    let Some(topic) = Topic::create("balance", 4).await else { return };
    topic.produce(0..10).await;
    let context = LaneContext { until_end: false, ..lane(false) };
    let mut first = topic.source();
    first.open(&context).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let others = {
        let (done, context, mut sources) = (done.clone(), context.clone(), vec![topic.source(), topic.source()]);
        tokio::spawn(async move {
            for round in 0..8 {
                let source = &mut sources[round % 2];
                source.open(&context).await.unwrap();
                for _ in 0..8 {
                    source.next().await.unwrap();
                    source.commit(&Offsets::new()).await.unwrap();
                }
                source.close().await;
            }
            done.store(true, Ordering::Relaxed);
        })
    };
    let mut number = 10;
    while !done.load(Ordering::Relaxed) {
        topic.produce(number..number + 1).await;
        number += 1;
        first.next().await.unwrap();
        first.commit(&Offsets::new()).await.unwrap();
    }
    others.await.unwrap();
    first.close().await;
    // Nothing was committed that had not been read.
    let mut last = topic.source();
    last.open(&lane(false)).await.unwrap();
    topic.produce(number..number + 1).await;
    let rest = read(&mut *last).await.unwrap();
    assert_eq!(rest.last(), Some(&number.to_string()));
    last.close().await;
    topic.remove().await;
}

/// The first round of balancing gives a second lane nothing: the first one has to give some back before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lane_that_gets_its_partitions_late_does_not_end_before() {
    let Some(topic) = Topic::create("late", 2).await else { return };
    for partition in 0..2 {
        topic.produce_to(partition, 0..400).await;
    }
    let batch = BatchLimits { records: 1, ..BatchLimits::default() };
    let context = LaneContext { batch, ..lane(false) };
    let mut first = topic.source();
    first.open(&context).await.unwrap();
    while first.next().await.unwrap().unwrap().messages.is_empty() {}
    let mut second = topic.source();
    second.open(&context).await.unwrap();
    let slowly = |mut source: Box<dyn Source>| {
        tokio::spawn(async move {
            let mut read = 0;
            while let Some(batch) = source.next().await.unwrap() {
                read += batch.messages.len();
                source.commit(&Offsets::new()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            source.close().await;
            read
        })
    };
    let (first, second) = (slowly(first), slowly(second));
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert!(second > 0 && first + second >= 799, "{first} and {second}");
    topic.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_offsets_stop_with_the_missing_range_until_the_gap_is_accepted() {
    let Some(topic) = Topic::create("gap", 1).await else { return };
    topic.produce(0..10).await;
    let mut reader = topic.source();
    reader.open(&lane(false)).await.unwrap();
    read(&mut *reader).await.unwrap();
    reader.commit(&Offsets::new()).await.unwrap();
    reader.close().await;
    topic.produce(10..20).await;
    topic.delete_records_before(15).await;

    let mut stopped = topic.source();
    stopped.open(&lane(false)).await.unwrap();
    let error = read(&mut *stopped).await.unwrap_err();
    stopped.close().await;
    assert!(matches!(&error, Error::Broken(text) if text.contains("offsets 10 to 14 are gone")), "{error}");

    let mut accepted = topic.source();
    accepted.open(&lane(true)).await.unwrap();
    assert_eq!(read(&mut *accepted).await.unwrap(), numbers(15..20));
    accepted.close().await;
    topic.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_markers_at_the_end_of_the_log_are_no_lag() {
    let Some(topic) = Topic::create("markers", 2).await else { return };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &topic.brokers).set("transactional.id", &topic.name);
    let producer: FutureProducer = config.create().unwrap();
    let wait = Duration::from_secs(30);
    tokio::task::block_in_place(|| producer.init_transactions(wait)).unwrap();
    for (value, commits) in [("kept", true), ("aborted", false)] {
        producer.begin_transaction().unwrap();
        for partition in 0..2 {
            let record = FutureRecord::<str, str>::to(&topic.name).payload(value).partition(partition);
            producer.send(record, wait).await.map_err(|(e, _)| e).unwrap();
        }
        tokio::task::block_in_place(|| match commits {
            true => producer.commit_transaction(wait),
            false => producer.abort_transaction(wait),
        })
        .unwrap();
    }
    let mut source = topic.source();
    source.open(&lane(false)).await.unwrap();
    let payloads = tokio::time::timeout(Duration::from_secs(60), read(&mut *source)).await;
    assert_eq!(payloads.expect("the end of the log is never reached").unwrap(), ["kept", "kept"]);
    assert!(source.waiting().unwrap().values().all(|behind| *behind == 0));
    source.close().await;
    topic.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_20_megabytes_is_read_whole() {
    let Some(topic) = Topic::create("large", 1).await else { return };
    let value = "x".repeat(20 << 20);
    let record = FutureRecord::<str, str>::to(&topic.name).payload(&value).partition(0);
    topic.producer.send(record, Duration::from_secs(30)).await.map_err(|(e, _)| e).unwrap();
    topic.produce(0..2).await;
    let mut source = topic.source();
    source.open(&lane(false)).await.unwrap();
    let lengths: Vec<usize> = read(&mut *source).await.unwrap().iter().map(String::len).collect();
    assert_eq!(lengths, [20 << 20, 1, 1]);
    source.close().await;
    topic.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_broker_pauses_and_says_where() {
    let mut source = source("127.0.0.1:1", "nowhere");
    let error = source.open(&lane(false)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable(text) if text.contains("127.0.0.1:1") && text.contains("nowhere")),
        "{error}"
    );
}
