//! Secondary indexes: one more column per indexed column, holding the value's identity, with an SQL index on it.

use std::sync::Arc;

use super::apply::{Batch, Writer};
use super::catalog::{Table, free_name};
use super::file::{broken, quoted, sql};
use crate::error::Result;
use crate::stores::Index;
use crate::stores::codec;
use crate::stores::identity::Identity;
use crate::stores::merge::indexed_value;

/// Rows filled per round, which bounds memory while an index is made over a large table.
const FILL_ROWS: usize = 10_000;

impl Writer {
    /// Makes the indexes that are missing and fills them from the rows that are there.
    pub fn ensure_indexes(&mut self, indexes: &[Index]) -> Result<()> {
        self.transaction(|batch| indexes.iter().try_for_each(|index| batch.ensure_index(index))).map(|_| ())
    }
}

impl Batch<'_> {
    fn ensure_index(&mut self, index: &Index) -> Result<()> {
        let name: Arc<str> = index.table.as_str().into();
        let table = self.catalog.table(self.conn, &name)?;
        if table.index(&index.column).is_some() {
            return Ok(());
        }
        let sql_column = free_name(&format!("ix_{}", index.column), |candidate| {
            let text = "SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2 COLLATE NOCASE";
            let bare = table.sql_name.trim_matches('"').replace("\"\"", "\"");
            Ok(self.conn.query_row(text, (bare, candidate), |r| r.get::<_, i64>(0)).map_err(sql)? > 0)
        })?;
        let column = quoted(&sql_column);
        self.conn.execute_batch(&format!("ALTER TABLE {} ADD COLUMN {column}", table.sql_name)).map_err(sql)?;
        self.fill(&table, &index.column, &column)?;
        // Only live rows are looked up by value. The name carries the table's id: index names are global in SQLite.
        let name = quoted(&format!("headwater_{}_{sql_column}", table.id));
        let text = format!("CREATE INDEX {name} ON {} ({column}) WHERE deleted = 0", table.sql_name);
        self.conn.execute_batch(&text).map_err(sql)?;
        let text = "INSERT INTO headwater_indexes (table_id, column, sql_column) VALUES (?1, ?2, ?3)";
        self.conn.execute(text, (table.id, &index.column, column)).map_err(sql)?;
        self.catalog.forget(&index.table);
        self.changed = true;
        Ok(())
    }

    fn fill(&mut self, table: &Table, column: &str, sql_column: &str) -> Result<()> {
        let read = format!(
            "SELECT key, schema, row FROM {} WHERE row IS NOT NULL AND (?1 IS NULL OR key > ?1) ORDER BY key LIMIT {FILL_ROWS}",
            table.sql_name
        );
        let write = format!("UPDATE {} SET {sql_column} = ?2 WHERE key = ?1", table.sql_name);
        let mut read = self.conn.prepare(&read).map_err(sql)?;
        let mut write = self.conn.prepare(&write).map_err(sql)?;
        let mut after: Option<Identity> = None;
        loop {
            let mut values = Vec::new();
            let mut rows = read.query([&after]).map_err(sql)?;
            while let Some(row) = rows.next().map_err(sql)? {
                let shape = self.catalog.shape(self.conn, row.get(1).map_err(sql)?)?;
                let text = row.get_ref(2).map_err(sql)?.as_str().map_err(broken)?;
                let stored = codec::read_row(text, &shape.row).map_err(broken)?;
                values.push((row.get::<_, Identity>(0).map_err(sql)?, indexed_value(&stored, column)));
            }
            for (key, value) in values.iter().filter(|(_, value)| value.is_some()) {
                write.execute((key, value)).map_err(sql)?;
            }
            if values.len() < FILL_ROWS {
                return Ok(());
            }
            after = values.pop().map(|(key, _)| key);
        }
    }
}
