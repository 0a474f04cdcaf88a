//! What an embedded store knows about its tables: SQL names, row shapes, topics, indexes. A cache of the
//! `headwater_…` tables for the one connection that writes.
//!
//! Invariants: entries are written in the transaction that first uses them, so a rollback must clear the cache; ids
//! never change their meaning; SQL names are unique without regard to case, as SQLite wants them.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};
use rustc_hash::FxHashMap;

use super::file::{broken, quoted, sql};
use crate::error::Result;
use crate::record::{Epoch, Order, Position, SourcePosition, TableSchema, supersedes};

/// What `headwater_tables` says of a table that has what rows without a key need, as it is made now.
pub const KEYLESS: i64 = 2;

/// A row's key columns and columns, as one version of the source table had them.
#[derive(Debug)]
pub struct Shape {
    /// Key columns.
    pub key: Arc<TableSchema>,
    /// All columns.
    pub row: Arc<TableSchema>,
}

/// A column that rows can be looked up by.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexedColumn {
    /// The source's name.
    pub column: Arc<str>,
    /// The SQL column that holds the value's identity.
    pub sql_column: String,
}

/// One table and its SQL. Never changed: [`Catalog::forget`] makes the next use read it again.
#[derive(Debug)]
pub struct Table {
    /// Id in `headwater_tables`.
    pub id: i64,
    /// The source's name.
    pub name: Arc<str>,
    /// Quoted SQL name.
    pub sql_name: String,
    /// Indexed columns, in the order in which statements take their values.
    pub indexes: Vec<IndexedColumn>,
    /// Whether it has the columns and indexes that rows without a key need.
    pub keyless: bool,
    /// The newest truncate: older rows that come later are stale.
    pub truncated: Option<Position>,
    /// Statements.
    pub sql: Statements,
}

/// The texts of a table's statements, made once. `?1` is the key.
#[derive(Debug)]
pub struct Statements {
    /// A row that is not there yet; does nothing if it is.
    pub insert: String,
    /// Position, state, row and indexed values by key.
    pub select: String,
    /// A newer version of a row.
    pub update: String,
    /// A tombstone over a row: the last known values stay.
    pub delete: String,
}

/// The cache.
#[derive(Debug, Default)]
pub struct Catalog {
    tables: FxHashMap<Arc<str>, Arc<Table>>,
    shape_ids: FxHashMap<(Arc<TableSchema>, Arc<TableSchema>), i64>,
    last_shapes: FxHashMap<i64, (Arc<TableSchema>, Arc<TableSchema>, i64)>,
    shapes: FxHashMap<i64, Arc<Shape>>,
    topics: FxHashMap<(Arc<str>, Epoch), i64>,
    topic_names: FxHashMap<i64, (Arc<str>, Epoch)>,
}

impl Catalog {
    /// The table called `name`, made if it is new.
    pub fn table(&mut self, conn: &Connection, name: &Arc<str>) -> Result<Arc<Table>> {
        if let Some(table) = self.tables.get(name) {
            return Ok(table.clone());
        }
        let table = match load_table(conn, name)? {
            Some(table) => table,
            None => create_table(conn, name)?,
        };
        let table = Arc::new(table);
        self.tables.insert(name.clone(), table.clone());
        Ok(table)
    }

    /// Reads the table again at its next use.
    pub fn forget(&mut self, name: &str) {
        self.tables.remove(name);
    }

    /// The id of a row shape.
    pub fn shape_id(
        &mut self,
        conn: &Connection,
        table: &Table,
        key: &Arc<TableSchema>,
        row: &Arc<TableSchema>,
    ) -> Result<i64> {
        // Rows of one table mostly share their schemas: comparing two pointers is enough then.
        if let Some((k, r, id)) = self.last_shapes.get(&table.id)
            && Arc::ptr_eq(k, key)
            && Arc::ptr_eq(r, row)
        {
            return Ok(*id);
        }
        let id = match self.shape_ids.get(&(key.clone(), row.clone())) {
            Some(id) => *id,
            None => {
                let id = store_shape(conn, key, row)?;
                self.shape_ids.insert((key.clone(), row.clone()), id);
                id
            }
        };
        self.last_shapes.insert(table.id, (key.clone(), row.clone(), id));
        Ok(id)
    }

    /// The shape with this id.
    pub fn shape(&mut self, conn: &Connection, id: i64) -> Result<Arc<Shape>> {
        if let Some(shape) = self.shapes.get(&id) {
            return Ok(shape.clone());
        }
        let shape = Arc::new(load_shape(conn, id)?);
        self.shapes.insert(id, shape.clone());
        Ok(shape)
    }

    /// The id of a topic in one of its lives.
    pub fn topic_id(&mut self, conn: &Connection, topic: &Arc<str>, epoch: Epoch) -> Result<i64> {
        let known = (topic.clone(), epoch);
        if let Some(id) = self.topics.get(&known) {
            return Ok(*id);
        }
        let name = epoch.name(topic);
        conn.execute("INSERT OR IGNORE INTO headwater_topics (name) VALUES (?1)", [&name]).map_err(sql)?;
        let id =
            conn.query_row("SELECT id FROM headwater_topics WHERE name = ?1", [&name], |r| r.get(0)).map_err(sql)?;
        self.topic_names.insert(id, known.clone());
        self.topics.insert(known, id);
        Ok(id)
    }

    /// The topic and life with this id.
    pub fn topic(&mut self, conn: &Connection, id: i64) -> Result<(Arc<str>, Epoch)> {
        if let Some(known) = self.topic_names.get(&id) {
            return Ok(known.clone());
        }
        let name: String =
            conn.query_row("SELECT name FROM headwater_topics WHERE id = ?1", [id], |r| r.get(0)).map_err(sql)?;
        let (topic, epoch) = Epoch::of_name(&name);
        let known: (Arc<str>, Epoch) = (topic.into(), epoch);
        self.topic_names.insert(id, known.clone());
        Ok(known)
    }
}

/// The table called `name`, if it exists.
pub fn load_table(conn: &Connection, name: &str) -> Result<Option<Table>> {
    let mut statement = conn
        .prepare_cached("SELECT id, sql_name, keyless, truncated FROM headwater_tables WHERE name = ?1")
        .map_err(sql)?;
    let found = statement
        .query_row([name], |r| {
            Ok((
                r.get::<_, i64>(0)?,
                r.get::<_, String>(1)?,
                r.get::<_, i64>(2)? == KEYLESS,
                r.get::<_, Option<String>>(3)?,
            ))
        })
        .optional()
        .map_err(sql)?;
    let Some((id, sql_name, keyless, truncated)) = found else { return Ok(None) };
    let truncated = truncated.map(|text| serde_json::from_str(&text)).transpose();
    let truncated = truncated.map_err(|_| broken(format!("the truncate position of table {name} does not read")))?;
    let mut statement = conn
        .prepare_cached("SELECT column, sql_column FROM headwater_indexes WHERE table_id = ?1 ORDER BY column")
        .map_err(sql)?;
    let indexes = statement
        .query_map([id], |r| Ok(IndexedColumn { column: r.get::<_, String>(0)?.into(), sql_column: r.get(1)? }))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(sql)?;
    let sql_name = quoted(&sql_name);
    let sql = Statements::new(&sql_name, &indexes);
    Ok(Some(Table { id, name: name.into(), sql_name, indexes, keyless, truncated, sql }))
}

impl Table {
    /// Whether a row from `position` was removed by a truncate that was read before it.
    pub fn has_truncated(&self, position: &Position) -> bool {
        self.truncated.as_ref().is_some_and(|truncate| supersedes(truncate, position) == Order::Stale)
    }

    /// Whether a row of this table can be looked up by `column`.
    pub fn index(&self, column: &str) -> Option<&IndexedColumn> {
        self.indexes.iter().find(|i| &*i.column == column)
    }
}

impl Statements {
    /// Parameters: 1 key, 2 row, 3 schema, 4 topic, 5 partition, 6 offset, 7 source, 8 deleted, 9 commit, 10 digest,
    /// 11… indexed values.
    fn new(table: &str, indexes: &[IndexedColumn]) -> Self {
        let names: String = indexes.iter().map(|i| format!(", {}", i.sql_column)).collect();
        let marks: String = (0..indexes.len()).map(|i| format!(", ?{}", i + 11)).collect();
        let sets: String =
            indexes.iter().enumerate().map(|(i, ix)| format!(", {} = ?{}", ix.sql_column, i + 11)).collect();
        Statements {
            insert: format!(
                "INSERT INTO {table} (key, row, schema, topic, partition, \"offset\", source, deleted, \"commit\", digest{names}) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10{marks}) ON CONFLICT DO NOTHING"
            ),
            select: format!(
                "SELECT topic, partition, \"offset\", source, deleted, schema, row{names} FROM {table} WHERE key = ?1"
            ),
            update: format!(
                "UPDATE {table} SET row = ?2, schema = ?3, topic = ?4, partition = ?5, \"offset\" = ?6, source = ?7, \
                 deleted = ?8, \"commit\" = ?9, digest = ?10{sets} WHERE key = ?1"
            ),
            delete: format!(
                "UPDATE {table} SET topic = ?2, partition = ?3, \"offset\" = ?4, source = ?5, deleted = 1, \"commit\" = ?6 \
                 WHERE key = ?1"
            ),
        }
    }
}

fn create_table(conn: &Connection, name: &str) -> Result<Table> {
    let taken = |candidate: &str| -> Result<bool> {
        let query = "SELECT count(*) FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE";
        Ok(conn.query_row(query, [candidate], |r| r.get::<_, i64>(0)).map_err(sql)? > 0)
    };
    let sql_name = free_name(name, taken)?;
    conn.execute_batch(&format!(
        "CREATE TABLE {} (key NOT NULL PRIMARY KEY, row TEXT, schema INTEGER NOT NULL, topic INTEGER NOT NULL, \
         partition INTEGER NOT NULL, \"offset\" INTEGER NOT NULL, source TEXT, deleted INTEGER NOT NULL, \
         \"commit\" INTEGER NOT NULL, digest BLOB) WITHOUT ROWID",
        quoted(&sql_name)
    ))
    .map_err(sql)?;
    conn.execute("INSERT INTO headwater_tables (name, sql_name) VALUES (?1, ?2)", [name, &sql_name]).map_err(sql)?;
    load_table(conn, name)?.ok_or_else(|| broken("the table just made is missing"))
}

/// `name`, or the nearest thing that SQLite accepts and that is not taken.
pub fn free_name(name: &str, taken: impl Fn(&str) -> Result<bool>) -> Result<String> {
    let lower = name.to_ascii_lowercase();
    let reserved = name.is_empty() || lower.starts_with("sqlite_") || lower.starts_with("headwater_");
    let base: String = name.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    let base = if reserved { format!("table_{base}") } else { base };
    let mut candidate = base.clone();
    let mut number = 2;
    while taken(&candidate)? {
        candidate = format!("{base}_{number}");
        number += 1;
    }
    Ok(candidate)
}

fn store_shape(conn: &Connection, key: &TableSchema, row: &TableSchema) -> Result<i64> {
    let text = |schema: &TableSchema| serde_json::to_string(&schema.columns).map_err(broken);
    let (key, row) = (text(key)?, text(row)?);
    conn.execute("INSERT OR IGNORE INTO headwater_schemas (key, columns) VALUES (?1, ?2)", [&key, &row])
        .map_err(sql)?;
    conn.query_row("SELECT id FROM headwater_schemas WHERE key = ?1 AND columns = ?2", [key, row], |r| r.get(0))
        .map_err(sql)
}

fn load_shape(conn: &Connection, id: i64) -> Result<Shape> {
    let mut statement = conn.prepare_cached("SELECT key, columns FROM headwater_schemas WHERE id = ?1").map_err(sql)?;
    let (key, row): (String, String) = statement
        .query_row([id], |r| Ok((r.get(0)?, r.get(1)?)))
        .map_err(|e| broken(format!("row shape {id}: {e}")))?;
    let read = |text: &str| match serde_json::from_str(text) {
        Ok(columns) => Ok(Arc::new(TableSchema { columns })),
        Err(_) => Err(broken(format!("row shape {id} does not read"))),
    };
    Ok(Shape { key: read(&key)?, row: read(&row)? })
}

/// A source position as text: `commit_lsn/lsn/incarnation` for PostgreSQL, JSON for the others, nothing for none.
pub fn source_text(source: &SourcePosition) -> Option<String> {
    match source {
        SourcePosition::Unknown => None,
        SourcePosition::Postgres { incarnation, commit_lsn, lsn } => Some(format!("{commit_lsn}/{lsn}/{incarnation}")),
        other => serde_json::to_string(other).ok(),
    }
}

/// Reads what [`source_text`] wrote.
pub fn source_from_text(text: Option<&str>) -> Result<SourcePosition> {
    let Some(text) = text else { return Ok(SourcePosition::Unknown) };
    postgres(text).map_or_else(|| serde_json::from_str(text), Ok).map_err(|_| broken("a source position does not read"))
}

fn postgres(text: &str) -> Option<SourcePosition> {
    let (commit_lsn, rest) = text.split_once('/')?;
    let (lsn, incarnation) = rest.split_once('/')?;
    Some(SourcePosition::Postgres {
        incarnation: incarnation.parse().ok()?,
        commit_lsn: commit_lsn.parse().ok()?,
        lsn: lsn.parse().ok()?,
    })
}
