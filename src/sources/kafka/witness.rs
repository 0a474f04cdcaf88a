//! Looks at the log again where something was read before: is it still there?

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message as _};
use rustc_hash::FxHashMap;

use super::memory::{Anchor, digest};
use crate::error::{Error, Result};

const BROKER_WAIT: Duration = Duration::from_secs(20);

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

/// Looks at every anchor of one topic with a consumer that belongs to no group.
pub fn look(config: &ClientConfig, topic: &str, anchors: &FxHashMap<i32, Anchor>) -> Result<FxHashMap<i32, Seen>> {
    if anchors.is_empty() {
        return Ok(FxHashMap::default());
    }
    let failed =
        |e: KafkaError| Error::Unavailable(format!("kafka: topic {topic} cannot be compared with what was read: {e}"));
    let mut config = config.clone();
    config.remove("group.instance.id");
    config.set("enable.partition.eof", "true").set("queued.min.messages", "1").set("fetch.message.max.bytes", "65536");
    let consumer: BaseConsumer = config.create().map_err(failed)?;
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
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = seen.entry(partition).or_insert(Seen::Removed),
            Some(Err(error)) => return Err(failed(error)),
            None => {}
        }
    }
    Ok(seen)
}
