//! A consistent view: reads at one cluster time. It lasts as long as the server keeps history
//! (`minSnapshotHistoryWindowInSeconds`, five minutes unless set).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bson::raw::{CStr, cstr};
use bson::{RawArrayBuf, RawDocumentBuf, Timestamp, rawdoc};
use rustc_hash::FxHashMap;

use super::MongoStore;
use super::apply::guarded;
use super::catalog::{self, TABLES, Table, broken};
use super::rows;
use super::state::State;
use crate::error::{Error, Result};
use crate::record::{Row, Value};
use crate::stores::identity::{Identity, identity};
use crate::stores::merge::{indexed_value, key_row};
use crate::stores::{Index, ScannedRow, Snapshot, StoredRow};

/// A view as of `at`.
pub struct View {
    store: MongoStore,
    at: Timestamp,
}

impl View {
    /// A view of everything that a majority has now.
    pub async fn open(store: MongoStore) -> Result<View> {
        let at = store.server.snapshot_time(TABLES).await?;
        Ok(View { store, at })
    }

    async fn table(&self, name: &str) -> Result<Option<Table>> {
        Ok(catalog::load_tables(&self.store.server, &[name.into()]).await?.into_values().next())
    }

    async fn documents(
        &self,
        table: &Table,
        mut command: RawDocumentBuf,
        filter: RawDocumentBuf,
    ) -> Result<Vec<Found>> {
        command.append(cstr!("filter"), filter);
        let documents = self.store.server.find(command, Some(self.at)).await?;
        self.store.shapes.load(&self.store.server, &documents).await?;
        documents.iter().map(|document| self.read(table, document)).collect()
    }

    fn read(&self, table: &Table, document: &RawDocumentBuf) -> Result<Found> {
        let (id, state) = State::read(document, table, &self.store.shapes)?;
        Ok(Found { id, shape: state.shape.clone(), state })
    }

    fn stored(&self, found: Found) -> Result<Option<StoredRow>> {
        let Some(row) = found.state.stored else { return Ok(None) };
        let shape = self.store.shapes.get(&found.shape)?;
        let key = key_row(&found.id, &shape.key, Some(&row)).map_err(broken)?;
        Ok(Some(StoredRow { key, row }))
    }
}

struct Found {
    id: Identity,
    shape: Arc<str>,
    state: State,
}

fn array(identities: impl Iterator<Item = Identity>) -> RawArrayBuf {
    identities.map(|id| rows::write_identity(&id)).collect()
}

#[async_trait]
impl Snapshot for View {
    fn version(&self) -> u64 {
        u64::from(self.at.time) << 32 | u64::from(self.at.increment)
    }

    async fn get(&mut self, table: &str, keys: &[Row]) -> Result<Vec<Option<Row>>> {
        let Some(table) = self.table(table).await? else { return Ok(vec![None; keys.len()]) };
        let ids = array(keys.iter().map(|key| identity(key.values())));
        let filter = rawdoc! { "_id": { "$in": ids }, "dead": false };
        let found = self.documents(&table, rawdoc! { "find": &*table.collection }, filter).await?;
        let mut rows: FxHashMap<Identity, Row> =
            found.into_iter().filter_map(|found| Some((found.id, found.state.stored?))).collect();
        // A key may be asked for twice.
        let mut given: FxHashMap<Identity, Row> = FxHashMap::default();
        let mut take = |key: &Row| {
            let id = identity(key.values());
            let row = rows.remove(&id).or_else(|| given.get(&id).cloned())?;
            given.insert(id, row.clone());
            Some(row)
        };
        Ok(keys.iter().map(&mut take).collect())
    }

    async fn find(&mut self, table: &str, column: &str, values: &[Value]) -> Result<Vec<(usize, StoredRow)>> {
        let Some(table) = self.table(table).await? else { return Ok(Vec::new()) };
        let path = table.index_path(column).ok_or_else(|| no_index(&table, column))?;
        let mut wanted: FxHashMap<Identity, Vec<usize>> = FxHashMap::default();
        for (i, value) in values.iter().enumerate().filter(|(_, value)| !value.is_null()) {
            wanted.entry(identity(std::slice::from_ref(value))).or_default().push(i);
        }
        let mut filter = rawdoc! { "dead": false };
        filter.append(&path, rawdoc! { "$in": array(wanted.keys().cloned()) });
        let mut found = self.documents(&table, rawdoc! { "find": &*table.collection }, filter).await?;
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let mut rows = Vec::new();
        for found in found {
            let value = found.state.stored.as_ref().and_then(|row| indexed_value(row, column));
            let Some(places) = value.and_then(|value| wanted.get(&value)) else { continue };
            let Some(stored) = self.stored(found)? else { continue };
            rows.extend(places.iter().map(|i| (*i, stored.clone())));
        }
        rows.sort_by_key(|(i, _)| *i);
        Ok(rows)
    }

    async fn links_of(&mut self, table: &str, column: &str, keys: &[Row]) -> Result<Vec<(usize, Value)>> {
        // A key never changes: its columns need no look-up.
        let in_key = |key: &Row| key.get(column).filter(|value| !value.is_null()).cloned();
        let mut links: Vec<_> = keys.iter().enumerate().filter_map(|(i, key)| Some((i, in_key(key)?))).collect();
        if keys.iter().all(|key| key.get(column).is_some()) {
            return Ok(links);
        }
        let Some(table) = self.table(table).await? else { return Ok(links) };
        let number = table.indexes.iter().position(|c| **c == *column).ok_or_else(|| no_index(&table, column))?;
        let filter = rawdoc! { "_id": { "$in": array(keys.iter().map(|key| identity(key.values()))) } };
        let found = self.documents(&table, rawdoc! { "find": &*table.collection }, filter).await?;
        let states: FxHashMap<Identity, State> = found.into_iter().map(|found| (found.id, found.state)).collect();
        for (i, key) in keys.iter().enumerate().filter(|(_, key)| key.get(column).is_none()) {
            let Some(state) = states.get(&identity(key.values())) else { continue };
            let now = state.stored.as_ref().and_then(|row| row.get(column));
            let former = state.was.get(&number).into_iter().flatten();
            // By identity, so that a value that came back is named once.
            let values: BTreeMap<_, _> = former
                .chain(now)
                .filter(|value| !value.is_null())
                .map(|value| (identity(std::slice::from_ref(value)), value))
                .collect();
            links.extend(values.into_values().map(|value| (i, value.clone())));
        }
        Ok(links)
    }

    async fn scan(&mut self, table: &str, after: Option<&Row>, limit: usize) -> Result<Vec<ScannedRow>> {
        let Some(table) = self.table(table).await? else { return Ok(Vec::new()) };
        let mut command = rawdoc! { "find": &*table.collection, "sort": { "_id": 1 }, "hint": { "_id": 1 } };
        command.append(cstr!("limit"), i64::try_from(limit).unwrap_or(i64::MAX));
        let mut filter = rawdoc! { "dead": false };
        if let Some(after) = after {
            // `$gt` would stay within one type; the bounds of an index do not. They include the key itself.
            let id = rows::write_identity(&identity(after.values()));
            command.append(cstr!("min"), rawdoc! { "_id": id.clone() });
            filter.append(cstr!("_id"), rawdoc! { "$ne": id });
        }
        let found = self.documents(&table, command, filter).await?;
        let scanned = |found: Found| {
            let position = found.state.position.clone();
            Ok(self.stored(found)?.map(|StoredRow { key, row }| ScannedRow { key, row, position }))
        };
        found.into_iter().filter_map(|found| scanned(found).transpose()).collect()
    }
}

fn no_index(table: &Table, column: &str) -> Error {
    Error::Broken(format!(
        "table {} has no index on {column}: it must be asked for before rows are looked up by it",
        table.name
    ))
}

impl MongoStore {
    /// Makes one index: named in the catalog first, so that writers fill it from then on; then filled for the rows that
    /// are there; then built. Other processes must have ended batches that they began before.
    pub(super) async fn ensure_index(&self, index: &Index) -> Result<()> {
        let name: Arc<str> = index.table.as_str().into();
        catalog::tables(&self.server, std::slice::from_ref(&name)).await?;
        let add = rawdoc! { "q": { "_id": &*name, "indexes": { "$ne": &*index.column } }, "u": { "$push": { "indexes": &*index.column } } };
        self.server.update(TABLES, vec![add]).await?;
        let filled = rawdoc! { "find": TABLES, "filter": { "_id": &*name, "filled": &*index.column } };
        if !self.server.find(filled, None).await?.is_empty() {
            return Ok(());
        }
        let tables = catalog::load_tables(&self.server, std::slice::from_ref(&name)).await?;
        let table = tables.get(&name).ok_or_else(|| broken("the table just made is missing"))?;
        let path = table.index_path(&index.column).ok_or_else(|| broken("the index just made is missing"))?;
        while self.fill(table, &path, &index.column).await? {}
        let build = bson::doc! {
            "createIndexes": &table.collection,
            "indexes": [{ "key": { path.as_str(): 1, "_id": 1 }, "name": format!("headwater_{path}"), "partialFilterExpression": { "dead": false } }],
            "writeConcern": { "w": "majority" },
        };
        self.server.run(build).await?;
        let done = rawdoc! { "q": { "_id": &*name }, "u": { "$addToSet": { "filled": &*index.column } } };
        self.server.update(TABLES, vec![done]).await.map(|_| ())
    }

    /// Fills one index for some of the rows that lack it; false when none does.
    async fn fill(&self, table: &Table, path: &CStr, column: &str) -> Result<bool> {
        let mut filter = RawDocumentBuf::new();
        filter.append(path, rawdoc! { "$exists": false });
        filter.append(cstr!("row"), rawdoc! { "$exists": true });
        let command = rawdoc! { "find": &*table.collection, "filter": filter, "limit": 10_000 };
        let found = self.server.find(command, None).await?;
        self.shapes.load(&self.server, &found).await?;
        let mut statements = Vec::new();
        for document in &found {
            let (id, state) = State::read(document, table, &self.shapes)?;
            let value = state.stored.as_ref().and_then(|row| indexed_value(row, column));
            let mut set = rawdoc! { "v": state.revision + 1 };
            set.append(path, value.as_ref().map_or(bson::RawBson::Null, rows::write_identity));
            statements.push(guarded(&id, state.revision, bson::RawBson::Document(rawdoc! { "$set": set })));
        }
        self.server.update(&table.collection, statements).await?;
        Ok(!found.is_empty())
    }
}
