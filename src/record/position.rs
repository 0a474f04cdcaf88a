//! Where a record came from, and which of two versions of one row is the newer: [`supersedes`].
//!
//! Rules, in this order: the same topic and partition → the higher offset wins; source positions of the same source
//! incarnation are compared; else the one that arrived later wins. Never by time: clocks repeat, jump and disagree.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A record's place in the log and, where the connector says it, in the source database's own log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Place in the source database's log.
    pub source: SourcePosition,
}

/// A place in a source database's own log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum SourcePosition {
    /// The source said nothing that can be compared.
    #[default]
    Unknown,
    /// PostgreSQL: the commit's LSN, then the change's own. Transactions arrive in commit order, so `lsn` alone does
    /// not grow.
    Postgres {
        /// LSN of the last commit before this change's transaction (Debezium's `sequence[0]`); 0 in a snapshot.
        commit_lsn: u64,
        /// LSN of the change.
        lsn: u64,
    },
}

/// How a new position relates to the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It replaces what is stored.
    Newer,
    /// It is what is stored: a re-delivery.
    Same,
    /// What is stored is newer.
    Stale,
}

/// Whether a record at `new` replaces a row that was stored from `old`.
pub fn supersedes(old: &Position, new: &Position) -> Order {
    use std::cmp::Ordering;
    if old.partition == new.partition && old.topic == new.topic {
        return match new.offset.cmp(&old.offset) {
            Ordering::Greater => Order::Newer,
            Ordering::Equal => Order::Same,
            Ordering::Less => Order::Stale,
        };
    }
    match (&old.source, &new.source) {
        (
            SourcePosition::Postgres { commit_lsn: oc, lsn: ol },
            SourcePosition::Postgres { commit_lsn: nc, lsn: nl },
        ) if (nc, nl) < (oc, ol) => Order::Stale,
        _ => Order::Newer,
    }
}
