//! A message as a source hands it out: bytes and their place. Nothing is decoded here.

use std::sync::Arc;

use bytes::Bytes;

use super::Epoch;

/// One message of a log. Keys and values are slices of one buffer per batch; cloning copies no bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// Topic name.
    pub topic: Arc<str>,
    /// Which life of the topic.
    pub epoch: Epoch,
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// The broker's timestamp, milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Key bytes; `None` when the message has no key.
    pub key: Option<Bytes>,
    /// Value bytes; `None` for a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order; names may repeat.
    pub headers: Vec<(Arc<str>, Option<Bytes>)>,
}

impl Message {
    /// Bytes that this message keeps in memory, for budgets.
    pub fn size_bytes(&self) -> usize {
        let len = |b: &Option<Bytes>| b.as_ref().map_or(0, Bytes::len);
        len(&self.key) + len(&self.value) + self.headers.iter().map(|(n, v)| n.len() + len(v)).sum::<usize>()
    }

    /// The value of the first header called `name`.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|(n, _)| &**n == name).and_then(|(_, v)| v.as_ref())
    }
}
