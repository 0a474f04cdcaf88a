//! What flows through a pipeline: messages become records, records travel in batches, values are exact.
//!
//! Invariants: a record's `origin` names the message in the same batch that it came from, so that whatever is rejected
//! later can still be parked with its original bytes; a row never owns field names, it shares its [`TableSchema`].
//! Deliberately absent: offsets or acknowledgements per record. A lane commits whole batches.

mod batch;
mod decimal;
mod epoch;
mod json;
mod message;
mod patch;
mod position;
mod remedy;
mod row;
mod schema;
mod time;
mod transaction;
mod value;

pub use batch::{Batch, News, Reject};
pub use decimal::Decimal;
pub use epoch::Epoch;
pub use json::write_json_text;
pub use message::Message;
pub use patch::Patch;
pub use position::{DERIVED, Order, Position, SourcePosition, compare_sources, lies_before, supersedes};
pub use remedy::{REMEDIES, remedy};
pub use row::{Row, Values};
pub use schema::{Column, KIND_NAMES, Kind, TableSchema};
pub use time::{Date, Time, Timestamp};
pub use transaction::{Membership, Role, Torn, Unity};
pub use value::Value;

use std::sync::Arc;

/// What happened to a row at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// A snapshot row (Debezium `r`): it exists, nothing says when it was written.
    Read,
    /// Debezium `c`.
    Create,
    /// Debezium `u`.
    Update,
    /// Debezium `d`, or a tombstone where no envelope says so.
    Delete,
    /// Debezium `t`: every row of the table is gone. Key and row are empty.
    Truncate,
}

impl Op {
    /// Whether the row exists after the change.
    pub fn is_upsert(self) -> bool {
        matches!(self, Op::Read | Op::Create | Op::Update)
    }
}

/// Where a row stands in a snapshot of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SnapshotMark {
    /// In none that is read as a whole: it was streamed, or is of an incremental snapshot.
    #[default]
    None,
    /// Somewhere.
    Within,
    /// It is the table's first row.
    First,
    /// It is the table's last row.
    Last,
}

/// One change of one row, or one document to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The table's name as pipelines use it (`transaction`), or the document stream's name.
    pub table: Arc<str>,
    /// What happened.
    pub op: Op,
    /// The key columns and their values. Empty for a truncate and for rows of a table without a key.
    pub key: Row,
    /// The row after the change; `None` for deletes and truncates.
    pub row: Option<Row>,
    /// What changed, where an update tells no row: a raw store makes the row of it.
    pub patch: Option<Box<Patch>>,
    /// The row before the change as the source told it. With PostgreSQL's default replica identity it is absent, or
    /// only its key columns are real. Of a new row that is not told whole and had another key before: that key.
    pub before: Option<Row>,
    /// Where the change came from: decides which of two versions of a row is newer.
    pub position: Position,
    /// Guards the write into a target: a lower version never replaces a higher one. [`Epoch::version`] straight from
    /// the log, the raw store's snapshot version for documents.
    pub version: u64,
    /// When the source committed the change, if it said so.
    pub changed_at: Option<Timestamp>,
    /// Where the row stands in a snapshot.
    pub snapshot: SnapshotMark,
    /// Index into [`Batch::messages`] of the message that caused this record.
    pub origin: u32,
}
