//! A batch: what a lane carries from its source to its last stage and then commits as a whole.
//!
//! Invariants: `messages` never shrinks while the batch lives (records and rejects point into it); the order of
//! `records` is the order of the log per key; a record is either in `records` or its message is named in `rejects`,
//! or a stage dropped it on purpose (filter, stale version).

use super::{Membership, Message, Record, Unity};

/// Records in order, and the rejects taken out of them.
#[derive(Debug, Default)]
pub struct Batch {
    /// The messages as they were read, in order per partition.
    pub messages: Vec<Message>,
    /// What has been decoded and is still on its way.
    pub records: Vec<Record>,
    /// What could not be read or applied; the lane parks it before it commits.
    pub rejects: Vec<Reject>,
    /// What the source told about itself on the way.
    pub news: Vec<News>,
    /// Which messages (by index, in order) are part of a transaction; empty unless the pipeline keeps those together.
    pub members: Vec<(u32, Membership)>,
    /// How its records are to be seen by readers of a target.
    pub unity: Unity,
}

/// What a source tells about itself, beside its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It was alive at this time of its connector's clock.
    Alive {
        /// Milliseconds since 1970.
        at_ms: i64,
    },
    /// Its initial load goes on, or is complete.
    InitialLoad {
        /// The connector's name.
        connector: String,
        /// Whether all tables are loaded.
        complete: bool,
    },
    /// A snapshot has read a table to its end.
    Scanned {
        /// The table as pipelines call it.
        table: String,
        /// When, by the connector's clock, in milliseconds since 1970.
        at_ms: i64,
        /// How many rows it has.
        rows: u64,
    },
}

impl Batch {
    /// A batch fresh from a source.
    pub fn from_messages(messages: Vec<Message>) -> Self {
        Batch { messages, ..Batch::default() }
    }

    /// Takes `record` out of the flow with a reason.
    pub fn reject(&mut self, record: &Record, code: &'static str, reason: impl Into<String>) {
        self.rejects.push(Reject {
            origin: record.origin,
            table: Some(record.table.to_string()),
            code,
            reason: reason.into(),
        });
    }
}

/// Why a message was taken out. Reasons name places and expectations, never payload values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Index into [`Batch::messages`].
    pub origin: u32,
    /// The table, when it was known.
    pub table: Option<String>,
    /// A stable, greppable class: `json.syntax`, `key.missing`, `document.too_large`, …
    pub code: &'static str,
    /// What was expected, where, and what to do. Lower-case, without payload values.
    pub reason: String,
}
