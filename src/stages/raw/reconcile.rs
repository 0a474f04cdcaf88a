//! Rows that a later snapshot of their table did not show: they were deleted while nobody looked (the connector was away,
//! its slot lost), so no event tells it.
//!
//! A snapshot reads a table at one place of the source's log and sends its rows into all partitions; it was complete if its
//! last row is marked so. Each partition is swept by itself: the first streamed change in it that lies behind the snapshot
//! says that all rows of the snapshot that belong there have been read, for they stand before it. What was last written
//! from that partition, before the snapshot, is gone.
//!
//! Invariants: nothing is swept unless the snapshot's last row was seen; a sweep is done again when the change that asked
//! for it is read again, with the same result, so that what is derived follows after any crash. State: the fact
//! `snapshot/TABLE` in the raw store.
//!
//! Deliberately absent: partitions in which nothing is streamed after the snapshot (they are swept with the next change),
//! snapshots of empty tables, which have no last row, and connectors that tell no place of the log. A snapshot of a part of
//! a table (with conditions) must not be taken of a table under `reconcile`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::record::{Record, SnapshotMark, SourcePosition, lies_before};
use crate::stores::{RawStore, SharedStore};

/// How often a lane looks for what other lanes have seen.
const REFRESH: Duration = Duration::from_secs(5);

/// The newest snapshot of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Snapshot {
    /// Where in the source's log.
    at: SourcePosition,
    /// Whether its last row was seen.
    complete: bool,
    /// By partition, the offset of the change that asked for its sweep.
    swept: BTreeMap<String, i64>,
}

/// A sweep to be done once the batch is stored.
pub struct Sweep {
    than: SourcePosition,
    by: Record,
}

/// What one lane knows about snapshots.
pub struct Reconciler {
    store: SharedStore,
    tables: BTreeSet<Arc<str>>,
    known: FxHashMap<Arc<str>, (Instant, Option<Snapshot>)>,
}

impl Reconciler {
    /// Reconciles `tables`.
    pub fn new(store: SharedStore, tables: BTreeSet<Arc<str>>) -> Self {
        Reconciler { store, tables, known: FxHashMap::default() }
    }

    /// Looks at the records of a batch in order; says what is to be swept after them.
    pub async fn observe(&mut self, records: &[Record]) -> Result<Vec<Sweep>> {
        let mut sweeps = Vec::new();
        for record in records {
            if record.position.source == SourcePosition::Unknown || !self.tables.contains(&record.table) {
                continue;
            }
            loop {
                self.refresh(&record.table).await?;
                let known = self.known.get(&record.table).and_then(|(_, known)| known.as_ref());
                let Some((next, sweep)) = next(known, record) else { break };
                if self.remember(&record.table, next).await? {
                    sweeps.extend(sweep);
                    break;
                }
            }
        }
        Ok(sweeps)
    }

    async fn refresh(&mut self, table: &Arc<str>) -> Result<()> {
        if self.known.get(table).is_some_and(|(at, _)| at.elapsed() < REFRESH) {
            return Ok(());
        }
        let name = fact_name(table);
        let known = self.store.facts(&name).await?.get(&name).map(|text| read(table, text)).transpose()?;
        self.known.insert(table.clone(), (Instant::now(), known));
        Ok(())
    }

    /// False when another lane was faster; then what it said is read.
    async fn remember(&mut self, table: &Arc<str>, next: Snapshot) -> Result<bool> {
        let before = self.known.get(table).and_then(|(_, known)| known.as_ref());
        let before = before.map(|snapshot| write(table, snapshot)).transpose()?;
        let text = write(table, &next)?;
        let same = before.as_deref() == Some(&*text);
        let done = same || self.store.replace_fact(&fact_name(table), before.as_deref(), &text).await?;
        match done {
            true => _ = self.known.insert(table.clone(), (Instant::now(), Some(next))),
            false => _ = self.known.remove(table),
        }
        Ok(done)
    }
}

/// What a record changes about the newest snapshot of its table, and the sweep that it asks for.
fn next(known: Option<&Snapshot>, record: &Record) -> Option<(Snapshot, Option<Sweep>)> {
    let at = record.position.source;
    if record.snapshot != SnapshotMark::None {
        return Some((shown(known, record)?, None));
    }
    let known = known.filter(|known| known.complete && lies_before(&known.at, &at))?;
    let place = format!("{}:{}", record.position.epoch.name(&record.position.topic), record.position.partition);
    let asked = *known.swept.get(&place).unwrap_or(&record.position.offset);
    if asked != record.position.offset {
        return None;
    }
    let mut swept = known.swept.clone();
    swept.insert(place, asked);
    Some((Snapshot { swept, ..known.clone() }, Some(Sweep { than: known.at, by: record.clone() })))
}

/// A row of a snapshot. One that began while another was not complete takes its place.
fn shown(known: Option<&Snapshot>, record: &Record) -> Option<Snapshot> {
    let at = record.position.source;
    let complete = record.snapshot == SnapshotMark::Last;
    match known {
        Some(known) if known.at == at => (complete && !known.complete).then(|| Snapshot { complete, ..known.clone() }),
        // Rows of an earlier snapshot that are read again.
        Some(known) if !lies_before(&known.at, &at) => None,
        _ => Some(Snapshot { at, complete, swept: BTreeMap::new() }),
    }
}

impl Sweep {
    /// Gives the deletes.
    pub async fn run(self, store: &dyn RawStore) -> Result<Vec<Record>> {
        let (table, position) = (self.by.table.clone(), self.by.position.clone());
        let gone = store.sweep(self.than, self.by).await?;
        if !gone.is_empty() {
            let (topic, partition, rows) = (&*position.topic, position.partition, gone.len());
            tracing::warn!(table = &*table, topic, partition, rows, "deleted what the last snapshot did not show");
        }
        Ok(gone)
    }
}

fn fact_name(table: &str) -> String {
    format!("snapshot/{table}")
}

fn read(table: &str, text: &str) -> Result<Snapshot> {
    serde_json::from_str(text)
        .map_err(|_| Error::Broken(format!("the fact snapshot/{table} in the raw store does not read")))
}

fn write(table: &str, snapshot: &Snapshot) -> Result<String> {
    serde_json::to_string(snapshot).map_err(|e| Error::Broken(format!("the snapshot of {table}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Epoch, Op, Position, Row};

    fn record(partition: i32, offset: i64, (commit_lsn, lsn): (u64, u64), snapshot: SnapshotMark) -> Record {
        let source = SourcePosition::Postgres { incarnation: 1, commit_lsn, lsn };
        let position = Position { topic: "t".into(), epoch: Epoch::default(), partition, offset, source };
        Record {
            table: "account".into(),
            op: if snapshot == SnapshotMark::None { Op::Update } else { Op::Read },
            key: Row::empty(),
            row: None,
            patch: None,
            before: None,
            position,
            version: 0,
            changed_at: None,
            snapshot,
            origin: 0,
        }
    }

    /// Whether each record asks for a sweep, in order.
    fn sweeps(records: &[Record]) -> Vec<bool> {
        let mut known = None;
        let ask = |record: &Record| match next(known.as_ref(), record) {
            Some((snapshot, sweep)) => {
                known = Some(snapshot);
                sweep.is_some()
            }
            None => false,
        };
        records.iter().map(ask).collect()
    }

    #[test]
    fn each_partition_is_swept_once_behind_a_complete_snapshot() {
        use SnapshotMark::{First, Last, None, Within};
        let first = [record(0, 1, (0, 100), First), record(1, 1, (0, 100), Within)];
        let early = record(1, 2, (90, 95), None);
        let last = record(0, 2, (0, 100), Last);
        let changes = [record(0, 3, (110, 115), None), record(0, 4, (116, 118), None), record(1, 7, (116, 119), None)];
        let all = [&first[..], &[early, last], &changes].concat();
        assert_eq!(sweeps(&all), [false, false, false, false, true, false, true]);
        // Read again from anywhere, the same changes ask.
        let again = [&all[..], &all[5..], &all[4..5]].concat();
        assert_eq!(sweeps(&again)[7..], [false, true, true]);
    }

    #[test]
    fn an_incomplete_snapshot_sweeps_nothing() {
        use SnapshotMark::{First, Last, None, Within};
        let broken = [record(0, 1, (0, 100), First), record(0, 2, (0, 100), Within), record(0, 3, (110, 120), None)];
        assert_eq!(sweeps(&broken), [false; 3]);
        // The next one was complete: what it says counts, and rows of the broken one that are read again do not.
        let whole = [record(0, 4, (0, 200), First), record(0, 5, (0, 200), Last), broken[1].clone()];
        let change = record(0, 6, (210, 220), None);
        assert_eq!(
            sweeps(&[&broken[..], &whole, &[change]].concat()),
            [false, false, false, false, false, false, true]
        );
        // A change that lies before the snapshot says nothing about it.
        let older = record(0, 9, (150, 160), None);
        assert_eq!(sweeps(&[whole[0].clone(), whole[1].clone(), older]), [false; 3]);
    }
}
