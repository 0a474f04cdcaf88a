//! Are the topics still those that were read before? Asked before a lane begins, from time to time, and after lost offsets.
//!
//! Invariant: a topic that was created anew, or has more partitions, is not read until a person has accepted it; then it
//! begins a new life, in which its offsets count as later than all before.

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::Offset;
use rustc_hash::FxHashMap;

use super::assignment::{Assignment, BROKER_WAIT};
use super::memory::{Anchor, Life, Memory};
use super::witness::{Seen, Witness};
use crate::error::{Error, Result};
use crate::stage::Accepted;

/// Compares `topic`, which has `partitions` now, with what is remembered.
pub async fn examine(
    topic: &str,
    partitions: i32,
    memory: &Memory,
    consumer: &BaseConsumer<Assignment>,
    witness: &mut Witness,
    accepted: Accepted,
) -> Result<()> {
    loop {
        let life = memory.life(topic, partitions).await?;
        let changed = match created_anew(topic, partitions, &life, memory, consumer, witness).await? {
            Some(how) if accepted.recreated => {
                tracing::warn!(topic, "accepted that the topic was created anew: {how}");
                life.recreated(partitions)
            }
            Some(how) => return Err(Error::Broken(recreated(topic, &how))),
            None if partitions == life.partitions => return Ok(()),
            None if accepted.partitions => {
                tracing::warn!(topic, before = life.partitions, now = partitions, "accepted more partitions");
                life.grown(partitions)
            }
            None => return Err(Error::Broken(grown(topic, &life, partitions))),
        };
        if memory.change(topic, &life, &changed).await? {
            return Ok(());
        }
        // Another lane has changed it meanwhile: compare with what it is now.
    }
}

/// Why the topic cannot be the one that was read before.
async fn created_anew(
    topic: &str,
    partitions: i32,
    life: &Life,
    memory: &Memory,
    consumer: &BaseConsumer<Assignment>,
    witness: &mut Witness,
) -> Result<Option<String>> {
    if partitions < life.partitions {
        return Ok(Some(format!("it has {partitions} partitions and had {}", life.partitions)));
    }
    let mut anchors = memory.evidence(topic, life.incarnation).await?;
    let own = memory.anchors(topic).await?;
    let seen = tokio::task::block_in_place(|| {
        add_committed(topic, life, &own, consumer, &mut anchors)?;
        witness.look(topic, &anchors)
    })?;
    let mut other: Vec<_> = seen.into_iter().filter(|(_, seen)| !matches!(seen, Seen::Same | Seen::Removed)).collect();
    other.sort_unstable_by_key(|(partition, _)| *partition);
    let how = |(partition, seen): &(i32, Seen)| {
        let offset = anchors.get(partition).map_or(0, |anchor| anchor.offset);
        match seen {
            Seen::Ended(end) => format!("partition {partition} ends before offset {end}, but offset {offset} was read"),
            _ => format!("partition {partition} has another message at offset {offset} than the one that was read"),
        }
    };
    Ok(other.first().map(how))
}

/// Where only a committed offset tells how far a partition was read, the log must reach as far.
fn add_committed(
    topic: &str,
    life: &Life,
    own: &FxHashMap<i32, Anchor>,
    consumer: &BaseConsumer<Assignment>,
    anchors: &mut FxHashMap<i32, Anchor>,
) -> Result<()> {
    let mut list = TopicPartitionList::new();
    for partition in (0..life.partitions).filter(|p| !own.contains_key(p) && !anchors.contains_key(p)) {
        list.add_partition(topic, partition);
    }
    if list.count() == 0 {
        return Ok(());
    }
    let committed = consumer.committed_offsets(list, BROKER_WAIT);
    let committed =
        committed.map_err(|e| Error::Unavailable(format!("kafka: cannot look up committed offsets: {e}")))?;
    for element in committed.elements() {
        if let Offset::Offset(next @ 1..) = element.offset() {
            let anchor =
                Anchor { incarnation: life.incarnation, offset: next - 1, timestamp_ms: None, digest: String::new() };
            anchors.insert(element.partition(), anchor);
        }
    }
    Ok(())
}

fn recreated(topic: &str, how: &str) -> String {
    format!(
        "topic {topic} was deleted and created anew since it was last read: {how}. its offsets begin again and cannot be \
         compared with what is stored. if the new topic holds a whole snapshot of its table, run once with \
         --accept-recreated: it is read from its beginning, and what it says counts as newer"
    )
}

/// The reason and the way on.
pub fn grown(topic: &str, life: &Life, partitions: i32) -> String {
    let moved = if partitions % life.partitions.max(1) == 0 {
        "keys have moved to the new ones"
    } else {
        "keys have moved among all of them; which change of a key is the later one can be told only by the source's own \
         positions, so let the pipeline read everything that was written before the growth first, if it can"
    };
    format!(
        "topic {topic} has {partitions} partitions and had {} when it was last read: {moved}. run once with \
         --accept-partitions to go on",
        life.partitions
    )
}
