//! A consistent view: a read transaction on a connection of its own.

use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::types::ToSql;

use super::apply::read_position;
use super::catalog::{Catalog, Table, load_table};
use super::file::{broken, meta, sql};
use crate::error::{Error, Result};
use crate::record::{Row, Value};
use crate::stores::identity::{Identity, identity};
use crate::stores::merge::key_row;
use crate::stores::{ScannedRow, StoredRow, codec, newest_positions};

/// A connection that reads.
pub struct Reader {
    conn: Connection,
    catalog: Catalog,
}

impl Reader {
    /// A reader outside of any view.
    pub fn new(conn: Connection) -> Self {
        Reader { conn, catalog: Catalog::default() }
    }

    /// Pins a view of everything committed so far and says its version.
    pub fn begin(&mut self) -> Result<u64> {
        self.conn.execute_batch("BEGIN").map_err(sql)?;
        let commit = meta(&self.conn, "commit")?.ok_or_else(|| broken("the commit number is missing"))?;
        u64::try_from(commit).map_err(|_| broken("the commit number is negative"))
    }

    /// Leaves the view.
    pub fn end(&mut self) -> Result<()> {
        self.conn.execute_batch("ROLLBACK").map_err(sql)
    }

    /// Live rows by key, in the order of `keys`.
    pub fn get(&mut self, table: &str, keys: &[Row]) -> Result<Vec<Option<Row>>> {
        let Some(table) = load_table(&self.conn, table)? else { return Ok(vec![None; keys.len()]) };
        let text = format!("SELECT key, schema, row FROM {} WHERE key = ?1 AND deleted = 0", table.sql_name);
        keys.iter()
            .map(|key| Ok(self.rows(&table, &text, &[&identity(key.values())])?.pop().map(|stored| stored.row)))
            .collect()
    }

    /// Live rows by an indexed value.
    pub fn find(&mut self, table: &str, column: &str, values: &[Value]) -> Result<Vec<(usize, StoredRow)>> {
        let Some(table) = load_table(&self.conn, table)? else { return Ok(Vec::new()) };
        let index = table.index(column).ok_or_else(|| no_index(&table.name, column))?;
        let text = format!(
            "SELECT key, schema, row FROM {} WHERE {} = ?1 AND deleted = 0 ORDER BY key",
            table.sql_name, index.sql_column
        );
        let mut found = Vec::new();
        for (i, value) in values.iter().enumerate().filter(|(_, value)| !value.is_null()) {
            let rows = self.rows(&table, &text, &[&identity(std::slice::from_ref(value))])?;
            found.extend(rows.into_iter().map(|row| (i, row)));
        }
        Ok(found)
    }

    /// Every value that `column` has or had in the rows of `keys`.
    pub fn links_of(&mut self, table: &str, column: &str, keys: &[Row]) -> Result<Vec<(usize, Value)>> {
        let mut links = Vec::new();
        // A key never changes: its columns need no look-up.
        let in_key = |key: &Row| key.get(column).filter(|value| !value.is_null()).cloned();
        links.extend(keys.iter().enumerate().filter_map(|(i, key)| Some((i, in_key(key)?))));
        if keys.iter().all(|key| key.get(column).is_some()) {
            return Ok(links);
        }
        let Some(table) = load_table(&self.conn, table)? else { return Ok(links) };
        table.index(column).ok_or_else(|| no_index(&table.name, column))?;
        let current = format!("SELECT key, schema, row FROM {} WHERE key = ?1 AND row IS NOT NULL", table.sql_name);
        for (i, key) in keys.iter().enumerate().filter(|(_, key)| key.get(column).is_none()) {
            let key = identity(key.values());
            // By identity, so that a value that came back is named once.
            let mut values = BTreeMap::new();
            let row = self.rows(&table, &current, &[&key])?.pop();
            let now = row.and_then(|stored| stored.row.get(column).cloned());
            for value in self.former(&table, column, &key)?.into_iter().chain(now).filter(|v| !v.is_null()) {
                values.insert(identity(std::slice::from_ref(&value)), value);
            }
            links.extend(values.into_values().map(|value| (i, value)));
        }
        Ok(links)
    }

    /// Live rows in key order.
    pub fn scan(&mut self, table: &str, after: Option<&Row>, limit: usize) -> Result<Vec<ScannedRow>> {
        let Some(table) = load_table(&self.conn, table)? else { return Ok(Vec::new()) };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let from = if after.is_some() { "key > ?2 AND" } else { "" };
        let text = format!(
            "SELECT key, schema, row, topic, partition, \"offset\", source FROM {} WHERE {from} deleted = 0 \
             ORDER BY key LIMIT ?1",
            table.sql_name
        );
        let after = after.map(|key| identity(key.values()));
        let parameters: Vec<&dyn ToSql> =
            std::iter::once(&limit as &dyn ToSql).chain(after.iter().map(|key| key as &dyn ToSql)).collect();
        let mut statement = self.conn.prepare_cached(&text).map_err(sql)?;
        let mut rows = statement.query(parameters.as_slice()).map_err(sql)?;
        let mut scanned = Vec::new();
        while let Some(found) = rows.next().map_err(sql)? {
            let StoredRow { key, row } = read(&self.conn, &mut self.catalog, &table, found)?;
            let position = read_position(&self.conn, &mut self.catalog, found, 3)?;
            scanned.push(ScannedRow { key, row, position });
        }
        Ok(scanned)
    }

    fn rows(&mut self, table: &Table, text: &str, parameters: &[&dyn ToSql]) -> Result<Vec<StoredRow>> {
        let mut statement = self.conn.prepare_cached(text).map_err(sql)?;
        let mut rows = statement.query(parameters).map_err(sql)?;
        let mut stored = Vec::new();
        while let Some(found) = rows.next().map_err(sql)? {
            stored.push(read(&self.conn, &mut self.catalog, table, found)?);
        }
        Ok(stored)
    }

    fn former(&mut self, table: &Table, column: &str, key: &Identity) -> Result<Vec<Value>> {
        let text = "SELECT value FROM headwater_links WHERE table_id = ?1 AND column = ?2 AND key = ?3";
        let mut statement = self.conn.prepare_cached(text).map_err(sql)?;
        let mut rows = statement.query((table.id, column, key)).map_err(sql)?;
        let mut values = Vec::new();
        while let Some(row) = rows.next().map_err(sql)? {
            let text = row.get_ref(0).map_err(sql)?.as_str().map_err(broken)?;
            values.push(codec::value_from_text(text).map_err(broken)?);
        }
        Ok(values)
    }

    /// Names of all tables, with the number of live rows.
    pub fn tables(&mut self) -> Result<Vec<(String, u64)>> {
        let mut statement =
            self.conn.prepare_cached("SELECT name, live FROM headwater_tables ORDER BY name").map_err(sql)?;
        let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)?))).map_err(sql)?;
        rows.map(|row| row.map(|(name, live)| (name, u64::try_from(live).unwrap_or(0))).map_err(sql)).collect()
    }

    /// The last applied offset of every topic and partition.
    pub fn positions(&mut self) -> Result<Vec<(String, i32, i64)>> {
        let text = "SELECT name, partition, \"offset\" FROM headwater_positions JOIN headwater_topics ON id = topic \
                    ORDER BY name, partition";
        let mut statement = self.conn.prepare_cached(text).map_err(sql)?;
        let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).map_err(sql)?;
        rows.collect::<Result<_, _>>().map(newest_positions).map_err(sql)
    }

    /// The connection, for what needs no view.
    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }
}

/// A row from its first columns: key, schema, row.
fn read(conn: &Connection, catalog: &mut Catalog, table: &Table, found: &rusqlite::Row<'_>) -> Result<StoredRow> {
    let shape = catalog.shape(conn, found.get(1).map_err(sql)?)?;
    let text = found.get_ref(2).map_err(sql)?.as_str().map_err(broken)?;
    let row = codec::read_row(text, &shape.row).map_err(|e| broken(format!("table {}: {e}", table.name)))?;
    let key: Identity = found.get(0).map_err(sql)?;
    Ok(StoredRow { key: key_row(&key, &shape.key, Some(&row)).map_err(broken)?, row })
}

fn no_index(table: &str, column: &str) -> Error {
    Error::Broken(format!(
        "table {table} has no index on {column}: it must be asked for before rows are looked up by it"
    ))
}
