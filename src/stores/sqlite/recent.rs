//! The rows of the newest commits, kept in memory: what was just written is what is read next. A lane applies a batch and
//! then computes documents from a snapshot that contains it; without this, each row would be looked up in the file and
//! read out of its JSON again.
//!
//! Invariant: an entry is what a snapshot of version `v` holds under its key if `entry.commit <= v <= newest`: every
//! write of this process replaces the entry of its key, or forgets them all, in the step that raises `newest`; and a
//! commit of another process lies above `newest` until our next write, which then forgets everything before it.
//!
//! Deliberately absent: rows that were only read. What is kept is bounded by commits, rows and bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use crate::record::{Row, Value};
use crate::stores::Identity;

/// Two commits for each batch, of some lanes. What is kept holds the buffers of its messages, too.
const COMMITS: usize = 8;
const ROWS: usize = 24_000;
const BYTES: usize = 8 << 20;

/// One write: table, key, and the row; `None` when it was deleted.
pub type Written = (Arc<str>, Identity, Option<Row>);

/// What is under a table's keys, each with the commit that wrote it.
type Rows = FxHashMap<Identity, (i64, Option<Row>)>;

/// Rows by table and key.
#[derive(Default)]
pub struct Recent {
    newest: i64,
    tables: FxHashMap<Arc<str>, Rows>,
    commits: VecDeque<Commit>,
    rows: usize,
    bytes: usize,
}

/// What a commit wrote.
struct Commit {
    number: i64,
    keys: Vec<(Arc<str>, Identity)>,
    bytes: usize,
}

/// The rows, for as long as a few of them are looked at or told.
pub fn locked(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recent {
    /// Takes what the commit `number` wrote: all of it.
    pub fn publish(&mut self, number: i64, written: Vec<Written>) {
        self.newest = number;
        let mut commit = Commit { number, keys: Vec::with_capacity(written.len()), bytes: 0 };
        for (table, key, row) in written {
            commit.bytes += row.as_ref().map_or(0, size_of);
            commit.keys.push((table.clone(), key.clone()));
            self.tables.entry(table).or_default().insert(key, (number, row));
        }
        self.rows += commit.keys.len();
        self.bytes += commit.bytes;
        self.commits.push_back(commit);
        while self.commits.len() > COMMITS || self.rows > ROWS || self.bytes > BYTES {
            if !self.drop_oldest() {
                break;
            }
        }
    }

    /// Forgets everything: something was written that is not known here.
    pub fn forget(&mut self) {
        *self = Recent::default();
    }

    /// What the snapshot of `version` holds under `key`: a row, or nothing; `None` when that is not known here.
    pub fn get(&self, version: u64, table: &str, key: &Identity) -> Option<Option<Row>> {
        let version = i64::try_from(version).ok().filter(|version| *version <= self.newest)?;
        let (commit, row) = self.tables.get(table)?.get(key)?;
        (*commit <= version).then(|| row.clone())
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(commit) = self.commits.pop_front() else { return false };
        self.rows -= commit.keys.len();
        self.bytes -= commit.bytes;
        for (table, key) in commit.keys {
            let Some(rows) = self.tables.get_mut(&table) else { continue };
            // A later commit's entry stays.
            if rows.get(&key).is_some_and(|(number, _)| *number == commit.number) {
                rows.remove(&key);
            }
        }
        true
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

    fn written(key: i64, row: Option<Row>) -> Written {
        ("t".into(), Identity::Int(key), row)
    }

    #[test]
    fn a_snapshot_sees_what_its_version_holds_or_nothing_is_known() {
        let mut recent = Recent::default();
        recent.publish(10, vec![written(1, row(1)), written(2, row(2))]);
        recent.publish(11, vec![written(1, row(3)), written(2, None)]);
        let get = |version, key| recent.get(version, "t", &Identity::Int(key));
        assert_eq!(get(11, 1), Some(row(3)));
        assert_eq!(get(11, 2), Some(None));
        assert_eq!(get(10, 1), None, "an older snapshot than the entry");
        assert_eq!(get(12, 1), None, "a commit that is not known here may have changed it");
        assert_eq!(get(11, 3), None);
        assert_eq!(recent.get(11, "u", &Identity::Int(1)), None);
    }

    #[test]
    fn what_is_kept_is_bounded_and_later_entries_outlive_earlier_commits() {
        let mut recent = Recent::default();
        for commit in 0..100 {
            recent.publish(commit, vec![written(0, row(commit)), written(commit + 1, row(commit))]);
        }
        assert_eq!(recent.get(99, "t", &Identity::Int(0)), Some(row(99)));
        assert_eq!(recent.get(99, "t", &Identity::Int(5)), None);
        assert_eq!(recent.tables.values().map(FxHashMap::len).sum::<usize>(), COMMITS + 1);
        let long = Some(Row::of([("text", Value::text("x".repeat(BYTES + 1)))]));
        recent.publish(100, vec![written(1, long)]);
        assert_eq!(recent.get(100, "t", &Identity::Int(1)), None);
        assert_eq!((recent.rows, recent.bytes), (0, 0));
        recent.publish(101, vec![written(1, row(1))]);
        recent.forget();
        assert_eq!(recent.get(101, "t", &Identity::Int(1)), None);
    }
}
