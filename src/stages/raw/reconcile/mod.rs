//! Rows that a later snapshot of their table did not show: they were deleted while nobody looked (the connector was away,
//! its slot lost), so no event tells it.
//!
//! A snapshot reads a table at one place of the source's log and sends its rows into all partitions. When all of them are
//! stored, what was last written before that place is gone. That all are stored is known
//! - of the table, when there are as many as the connector counted (its notification `TABLE_SCAN_COMPLETED`); of a table
//!   without rows by the notification alone, once another table of the pipeline has shown where the snapshot was taken;
//! - of a partition, when the snapshot's last row was seen and a change was read from the partition that was streamed behind
//!   it: the rows stand before that change.
//!
//! Invariants: nothing is swept unless the snapshot is known to be complete; a sweep is repeated, with the same result, until
//! the batch behind it has come: what is derived follows after any crash. A row that a sweep takes in error, because its
//! snapshot row is still under way, comes back with that. State: facts `reconcile/TABLE` and `reconcile-begun` in the raw store.
//!
//! Deliberately absent: connectors that tell no place of the log; counts and empty tables of a source whose clock is ahead of
//! the connector's by more than its snapshot takes. Without notifications: partitions in which nothing is
//! streamed after the snapshot (they are swept with the next change), and tables that have become empty. A snapshot of a
//! part of a table (with conditions) must not be taken of a table under `reconcile`.

mod shown;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::record::{Epoch, News, Position, Record, SnapshotMark, SourcePosition, lies_before};
use crate::stores::{SharedStore, Sweep};
use shown::{Begun, Due, Known, Scan, begin};

/// How often a lane looks for what other lanes have seen.
const REFRESH: Duration = Duration::from_secs(5);
/// The fact that remembers where snapshots began.
const BEGUN: &str = "reconcile-begun";

/// A partition of a topic's life.
type Place = (Arc<str>, Epoch, i32);

/// Offsets of a snapshot's rows in one partition, and whether one of them is the last.
type Shown = (Vec<i64>, bool);

/// What a batch holds about snapshots.
#[derive(Default)]
pub struct Seen {
    /// Rows of snapshots by table, place in the source's log and partition.
    shown: FxHashMap<(Arc<str>, SourcePosition, Place), Shown>,
    /// Where snapshots of any table began, with their time.
    begun: FxHashMap<SourcePosition, i64>,
}

/// What one lane knows about snapshots.
pub struct Reconciler {
    store: SharedStore,
    tables: BTreeSet<Arc<str>>,
    known: FxHashMap<Arc<str>, Known>,
    begun: Begun,
    refreshed: Option<Instant>,
    /// The newest change that this lane has read, by table and partition.
    streamed: FxHashMap<(Arc<str>, Place), SourcePosition>,
    /// What was swept with the batch before this one.
    swept: Vec<(Arc<str>, Due)>,
}

impl Reconciler {
    /// Reconciles `tables`.
    pub fn new(store: SharedStore, tables: BTreeSet<Arc<str>>) -> Self {
        Reconciler {
            store,
            tables,
            known: FxHashMap::default(),
            begun: Begun::new(),
            refreshed: None,
            streamed: FxHashMap::default(),
            swept: Vec::new(),
        }
    }

    /// Looks at the records of a batch before they are applied.
    pub fn look(&mut self, records: &[Record]) -> Seen {
        let mut seen = Seen::default();
        if self.tables.is_empty() {
            return seen;
        }
        for record in records.iter().filter(|record| record.position.source != SourcePosition::Unknown) {
            let at = record.position.source;
            if record.snapshot != SnapshotMark::None
                && let Some(time) = record.changed_at
            {
                seen.begun.entry(at).or_insert_with(|| time.as_millis());
            }
            if !self.tables.contains(&record.table) {
                continue;
            }
            if record.snapshot == SnapshotMark::None {
                let newest = self.streamed.entry((record.table.clone(), place(&record.position))).or_insert(at);
                if !lies_before(&at, newest) {
                    *newest = at;
                }
            } else {
                let (offsets, last) =
                    seen.shown.entry((record.table.clone(), at, place(&record.position))).or_default();
                offsets.push(record.position.offset);
                *last |= record.snapshot == SnapshotMark::Last;
            }
        }
        seen
    }

    /// The records of a batch are stored: gives the deletes that follow, of which `origin` is the message.
    pub async fn sweep(&mut self, seen: Seen, news: &[News], origin: u32) -> Result<Vec<Record>> {
        if self.tables.is_empty() {
            return Ok(Vec::new());
        }
        self.refresh().await?;
        let swept = std::mem::take(&mut self.swept);
        // The lane that writes the last of what there is to know reads what others wrote: then one of them sees it all.
        if self.learn_begun(&seen).await? {
            self.look_up_tables().await?;
        }
        for table in self.tables.clone() {
            self.learn(&table, &seen, news, &swept).await?;
        }
        if news.iter().any(|news| matches!(news, News::Scanned { .. })) {
            self.look_up_begun().await?;
        }
        let mut gone = Vec::new();
        for table in self.tables.clone() {
            while let Some(due) = self.due(&table) {
                gone.extend(self.take_out(&table, &due, origin).await?);
                self.swept.push((table.clone(), due));
            }
        }
        Ok(gone)
    }

    /// What is to be swept of a table and was not just now.
    fn due(&self, table: &Arc<str>) -> Option<Due> {
        let mut known = self.known.get(table)?.clone();
        self.swept.iter().filter(|(swept, _)| swept == table).for_each(|(_, due)| known.done(due));
        known.due(&self.begun)
    }

    /// Takes the rows out.
    async fn take_out(&self, table: &Arc<str>, due: &Due, origin: u32) -> Result<Vec<Record>> {
        let sweep = Sweep { table: table.clone(), than: due.than, within: due.within.clone() };
        let mut gone = self.store.sweep(sweep).await?;
        if !gone.is_empty() {
            tracing::warn!(table = &**table, rows = gone.len(), "deleted what the last snapshot did not show");
        }
        gone.iter_mut().for_each(|record| record.origin = origin);
        Ok(gone)
    }

    /// Looks now and then for what other lanes have seen.
    async fn refresh(&mut self) -> Result<()> {
        if self.refreshed.is_some_and(|at| at.elapsed() < REFRESH) {
            return Ok(());
        }
        self.look_up_tables().await?;
        self.look_up_begun().await?;
        self.refreshed = Some(Instant::now());
        Ok(())
    }

    async fn look_up_tables(&mut self) -> Result<()> {
        for table in self.tables.clone() {
            self.look_up(&table).await?;
        }
        Ok(())
    }

    async fn look_up(&mut self, table: &Arc<str>) -> Result<()> {
        let name = fact_name(table);
        let known = read(&name, self.store.facts(&name).await?.get(&name))?;
        self.known.insert(table.clone(), known.unwrap_or_default());
        Ok(())
    }

    async fn look_up_begun(&mut self) -> Result<()> {
        self.begun = read(BEGUN, self.store.facts(BEGUN).await?.get(BEGUN))?.unwrap_or_default();
        Ok(())
    }

    /// Adds what a batch tells about a table to what all lanes know.
    async fn learn(&mut self, table: &Arc<str>, seen: &Seen, news: &[News], swept: &[(Arc<str>, Due)]) -> Result<()> {
        loop {
            let before = self.known.get(table).cloned().unwrap_or_default();
            let mut next = before.clone();
            for ((of, at, place), (offsets, last)) in &seen.shown {
                if of == table {
                    next.show((*at, seen.begun.get(at).copied()), &name_of(place), offsets, *last);
                }
            }
            for news in news {
                if let News::Scanned { table: of, at_ms, rows } = news
                    && **of == **table
                {
                    next.scan(&Scan::new(*at_ms, *rows));
                }
            }
            for ((of, place), at) in &self.streamed {
                if of == table {
                    next.pass(at, &name_of(place));
                }
            }
            swept.iter().filter(|(of, _)| of == table).for_each(|(_, due)| next.done(due));
            if next == before || self.replace(&fact_name(table), &before, &Known::default(), &next).await? {
                self.known.insert(table.clone(), next);
                return Ok(());
            }
            self.look_up(table).await?;
        }
    }

    /// Adds where snapshots began; whether that was news.
    async fn learn_begun(&mut self, seen: &Seen) -> Result<bool> {
        loop {
            let mut next = self.begun.clone();
            let mut news = false;
            for (at, ms) in &seen.begun {
                news |= begin(&mut next, *at, *ms);
            }
            if !news || self.replace(BEGUN, &self.begun, &Begun::new(), &next).await? {
                self.begun = next;
                return Ok(news);
            }
            self.look_up_begun().await?;
        }
    }

    /// Replaces a fact, `nothing` being what is known without it; false when another lane was faster.
    async fn replace<T: Serialize + PartialEq>(&self, name: &str, before: &T, nothing: &T, next: &T) -> Result<bool> {
        let text = |value: &T| serde_json::to_string(value).map_err(|e| Error::Broken(format!("the fact {name}: {e}")));
        let expected = (before != nothing).then(|| text(before)).transpose()?;
        self.store.replace_fact(name, expected.as_deref(), &text(next)?).await
    }
}

fn place(position: &Position) -> Place {
    (position.topic.clone(), position.epoch, position.partition)
}

fn name_of((topic, epoch, partition): &Place) -> String {
    Sweep::partition(topic, *epoch, *partition)
}

fn fact_name(table: &str) -> String {
    format!("reconcile/{table}")
}

fn read<T: DeserializeOwned>(name: &str, text: Option<&String>) -> Result<Option<T>> {
    let read = |text: &String| serde_json::from_str(text);
    text.map(read).transpose().map_err(|_| Error::Broken(format!("the fact {name} in the raw store does not read")))
}
