//! Collects messages into batches: all payloads of a batch are copied into one buffer, messages are slices of it.
//!
//! A batch closes when it is full by count or bytes, or when the stream is thin: as soon as nothing is waiting in
//! librdkafka's queue for `linger`. Who is more than a batch behind waits a little longer: the rest is on its way, and full
//! batches are what makes catching up cheap. The buffer of a batch that nobody holds any more is filled again: fresh memory costs a
//! page fault for every 4 KiB.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Headers};
use rustc_hash::FxHashMap;

use crate::record::Message;
use crate::stage::Offsets;

/// The largest buffer that is kept from one batch to the next.
const KEPT_BYTES: usize = 9 << 20;
/// How long a batch waits for more messages that are known to be there.
const BEHIND_LINGER: Duration = Duration::from_millis(100);

/// Reads batches and remembers the next offset of every partition it has handed out.
#[derive(Default)]
pub struct Reader {
    max_records: usize,
    /// What the lane has room for, if that is less.
    room: usize,
    max_bytes: usize,
    linger: Duration,
    topics: Vec<Arc<str>>,
    pending: Vec<Pending>,
    /// The bytes of the last batch.
    handed_out: Bytes,
    next: FxHashMap<(Arc<str>, i32), i64>,
    uncommitted: FxHashMap<(Arc<str>, i32), i64>,
}

/// A message whose bytes lie in the batch's buffer, before that buffer is frozen.
struct Pending {
    message: Message,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

impl Reader {
    /// A reader with the limits of a batch.
    pub fn new(max_records: usize, max_bytes: usize, linger: Duration) -> Self {
        Reader { max_records, room: usize::MAX, max_bytes, linger, ..Reader::default() }
    }

    /// The next batch; empty when nothing came within `idle`. An error that comes behind messages is reported by the
    /// next call, so that those messages are not lost. `lag` is how many messages are known to wait in the log.
    pub fn read<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        idle: Duration,
        lag: u64,
    ) -> KafkaResult<Vec<Message>> {
        let behind = lag > self.max_records as u64;
        let linger = if behind { self.linger.max(BEHIND_LINGER) } else { self.linger };
        let mut buffer = self.buffer();
        let mut wait = idle;
        let mut closes_at: Option<Instant> = None;
        while self.pending.len() < self.max_records.min(self.room) && buffer.len() < self.max_bytes {
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    self.take(&message, &mut buffer);
                    closes_at.get_or_insert_with(|| Instant::now() + linger);
                    // Whatever waits already is taken without waiting.
                    wait = Duration::ZERO;
                }
                Some(Err(error)) if self.pending.is_empty() => return Err(error),
                Some(Err(_)) => break,
                None => match closes_at.map(|at| at.saturating_duration_since(Instant::now())) {
                    Some(left) if !left.is_zero() => wait = left,
                    _ => break,
                },
            }
        }
        Ok(self.freeze(buffer))
    }

    /// Reads at most so many messages at a time from now on.
    pub fn leave_room(&mut self, room: usize) {
        self.room = room.max(1);
    }

    /// Next offsets of what was handed out since the last commit.
    pub fn uncommitted(&self) -> impl Iterator<Item = (&(Arc<str>, i32), &i64)> {
        self.uncommitted.iter()
    }

    /// The broker has accepted all of them, up to what is `kept` back.
    pub fn committed(&mut self, kept: &Offsets) {
        self.uncommitted.retain(|place, next| kept.get(place).is_some_and(|first| first < next));
    }

    /// The offset behind the last message handed out of a partition.
    pub fn next_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = self.topics.iter().find(|t| &***t == topic)?;
        self.next.get(&(topic.clone(), partition)).copied()
    }

    fn take(&mut self, message: &BorrowedMessage<'_>, buffer: &mut BytesMut) {
        let topic = self.topic(message.topic());
        let (partition, offset) = (message.partition(), message.offset());
        let key = message.key().map(|bytes| append(buffer, bytes));
        let value = message.payload().map(|bytes| append(buffer, bytes));
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|h| (Arc::from(h.key), h.value.map(Bytes::copy_from_slice))).collect()
        });
        let timestamp_ms = message.timestamp().to_millis();
        let message = Message { topic, partition, offset, timestamp_ms, headers, ..Message::default() };
        self.pending.push(Pending { message, key, value });
    }

    fn freeze(&mut self, buffer: BytesMut) -> Vec<Message> {
        let bytes = buffer.freeze();
        if bytes.len() <= KEPT_BYTES {
            self.handed_out = bytes.clone();
        }
        let mut messages = Vec::with_capacity(self.pending.len());
        for Pending { mut message, key, value } in self.pending.drain(..) {
            message.key = key.map(|range| bytes.slice(range));
            message.value = value.map(|range| bytes.slice(range));
            messages.push(message);
        }
        // Offsets of one partition grow, so the last one seen of each is the one to remember.
        let mut last: Option<(&Message, i64)> = None;
        for message in &messages {
            if let Some((before, next)) =
                last.filter(|(m, _)| m.partition != message.partition || m.topic != message.topic)
            {
                self.next.insert((before.topic.clone(), before.partition), next);
                self.uncommitted.insert((before.topic.clone(), before.partition), next);
            }
            last = Some((message, message.offset + 1));
        }
        if let Some((message, next)) = last {
            self.next.insert((message.topic.clone(), message.partition), next);
            self.uncommitted.insert((message.topic.clone(), message.partition), next);
        }
        messages
    }

    /// An empty buffer: the last batch's, if its messages are gone.
    fn buffer(&mut self) -> BytesMut {
        let last = std::mem::take(&mut self.handed_out);
        let expected = last.len();
        match last.try_into_mut() {
            Ok(mut buffer) => {
                buffer.clear();
                buffer
            }
            Err(_) => BytesMut::with_capacity(expected),
        }
    }

    fn topic(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.topics.iter().find(|t| &***t == name) {
            return known.clone();
        }
        let topic: Arc<str> = name.into();
        self.topics.push(topic.clone());
        topic
    }
}

fn append(buffer: &mut BytesMut, bytes: &[u8]) -> Range<usize> {
    let start = buffer.len();
    buffer.extend_from_slice(bytes);
    start..buffer.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(reader: &mut Reader, byte: u8) -> Vec<Message> {
        let mut buffer = reader.buffer();
        let value = Some(append(&mut buffer, &[byte; 1_000]));
        let topic = reader.topic("t");
        let message = Message { topic, ..Message::default() };
        reader.pending.push(Pending { message, key: None, value });
        reader.freeze(buffer)
    }

    #[test]
    fn a_buffer_is_filled_again_only_when_its_messages_are_gone() {
        let mut reader = Reader::new(10, 1 << 20, Duration::ZERO);
        let place = |messages: &[Message]| messages[0].value.as_ref().unwrap().as_ptr();
        let first = batch(&mut reader, 1);
        let held = place(&first);
        let second = batch(&mut reader, 2);
        assert_ne!(place(&second), held);
        assert_eq!(first[0].value.as_ref().unwrap(), &[1; 1_000][..], "what is held stays as it is");
        let freed = place(&second);
        drop(second);
        assert_eq!(place(&batch(&mut reader, 3)), freed);
    }
}
