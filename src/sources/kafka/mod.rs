//! `kafka`: reads topics as a member of a consumer group. Kafka distributes the partitions over lanes and runners.
//!
//! ```yaml
//! source:
//!   kafka:
//!     brokers: localhost:9092
//!     topics: [bank.public.customer, bank.public.account]
//!     group: spending              # default: headwater-<pipeline>
//!     instance: runner-1           # optional: a restarted runner of that name gets its partitions back at once
//!     start: earliest              # where a group without a committed offset begins: earliest | latest
//!     settings:                    # librdkafka properties: security.protocol, sasl.*, ssl.*, fetch.*, …
//!       security.protocol: SASL_SSL
//! ```
//!
//! Invariants
//! - offsets are committed only for what [`Source::commit`] was called for: nothing is committed automatically;
//! - a committed offset that the broker no longer has stops the pipeline with the missing range; it never jumps;
//! - a topic that was deleted and created anew, or got more partitions, stops the pipeline until that is accepted;
//! - where transactions are put together one process reads everything: others wait until it has left the group;
//! - the rebalance callback runs only inside [`Source::next`], when the lane has no batch in flight.
//!
//! Deliberately absent: a poll thread of its own. A lane that is busy for longer than `max.poll.interval.ms` loses its
//! partitions and its commit is refused; whoever gets them reads from the committed offsets; writes are idempotent.

mod assignment;
mod memory;
mod options;
mod reader;
mod topics;
mod witness;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::{Error, Result};
use crate::pipeline::{Flow, Problem, Section};
use crate::record::{Batch, Message};
use crate::stage::{Accepted, LaneContext, Offsets, Place, Source, Waiting};

use assignment::Assignment;
use memory::{Anchor, Memory};
use options::Options;
use reader::Reader;
use witness::Witness;

/// How long `next` waits for a first message before it says “nothing at the moment”.
const IDLE: Duration = Duration::from_millis(100);
/// How often it is remembered how far a partition was read.
const ANCHOR_EVERY: Duration = Duration::from_secs(10);
/// How often a running pipeline makes sure that its topics are the same.
const EXAMINE_EVERY: Duration = Duration::from_secs(30);

/// The component.
pub struct KafkaSource {
    options: Options,
    lane: Option<LaneContext>,
    consumer: Option<BaseConsumer<Assignment>>,
    reader: Reader,
    /// Whether no other process may read along.
    alone: bool,
    memory: Option<Memory>,
    examined: Instant,
    anchored: Instant,
    /// Partitions of which this lane has remembered a message.
    known: FxHashSet<(String, i32)>,
    /// To be remembered with the next commit.
    anchors: Vec<(String, i32, Anchor)>,
}

/// Makes the source from its section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Source> {
    Box::new(KafkaSource {
        options: Options::read(section),
        lane: None,
        consumer: None,
        reader: Reader::default(),
        alone: false,
        memory: None,
        examined: Instant::now(),
        anchored: Instant::now(),
        known: FxHashSet::default(),
        anchors: Vec::new(),
    })
}

#[async_trait]
impl Source for KafkaSource {
    fn plan(&mut self) -> Result<Flow, Vec<Problem>> {
        Ok(Flow { open: true, topics: self.options.topics.clone(), ..Flow::default() })
    }

    async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        let config = self.options.client_config(lane);
        let store = lane.stores.get(&lane.state).await.map_err(|e| e.at("state store"))?;
        let memory = Memory::new(store, self.options.group_of(lane));
        let context = Assignment::new(self.options.start, lane.accepted.gap, memory.clone());
        let consumer: BaseConsumer<Assignment> = config
            .create_with_context(context)
            .map_err(|e| Error::Config(format!("kafka settings are refused by librdkafka: {e}")))?;
        self.memory = Some(memory);
        self.consumer = Some(consumer);
        self.lane = Some(lane.clone());
        self.examine(lane.accepted).await?;
        let Some(consumer) = &self.consumer else { return Ok(()) };
        if self.alone {
            tokio::task::block_in_place(|| self.options.check_alone(consumer, lane))?;
        }
        let topics: Vec<&str> = self.options.topics.iter().map(|t| t.value.as_str()).collect();
        consumer.subscribe(&topics).map_err(|e| self.unavailable("cannot subscribe", &e))?;
        self.reader = Reader::new(lane.batch.records, lane.batch.bytes, lane.batch.linger);
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Batch>> {
        let Some(lane) = &self.lane else { return Ok(None) };
        if lane.shutdown.is_cancelled() {
            return Ok(None);
        }
        // One lane of each process looks for all.
        if lane.lane == 0 && self.examined.elapsed() > EXAMINE_EVERY {
            self.examine(Accepted::default()).await?;
        }
        let (Some(lane), Some(consumer)) = (&self.lane, &self.consumer) else { return Ok(None) };
        let lag = consumer.context().lag(&self.reader);
        let messages = tokio::task::block_in_place(|| self.reader.read(consumer, IDLE, lag));
        if let Some(lost) = consumer.context().take_failure() {
            return Err(lost);
        }
        let mut messages = match messages {
            Ok(messages) => messages,
            Err(error) => {
                let error = self.read_error(&error);
                // A topic that was created anew is the better reason for offsets that are gone.
                if matches!(error, Error::Broken(_)) {
                    self.examine(Accepted::default()).await?;
                }
                return Err(error);
            }
        };
        consumer.context().mark(&mut messages);
        if messages.is_empty() && lane.until_end && consumer.context().is_at_end(&self.reader) {
            return Ok(None);
        }
        self.note_anchors(&messages);
        Ok(Some(Batch::from_messages(messages)))
    }

    async fn commit(&mut self, kept: &Offsets) -> Result<()> {
        let (Some(consumer), Some(memory)) = (&self.consumer, &self.memory) else { return Ok(()) };
        let mut offsets = TopicPartitionList::new();
        let is_ours = |place: &Place| consumer.context().reads(&place.0, place.1);
        for (place @ (topic, partition), next) in self.reader.uncommitted().filter(|(place, _)| is_ours(place)) {
            let next = kept.get(place).map_or(*next, |first| *first.min(next));
            offsets.add_partition_offset(topic, *partition, Offset::Offset(next)).map_err(|e| {
                Error::Broken(format!("topic {topic} partition {partition}: cannot name offset {next}: {e}"))
            })?;
        }
        if offsets.count() == 0 {
            return Ok(());
        }
        match tokio::task::block_in_place(|| consumer.commit(&offsets, CommitMode::Sync)) {
            Ok(()) => self.reader.committed(kept),
            // The group is being balanced. The offsets stay with us and go with the next commit; if the partition is taken
            // away before, its next reader gets the batch again, which changes nothing. The client library joins anew by
            // itself: to do that from here would make the whole group wait once more.
            Err(KafkaError::ConsumerCommit(
                RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId,
            )) => return Ok(()),
            Err(e) => return Err(self.unavailable("offsets were not accepted; the partitions may have moved", &e)),
        }
        // Behind the commit: a partition whose anchor is of an earlier life is read from its beginning once more.
        let is_kept = |(topic, partition, anchor): &mut (String, i32, Anchor)| {
            kept.get(&(topic.as_str().into(), *partition)).is_some_and(|first| *first <= anchor.offset)
        };
        let durable: Vec<_> = self.anchors.extract_if(.., |anchor| !is_kept(anchor)).collect();
        if !durable.is_empty() {
            memory.anchor(&durable).await?;
            self.known.extend(durable.into_iter().map(|(topic, partition, _)| (topic, partition)));
            self.anchored = Instant::now();
        }
        Ok(())
    }

    fn read_alone(&mut self) {
        self.alone = true;
    }

    fn rest(&mut self, ahead: &BTreeSet<Place>, room: usize) -> Result<()> {
        self.reader.leave_room(room);
        let Some(consumer) = &self.consumer else { return Ok(()) };
        consumer.context().rest(consumer, ahead).map_err(|e| self.unavailable("partitions cannot be paused", &e))
    }

    fn begins(&self) -> Option<Offsets> {
        self.consumer.as_ref().and_then(|consumer| consumer.context().begins())
    }

    async fn ends(&mut self) -> Result<Offsets> {
        let Some(consumer) = &self.consumer else { return Ok(Offsets::new()) };
        let ends = tokio::task::block_in_place(|| consumer.context().ends(consumer));
        ends.map_err(|e| self.unavailable("the ends of the partitions are not told", &e))
    }

    fn reached(&self) -> Offsets {
        self.consumer.as_ref().map(|consumer| consumer.context().reached(&self.reader)).unwrap_or_default()
    }

    async fn close(&mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        tokio::task::block_in_place(|| {
            if consumer.context().is_empty() {
                leave(&consumer);
            }
            drop(consumer);
        });
    }

    fn waiting(&self) -> Option<Waiting> {
        self.consumer.as_ref().and_then(|c| c.context().waiting(&self.reader))
    }
}

/// Leaves the group without partitions. Closing alone would not tell the broker (librdkafka 2.12), and while it does not
/// miss the lane nobody else gets partitions.
fn leave(consumer: &BaseConsumer<Assignment>) {
    consumer.unsubscribe();
    let _ = consumer.poll(IDLE);
}

impl KafkaSource {
    /// Makes sure that the topics are there, and those that were read before.
    async fn examine(&mut self, accepted: Accepted) -> Result<()> {
        let (Some(lane), Some(consumer), Some(memory)) = (&self.lane, &self.consumer, &self.memory) else {
            return Ok(());
        };
        let topics = tokio::task::block_in_place(|| self.options.check_topics(consumer))?;
        let mut witness = Witness::new(self.options.client_config(lane));
        for (topic, partitions) in topics {
            topics::examine(&topic, partitions, memory, consumer, &mut witness, accepted).await?;
        }
        tokio::task::block_in_place(|| drop(witness));
        self.examined = Instant::now();
        Ok(())
    }

    /// Keeps the last message of each partition in mind, now and then: it is remembered once its effect is durable.
    fn note_anchors(&mut self, messages: &[Message]) {
        let seen = |(topic, partition): &(Arc<str>, i32)| self.known.contains(&(topic.to_string(), *partition));
        // Some wait for what the lane keeps back.
        if !self.anchors.is_empty() {
            return;
        }
        if self.anchored.elapsed() < ANCHOR_EVERY && self.reader.uncommitted().all(|(place, _)| seen(place)) {
            return;
        }
        let last: FxHashMap<_, _> = messages.iter().map(|m| ((&m.topic, m.partition), m)).collect();
        self.anchors = last.into_values().map(|m| (m.topic.to_string(), m.partition, Anchor::of(m))).collect();
    }

    fn unavailable(&self, what: &str, error: &KafkaError) -> Error {
        Error::Unavailable(format!("kafka at {}: {what}: {error}", self.options.brokers.value))
    }

    /// A lost offset is final; everything else passes.
    fn read_error(&self, error: &KafkaError) -> Error {
        match error {
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Error::Broken(format!(
                    "kafka at {}: an offset this lane was about to read is gone from the log (retention or delete-records ran \
                 ahead of us). restart to see the missing range; `--accept-gap` goes on without it",
                    self.options.brokers.value
                ))
            }
            _ => self.unavailable("reading failed", error),
        }
    }
}
