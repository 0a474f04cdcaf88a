//! Transactions of the source database: what messages say of them, and what became of them on the way.
//!
//! One transaction changes rows of several tables, and so of several topics and partitions. A pipeline with
//! `consistency: transaction` puts them together again; every other pipeline neither reads nor keeps any of this.

use std::sync::Arc;

/// What a message says about a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The transaction's identity.
    pub id: Arc<str>,
    /// What the message is in it.
    pub role: Role,
}

/// What a message is in its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// One of its changes: the nth, as far as that was told.
    Change {
        /// Among all changes of the transaction, from 1. A connector that goes on in the middle of a transaction begins
        /// again at 1.
        order: Option<u64>,
    },
    /// It begins.
    Begin,
    /// It has ended: it was committed.
    End {
        /// How many changes it made in each table, by the connector's names.
        changes: Vec<(String, u64)>,
    },
}

/// How the records of a batch are to be seen by readers of a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unity {
    /// All at once: the batch is made of whole transactions.
    pub together: bool,
    /// Why one of them was not kept whole; its documents say so.
    pub torn: Option<Torn>,
    /// How many transactions of the source it has.
    pub transactions: u64,
}

/// Why a transaction is seen in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Torn {
    /// It has more changes, or changes more documents, than the pipeline keeps together.
    Events,
    /// It has more bytes than the pipeline keeps together.
    Bytes,
    /// Its end, or one of its changes, did not come in time.
    Age,
    /// A change does not say which transaction it was made in.
    Untold,
    /// One of its changes or documents was parked, or refused by the target.
    Refused,
}

impl Torn {
    /// The word in documents and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Torn::Events => "events",
            Torn::Bytes => "bytes",
            Torn::Age => "age",
            Torn::Untold => "untold",
            Torn::Refused => "refused",
        }
    }
}
