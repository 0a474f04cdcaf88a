//! The embedded raw store: one SQLite file that any SQLite tool opens.
//!
//! Source tables are SQL tables of the same name: `key` (native where it is one integer or text), `row` as exact JSON
//! (`SELECT row ->> '$.amount' FROM "transaction" WHERE deleted = 0`), the position that the row came from, and
//! whether it is a tombstone. Everything else is in tables called `headwater_…`.
//!
//! SQLite because a person can open it, at a price that was measured (`benches/README.md`): of fjall, redb and itself it is the
//! cheapest for new rows and for reads and makes the smallest file; changes all over a large table cost 2.4 times as much as
//! fjall's, which is the price of a tree of pages.
//!
//! Invariants
//! - one connection writes, one batch is one transaction, a commit is on disk before `apply` answers;
//! - a snapshot is a read transaction: it sees one commit, whatever is written meanwhile;
//! - blocking calls run on blocking threads, never on the async ones.

mod apply;
mod bulk;
mod catalog;
mod facts;
mod file;
mod index;
mod parking;
mod recent;
mod snapshot;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use self::apply::Writer;
use self::recent::{Recent, locked};
use self::snapshot::Reader;
use super::identity::{Identity, identity};
use super::{Applied, Index, Parked, RawStore, ScannedRow, Snapshot, StoredRow, Sweep};
use crate::error::{Error, Result};
use crate::record::{Record, Row, Value};

/// Idle reading connections that are kept for the next snapshot.
const READERS_KEPT: usize = 16;

/// An embedded raw store. Cloning shares it.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    id: String,
    writer: Mutex<Writer>,
    readers: Mutex<Vec<Reader>>,
    recent: Arc<Mutex<Recent>>,
}

impl SqliteStore {
    /// Opens the store in `path`, making the file if there is none.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        blocking(move || {
            let conn = file::open_writer(&path).map_err(|e| e.at(path.display()))?;
            let id = file::store_id(&conn)?;
            let recent = Arc::default();
            let writer = Mutex::new(Writer::new(conn, Arc::clone(&recent)));
            let shared = Shared { path, id, writer, readers: Mutex::default(), recent };
            Ok(SqliteStore { shared: Arc::new(shared) })
        })
        .await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = self.shared.clone();
        blocking(move || {
            let mut writer = shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut writer).map_err(|e| e.at(shared.path.display()))
        })
        .await
    }

    /// Runs `work` on an idle reader, outside of any pinned view.
    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&mut Reader) -> Result<T> + Send + 'static) -> Result<T> {
        let shared = self.shared.clone();
        blocking(move || {
            let mut reader = shared.reader()?;
            let result = work(&mut reader).map_err(|e| e.at(shared.path.display()));
            shared.keep(reader);
            result
        })
        .await
    }
}

impl Shared {
    fn reader(&self) -> Result<Reader> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| file::open_reader(&self.path).map(Reader::new).map_err(|e| e.at(self.path.display())), Ok)
    }

    fn keep(&self, reader: Reader) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_KEPT {
            readers.push(reader);
        }
    }
}

#[async_trait]
impl RawStore for SqliteStore {
    fn id(&self) -> &str {
        &self.shared.id
    }

    async fn apply(&self, records: Vec<Record>) -> Result<Applied> {
        self.write(move |writer| writer.apply(records)).await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Vec<Record>> {
        self.write(move |writer| writer.sweep(&sweep)).await
    }

    async fn ensure_indexes(&self, indexes: &[Index]) -> Result<()> {
        let indexes = indexes.to_vec();
        self.write(move |writer| writer.ensure_indexes(&indexes)).await
    }

    async fn advance(&self) -> Result<()> {
        self.write(Writer::advance).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        let shared = self.shared.clone();
        blocking(move || {
            let mut reader = shared.reader()?;
            let version = reader.begin().map_err(|e| e.at(shared.path.display()))?;
            Ok(Box::new(View { shared, version, reader: Some(reader) }) as Box<dyn Snapshot>)
        })
        .await
    }

    async fn tables(&self) -> Result<Vec<(String, u64)>> {
        self.read(Reader::tables).await
    }

    async fn positions(&self) -> Result<Vec<(String, i32, i64)>> {
        self.read(Reader::positions).await
    }

    async fn facts(&self, prefix: &str) -> Result<BTreeMap<String, String>> {
        let prefix = prefix.to_string();
        self.read(move |reader| facts::facts(reader.conn(), &prefix)).await
    }

    async fn remember(&self, facts: &[(String, String)]) -> Result<()> {
        let facts = facts.to_vec();
        self.write(move |writer| facts::remember(&mut writer.conn, &facts)).await
    }

    async fn replace_fact(&self, name: &str, expected: Option<&str>, value: &str) -> Result<bool> {
        let (name, expected, value) = (name.to_string(), expected.map(str::to_string), value.to_string());
        self.write(move |writer| facts::replace(&writer.conn, &name, expected.as_deref(), &value)).await
    }

    async fn park(&self, parked: &[Parked]) -> Result<()> {
        let parked = parked.to_vec();
        self.write(move |writer| parking::park(&mut writer.conn, &parked)).await
    }

    async fn parked(&self, pipeline: Option<&str>, after: Option<&str>, limit: usize) -> Result<Vec<Parked>> {
        let (pipeline, after) = (pipeline.map(str::to_string), after.map(str::to_string));
        self.read(move |reader| parking::parked(reader.conn(), pipeline.as_deref(), after.as_deref(), limit)).await
    }

    async fn unpark(&self, ids: &[String]) -> Result<u64> {
        let ids = ids.to_vec();
        self.write(move |writer| parking::unpark(&mut writer.conn, &ids)).await
    }
}

/// A snapshot; its connection goes back to the store when it is dropped.
struct View {
    shared: Arc<Shared>,
    version: u64,
    /// `None` only while a call is under way, or after one was cancelled.
    reader: Option<Reader>,
}

impl View {
    async fn read<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Reader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let cancelled = || Error::Broken("a snapshot was used after one of its calls was cancelled".into());
        let mut reader = self.reader.take().ok_or_else(cancelled)?;
        let (result, reader) = blocking(move || Ok((work(&mut reader), reader))).await?;
        self.reader = Some(reader);
        result.map_err(|e| e.at(self.shared.path.display()))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // A connection that cannot leave its view is closed, which leaves it too.
        if let Some(mut reader) = self.reader.take()
            && reader.end().is_ok()
        {
            self.shared.keep(reader);
        }
    }
}

#[async_trait]
impl Snapshot for View {
    fn version(&self) -> u64 {
        self.version
    }

    async fn get(&mut self, table: &str, keys: &[Row]) -> Result<Vec<Option<Row>>> {
        let mut rows = Vec::with_capacity(keys.len());
        let mut unknown = Vec::new();
        {
            let recent = locked(&self.shared.recent);
            let recent = recent.view(self.version, table);
            for (place, key) in keys.iter().enumerate() {
                let row = recent.get(&identity(key.values()));
                unknown.extend(row.is_none().then_some(place));
                rows.push(row.flatten());
            }
        }
        if unknown.is_empty() {
            return Ok(rows);
        }
        let table = table.to_string();
        let wanted: Vec<Row> = unknown.iter().filter_map(|place| keys.get(*place).cloned()).collect();
        let read = self.read(move |reader| reader.get(&table, &wanted)).await?;
        for (place, row) in unknown.into_iter().zip(read) {
            if let Some(slot) = rows.get_mut(place) {
                *slot = row;
            }
        }
        Ok(rows)
    }

    async fn find(&mut self, table: &str, column: &str, values: &[Value]) -> Result<Vec<(usize, StoredRow)>> {
        let (table, column, values) = (table.to_string(), column.to_string(), values.to_vec());
        self.read(move |reader| reader.find(&table, &column, &values)).await
    }

    async fn links_of(&mut self, table: &str, column: &str, keys: &[Row]) -> Result<Vec<(usize, Value)>> {
        let (table, column, keys) = (table.to_string(), column.to_string(), keys.to_vec());
        self.read(move |reader| reader.links_of(&table, &column, &keys)).await
    }

    async fn scan(&mut self, table: &str, after: Option<&Row>, limit: usize) -> Result<Vec<ScannedRow>> {
        let (table, after) = (table.to_string(), after.cloned());
        self.read(move |reader| reader.scan(&table, after.as_ref(), limit)).await
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Broken(format!("a store's task ended early: {error}"))),
    }
}

impl ToSql for Identity {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Identity::Int(n) => ValueRef::Integer(*n),
            Identity::Text(text) => ValueRef::Text(text.as_bytes()),
            Identity::Canonical(text) => ValueRef::Blob(text.as_bytes()),
        }))
    }
}

impl FromSql for Identity {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Integer(n) => Ok(Identity::Int(n)),
            ValueRef::Text(_) => value.as_str().map(|text| Identity::Text(text.into())),
            _ => Ok(Identity::Canonical(String::from_utf8_lossy(value.as_bytes()?).into_owned())),
        }
    }
}

impl Identity {
    /// Whether `stored` is this identity.
    fn is(&self, stored: &rusqlite::types::Value) -> bool {
        self.to_sql().is_ok_and(|own| own == ToSqlOutput::Borrowed(stored.into()))
    }
}
