//! What happens when partitions come and go: every assignment is checked against the log before reading starts.
//!
//! Invariants: partitions are assigned exactly once per callback, each at an explicit offset; a committed offset that
//! lies outside of the log is a failure with the missing range, unless the gap was accepted; a partition that begins a new
//! life, or came into being later, is read from its beginning.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use rustc_hash::FxHashMap;
use tokio::runtime::Handle;

use super::memory::{Anchor, Life, Memory};
use super::options::Start;
use super::reader::Reader;
use super::topics::grown;
use crate::error::{Error, Result};
use crate::record::{Epoch, Message};
use crate::stage::{Offsets, Place, Waiting};

/// How long an answer may take.
pub const BROKER_WAIT: Duration = Duration::from_secs(20);

/// After this time a lane without partitions will not get any. The first round of balancing gives it none: the others have
/// to give some back first.
const EMPTY_FOR: Duration = Duration::from_secs(5);

/// The consumer's context: it assigns, and it remembers what librdkafka tells in callbacks.
pub struct Assignment {
    start: Start,
    accept_gap: bool,
    memory: Memory,
    runtime: Handle,
    // Touched in callbacks and once per batch, by the lane's own thread: never contended.
    state: Mutex<State>,
}

/// What is remembered of topics: their lives, and a message of each partition.
type Remembered = FxHashMap<String, (Life, FxHashMap<i32, Anchor>)>;

#[derive(Default)]
struct State {
    partitions: FxHashMap<(String, i32), Partition>,
    /// When partitions, or none, were assigned last.
    assigned: Option<Instant>,
    failure: Option<Error>,
    client_error: Option<String>,
    /// Whether a partition is in another life than its first.
    later_lives: bool,
}

/// A partition that this lane reads.
#[derive(Clone, Copy)]
struct Partition {
    epoch: Epoch,
    start: i64,
    /// End of the log when it was assigned.
    end_at_start: i64,
    /// End of the log as of the last statistics.
    end: i64,
    /// All before this offset has been fetched and handed out, as of the last statistics. It runs ahead of the last
    /// message where transaction markers or compaction leave offsets without one.
    passed: i64,
    /// Whether it is paused.
    rests: bool,
}

impl Partition {
    /// The offset behind everything handed out, of which the reader knows the last message's.
    fn next(&self, reader: Option<i64>) -> i64 {
        reader.unwrap_or(self.start).max(self.passed).max(self.start)
    }

    /// Messages behind that offset.
    fn behind(&self, reader: Option<i64>) -> u64 {
        u64::try_from(self.end - self.next(reader)).unwrap_or(0)
    }
}

impl Assignment {
    /// A context without partitions. To be made and used inside of the runtime.
    pub fn new(start: Start, accept_gap: bool, memory: Memory) -> Self {
        Assignment { start, accept_gap, memory, runtime: Handle::current(), state: Mutex::default() }
    }

    /// Writes into each message which life of its topic it comes from.
    pub fn mark(&self, messages: &mut [Message]) {
        let state = self.state();
        if !state.later_lives {
            return;
        }
        // Messages of a partition arrive in runs: one look-up for each.
        for run in messages.chunk_by_mut(|a, b| a.partition == b.partition && a.topic == b.topic) {
            let place = run.first().map(|first| (first.topic.to_string(), first.partition));
            if let Some(known) = place.and_then(|place| state.partitions.get(&place)) {
                run.iter_mut().for_each(|message| message.epoch = known.epoch);
            }
        }
    }

    /// Why the last assignment could not be made.
    pub fn take_failure(&self) -> Option<Error> {
        self.state().failure.take()
    }

    /// The last thing that librdkafka complained about: names the cause (refused password, no route) of a time-out.
    pub fn last_client_error(&self) -> Option<String> {
        self.state().client_error.clone()
    }

    /// Whether all that was in the assigned partitions when they were assigned has been handed out.
    pub fn is_at_end(&self, reader: &Reader) -> bool {
        let state = self.state();
        let is_read = |((topic, partition), known): (&(String, i32), &Partition)| {
            known.next(reader.next_offset(topic, *partition)) >= known.end_at_start
        };
        match state.assigned {
            Some(at) if state.partitions.is_empty() => at.elapsed() > EMPTY_FOR,
            Some(_) => state.partitions.iter().all(is_read),
            None => false,
        }
    }

    /// Lets these partitions rest, and no others. One that comes back after a rebalance does not rest.
    pub fn rest(&self, consumer: &BaseConsumer<Self>, ahead: &BTreeSet<Place>) -> Result<(), KafkaError> {
        let (mut pause, mut resume) = (TopicPartitionList::new(), TopicPartitionList::new());
        {
            let mut state = self.state();
            for ((topic, partition), known) in &mut state.partitions {
                let rests = ahead.contains(&(topic.as_str().into(), *partition));
                if rests != known.rests {
                    known.rests = rests;
                    let list = if rests { &mut pause } else { &mut resume };
                    list.add_partition(topic, *partition);
                }
            }
        }
        if pause.count() > 0 {
            consumer.pause(&pause)?;
        }
        if resume.count() > 0 {
            consumer.resume(&resume)?;
        }
        Ok(())
    }

    /// From where the assigned partitions are read; `None` until there were some.
    pub fn begins(&self) -> Option<Offsets> {
        let state = self.state();
        let begin = |((topic, partition), known): (&(String, i32), &Partition)| {
            ((topic.as_str().into(), *partition), known.start)
        };
        state.assigned.map(|_| state.partitions.iter().map(begin).collect())
    }

    /// Whether this lane has no partition.
    pub fn is_empty(&self) -> bool {
        self.state().partitions.is_empty()
    }

    /// Whether this lane reads a partition.
    pub fn reads(&self, topic: &str, partition: i32) -> bool {
        self.state().partitions.contains_key(&(topic.to_string(), partition))
    }

    /// Where the logs of the assigned partitions end now.
    pub fn ends(&self, consumer: &BaseConsumer<Self>) -> Result<Offsets, KafkaError> {
        let places: Vec<_> = self.state().partitions.keys().cloned().collect();
        let end = |(topic, partition): (String, i32)| {
            let (_, high) = consumer.fetch_watermarks(&topic, partition, BROKER_WAIT)?;
            Ok(((topic.into(), partition), high))
        };
        places.into_iter().map(end).collect()
    }

    /// The offset behind everything that was handed out, of each assigned partition.
    pub fn reached(&self, reader: &Reader) -> Offsets {
        let reached = |((topic, partition), known): (&(String, i32), &Partition)| {
            ((topic.as_str().into(), *partition), known.next(reader.next_offset(topic, *partition)))
        };
        self.state().partitions.iter().map(reached).collect()
    }

    /// Messages behind what was handed out.
    pub fn lag(&self, reader: &Reader) -> u64 {
        self.state()
            .partitions
            .iter()
            .map(|((topic, partition), p)| p.behind(reader.next_offset(topic, *partition)))
            .sum()
    }

    /// The same by topic; `None` until partitions were assigned.
    pub fn waiting(&self, reader: &Reader) -> Option<Waiting> {
        let state = self.state();
        let mut waiting = Waiting::new();
        for ((topic, partition), p) in &state.partitions {
            let behind = p.behind(reader.next_offset(topic, *partition));
            match waiting.get_mut(topic) {
                Some(sum) => *sum += behind,
                None => _ = waiting.insert(topic.clone(), behind),
            }
        }
        state.assigned.map(|_| waiting)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> Result<()> {
        let broker =
            |e: KafkaError| Error::Unavailable(format!("kafka: cannot look up the offsets of new partitions: {e}"));
        let committed = consumer.committed_offsets(partitions.clone(), BROKER_WAIT).map_err(broker)?;
        let remembered = self.recall(consumer, partitions)?;
        let mut list = TopicPartitionList::new();
        for element in committed.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let (low, high) = consumer.fetch_watermarks(topic, partition, BROKER_WAIT).map_err(broker)?;
            let committed = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            let Some((life, anchors)) = remembered.get(topic) else { continue };
            let start = self.start_offset(topic, partition, committed, (low, high), life, anchors.get(&partition))?;
            list.add_partition_offset(topic, partition, Offset::Offset(start)).map_err(broker)?;
            let epoch = life.epoch(partition);
            let known = Partition { epoch, start, end_at_start: high, end: high, passed: start, rests: false };
            self.state().later_lives |= epoch != Epoch::default();
            self.state().partitions.insert((topic.to_string(), partition), known);
        }
        consumer.incremental_assign(&list).map_err(broker)?;
        self.state().assigned = Some(Instant::now());
        Ok(())
    }

    /// What is remembered of the topics of `partitions`. Callbacks of the client library are not async.
    fn recall(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> Result<Remembered> {
        let mut remembered = Remembered::default();
        for element in partitions.elements() {
            let topic = element.topic();
            if !remembered.contains_key(topic) {
                let life = self.runtime.block_on(self.memory.life(topic, element.partition() + 1))?;
                remembered.insert(topic.to_string(), (life, self.runtime.block_on(self.memory.anchors(topic))?));
            }
            if let Some((life, _)) = remembered.get(topic).filter(|(life, _)| element.partition() >= life.partitions) {
                let partitions = partitions_of(consumer, topic)?;
                return Err(Error::Broken(grown(topic, life, partitions)));
            }
        }
        Ok(remembered)
    }

    /// Where to read from, or what is missing.
    fn start_offset(
        &self,
        topic: &str,
        partition: i32,
        committed: Option<i64>,
        (low, high): (i64, i64),
        life: &Life,
        anchor: Option<&Anchor>,
    ) -> Result<i64> {
        if anchor.is_some_and(|anchor| anchor.incarnation < life.incarnation) {
            return Ok(low);
        }
        // The broker forgets the offsets of a group that was away for long.
        let Some(committed) = committed.or(anchor.map(|anchor| anchor.offset + 1)) else {
            let is_new = life.incarnation > 0 || !life.began_with(partition);
            return Ok(if self.start == Start::Latest && !is_new { high } else { low });
        };
        if (low..=high).contains(&committed) {
            return Ok(committed);
        }
        let place = format!("topic {topic} partition {partition}");
        let what = if committed < low {
            format!("{place}: offsets {committed} to {} are gone from the log and were never read", low - 1)
        } else {
            format!(
                "{place}: the committed offset {committed} lies behind the end of the log ({high}): the log was cut, or the topic created anew"
            )
        };
        if !self.accept_gap {
            return Err(Error::Broken(format!(
                "{what}. fill the gap from the source (a new snapshot), then run once with --accept-gap to go on from offset {low}"
            )));
        }
        tracing::warn!(topic, partition, from = committed, to = low, "gap accepted: {what}");
        Ok(low)
    }
}

/// How many partitions a topic has now.
pub fn partitions_of(consumer: &BaseConsumer<Assignment>, topic: &str) -> Result<i32> {
    let failed = |why: String| Error::Unavailable(format!("no answer about topic {topic}: {why}"));
    let metadata = consumer.fetch_metadata(Some(topic), BROKER_WAIT).map_err(|e| {
        let refused = consumer.context().last_client_error();
        failed(refused.map_or_else(|| e.to_string(), |reason| format!("{e}: {reason}")))
    })?;
    if let Some(error) = metadata.topics().iter().find_map(|t| t.error()) {
        return Err(failed(KafkaError::MetadataFetch(RDKafkaErrorCode::from(error)).to_string()));
    }
    let count = metadata.topics().iter().map(|t| t.partitions().len()).sum::<usize>();
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

impl ClientContext for Assignment {
    fn stats(&self, statistics: Statistics) {
        let mut state = self.state();
        for (topic, told) in &statistics.topics {
            for (partition, told) in &told.partitions {
                if let Some(known) = state.partitions.get_mut(&(topic.clone(), *partition)) {
                    known.end = known.end.max(told.ls_offset.max(told.hi_offset));
                    // Statistics are handed out in order with the messages: those counted as gone from an empty queue
                    // are with the reader.
                    if told.fetchq_cnt == 0 {
                        known.passed = known.passed.max(told.next_offset);
                    }
                }
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        self.state().client_error = Some(reason.to_string());
    }
}

impl ConsumerContext for Assignment {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let outcome = match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            _ => {
                for element in partitions.elements() {
                    self.state().partitions.remove(&(element.topic().to_string(), element.partition()));
                }
                let gone = consumer.incremental_unassign(partitions);
                gone.map_err(|e| Error::Unavailable(format!("kafka: cannot give partitions back: {e}")))
            }
        };
        if let Err(error) = outcome {
            self.state().failure = Some(error);
        }
    }
}
