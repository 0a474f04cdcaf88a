//! What a MongoDB store knows about its tables: collections, row shapes, indexes.
//!
//! Invariants: a shape's id is a hash of its content, so that writers need not agree on numbers; shapes are durable
//! before rows name them; collection names are unique.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bson::raw::CString;
use bson::{Bson, RawDocumentBuf, doc, rawdoc};
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

use super::server::Server;
use crate::error::{Error, Result};
use crate::record::{Position, TableSchema};

/// Collection of the tables' descriptions.
pub const TABLES: &str = "headwater_tables";
const SHAPES: &str = "headwater_schemas";

/// A row's key columns and columns, as one version of the source table had them.
#[derive(Debug)]
pub struct Shape {
    /// Key columns.
    pub key: Arc<TableSchema>,
    /// All columns.
    pub row: Arc<TableSchema>,
}

/// A source table.
#[derive(Debug, Clone)]
pub struct Table {
    /// The source's name.
    pub name: Arc<str>,
    /// Its collection.
    pub collection: String,
    /// Indexed columns; the values of the n-th are in `ix.n`.
    pub indexes: Vec<Arc<str>>,
    /// The newest truncate.
    pub truncated: Option<Position>,
}

impl Table {
    /// The path of an indexed column's values.
    pub fn index_path(&self, column: &str) -> Option<CString> {
        let number = self.indexes.iter().position(|c| **c == *column)?;
        CString::try_from(format!("ix.{number}")).ok()
    }
}

/// Schemas of the key and of the row.
type Schemas = (Arc<TableSchema>, Arc<TableSchema>);

/// Shapes by id, and ids by the schemas that they were made from. Both only grow.
#[derive(Default)]
pub struct Shapes {
    by_id: Mutex<FxHashMap<String, Arc<Shape>>>,
    ids: Mutex<FxHashMap<Schemas, Arc<str>>>,
}

impl Shapes {
    /// The id of a row shape that is known to be stored; `None` before [`Shapes::store`].
    pub fn id(&self, key: &Arc<TableSchema>, row: &Arc<TableSchema>) -> Option<Arc<str>> {
        lock(&self.ids).get(&(key.clone(), row.clone())).cloned()
    }

    /// Makes a shape durable.
    pub async fn store(&self, server: &Server, key: &Arc<TableSchema>, row: &Arc<TableSchema>) -> Result<Arc<str>> {
        if let Some(id) = self.id(key, row) {
            return Ok(id);
        }
        let text = |schema: &TableSchema| {
            serde_json::to_string(&schema.columns).map_err(|e| Error::Broken(format!("a row shape: {e}")))
        };
        let (key_text, row_text) = (text(key)?, text(row)?);
        let hash = Sha256::new().chain_update(&key_text).chain_update([0]).chain_update(&row_text).finalize();
        let id: Arc<str> = hash.iter().take(8).map(|b| format!("{b:02x}")).collect::<String>().into();
        server.insert(SHAPES, vec![rawdoc! { "_id": &*id, "key": key_text, "columns": row_text }]).await?;
        lock(&self.by_id).insert(id.to_string(), Arc::new(Shape { key: key.clone(), row: row.clone() }));
        lock(&self.ids).insert((key.clone(), row.clone()), id.clone());
        Ok(id)
    }

    /// Loads the shapes that `documents` name.
    pub async fn load(&self, server: &Server, documents: &[RawDocumentBuf]) -> Result<()> {
        let missing: Vec<Bson> = {
            let known = lock(&self.by_id);
            let mut ids: Vec<&str> = documents.iter().filter_map(|d| d.get_str("s").ok()).collect();
            ids.sort_unstable();
            ids.dedup();
            ids.into_iter().filter(|id| !known.contains_key(*id)).map(Bson::from).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let reply = server.find(raw(&doc! { "find": SHAPES, "filter": { "_id": { "$in": missing } } })?, None).await?;
        for document in reply {
            let read = |name: &str| -> Option<Arc<TableSchema>> {
                let columns = serde_json::from_str(document.get_str(name).ok()?).ok()?;
                Some(Arc::new(TableSchema { columns }))
            };
            if let (Ok(id), Some(key), Some(row)) = (document.get_str("_id"), read("key"), read("columns")) {
                lock(&self.by_id).insert(id.to_string(), Arc::new(Shape { key, row }));
            }
        }
        Ok(())
    }

    /// A loaded shape.
    pub fn get(&self, id: &str) -> Result<Arc<Shape>> {
        lock(&self.by_id).get(id).cloned().ok_or_else(|| broken(format!("row shape {id} is missing or does not read")))
    }
}

/// The tables called `names` that exist.
pub async fn load_tables(server: &Server, names: &[Arc<str>]) -> Result<BTreeMap<Arc<str>, Table>> {
    let names: Vec<Bson> = names.iter().map(|name| Bson::from(&**name)).collect();
    let found = server.find(raw(&doc! { "find": TABLES, "filter": { "_id": { "$in": names } } })?, None).await?;
    found.iter().map(|document| read_table(document).map(|table| (table.name.clone(), table))).collect()
}

/// Every table.
pub async fn all_tables(server: &Server) -> Result<Vec<Table>> {
    let found = server.find(raw(&doc! { "find": TABLES, "sort": { "_id": 1 } })?, None).await?;
    found.iter().map(|document| read_table(document)).collect()
}

/// The tables called `names`, made if they are new.
pub async fn tables(server: &Server, names: &[Arc<str>]) -> Result<BTreeMap<Arc<str>, Table>> {
    loop {
        let tables = load_tables(server, names).await?;
        let missing: Vec<_> = names.iter().filter(|name| !tables.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(tables);
        }
        for name in missing {
            let taken = all_tables(server).await?;
            let collection = free_name(name, &taken);
            // Somebody else may have made it meanwhile, or taken the collection's name: then the next round tells.
            server.insert(TABLES, vec![rawdoc! { "_id": &**name, "collection": collection, "indexes": [] }]).await?;
        }
    }
}

/// What a new store needs before anything else.
pub async fn prepare(server: &Server) -> Result<()> {
    let unique = doc! { "key": { "collection": 1 }, "name": "collection", "unique": true };
    server.run(doc! { "createIndexes": TABLES, "indexes": [unique], "writeConcern": { "w": "majority" } }).await?;
    Ok(())
}

/// `name`, or the nearest thing that MongoDB accepts and that is not taken.
fn free_name(name: &str, taken: &[Table]) -> String {
    let reserved = name.is_empty() || name.starts_with("system.") || name.starts_with("headwater_");
    let mut base: String = name.chars().map(|c| if matches!(c, '$' | '\0') { '_' } else { c }).collect();
    if reserved {
        base = format!("table_{base}");
    }
    // The limit is 255 bytes with the database's name.
    while base.len() > 120 {
        base.pop();
    }
    let mut candidate = base.clone();
    let mut number = 2;
    while taken.iter().any(|table| table.collection == candidate) {
        candidate = format!("{base}_{number}");
        number += 1;
    }
    candidate
}

fn read_table(document: &bson::RawDocument) -> Result<Table> {
    let read = || -> Option<Table> {
        let indexes = document.get_array("indexes").ok()?.into_iter();
        Some(Table {
            name: document.get_str("_id").ok()?.into(),
            collection: document.get_str("collection").ok()?.into(),
            indexes: indexes.map(|column| column.ok()?.as_str().map(Into::into)).collect::<Option<_>>()?,
            truncated: match document.get_str("truncated") {
                Ok(text) => Some(serde_json::from_str(text).ok()?),
                Err(_) => None,
            },
        })
    };
    read().ok_or_else(|| broken("the description of a table does not read"))
}

/// A command or filter as bytes.
pub fn raw(document: &bson::Document) -> Result<RawDocumentBuf> {
    RawDocumentBuf::try_from(document).map_err(|_| Error::Broken("a name holds a NUL character".into()))
}

/// A stored thing that does not read back.
pub fn broken(what: impl std::fmt::Display) -> Error {
    Error::Broken(format!("{what}: the database was changed by something else; restore it from a backup or rebuild it"))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
