//! The rows of the newest commits, kept in memory: what was just written is what is read next. A lane applies a batch and
//! then computes documents from a snapshot that contains it; without this, each row would be looked up in the file and
//! read out of its JSON again.
//!
//! Invariant: commits are kept without a gap up to `newest`, each with everything that it wrote; so what a snapshot of
//! version `v <= newest` holds under a key is what the last kept commit up to `v` wrote there, if one did. Every write of
//! this process is told here, or all are forgotten, in the step that raises `newest`; and a commit of another process lies
//! above `newest` until our next write, which then forgets everything before it.
//!
//! Deliberately absent: rows that were only read. What is kept is bounded by commits, rows and bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::record::{Row, Value};
use crate::stores::Identity;

/// Two commits for each batch, of some lanes. What is kept holds the buffers of its messages, too.
const COMMITS: usize = 8;
const ROWS: usize = 24_000;
const BYTES: usize = 8 << 20;

/// What a commit wrote to a table under each key: a row, or nothing when it was deleted.
pub type Rows = FxHashMap<Identity, Option<Row>>;

/// What a commit wrote, by table.
#[derive(Debug, Default)]
pub struct Written {
    tables: Vec<(Arc<str>, Rows)>,
}

impl Written {
    /// Takes what the commit writes last under `key`.
    pub fn tell(&mut self, table: &Arc<str>, key: &Identity, row: Option<&Row>) {
        let at = match self.tables.iter().position(|(name, _)| name == table) {
            Some(at) => at,
            None => {
                self.tables.push((table.clone(), Rows::default()));
                self.tables.len() - 1
            }
        };
        if let Some((_, rows)) = self.tables.get_mut(at) {
            rows.insert(key.clone(), row.cloned());
        }
    }

    fn rows(&self, table: &str) -> Option<&Rows> {
        self.tables.iter().find(|(name, _)| **name == *table).map(|(_, rows)| rows)
    }
}

/// The newest commits.
#[derive(Default)]
pub struct Recent {
    newest: i64,
    commits: VecDeque<Commit>,
    rows: usize,
    bytes: usize,
}

struct Commit {
    number: i64,
    written: Written,
    rows: usize,
    bytes: usize,
}

/// The rows, for as long as a few of them are looked at or told.
pub fn locked(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recent {
    /// Takes what the commit `number` wrote: all of it.
    pub fn publish(&mut self, number: i64, written: Written) {
        self.newest = number;
        let rows = || written.tables.iter().flat_map(|(_, rows)| rows.values());
        let (count, bytes) = (rows().count(), rows().flatten().map(size_of).sum());
        self.rows += count;
        self.bytes += bytes;
        self.commits.push_back(Commit { number, written, rows: count, bytes });
        while self.commits.len() > COMMITS || self.rows > ROWS || self.bytes > BYTES {
            let Some(oldest) = self.commits.pop_front() else { break };
            self.rows -= oldest.rows;
            self.bytes -= oldest.bytes;
        }
    }

    /// Forgets everything: something was written that is not known here.
    pub fn forget(&mut self) {
        *self = Recent::default();
    }

    /// What the snapshot of `version` holds in `table`, as far as it is known here.
    pub fn view(&self, version: u64, table: &str) -> View<'_> {
        let version = i64::try_from(version).ok().filter(|version| *version <= self.newest);
        let commits =
            self.commits.iter().rev().filter(|commit| version.is_some_and(|version| commit.number <= version));
        View { rows: commits.filter_map(|commit| commit.written.rows(table)).collect() }
    }
}

/// What a snapshot holds in a table, newest commit first.
pub struct View<'r> {
    rows: SmallVec<[&'r Rows; COMMITS]>,
}

impl View<'_> {
    /// What is under `key`: a row, or nothing; `None` when that is not known.
    pub fn get(&self, key: &Identity) -> Option<Option<Row>> {
        self.rows.iter().find_map(|rows| rows.get(key)).cloned()
    }
}

/// About how many bytes a row keeps in memory.
fn size_of(row: &Row) -> usize {
    let long = |value: &Value| match value {
        Value::Text(text) | Value::Json(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => 64 * items.len(),
        Value::Map(entries) => 96 * entries.len(),
        _ => 0,
    };
    row.values().iter().map(|value| size_of_val(value) + long(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: i64) -> Option<Row> {
        Some(Row::of([("n", Value::Int(n))]))
    }

    fn written(rows: impl IntoIterator<Item = (i64, Option<Row>)>) -> Written {
        let mut written = Written::default();
        for (key, row) in rows {
            written.tell(&"t".into(), &Identity::Int(key), row.as_ref());
        }
        written
    }

    #[test]
    fn a_snapshot_sees_what_its_version_holds_or_nothing_is_known() {
        let mut recent = Recent::default();
        recent.publish(10, written([(1, row(1)), (2, row(2)), (4, row(4)), (4, row(5))]));
        recent.publish(11, written([(1, row(3)), (2, None)]));
        let get = |version, key| recent.view(version, "t").get(&Identity::Int(key));
        assert_eq!(get(11, 1), Some(row(3)));
        assert_eq!(get(11, 2), Some(None));
        assert_eq!(get(11, 4), Some(row(5)), "the last write of a commit");
        assert_eq!(get(10, 1), Some(row(1)), "an older snapshot");
        assert_eq!(get(9, 1), None, "a snapshot older than what is kept");
        assert_eq!(get(12, 1), None, "a commit that is not known here may have changed it");
        assert_eq!(get(11, 3), None);
        assert_eq!(recent.view(11, "u").get(&Identity::Int(1)), None);
    }

    #[test]
    fn what_is_kept_is_bounded_and_later_entries_outlive_earlier_commits() {
        let mut recent = Recent::default();
        for commit in 0..100 {
            recent.publish(commit, written([(0, row(commit)), (commit + 1, row(commit))]));
        }
        let get = |recent: &Recent, version, key| recent.view(version, "t").get(&Identity::Int(key));
        assert_eq!(get(&recent, 99, 0), Some(row(99)));
        assert_eq!(get(&recent, 99, 5), None);
        assert_eq!((recent.commits.len(), recent.rows), (COMMITS, 2 * COMMITS));
        let long = Some(Row::of([("text", Value::text("x".repeat(BYTES + 1)))]));
        recent.publish(100, written([(1, long)]));
        assert_eq!(get(&recent, 100, 1), None);
        assert_eq!((recent.rows, recent.bytes), (0, 0));
        recent.publish(101, written([(1, row(1))]));
        recent.forget();
        assert_eq!(get(&recent, 101, 1), None);
    }
}
