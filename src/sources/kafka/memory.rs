//! What is remembered of topics beyond a run, in the pipeline's state store: which life a topic is in, and of each
//! partition one message that was read there.
//!
//! A topic that was deleted and created anew has other data at the same offsets. Kafka's topic ids would tell; librdkafka
//! has them (`DescribeTopics`), its Rust layer does not, and calling past it takes `unsafe`, which this crate forbids;
//! asking for them beside it would need every way of logging in once more. So a
//! message is remembered instead (place, time, digest) and looked at again: that is the same on every cluster, and it
//! tells what matters, other data at a place that was read.
//!
//! Invariants: a life is changed by compare-and-replace only, so that all lanes of all processes agree on it; an anchor
//! is a message whose effect is durable. Facts: `kafka/TOPIC` → [`Life`], `kafka/TOPIC/PARTITION/GROUP` → [`Anchor`].

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::record::{Epoch, Message};
use crate::stores::SharedStore;

/// Present life of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// How often it was created anew.
    pub incarnation: u16,
    /// How many partitions it has.
    pub partitions: i32,
    /// Growths: from which partition on which one counts. The first begins at partition 0.
    growths: Vec<(i32, u16)>,
}

/// A message of a partition whose effect is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// In which life of the topic it was read.
    pub incarnation: u16,
    /// Its offset.
    pub offset: i64,
    /// Its time.
    pub timestamp_ms: Option<i64>,
    /// Digest of key and value; empty where only the offset is known.
    pub digest: String,
}

impl Life {
    /// A topic that was never seen before.
    pub fn first(partitions: i32) -> Self {
        Life { incarnation: 0, partitions, growths: vec![(0, 0)] }
    }

    /// The life of one partition.
    pub fn epoch(&self, partition: i32) -> Epoch {
        let born = self.growths.iter().rev().find(|(from, _)| *from <= partition);
        Epoch { incarnation: self.incarnation, growth: born.map_or(0, |(_, growth)| *growth) }
    }

    /// Whether `partition` was there from the beginning of this life.
    pub fn began_with(&self, partition: i32) -> bool {
        self.growths.get(1).is_none_or(|(from, _)| partition < *from) && partition < self.partitions
    }

    /// After the topic was created anew.
    pub fn recreated(&self, partitions: i32) -> Self {
        Life { incarnation: self.incarnation.saturating_add(1), ..Life::first(partitions) }
    }

    /// With more partitions. By a whole multiple a key stays or moves to a new partition, so that the new ones are the
    /// later ones; else keys move among the old ones, too, and whatever is read from now on is later.
    pub fn grown(&self, partitions: i32) -> Self {
        let last = self.growths.iter().map(|(_, growth)| *growth).max().unwrap_or(0);
        let from = if partitions % self.partitions.max(1) == 0 { self.partitions } else { 0 };
        let mut growths: Vec<_> = self.growths.iter().copied().filter(|(before, _)| *before < from).collect();
        growths.push((from, last.saturating_add(1)));
        Life { partitions, growths, ..self.clone() }
    }
}

impl Anchor {
    /// The anchor that a message makes.
    pub fn of(message: &Message) -> Self {
        Anchor {
            incarnation: message.epoch.incarnation,
            offset: message.offset,
            timestamp_ms: message.timestamp_ms,
            digest: digest(message.key.as_deref(), message.value.as_deref()),
        }
    }
}

/// Stands for a message's content. Keys and values have their lengths in it: `ab`,`c` is not `a`,`bc`.
pub fn digest(key: Option<&[u8]>, value: Option<&[u8]>) -> String {
    let mut hash = Sha256::new();
    for part in [key, value] {
        hash.update(part.map_or(-1, |bytes| bytes.len() as i64).to_le_bytes());
        hash.update(part.unwrap_or_default());
    }
    hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// The facts of one consumer group.
#[derive(Clone)]
pub struct Memory {
    store: SharedStore,
    group: String,
}

impl Memory {
    /// The memory of `group` in `store`.
    pub fn new(store: SharedStore, group: String) -> Self {
        Memory { store, group }
    }

    /// The topic's life; one that was never seen begins its first, with `partitions`.
    pub async fn life(&self, topic: &str, partitions: i32) -> Result<Life> {
        let name = life_name(topic);
        loop {
            if let Some(text) = self.store.facts(&name).await?.get(&name) {
                return read(&name, text);
            }
            self.store.replace_fact(&name, None, &write(&Life::first(partitions))?).await?;
        }
    }

    /// Changes the topic's life; whoever is later finds it changed.
    pub async fn change(&self, topic: &str, from: &Life, to: &Life) -> Result<bool> {
        self.store.replace_fact(&life_name(topic), Some(&write(from)?), &write(to)?).await
    }

    /// What this group has read in each partition of `topic`.
    pub async fn anchors(&self, topic: &str) -> Result<FxHashMap<i32, Anchor>> {
        let facts = self.store.facts(&format!("{}/", life_name(topic))).await?;
        facts
            .iter()
            .filter_map(|(name, text)| Some((self.partition_of(name)?, (name, text))))
            .map(|(partition, (name, text))| Ok((partition, read(name, text)?)))
            .collect()
    }

    /// What any group has read in `topic`, one message a partition, in the topic's life `incarnation`.
    pub async fn evidence(&self, topic: &str, incarnation: u16) -> Result<FxHashMap<i32, Anchor>> {
        let mut evidence: FxHashMap<i32, Anchor> = FxHashMap::default();
        for (name, text) in self.store.facts(&format!("{}/", life_name(topic))).await? {
            let anchor: Anchor = read(&name, &text)?;
            let Some(partition) = name.split('/').nth(2).and_then(|n| n.parse().ok()) else { continue };
            let newest = evidence.get(&partition).is_none_or(|known| known.offset < anchor.offset);
            if anchor.incarnation == incarnation && newest {
                evidence.insert(partition, anchor);
            }
        }
        Ok(evidence)
    }

    /// Remembers what was read.
    pub async fn anchor(&self, anchors: &[(String, i32, Anchor)]) -> Result<()> {
        let fact = |(topic, partition, anchor): &(String, i32, Anchor)| {
            Ok((format!("{}/{partition}/{}", life_name(topic), self.group), write(anchor)?))
        };
        self.store.remember(&anchors.iter().map(fact).collect::<Result<Vec<_>>>()?).await
    }

    fn partition_of(&self, name: &str) -> Option<i32> {
        let mut parts = name.splitn(4, '/').skip(2);
        let (partition, group) = (parts.next()?, parts.next()?);
        (group == self.group).then(|| partition.parse().ok())?
    }
}

/// Topics have no `/` in their names.
fn life_name(topic: &str) -> String {
    format!("kafka/{topic}")
}

fn read<T: for<'a> Deserialize<'a>>(name: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| Error::Broken(format!("the fact {name} in the state store does not read")))
}

fn write<T: Serialize>(fact: &T) -> Result<String> {
    serde_json::to_string(fact).map_err(|e| Error::Broken(format!("a fact about a topic cannot be written: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growths(life: &Life) -> Vec<u16> {
        (0..life.partitions).map(|partition| life.epoch(partition).growth).collect()
    }

    #[test]
    fn new_partitions_are_later_and_all_are_when_keys_move_among_the_old_ones() {
        let two = Life::first(2);
        assert_eq!(growths(&two), [0, 0]);
        let four = two.grown(4);
        assert_eq!(growths(&four), [0, 0, 1, 1]);
        assert_eq!(growths(&four.grown(8)), [0, 0, 1, 1, 2, 2, 2, 2]);
        assert_eq!(growths(&four.grown(5)), [2; 5]);
        assert!(four.began_with(1) && !four.began_with(2));
        assert_eq!(four.recreated(3), Life { incarnation: 1, ..Life::first(3) });
    }

    #[test]
    fn contents_are_told_apart() {
        let digests = [
            digest(Some(b"a"), Some(b"bc")),
            digest(Some(b"ab"), Some(b"c")),
            digest(None, Some(b"")),
            digest(Some(b""), None),
        ];
        assert_eq!(digests.iter().collect::<std::collections::BTreeSet<_>>().len(), digests.len());
    }
}
