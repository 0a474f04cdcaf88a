//! Looks at the log again where something was read before: is it still there?

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message as _};
use rustc_hash::FxHashMap;

use super::assignment::BROKER_WAIT;
use super::memory::{Anchor, digest};
use crate::error::{Error, Result};

/// What the log has where something was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The same message.
    Same,
    /// Another message.
    Other,
    /// Its end lies before that place.
    Ended(i64),
    /// Retention or compaction has removed it: nothing to compare.
    Removed,
}

/// A consumer that belongs to no group, made when there is something to look at: one for all topics.
pub struct Witness {
    config: ClientConfig,
    consumer: Option<BaseConsumer>,
}

impl Witness {
    /// A witness that logs in like the lane's own consumer.
    pub fn new(mut config: ClientConfig) -> Self {
        config.remove("group.instance.id");
        config
            .set("enable.partition.eof", "true")
            .set("queued.min.messages", "1")
            .set("fetch.message.max.bytes", "65536");
        Witness { config, consumer: None }
    }

    /// Looks at every anchor of one topic.
    pub fn look(&mut self, topic: &str, anchors: &FxHashMap<i32, Anchor>) -> Result<FxHashMap<i32, Seen>> {
        if anchors.is_empty() {
            return Ok(FxHashMap::default());
        }
        let consumer = match self.consumer.take() {
            Some(consumer) => consumer,
            None => self.config.create().map_err(|e| failed(topic, &e))?,
        };
        look(self.consumer.insert(consumer), topic, anchors)
    }
}

fn failed(topic: &str, error: &KafkaError) -> Error {
    Error::Unavailable(format!("kafka: topic {topic} cannot be compared with what was read: {error}"))
}

/// A partition that has answered must not fill the queue in which the others' answers wait.
fn read_no_further(consumer: &BaseConsumer, topic: &str, partition: i32) -> Result<(), KafkaError> {
    let mut answered = TopicPartitionList::new();
    answered.add_partition(topic, partition);
    consumer.pause(&answered)
}

fn look(consumer: &BaseConsumer, topic: &str, anchors: &FxHashMap<i32, Anchor>) -> Result<FxHashMap<i32, Seen>> {
    let failed = |e: KafkaError| failed(topic, &e);
    let (mut seen, mut places) = (FxHashMap::default(), TopicPartitionList::new());
    for (partition, anchor) in anchors {
        let (low, high) = consumer.fetch_watermarks(topic, *partition, BROKER_WAIT).map_err(failed)?;
        if high <= anchor.offset {
            seen.insert(*partition, Seen::Ended(high));
        } else if low > anchor.offset || anchor.digest.is_empty() {
            seen.insert(*partition, Seen::Removed);
        } else {
            places.add_partition_offset(topic, *partition, Offset::Offset(anchor.offset)).map_err(failed)?;
        }
    }
    consumer.assign(&places).map_err(failed)?;
    let deadline = Instant::now() + BROKER_WAIT;
    while seen.len() < anchors.len() {
        if Instant::now() > deadline {
            return Err(Error::Unavailable(format!(
                "kafka: topic {topic}: what was read before is not shown within {} s",
                BROKER_WAIT.as_secs()
            )));
        }
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let Some(anchor) = anchors.get(&message.partition()) else { continue };
                let same = message.timestamp().to_millis() == anchor.timestamp_ms
                    && digest(message.key(), message.payload()) == anchor.digest;
                let what = match message.offset() == anchor.offset {
                    true if same => Seen::Same,
                    true => Seen::Other,
                    false => Seen::Removed,
                };
                seen.entry(message.partition()).or_insert(what);
                read_no_further(consumer, topic, message.partition()).map_err(failed)?;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = seen.entry(partition).or_insert(Seen::Removed),
            Some(Err(error)) => return Err(failed(error)),
            None => {}
        }
    }
    Ok(seen)
}
