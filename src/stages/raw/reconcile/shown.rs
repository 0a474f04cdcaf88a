//! What is known about the newest snapshot of a table, and which rows it did not show. Decisions only, no I/O.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::record::{SourcePosition, lies_before};

/// The newest snapshot of a table, and the last scan of it that the connector told of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    newest: Option<Snapshot>,
    scan: Option<Scan>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Snapshot {
    /// Where in the source's log.
    at: SourcePosition,
    /// When, in milliseconds since 1970, as its rows say.
    ms: Option<i64>,
    /// Whether its last row was seen. The only row of a connector's first table is marked as the first.
    complete: bool,
    /// By partition, how many of its rows are stored.
    shown: BTreeMap<String, Shown>,
    /// Partitions in which a change that lies behind the snapshot was read.
    passed: BTreeSet<String>,
    /// Partitions that were swept.
    swept: BTreeSet<String>,
    /// Whether all were.
    swept_all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Shown {
    rows: u64,
    /// The offset of the last one: what is read again is not counted again.
    last: i64,
}

/// The connector has read the table to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    /// When, by its clock.
    at_ms: i64,
    /// How many rows it has.
    rows: u64,
    /// If it has none: behind which snapshots of other tables its rows were swept.
    emptied: Vec<SourcePosition>,
}

impl Scan {
    /// A scan of so many rows that ended at this time.
    pub fn new(at_ms: i64, rows: u64) -> Self {
        Scan { at_ms, rows, emptied: Vec::new() }
    }
}

/// Where the last snapshots began, of whichever tables, with the time that their rows name.
pub type Begun = Vec<(SourcePosition, i64)>;

/// What is to be swept.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// Rows from before here.
    pub than: SourcePosition,
    /// Of these partitions only.
    pub within: Option<BTreeSet<String>>,
}

/// The most snapshots of different connectors that are remembered.
const BEGUN_MAX: usize = 16;

/// Learns where a snapshot began; whether that is news.
pub fn begin(begun: &mut Begun, at: SourcePosition, ms: i64) -> bool {
    if begun.iter().any(|(known, _)| *known == at || lies_before(&at, known)) {
        return false;
    }
    begun.retain(|(known, _)| !lies_before(known, &at));
    if begun.len() == BEGUN_MAX {
        begun.remove(0);
    }
    begun.push((at, ms));
    true
}

impl Known {
    /// Rows of a snapshot were stored, in the order of their `offsets` in one partition. A snapshot that began while
    /// another was not complete takes its place; rows of an earlier one are read again and say nothing.
    pub fn show(&mut self, (at, ms): (SourcePosition, Option<i64>), partition: &str, offsets: &[i64], complete: bool) {
        if self.newest.as_ref().is_some_and(|known| known.at != at && !lies_before(&known.at, &at)) {
            return;
        }
        let newest = self.newest.take().filter(|known| known.at == at);
        let mut newest = newest.unwrap_or_else(|| Snapshot {
            at,
            ms,
            complete: false,
            shown: BTreeMap::new(),
            passed: BTreeSet::new(),
            swept: BTreeSet::new(),
            swept_all: false,
        });
        newest.complete |= complete;
        let shown = newest.shown.entry(partition.to_string()).or_insert(Shown { rows: 0, last: -1 });
        for offset in offsets {
            if *offset > shown.last {
                *shown = Shown { rows: shown.rows + 1, last: *offset };
            }
        }
        self.newest = Some(newest);
    }

    /// The connector told of a scan.
    pub fn scan(&mut self, scan: &Scan) {
        if self.scan.as_ref().is_none_or(|known| known.at_ms < scan.at_ms) {
            self.scan = Some(scan.clone());
        }
    }

    /// A change at `at` was read from a partition.
    pub fn pass(&mut self, at: &SourcePosition, partition: &str) {
        if let Some(newest) = self.newest.as_mut().filter(|newest| lies_before(&newest.at, at))
            && !newest.passed.contains(partition)
        {
            newest.passed.insert(partition.to_string());
        }
    }

    /// What is to be swept now.
    pub fn due(&self, begun: &Begun) -> Option<Due> {
        if let Some(scan) = self.scan.as_ref().filter(|scan| scan.rows == 0) {
            let before = |(at, ms): &&(SourcePosition, i64)| *ms <= scan.at_ms && !scan.emptied.contains(at);
            if let Some((at, _)) = begun.iter().find(before) {
                return Some(Due { than: *at, within: None });
            }
        }
        let newest = self.newest.as_ref().filter(|newest| !newest.swept_all)?;
        let shown: u64 = newest.shown.values().map(|shown| shown.rows).sum();
        // An earlier scan says nothing; a later one says that all rows are there or on their way.
        let is_of = |scan: &&Scan| newest.ms.map_or(newest.complete, |ms| scan.at_ms >= ms);
        if self.scan.as_ref().filter(is_of).is_some_and(|scan| scan.rows == shown) {
            return Some(Due { than: newest.at, within: None });
        }
        if !newest.complete {
            return None;
        }
        let within: BTreeSet<_> = newest.passed.difference(&newest.swept).cloned().collect();
        (!within.is_empty()).then_some(Due { than: newest.at, within: Some(within) })
    }

    /// A sweep was done, and what followed from it.
    pub fn done(&mut self, due: &Due) {
        if let Some(scan) = self.scan.as_mut().filter(|scan| scan.rows == 0 && due.within.is_none()) {
            scan.emptied.push(due.than);
        }
        let Some(newest) = self.newest.as_mut().filter(|newest| newest.at == due.than) else { return };
        match &due.within {
            None => newest.swept_all = true,
            Some(within) => newest.swept.extend(within.iter().cloned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(commit_lsn: u64, lsn: u64) -> SourcePosition {
        SourcePosition::Postgres { incarnation: 1, commit_lsn, lsn }
    }

    fn within(partitions: &[&str]) -> Option<Due> {
        Some(Due { than: at(0, 100), within: Some(partitions.iter().map(ToString::to_string).collect()) })
    }

    fn due(known: &Known) -> Option<Due> {
        known.due(&Vec::new())
    }

    #[test]
    fn a_partition_is_swept_once_a_change_behind_the_complete_snapshot_was_read_from_it() {
        let mut known = Known::default();
        known.show((at(0, 100), Some(4)), "t:0", &[1], false);
        known.pass(&at(110, 115), "t:0");
        known.pass(&at(90, 95), "t:1");
        assert_eq!(due(&known), None, "its last row was not seen: another lane may have it");
        known.show((at(0, 100), Some(4)), "t:1", &[1, 2], true);
        let first = due(&known);
        assert_eq!(first, within(&["t:0"]), "the change in the other partition lies before the snapshot");
        assert_eq!(due(&known), first, "until it is done");
        known.done(&first.unwrap());
        assert_eq!(due(&known), None);
        known.pass(&at(116, 119), "t:1");
        assert_eq!(due(&known), within(&["t:1"]));
    }

    #[test]
    fn an_incomplete_snapshot_sweeps_nothing_and_gives_way_to_the_next() {
        let mut known = Known::default();
        known.show((at(0, 100), Some(4)), "t:0", &[1, 2], false);
        known.scan(&Scan::new(3, 2));
        known.pass(&at(110, 120), "t:0");
        assert_eq!(due(&known), None, "the scan was before it");
        known.show((at(0, 200), Some(6)), "t:0", &[4, 5], true);
        known.scan(&Scan::new(7, 2));
        // Rows of the broken one are read again.
        known.show((at(0, 100), Some(4)), "t:0", &[1, 2], false);
        assert_eq!(due(&known), Some(Due { than: at(0, 200), within: None }));
    }

    #[test]
    fn all_is_swept_when_as_many_rows_are_stored_as_the_connector_has_read() {
        let mut known = Known::default();
        known.show((at(0, 100), Some(4)), "t:0", &[1, 2], true);
        known.scan(&Scan::new(5, 4));
        known.show((at(0, 100), Some(4)), "t:0", &[1, 2], true);
        assert_eq!(due(&known), None, "what is read again is not counted again");
        known.show((at(0, 100), Some(4)), "t:1", &[7, 9], false);
        let all = Due { than: at(0, 100), within: None };
        assert_eq!(due(&known).as_ref(), Some(&all));
        known.done(&all);
        known.pass(&at(110, 120), "t:0");
        assert_eq!(due(&known), None);
        known.scan(&Scan::new(4, 9));
        assert_eq!(due(&known), None, "of an earlier scan that was read again");
    }

    #[test]
    fn an_empty_table_is_swept_behind_the_snapshots_that_began_before_its_scan_ended() {
        let (mut known, mut begun) = (Known::default(), Begun::new());
        known.show((at(0, 50), Some(2)), "t:0", &[1, 2], true);
        known.scan(&Scan::new(5_000, 0));
        assert_eq!(known.due(&begun), None, "no table says where the snapshot was taken");
        assert!(begin(&mut begun, at(0, 100), 4_900) && !begin(&mut begun, at(0, 50), 100));
        let all = Due { than: at(0, 100), within: None };
        assert_eq!(known.due(&begun).as_ref(), Some(&all));
        known.done(&all);
        assert_eq!(known.due(&begun), None);
        begin(&mut begun, at(0, 200), 6_000);
        assert_eq!(known.due(&begun), None, "it may have rows by then");
        // A later snapshot that nobody tells of goes by what is streamed behind it.
        known.show((at(0, 200), Some(6_000)), "t:0", &[7], true);
        known.pass(&at(210, 215), "t:0");
        assert_eq!(known.due(&begun).unwrap().than, at(0, 200));
    }
}
