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
//! - the rebalance callback runs only inside [`Source::next`], when the lane has no batch in flight.
//!
//! Deliberately absent: a poll thread of its own. A lane that is busy for longer than `max.poll.interval.ms` loses its
//! partitions, its commit is refused, and the lane is rebuilt from the committed offsets; writes are idempotent.

mod assignment;
mod options;
mod reader;

use std::time::Duration;

use async_trait::async_trait;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;

use crate::error::{Error, Result};
use crate::pipeline::{Flow, Problem, Section};
use crate::record::Batch;
use crate::stage::{LaneContext, Source};

use assignment::Assignment;
use options::Options;
use reader::Reader;

/// How long `next` waits for a first message before it says “nothing at the moment”.
const IDLE: Duration = Duration::from_millis(100);

/// The component.
pub struct KafkaSource {
    options: Options,
    lane: Option<LaneContext>,
    consumer: Option<BaseConsumer<Assignment>>,
    reader: Reader,
}

/// Makes the source from its section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Source> {
    Box::new(KafkaSource { options: Options::read(section), lane: None, consumer: None, reader: Reader::default() })
}

#[async_trait]
impl Source for KafkaSource {
    fn plan(&mut self) -> Result<Flow, Vec<Problem>> {
        Ok(Flow { open: true, ..Flow::default() })
    }

    async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        let config = self.options.client_config(lane);
        let context = Assignment::new(self.options.start, lane.accept_gap);
        let consumer: BaseConsumer<Assignment> = config
            .create_with_context(context)
            .map_err(|e| Error::Config(format!("kafka settings are refused by librdkafka: {e}")))?;
        tokio::task::block_in_place(|| self.options.check_topics(&consumer))?;
        let topics: Vec<&str> = self.options.topics.iter().map(|t| t.value.as_str()).collect();
        consumer.subscribe(&topics).map_err(|e| self.unavailable("cannot subscribe", &e))?;
        self.reader = Reader::new(lane.batch.records, lane.batch.bytes, lane.batch.linger);
        self.consumer = Some(consumer);
        self.lane = Some(lane.clone());
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Batch>> {
        let (Some(lane), Some(consumer)) = (&self.lane, &self.consumer) else { return Ok(None) };
        if lane.shutdown.is_cancelled() {
            return Ok(None);
        }
        let messages = tokio::task::block_in_place(|| self.reader.read(consumer, IDLE));
        if let Some(lost) = consumer.context().take_failure() {
            return Err(lost);
        }
        let messages = messages.map_err(|e| self.read_error(&e))?;
        if messages.is_empty() && lane.until_end && consumer.context().is_at_end(&self.reader) {
            return Ok(None);
        }
        Ok(Some(Batch::from_messages(messages)))
    }

    async fn commit(&mut self) -> Result<()> {
        let Some(consumer) = &self.consumer else { return Ok(()) };
        let mut offsets = TopicPartitionList::new();
        for ((topic, partition), next) in self.reader.uncommitted() {
            offsets.add_partition_offset(topic, *partition, Offset::Offset(*next)).map_err(|e| {
                Error::Broken(format!("topic {topic} partition {partition}: cannot name offset {next}: {e}"))
            })?;
        }
        if offsets.count() == 0 {
            return Ok(());
        }
        match tokio::task::block_in_place(|| consumer.commit(&offsets, CommitMode::Sync)) {
            Ok(()) => self.reader.committed(),
            // The offsets stay with us and go with the next commit; if the partition is taken away before, its new
            // owner reads the batch again, which changes nothing.
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::RebalanceInProgress)) => {}
            Err(e) => return Err(self.unavailable("offsets were not accepted; the partitions may have moved", &e)),
        }
        Ok(())
    }

    async fn close(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            tokio::task::block_in_place(|| drop(consumer));
        }
    }

    fn lag(&self) -> Option<u64> {
        self.consumer.as_ref().and_then(|c| c.context().lag(&self.reader))
    }
}

impl KafkaSource {
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
