//! Where a record came from, and which of two versions of one row is the newer: [`supersedes`].
//!
//! Rules, in this order: of two incarnations of one topic the later wins; the same topic and partition → the higher offset
//! wins; source positions of the same source incarnation are compared; between partitions that came into being at different
//! times the younger wins; else the one that arrived later wins. Never by time: clocks repeat, jump and disagree.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Epoch;

/// A record's place in the log and, where the connector says it, in the source database's own log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Topic name.
    pub topic: Arc<str>,
    /// Which life of the topic.
    #[serde(default)]
    pub epoch: Epoch,
    /// Partition.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Place in the source database's log.
    pub source: SourcePosition,
}

/// The topic of rows that are computed from a raw-store snapshot instead of read from a log. No Kafka topic can have it.
pub const DERIVED: &str = "headwater/derived";

impl Position {
    /// The place of rows that are computed from the snapshot with this version: of two, that of the later one is newer.
    pub fn derived(version: u64) -> Self {
        let offset = i64::try_from(version).unwrap_or(i64::MAX);
        Position {
            topic: DERIVED.into(),
            epoch: Epoch::default(),
            partition: 0,
            offset,
            source: SourcePosition::Unknown,
        }
    }

    /// Whether it stands for a snapshot, not for a place in a log.
    pub fn is_derived(&self) -> bool {
        *self.topic == *DERIVED
    }
}

/// A place in a source database's own log. Comparable only where the connector, the connector's name, the database and
/// the server are the same: `incarnation` is a fingerprint of what the event says about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum SourcePosition {
    /// The source said nothing that can be compared (incremental snapshots among others: they apply as they arrive).
    #[default]
    Unknown,
    /// PostgreSQL: the commit's LSN, then the change's own. Transactions arrive in commit order, so `lsn` alone does
    /// not grow.
    Postgres {
        /// Fingerprint of the source.
        incarnation: u32,
        /// LSN of the last commit before this change's transaction (Debezium's `sequence[0]`); 0 when it is not known:
        /// in a snapshot and until the first commit after one.
        commit_lsn: u64,
        /// LSN of the change.
        lsn: u64,
    },
    /// MySQL and MariaDB: GTID where both have one of the same origin, else file, position and row.
    MySql {
        /// Fingerprint of the source.
        incarnation: u32,
        /// The server that wrote the event; 0 in a snapshot.
        server_id: u64,
        /// Fingerprint of the GTID's origin (server UUID, or MariaDB's domain); 0 without GTID.
        gtid_origin: u32,
        /// The transaction's number within that origin.
        gtid_number: u64,
        /// The number at the end of the binlog file's name.
        file: u64,
        /// Byte in that file.
        pos: u64,
        /// Row of the event at that byte.
        row: u32,
    },
    /// SQL Server and Db2: commit LSN, change LSN, serial number. An LSN is 80 or 128 bits wide.
    SqlServer {
        /// Fingerprint of the source.
        incarnation: u32,
        /// LSN of the commit: the first 64 bits, and the others.
        commit_lsn: (u64, u64),
        /// LSN of the change; zero in a snapshot.
        change_lsn: (u64, u64),
        /// Order among changes of one LSN.
        serial: u64,
    },
    /// Oracle: commit SCN, SCN, sub-sequence number.
    Oracle {
        /// Fingerprint of the source, of the redo thread too: threads of a cluster count apart.
        incarnation: u32,
        /// SCN of the commit; 0 when it is not known (snapshots).
        commit_scn: u64,
        /// SCN of the change.
        scn: u64,
        /// Order among changes of one SCN.
        ssn: u64,
    },
    /// MongoDB: seconds and ordinal of the oplog entry.
    MongoDb {
        /// Fingerprint of the source.
        incarnation: u32,
        /// Seconds since 1970 of the cluster time.
        secs: i64,
        /// Ordinal within the second.
        ord: u64,
    },
}

impl Position {
    /// Whether both are in one partition of one life of a topic.
    pub fn is_beside(&self, other: &Position) -> bool {
        self.partition == other.partition && self.epoch == other.epoch && self.topic == other.topic
    }
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
    let same_topic = old.topic == new.topic;
    if same_topic {
        let life = |p: &Position| p.epoch.incarnation;
        let place = |p: &Position| (life(p), p.offset);
        if life(old) != life(new) || old.partition == new.partition {
            return match place(new).cmp(&place(old)) {
                Ordering::Greater => Order::Newer,
                Ordering::Equal => Order::Same,
                Ordering::Less => Order::Stale,
            };
        }
    }
    match compare_sources(&new.source, &old.source) {
        Some(Ordering::Less) => Order::Stale,
        // The connector repeated itself, and the key has moved meanwhile. Two changes of one row never share a place.
        Some(Ordering::Equal) => Order::Same,
        Some(Ordering::Greater) => Order::Newer,
        // A key that moved to a partition made later never goes back.
        None if same_topic && new.epoch.growth < old.epoch.growth => Order::Stale,
        None => Order::Newer,
    }
}

/// Whether `a` certainly lies before `b` in the same source's log.
pub fn lies_before(a: &SourcePosition, b: &SourcePosition) -> bool {
    compare_sources(a, b) == Some(Ordering::Less)
}

/// How `a` and `b` lie in the same source's log; `None` where they cannot be compared.
pub fn compare_sources(a: &SourcePosition, b: &SourcePosition) -> Option<Ordering> {
    use SourcePosition::{MongoDb, MySql, Oracle, Postgres, SqlServer};
    match (*a, *b) {
        (
            Postgres { incarnation: ai, commit_lsn: ac, lsn: al },
            Postgres { incarnation: bi, commit_lsn: bc, lsn: bl },
        ) => (ai == bi).then(|| with_commit((ac, al, 0), (bc, bl, 0))),
        (
            Oracle { incarnation: ai, commit_scn: ac, scn: al, ssn: an },
            Oracle { incarnation: bi, commit_scn: bc, scn: bl, ssn: bn },
        ) => (ai == bi).then(|| with_commit((ac, al, an), (bc, bl, bn))),
        (
            SqlServer { incarnation: ai, commit_lsn: ac, change_lsn: al, serial: an },
            SqlServer { incarnation: bi, commit_lsn: bc, change_lsn: bl, serial: bn },
        ) => (ai == bi).then(|| (ac, al, an).cmp(&(bc, bl, bn))),
        (MongoDb { incarnation: ai, secs: at, ord: an }, MongoDb { incarnation: bi, secs: bt, ord: bn }) => {
            (ai == bi).then(|| (at, an).cmp(&(bt, bn)))
        }
        (MySql { .. }, MySql { .. }) => in_binlog(a, b),
        _ => None,
    }
}

/// Commit first, then the change, then what tells changes of one place apart. A snapshot knows no commits, only its own
/// place: whatever commits behind it is newer, even where it was written before. Else the changes alone decide: two
/// transactions that change one row hold its lock one after the other, so that their changes lie as their commits do.
fn with_commit(a: (u64, u64, u64), b: (u64, u64, u64)) -> Ordering {
    match (a, b) {
        ((0, snapshot, _), (commit @ 1.., ..)) if commit >= snapshot => Ordering::Less,
        ((commit @ 1.., ..), (0, snapshot, _)) if commit >= snapshot => Ordering::Greater,
        ((0, ..), _) | (_, (0, ..)) => (a.1, a.2).cmp(&(b.1, b.2)),
        _ => a.cmp(&b),
    }
}

fn in_binlog(a: &SourcePosition, b: &SourcePosition) -> Option<Ordering> {
    let (
        &SourcePosition::MySql {
            incarnation: ai,
            server_id: asrv,
            gtid_origin: ao,
            gtid_number: an,
            file: af,
            pos: ap,
            row: ar,
        },
        &SourcePosition::MySql {
            incarnation: bi,
            server_id: bsrv,
            gtid_origin: bo,
            gtid_number: bn,
            file: bf,
            pos: bp,
            row: br,
        },
    ) = (a, b)
    else {
        return None;
    };
    if ai != bi {
        return None;
    }
    if ao != 0 && ao == bo && an != bn {
        return Some(an.cmp(&bn));
    }
    // Files and bytes mean something on one server only; a snapshot names none and belongs to the one it is read from.
    (asrv == bsrv || asrv == 0 || bsrv == 0).then(|| (af, ap, ar).cmp(&(bf, bp, br)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(topic: &str, partition: i32, offset: i64, source: SourcePosition) -> Position {
        Position { topic: topic.into(), epoch: Epoch::default(), partition, offset, source }
    }

    fn pg(commit_lsn: u64, lsn: u64) -> SourcePosition {
        SourcePosition::Postgres { incarnation: 1, commit_lsn, lsn }
    }

    fn my(server_id: u64, gtid: (u32, u64), file: u64, pos: u64, row: u32) -> SourcePosition {
        let (gtid_origin, gtid_number) = gtid;
        SourcePosition::MySql { incarnation: 1, server_id, gtid_origin, gtid_number, file, pos, row }
    }

    fn sql(commit: (u64, u64), change: (u64, u64), serial: u64) -> SourcePosition {
        SourcePosition::SqlServer { incarnation: 1, commit_lsn: commit, change_lsn: change, serial }
    }

    fn ora(commit_scn: u64, scn: u64, ssn: u64) -> SourcePosition {
        SourcePosition::Oracle { incarnation: 1, commit_scn, scn, ssn }
    }

    #[test]
    fn one_partition_orders_by_offset_whatever_the_source_says() {
        let old = at("t", 0, 5, pg(9, 9));
        assert_eq!(supersedes(&old, &at("t", 0, 6, pg(1, 1))), Order::Newer);
        assert_eq!(supersedes(&old, &at("t", 0, 5, pg(9, 9))), Order::Same);
        assert_eq!(supersedes(&old, &at("t", 0, 4, pg(10, 10))), Order::Stale);
    }

    #[test]
    fn across_partitions_the_source_decides() {
        use Order::{Newer, Same, Stale};
        use SourcePosition::{MongoDb, Unknown};
        let mongo = |secs, ord| MongoDb { incarnation: 1, secs, ord };
        let table = [
            // PostgreSQL: commit order first, interleaved LSNs second; one commit unknown: the LSN.
            (pg(100, 90), pg(100, 95), Newer),
            (pg(100, 95), pg(100, 90), Stale),
            (pg(100, 110), pg(120, 105), Newer),
            (pg(120, 105), pg(100, 110), Stale),
            (pg(100, 110), pg(100, 110), Same),
            (pg(100, 110), pg(0, 90), Stale),
            (pg(0, 90), pg(0, 95), Newer),
            // Written before a snapshot, committed behind it.
            (pg(0, 100), pg(105, 95), Newer),
            (pg(105, 95), pg(0, 100), Stale),
            // Written and committed before a second snapshot.
            (pg(0, 200), pg(105, 110), Stale),
            // MySQL: numbers of one origin; else file, position, row, of one server.
            (my(1, (7, 10), 2, 500, 0), my(1, (7, 9), 3, 1, 0), Stale),
            (my(1, (7, 9), 3, 1, 0), my(2, (7, 10), 2, 500, 0), Newer),
            (my(1, (7, 9), 3, 1, 0), my(1, (7, 9), 3, 1, 1), Newer),
            (my(1, (7, 9), 3, 1, 1), my(1, (7, 9), 3, 1, 0), Stale),
            (my(1, (0, 0), 1_000_000, 4, 0), my(1, (0, 0), 999_999, 800, 0), Stale),
            (my(1, (0, 0), 9, 800, 0), my(2, (0, 0), 1, 4, 0), Newer),
            (my(1, (0, 0), 9, 800, 0), my(0, (0, 0), 9, 4, 0), Stale),
            // SQL Server and Db2.
            (sql((0x2a_0000_04d8, 3), (0x2a_0000_04d8, 1), 2), sql((0x2a_0000_04d8, 3), (0x2a_0000_04d8, 1), 1), Stale),
            (sql((0x2a_0000_04d8, 3), (0, 0), 0), sql((0x2a_0000_04d8, 4), (0, 0), 0), Newer),
            // Oracle.
            (ora(200, 150, 1), ora(190, 180, 1), Stale),
            (ora(190, 180, 1), ora(200, 150, 1), Newer),
            (ora(200, 150, 2), ora(200, 150, 1), Stale),
            (ora(200, 150, 2), ora(0, 160, 0), Stale),
            (ora(0, 160, 0), ora(200, 150, 2), Newer),
            (ora(150, 140, 0), ora(0, 160, 0), Newer),
            // MongoDB.
            (mongo(10, 2), mongo(10, 1), Stale),
            (mongo(10, 2), mongo(11, 1), Newer),
            // Nothing to compare: arrival.
            (pg(100, 110), Unknown, Newer),
            (Unknown, pg(1, 1), Newer),
            (pg(100, 110), mongo(1, 1), Newer),
        ];
        for (i, (old, new, expected)) in table.into_iter().enumerate() {
            assert_eq!(supersedes(&at("t", 0, 5, old), &at("t", 1, 1, new)), expected, "line {i}");
        }
    }

    #[test]
    fn a_topic_made_anew_is_newer_whatever_its_offsets_and_its_source_say() {
        let in_life = |incarnation, growth, position| Position { epoch: Epoch { incarnation, growth }, ..position };
        let (old, new) = (at("t", 0, 500, pg(900, 900)), in_life(1, 0, at("t", 0, 0, pg(5, 5))));
        assert_eq!(supersedes(&old, &new), Order::Newer);
        assert_eq!(supersedes(&new, &old), Order::Stale);
        // In another partition, too; and a growth of the earlier life counts for nothing.
        assert_eq!(supersedes(&in_life(0, 7, at("t", 3, 9, pg(9, 9))), &new), Order::Newer);
        assert_eq!(
            supersedes(&in_life(1, 0, at("t", 0, 4, pg(9, 9))), &in_life(1, 0, at("t", 0, 4, pg(9, 9)))),
            Order::Same
        );
        // Another topic's lives are not this one's.
        assert_eq!(supersedes(&in_life(1, 0, at("t", 0, 4, pg(9, 9))), &at("u", 0, 1, pg(10, 10))), Order::Newer);
    }

    #[test]
    fn keys_move_to_partitions_that_were_made_later_and_never_back() {
        use SourcePosition::Unknown;
        let grown = |growth, partition, offset, source| Position {
            epoch: Epoch { incarnation: 0, growth },
            ..at("t", partition, offset, source)
        };
        assert_eq!(supersedes(&grown(0, 0, 900, Unknown), &grown(1, 3, 0, Unknown)), Order::Newer);
        assert_eq!(supersedes(&grown(1, 3, 0, Unknown), &grown(0, 0, 900, Unknown)), Order::Stale);
        // The source knows better, where it says something.
        assert_eq!(supersedes(&grown(1, 3, 0, pg(5, 5)), &grown(0, 0, 900, pg(6, 6))), Order::Newer);
        // One partition stays in the order of its offsets.
        assert_eq!(supersedes(&grown(0, 0, 60, Unknown), &grown(1, 0, 50, Unknown)), Order::Stale);
    }

    #[test]
    fn another_incarnation_is_not_compared() {
        let restored = SourcePosition::Postgres { incarnation: 2, commit_lsn: 1, lsn: 1 };
        assert_eq!(supersedes(&at("t", 0, 5, pg(100, 100)), &at("t", 1, 1, restored)), Order::Newer);
    }
}
