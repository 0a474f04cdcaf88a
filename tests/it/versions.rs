//! `supersedes` as a property: whatever the log and however it is read, the raw store ends as the database.
//!
//! The database is a small model of PostgreSQL: transactions that are open side by side, whose changes interleave in the
//! log and leave it in the order of their commits; rows hold their locks; keys change; the table is truncated; snapshots
//! are taken while transactions are open. The connector repeats suffixes; the topic gets more partitions, so that keys
//! move; at last it is created anew from a database whose log begins again. Lanes read the partitions in any order, in any
//! batches, and go back.

use std::collections::BTreeMap;
use std::path::Path;

use headwater::record::{Epoch, Op, Position, Record, Row, SourcePosition, Value};
use headwater::stores::{SharedStore, Stores};
use proptest::prelude::*;

const SLOTS: usize = 3;
const KEYS: i64 = 6;

/// One step of the database or the connector.
#[derive(Debug, Clone)]
enum Step {
    Put(usize, i64),
    Delete(usize, i64),
    Move(usize, i64, i64),
    Truncate(usize),
    Commit(usize),
    Snapshot,
    Repeat(usize),
    Grow,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = || 0..SLOTS;
    let key = || 0..KEYS;
    let one = prop_oneof![
        8 => (slot(), key()).prop_map(|(s, k)| Step::Put(s, k)),
        3 => (slot(), key()).prop_map(|(s, k)| Step::Delete(s, k)),
        2 => (slot(), key(), key()).prop_map(|(s, a, b)| Step::Move(s, a, b)),
        1 => slot().prop_map(Step::Truncate),
        6 => slot().prop_map(Step::Commit),
        1 => Just(Step::Snapshot),
        2 => (1..6usize).prop_map(Step::Repeat),
        1 => Just(Step::Grow),
    ];
    prop::collection::vec(one, 0..60)
}

/// A change in the source's log, before it has a place in the topic.
#[derive(Debug, Clone)]
struct Change {
    op: Op,
    key: i64,
    value: i64,
    source: SourcePosition,
}

/// Partitions with what they hold, and the growth in which each came into being.
type Topic = Vec<(u16, Vec<Change>)>;

struct Database {
    rows: BTreeMap<i64, i64>,
    open: [Vec<(Op, i64, i64, u64)>; SLOTS],
    locks: BTreeMap<i64, usize>,
    lsn: u64,
    last_commit: u64,
    value: i64,
    /// Since the last snapshot, to be repeated.
    sent: Vec<Change>,
    topic: Topic,
    partitions: usize,
}

impl Database {
    fn new(rows: BTreeMap<i64, i64>, value: i64) -> Self {
        let topic = vec![(0, Vec::new()); 2];
        let (open, locks) = (Default::default(), BTreeMap::new());
        Database { rows, open, locks, lsn: 10, last_commit: 0, value, sent: Vec::new(), topic, partitions: 2 }
    }

    fn next_lsn(&mut self) -> u64 {
        self.lsn += 10;
        self.lsn
    }

    /// Takes the lock of a row, unless another transaction has it.
    fn lock(&mut self, slot: usize, key: i64) -> bool {
        *self.locks.entry(key).or_insert(slot) == slot
    }

    /// Whether the row exists for the transaction that holds its lock.
    fn exists(&self, slot: usize, key: i64) -> bool {
        let own = self.open[slot].iter().rev().find(|(op, k, ..)| *k == key || *op == Op::Truncate);
        own.map_or(self.rows.contains_key(&key), |(op, ..)| op.is_upsert())
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Put(slot, key) if self.lock(slot, key) => {
                let op = if self.exists(slot, key) { Op::Update } else { Op::Create };
                self.value += 1;
                let (value, lsn) = (self.value, self.next_lsn());
                self.open[slot].push((op, key, value, lsn));
            }
            Step::Delete(slot, key) if self.lock(slot, key) && self.exists(slot, key) => {
                let lsn = self.next_lsn();
                self.open[slot].push((Op::Delete, key, 0, lsn));
            }
            Step::Move(slot, from, to)
                if from != to
                    && self.lock(slot, from)
                    && self.lock(slot, to)
                    && self.exists(slot, from)
                    && !self.exists(slot, to) =>
            {
                self.value += 1;
                // One change of the source, two events of one place.
                let (value, lsn) = (self.value, self.next_lsn());
                self.open[slot].extend([(Op::Delete, from, 0, lsn), (Op::Create, to, value, lsn)]);
            }
            Step::Truncate(slot) if self.locks.values().all(|owner| *owner == slot) => {
                for key in 0..KEYS {
                    self.locks.insert(key, slot);
                }
                let lsn = self.next_lsn();
                self.open[slot].push((Op::Truncate, 0, 0, lsn));
            }
            Step::Commit(slot) => self.commit(slot),
            Step::Snapshot => self.snapshot(),
            Step::Repeat(count) => {
                let again = self.sent[self.sent.len().saturating_sub(count)..].to_vec();
                again.into_iter().for_each(|change| self.send(change));
            }
            Step::Grow if self.topic.len() == self.partitions && self.partitions < 8 => {
                let growth = self.topic.iter().map(|(growth, _)| *growth).max().unwrap() + 1;
                self.partitions *= 2;
                self.topic.resize(self.partitions, (growth, Vec::new()));
            }
            _ => {}
        }
    }

    fn commit(&mut self, slot: usize) {
        self.locks.retain(|_, owner| *owner != slot);
        for (op, key, value, lsn) in std::mem::take(&mut self.open[slot]) {
            match op {
                Op::Truncate => self.rows.clear(),
                Op::Delete => _ = self.rows.remove(&key),
                _ => _ = self.rows.insert(key, value),
            }
            let source = SourcePosition::Postgres { incarnation: 1, commit_lsn: self.last_commit, lsn };
            let change = Change { op, key, value, source };
            self.sent.push(change.clone());
            self.send(change);
        }
        self.last_commit = self.next_lsn();
    }

    /// All committed rows at one place. Something commits right behind it: until then a connector tells no commits, and
    /// what was written before the snapshot could not be told from what it holds.
    fn snapshot(&mut self) {
        let lsn = self.next_lsn();
        self.sent.clear();
        for (key, value) in self.rows.clone() {
            let source = SourcePosition::Postgres { incarnation: 1, commit_lsn: 0, lsn };
            self.send(Change { op: Op::Read, key, value, source });
        }
        self.last_commit = self.next_lsn();
    }

    fn send(&mut self, change: Change) {
        // A truncate has no key.
        let partition = if change.op == Op::Truncate { 0 } else { change.key as usize % self.partitions };
        self.topic[partition].1.push(change);
    }

    /// Ends all transactions.
    fn close(mut self) -> (Topic, BTreeMap<i64, i64>, i64) {
        (0..SLOTS).for_each(|slot| self.commit(slot));
        (self.topic, self.rows, self.value)
    }
}

fn record(change: &Change, incarnation: u16, growth: u16, partition: usize, offset: usize) -> Record {
    let id = ("id", Value::Int(change.key));
    let keyed = change.op != Op::Truncate;
    Record {
        table: "account".into(),
        op: change.op,
        key: if keyed { Row::of([id.clone()]) } else { Row::empty() },
        row: change.op.is_upsert().then(|| Row::of([id, ("value", Value::Int(change.value))])),
        patch: None,
        before: None,
        position: Position {
            topic: "t".into(),
            epoch: Epoch { incarnation, growth },
            partition: partition as i32,
            offset: offset as i64,
            source: change.source,
        },
        version: 0,
        changed_at: None,
        snapshot: Default::default(),
        origin: 0,
    }
}

/// A read: which partition, how many, and how far back it goes first.
type Read = (prop::sample::Index, usize, usize);

/// Reads the topic in the order of `reads`, then the rest. `late` is what another lane still holds of an earlier life.
async fn consume(store: &SharedStore, topic: &Topic, incarnation: u16, reads: &[Read], late: &[Record]) {
    let mut next = vec![0usize; topic.len()];
    let rest = (0..topic.len()).map(|partition| (partition, usize::MAX, 0));
    let chosen = reads.iter().map(|(at, take, back)| (at.index(topic.len()), *take, *back));
    for (n, (partition, take, back)) in chosen.chain(rest).enumerate() {
        let (growth, changes) = &topic[partition];
        let from = next[partition].saturating_sub(back);
        let to = from.saturating_add(take).min(changes.len());
        let batch = (from..to).map(|offset| record(&changes[offset], incarnation, *growth, partition, offset));
        let held = if n == 2 { late } else { &[] };
        let applied = store.apply(held.iter().cloned().chain(batch).collect()).await.unwrap();
        assert!(applied.rejects.is_empty());
        next[partition] = next[partition].max(to);
    }
}

async fn stored(store: &SharedStore) -> BTreeMap<i64, i64> {
    let number = |value: Option<&Value>| match value {
        Some(Value::Int(n)) => *n,
        other => panic!("{other:?}"),
    };
    let rows = store.snapshot().await.unwrap().scan("account", None, usize::MAX).await.unwrap();
    rows.iter().map(|stored| (number(stored.row.get("id")), number(stored.row.get("value")))).collect()
}

fn reads() -> impl Strategy<Value = Vec<Read>> {
    prop::collection::vec((any::<prop::sample::Index>(), 1..6usize, 0..4usize), 0..30)
}

fn config() -> ProptestConfig {
    let cases = std::env::var("HEADWATER_TEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    ProptestConfig { cases, max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_reading_of_every_log_ends_as_the_database(
        first in steps(), second in steps(), read_first in reads(), read_second in reads(),
    ) {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut database = Database::new(BTreeMap::new(), 0);
        first.iter().for_each(|step| database.step(step));
        let (topic, rows, value) = database.close();
        // The database is restored, its log begins again, and so does the topic.
        let mut database = Database::new(rows.clone(), value);
        database.snapshot();
        second.iter().for_each(|step| database.step(step));
        let (topic_anew, rows_anew, _) = database.close();
        let (after, after_anew) = runtime.block_on(async {
            let store = Stores::new(dir.path()).get("bank").await.unwrap();
            consume(&store, &topic, 0, &read_first, &[]).await;
            let after = stored(&store).await;
            let held = topic[0].1.iter().enumerate().map(|(offset, change)| record(change, 0, 0, 0, offset));
            consume(&store, &topic_anew, 1, &read_second, &held.collect::<Vec<_>>()).await;
            (after, stored(&store).await)
        });
        prop_assert_eq!(after, rows, "before the topic was created anew");
        prop_assert_eq!(after_anew, rows_anew, "after it was created anew");
    }
}
