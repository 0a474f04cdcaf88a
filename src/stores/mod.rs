//! Raw TX stores: exact copies of source tables, versioned rows, and what was parked.
//!
//! Invariants
//! - rows and the fact that they were applied are one durable commit; applying a batch again changes nothing;
//! - an older position never replaces a newer one; a delete leaves a tombstone with its position and the last known row;
//! - a snapshot has a version that only grows, and a snapshot with a higher version contains everything of a lower one;
//! - a link (an indexed value of a row) is never forgotten: [`Snapshot::links_of`] tells every value that a row has
//!   ever had, so that a document that lost a child is found again after any crash, replay or skipped step.
//!
//! Deliberately absent: transactions across tables for readers other than snapshots, queries, history of rows.

mod codec;
mod identity;
mod merge;
pub mod mongodb;
mod resent;
pub mod sqlite;

pub use identity::{Identity, identity};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Error, Result};
use crate::record::{
    Epoch, Message, Op, Order, Position, Record, Reject, Row, SnapshotMark, SourcePosition, Value, lies_before,
    supersedes,
};

/// Every store of this process, opened once per name.
pub struct Stores {
    data_dir: PathBuf,
    names: BTreeMap<String, String>,
    open: tokio::sync::Mutex<BTreeMap<String, SharedStore>>,
}

impl Stores {
    /// No store is opened yet; embedded ones live in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Stores { data_dir: data_dir.into(), names: BTreeMap::new(), open: tokio::sync::Mutex::default() }
    }

    /// What names stand for: the path of an embedded store or a `mongodb://` URI.
    #[must_use]
    pub fn with_names(mut self, names: BTreeMap<String, String>) -> Self {
        self.names = names;
        self
    }

    /// Makes `name` stand for a store that is open already.
    #[must_use]
    pub fn with_open(mut self, name: &str, store: SharedStore) -> Self {
        self.open.get_mut().insert(name.to_string(), store);
        self
    }

    /// The store called `name`: a plain name is an embedded store `DATA_DIR/NAME.db`, a `mongodb://` URI a database.
    pub async fn get(&self, name: &str) -> Result<SharedStore> {
        let mut open = self.open.lock().await;
        if let Some(store) = open.get(name) {
            return Ok(store.clone());
        }
        let store: SharedStore = match self.place_of(name)? {
            Place::MongoDb(uri) => Arc::new(mongodb::MongoStore::open(&uri).await?),
            Place::File(path) => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)
                        .map_err(|e| Error::Unavailable(format!("folder {} cannot be made: {e}", folder.display())))?;
                }
                Arc::new(sqlite::SqliteStore::open(path).await?)
            }
        };
        open.insert(name.to_string(), store.clone());
        Ok(store)
    }

    /// Like [`Stores::get`], but never makes a store: for looking into what is there.
    pub async fn existing(&self, name: &str) -> Result<SharedStore> {
        if let Place::File(path) = self.place_of(name)?
            && !path.is_file()
        {
            return Err(Error::Config(format!("there is no store `{name}`: {} does not exist", path.display())));
        }
        self.get(name).await
    }

    fn place_of(&self, name: &str) -> Result<Place> {
        let known = self.names.get(name);
        let place = known.map_or(name, String::as_str);
        if place.starts_with("mongodb://") || place.starts_with("mongodb+srv://") {
            return Ok(Place::MongoDb(place.to_string()));
        }
        if known.is_some() {
            return Ok(Place::File(place.into()));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(Error::Config(
                "a store's name is made of letters, digits, `_`, `-` and `.`, or is a mongodb:// URI".into(),
            ));
        }
        Ok(Place::File(self.data_dir.join(format!("{name}.db"))))
    }
}

/// Where a store is.
enum Place {
    File(PathBuf),
    /// May hold a password: not for printing.
    MongoDb(String),
}

/// A secondary index that joins look rows up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Index {
    /// Table name.
    pub table: String,
    /// Column name.
    pub column: String,
}

/// What became of a batch of records in [`RawStore::apply`].
#[derive(Debug, Default)]
pub struct Applied {
    /// The records whose rows are now stored, new ones and re-delivered ones, in order, with complete rows (unchanged
    /// values filled in from the store). Stale records are left out: whoever stored the newer row derives from it.
    pub records: Vec<Record>,
    /// Records that cannot be applied (unchanged values without a stored row, rows without a key).
    pub rejects: Vec<(Record, Reject)>,
    /// How many were stale.
    pub stale: u64,
}

/// A message kept aside, as it is stored.
#[derive(Debug, Clone)]
pub struct Parked {
    /// Identity: `topic:partition:offset` and the stage's name, so that parking again changes nothing.
    pub id: String,
    /// The pipeline that parked it.
    pub pipeline: String,
    /// The stage that could not go on.
    pub stage: String,
    /// Stable class of the reason.
    pub code: String,
    /// What was expected and what to do.
    pub reason: String,
    /// The table, when known.
    pub table: Option<String>,
    /// When it was parked, milliseconds since 1970.
    pub parked_at_ms: i64,
    /// The original message: bytes, headers and place.
    pub message: Message,
}

/// A stored row as look-ups give it.
#[derive(Debug, Clone)]
pub struct StoredRow {
    /// Key columns and values.
    pub key: Row,
    /// The row.
    pub row: Row,
}

/// A stored row as scans give it: with what it takes to deliver it again.
#[derive(Debug, Clone)]
pub struct ScannedRow {
    /// Key columns and values.
    pub key: Row,
    /// The row.
    pub row: Row,
    /// Where it came from.
    pub position: Position,
}

/// A key as text, exact: the place at which a scan goes on in another process.
pub fn key_to_text(key: &Row) -> String {
    codec::values_to_text(key.values())
}

/// Reads what [`key_to_text`] wrote. The columns have no names: it is good for looking up and for going on.
pub fn key_from_text(text: &str) -> Result<Row> {
    let values = codec::values_from_text(text).map_err(|e| Error::Broken(format!("a key does not read: {e}")))?;
    Ok(Row::of(values.into_iter().map(|value| ("", value))))
}

/// A raw store: embedded (one file) or MongoDB.
#[async_trait]
pub trait RawStore: Send + Sync {
    /// The store's random name, made with it: tells a store from another one built again under the same name.
    fn id(&self) -> &str;

    /// Applies records in order as one durable commit.
    async fn apply(&self, records: Vec<Record>) -> Result<Applied>;

    /// Makes tombstones of the live rows of a table that were last written at a place of the source's log before the
    /// sweep's. Gives them as deletes; those that the same sweep took before, again.
    async fn sweep(&self, sweep: Sweep) -> Result<Vec<Record>>;

    /// Makes sure that rows can be looked up by each of `indexes`; fills new ones from the rows that are there.
    async fn ensure_indexes(&self, indexes: &[Index]) -> Result<()>;

    /// Makes every later snapshot's version higher than that of any view taken so far. Whoever derives documents calls it
    /// once when it starts: what it writes then supersedes what an earlier definition, model or program derived from the
    /// very same rows.
    async fn advance(&self) -> Result<()>;

    /// A consistent view of everything committed so far.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>>;

    /// Names of all tables, with the number of live rows.
    async fn tables(&self) -> Result<Vec<(String, u64)>>;

    /// The last applied offset of every topic and partition, committed together with the rows. Derived rows have none.
    async fn positions(&self) -> Result<Vec<(String, i32, i64)>>;

    /// Facts whose names begin with `prefix`, by name: what components remember beyond a run.
    async fn facts(&self, prefix: &str) -> Result<BTreeMap<String, String>>;

    /// Remembers facts, whatever was known before. It is a commit of its own, whatever they say: a snapshot taken later has
    /// a higher version than every one taken before.
    async fn remember(&self, facts: &[(String, String)]) -> Result<()>;

    /// Remembers a fact if what is known is still `expected`; false when somebody else was faster.
    async fn replace_fact(&self, name: &str, expected: Option<&str>, value: &str) -> Result<bool>;

    /// Keeps messages aside, durably. The same id again replaces the earlier entry.
    async fn park(&self, parked: &[Parked]) -> Result<()>;

    /// Parked messages in the order of their ids, after `after`, at most `limit`; of one pipeline if given.
    async fn parked(&self, pipeline: Option<&str>, after: Option<&str>, limit: usize) -> Result<Vec<Parked>>;

    /// Forgets parked messages.
    async fn unpark(&self, ids: &[String]) -> Result<u64>;
}

/// A consistent view. All lookups take many keys at once: one round trip each.
#[async_trait]
pub trait Snapshot: Send {
    /// The version of the view; only grows from one snapshot to the next.
    fn version(&self) -> u64;

    /// Live rows by key, in the order of `keys`.
    async fn get(&mut self, table: &str, keys: &[Row]) -> Result<Vec<Option<Row>>>;

    /// Live rows whose `column` has one of `values`, as (index into `values`, row), in key order per value. Needs an index.
    async fn find(&mut self, table: &str, column: &str, values: &[Value]) -> Result<Vec<(usize, StoredRow)>>;

    /// Every value that `column` has, or ever had, in the rows of `keys`, tombstones included; as (index into `keys`,
    /// value). Needs an index on the column, except for columns that are part of the key.
    async fn links_of(&mut self, table: &str, column: &str, keys: &[Row]) -> Result<Vec<(usize, Value)>>;

    /// One page of a table: live rows in key order after the key `after`, at most `limit`. A scan that outlives its
    /// snapshot goes on in the next one behind the last key: keys never change, and whoever wrote meanwhile has seen to
    /// the rows behind it.
    async fn scan(&mut self, table: &str, after: Option<&Row>, limit: usize) -> Result<Vec<ScannedRow>>;
}

/// Of positions by [`Epoch::name`], those of each topic's present life, by the topic's own name.
fn newest_positions(positions: Vec<(String, i32, i64)>) -> Vec<(String, i32, i64)> {
    let mut newest: BTreeMap<(&str, i32), (Epoch, i64)> = BTreeMap::new();
    let mut lives: BTreeMap<&str, u16> = BTreeMap::new();
    for (name, partition, offset) in &positions {
        let (topic, epoch) = Epoch::of_name(name);
        let life = lives.entry(topic).or_default();
        *life = epoch.incarnation.max(*life);
        let place = newest.entry((topic, *partition)).or_default();
        *place = (epoch, *offset).max(*place);
    }
    let lives_on = |topic: &str, epoch: Epoch| lives.get(topic) == Some(&epoch.incarnation);
    let present = newest.into_iter().filter(|((topic, _), (epoch, _))| lives_on(topic, *epoch));
    present.map(|((topic, partition), (_, offset))| (topic.to_string(), partition, offset)).collect()
}

/// Which rows of a table are gone since a snapshot did not show them.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The table.
    pub table: Arc<str>,
    /// Where in the source's log the snapshot was taken: rows from before it.
    pub than: SourcePosition,
    /// Only those last written from these partitions, as [`Sweep::partition`] names them.
    pub within: Option<BTreeSet<String>>,
}

impl Sweep {
    /// The name of a partition.
    pub fn partition(topic: &str, epoch: Epoch, partition: i32) -> String {
        format!("{}:{partition}", epoch.name(topic))
    }

    /// What it makes of a row from `stored`, and where the tombstone stands: in the source's log at the snapshot, in the
    /// topic where the row stood, so that whatever comes after it there is newer.
    fn judge(&self, stored: &Position) -> (Order, Position) {
        let inside = || {
            let name = Sweep::partition(&stored.topic, stored.epoch, stored.partition);
            self.within.as_ref().is_none_or(|within| within.contains(&name))
        };
        let order = match () {
            () if stored.source == self.than => Order::Same,
            () if lies_before(&stored.source, &self.than) && inside() => Order::Newer,
            () => Order::Stale,
        };
        (order, Position { source: self.than, ..stored.clone() })
    }

    /// A delete of a row, before its key, place and version are known.
    fn delete(&self) -> Record {
        Record {
            table: self.table.clone(),
            op: Op::Delete,
            key: Row::empty(),
            row: None,
            patch: None,
            before: None,
            position: Position::derived(0),
            version: 0,
            changed_at: None,
            snapshot: SnapshotMark::None,
            origin: 0,
        }
    }
}

/// What a truncate at `at` makes of a row from `stored`, and where the tombstone stands: in another partition where the row
/// stood, at the truncate's place in the source's log, by which the same truncate finds it again.
fn truncated(stored: &Position, at: &Position) -> (Order, Position) {
    let stays = !stored.is_beside(at) && at.source != SourcePosition::Unknown;
    let grave = if stays { Position { source: at.source, ..stored.clone() } } else { at.clone() };
    (supersedes(stored, at), grave)
}

/// What guards the delete of a row from `stored` whose tombstone stands at `grave`, in targets that know no more than
/// versions: newer than the row, older than what follows in the row's partition. Versions of two partitions tell nothing.
fn grave_version(stored: &Position, grave: &Position) -> u64 {
    let last = if grave.is_beside(stored) { grave } else { stored };
    last.epoch.version_behind(last.offset)
}

/// A store that any lane may use.
pub type SharedStore = Arc<dyn RawStore>;
