//! One batch of records as one transaction.
//!
//! Per record: what is stored under the key, does the record supersede it, then a row, a tombstone, or nothing. Rows that
//! are probably new (snapshot reads, creates) are inserted without asking first; the primary key says if they were not.
//!
//! Invariants: the commit number grows with every transaction that changed something, and when asked; positions are
//! noted in the same transaction; an error leaves nothing behind.

use std::sync::{Arc, Mutex};

use rusqlite::types::ToSql;
use rusqlite::{Connection, Statement, TransactionBehavior};
use rustc_hash::FxHashMap;

use super::catalog::{Catalog, Table, source_from_text, source_text};
use super::file::{broken, meta, set_meta, sql};
use super::recent::{Recent, Written, locked};
use crate::error::Result;
use crate::record::{Op, Order, Position, Record, Reject, Row, supersedes};
use crate::stores::identity::{Identity, identity};
use crate::stores::merge::{MISSING, completed, former_key, indexed_value, is_incomplete, was_moved};
use crate::stores::resent::Runs;
use crate::stores::{Applied, Sweep, codec};

/// The connection that writes.
pub struct Writer {
    pub(super) conn: Connection,
    pub(super) catalog: Catalog,
    data_version: i64,
    recent: Arc<Mutex<Recent>>,
    runs: Runs,
}

impl Writer {
    /// A writer without knowledge, which tells `recent` what it writes.
    pub fn new(conn: Connection, recent: Arc<Mutex<Recent>>) -> Self {
        Writer { conn, catalog: Catalog::default(), data_version: 0, recent, runs: Runs::default() }
    }

    /// Applies records in order as one durable commit.
    pub fn apply(&mut self, records: Vec<Record>) -> Result<Applied> {
        self.transaction(|batch| records.into_iter().try_for_each(|record| batch.record(record)))
    }

    /// Raises the commit number.
    pub fn advance(&mut self) -> Result<()> {
        let advanced = self.transaction(|batch| {
            batch.changed = true;
            Ok(())
        });
        advanced.map(|_| ())
    }

    /// Takes the rows out that a snapshot did not show.
    pub fn sweep(&mut self, sweep: &Sweep) -> Result<Vec<Record>> {
        self.transaction(|batch| batch.sweep(sweep)).map(|applied| applied.records)
    }

    /// Runs `work` in a transaction. What was cached in vain is forgotten.
    pub(super) fn transaction(&mut self, work: impl FnOnce(&mut Batch<'_>) -> Result<()>) -> Result<Applied> {
        let result = self.run(work);
        if result.is_err() {
            self.catalog = Catalog::default();
            // A commit that failed may have happened all the same.
            locked(&self.recent).forget();
        }
        result
    }

    fn run(&mut self, work: impl FnOnce(&mut Batch<'_>) -> Result<()>) -> Result<Applied> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
        // Changes with every commit of another connection: then our knowledge of tables and indexes may be old.
        let data_version: i64 = tx.query_row("PRAGMA data_version", [], |r| r.get(0)).map_err(sql)?;
        if data_version != self.data_version {
            self.catalog = Catalog::default();
            locked(&self.recent).forget();
            self.data_version = data_version;
        }
        let commit = meta(&tx, "commit")?.ok_or_else(|| broken("the commit number is missing"))? + 1;
        let mut batch = Batch {
            conn: &tx,
            catalog: &mut self.catalog,
            runs: &mut self.runs,
            commit,
            applied: Applied::default(),
            changed: false,
            live: FxHashMap::default(),
            positions: Vec::new(),
            text: String::new(),
            written: Some(Written::default()),
        };
        work(&mut batch)?;
        batch.note_live()?;
        batch.note_positions()?;
        let Batch { applied, changed, written, .. } = batch;
        if changed {
            set_meta(&tx, "commit", commit)?;
            tx.commit().map_err(sql)?;
            match written {
                Some(written) => locked(&self.recent).publish(commit, written),
                None => locked(&self.recent).forget(),
            }
        }
        Ok(applied)
    }
}

/// What is stored under a key.
pub(super) struct Known {
    pub position: Position,
    pub deleted: bool,
    pub row: Option<Row>,
    /// The identities in the indexed columns.
    pub indexed: Vec<rusqlite::types::Value>,
}

/// A transaction in the making.
pub(super) struct Batch<'t> {
    pub conn: &'t Connection,
    pub catalog: &'t mut Catalog,
    pub runs: &'t mut Runs,
    pub commit: i64,
    pub applied: Applied,
    pub changed: bool,
    live: FxHashMap<i64, i64>,
    positions: Vec<Position>,
    text: String,
    /// Every row written so far; `None` once there was one that is not told here.
    written: Option<Written>,
}

/// Fills in what the source did not tell, if anything.
fn complete_record(record: &mut Record, partial: bool, base: Option<&Row>) -> Result<(), (&'static str, &'static str)> {
    if partial {
        record.row = Some(completed(record, base)?);
        record.patch = None;
    }
    Ok(())
}

impl Batch<'_> {
    fn record(&mut self, record: Record) -> Result<()> {
        self.note(&record.position);
        let table = self.catalog.table(self.conn, &record.table)?;
        if record.row.as_ref().is_some_and(codec::is_too_deep) {
            let reason = format!("expected values nested at most {} levels deep", codec::VALUE_DEPTH_MAX);
            self.reject(record, "row.too_deep", reason);
            return Ok(());
        }
        match record.op {
            Op::Truncate => {
                self.written = None;
                self.truncate(&table, &record)
            }
            _ if record.key.is_empty() => {
                self.written = None;
                self.keyless(&table, record)
            }
            Op::Delete => self.delete(&table, record),
            Op::Read | Op::Create | Op::Update => self.upsert(&table, record),
        }
    }

    pub(super) fn reject(&mut self, record: Record, code: &'static str, reason: String) {
        let table = Some(record.table.to_string());
        let reject = Reject { origin: record.origin, table, code, reason };
        self.applied.rejects.push((record, reject));
    }

    fn upsert(&mut self, table: &Table, mut record: Record) -> Result<()> {
        if record.row.is_none() && record.patch.is_none() {
            self.reject(record, "row.missing", MISSING.into());
            return Ok(());
        }
        let key = identity(record.key.values());
        let partial = is_incomplete(&record);
        if !partial && record.op != Op::Update && self.insert(table, &key, &record, None)? {
            self.applied.records.push(record);
            return Ok(());
        }
        let former = self.former(table, &record)?;
        let Some(known) = self.known(table, &key, partial)? else {
            if let Err((code, reason)) = complete_record(&mut record, partial, former.as_ref()) {
                self.reject(record, code, reason.into());
            } else if self.insert(table, &key, &record, None)? {
                self.applied.records.push(record);
            } else {
                self.applied.stale += 1;
            }
            return Ok(());
        };
        let order = supersedes(&known.position, &record.position);
        // A tombstone may be older than the truncate, and the row lie between them.
        // And what a sweep took is gone, though it stands where its row stood.
        let gone = order == Order::Same && known.deleted;
        if order == Order::Stale || gone || table.has_truncated(&record.position) {
            self.applied.stale += 1;
            return Ok(());
        }
        let base = known.row.as_ref().filter(|_| !known.deleted).or(former.as_ref());
        if let Err((code, reason)) = complete_record(&mut record, partial, base) {
            self.reject(record, code, reason.into());
            return Ok(());
        }
        if order == Order::Newer {
            self.update(table, &key, &record, &known)?;
        }
        self.applied.records.push(record);
        Ok(())
    }

    /// What the row of an incomplete record was under the key that it had before.
    fn former(&mut self, table: &Table, record: &Record) -> Result<Option<Row>> {
        let Some(key) = former_key(record) else { return Ok(None) };
        let known = self.known(table, &identity(key.values()), true)?;
        Ok(known.filter(|known| was_moved(&known.position, known.deleted, record)).and_then(|known| known.row))
    }

    fn delete(&mut self, table: &Table, record: Record) -> Result<()> {
        let key = identity(record.key.values());
        match self.known(table, &key, false)? {
            None => {
                if !table.has_truncated(&record.position) {
                    self.insert_tombstone(table, &key, &record)?;
                }
            }
            Some(known) => match supersedes(&known.position, &record.position) {
                Order::Newer => self.bury(table, &key, &record.position, known.deleted)?,
                Order::Same => {}
                Order::Stale => {
                    self.applied.stale += 1;
                    return Ok(());
                }
            },
        }
        self.applied.records.push(record);
        Ok(())
    }

    /// What is stored under `key`; the row itself only when asked for or when indexes may need its values.
    pub(super) fn known(&mut self, table: &Table, key: &Identity, with_row: bool) -> Result<Option<Known>> {
        let mut statement = self.conn.prepare_cached(&table.sql.select).map_err(sql)?;
        statement.raw_bind_parameter(1, key).map_err(sql)?;
        let mut rows = statement.raw_query();
        let Some(found) = rows.next().map_err(sql)? else { return Ok(None) };
        let position = read_position(self.conn, self.catalog, found, 0)?;
        let deleted = found.get(4).map_err(sql)?;
        let row = if with_row || !table.indexes.is_empty() {
            let shape = self.catalog.shape(self.conn, found.get(5).map_err(sql)?)?;
            let text = found.get_ref(6).map_err(sql)?.as_str_or_null().map_err(broken)?;
            let row = text.map(|text| codec::read_row(text, &shape.row)).transpose();
            row.map_err(|e| broken(format!("table {}: {e}", table.name)))?
        } else {
            None
        };
        let indexed = (0..table.indexes.len()).map(|i| found.get(7 + i)).collect::<Result<_, _>>().map_err(sql)?;
        Ok(Some(Known { position, deleted, row, indexed }))
    }

    /// Stores a row that is not there yet; false if it is, or if a later truncate has already removed it.
    pub(super) fn insert(
        &mut self,
        table: &Table,
        key: &Identity,
        record: &Record,
        digest: Option<&[u8]>,
    ) -> Result<bool> {
        if table.has_truncated(&record.position) {
            return Ok(false);
        }
        let mut statement = self.conn.prepare_cached(&table.sql.insert).map_err(sql)?;
        self.bind_row(&mut statement, table, key, record, digest)?;
        let inserted = statement.raw_execute().map_err(sql)? > 0;
        if inserted {
            self.changed = true;
            *self.live.entry(table.id).or_default() += 1;
            self.tell(table, key, record.row.as_ref());
        }
        Ok(inserted)
    }

    fn update(&mut self, table: &Table, key: &Identity, record: &Record, known: &Known) -> Result<()> {
        self.keep_links(table, key, record, known)?;
        let mut statement = self.conn.prepare_cached(&table.sql.update).map_err(sql)?;
        self.bind_row(&mut statement, table, key, record, None)?;
        statement.raw_execute().map_err(sql)?;
        self.changed = true;
        *self.live.entry(table.id).or_default() += i64::from(known.deleted);
        self.tell(table, key, record.row.as_ref());
        Ok(())
    }

    /// A delete of a row that was never seen: the tombstone keeps older versions out.
    fn insert_tombstone(&mut self, table: &Table, key: &Identity, record: &Record) -> Result<()> {
        let (none, nothing) = (Row::empty(), rusqlite::types::Null);
        let shape = self.catalog.shape_id(self.conn, table, record.key.schema(), none.schema())?;
        let mut statement = self.conn.prepare_cached(&table.sql.insert).map_err(sql)?;
        let mut bind = |i: usize, value: &dyn ToSql| statement.raw_bind_parameter(i, value).map_err(sql);
        bind(1, key)?;
        bind(2, &nothing)?;
        bind(3, &shape)?;
        bind_position(self.conn, self.catalog, &mut bind, 4, &record.position)?;
        bind(8, &true)?;
        bind(9, &self.commit)?;
        (10..11 + table.indexes.len()).try_for_each(|i| bind(i, &nothing))?;
        statement.raw_execute().map_err(sql)?;
        self.changed = true;
        self.tell(table, key, None);
        Ok(())
    }

    /// Makes a stored row a tombstone; its last values stay, so that links can be followed.
    pub(super) fn bury(&mut self, table: &Table, key: &Identity, at: &Position, was_deleted: bool) -> Result<()> {
        let mut statement = self.conn.prepare_cached(&table.sql.delete).map_err(sql)?;
        let mut bind = |i: usize, value: &dyn ToSql| statement.raw_bind_parameter(i, value).map_err(sql);
        bind(1, key)?;
        bind_position(self.conn, self.catalog, &mut bind, 2, at)?;
        bind(6, &self.commit)?;
        statement.raw_execute().map_err(sql)?;
        self.changed = true;
        *self.live.entry(table.id).or_default() -= i64::from(!was_deleted);
        self.tell(table, key, None);
        Ok(())
    }

    fn bind_row(
        &mut self,
        statement: &mut Statement<'_>,
        table: &Table,
        key: &Identity,
        record: &Record,
        digest: Option<&[u8]>,
    ) -> Result<()> {
        let Some(row) = &record.row else { return Err(broken("a row without values")) };
        let shape = self.catalog.shape_id(self.conn, table, record.key.schema(), row.schema())?;
        self.text.clear();
        codec::write_row(&mut self.text, row);
        let mut bind = |i: usize, value: &dyn ToSql| statement.raw_bind_parameter(i, value).map_err(sql);
        bind(1, key)?;
        bind(2, &self.text)?;
        bind(3, &shape)?;
        bind_position(self.conn, self.catalog, &mut bind, 4, &record.position)?;
        bind(8, &false)?;
        bind(9, &self.commit)?;
        bind(10, &digest)?;
        for (i, index) in table.indexes.iter().enumerate() {
            bind(11 + i, &indexed_value(row, &index.column))?;
        }
        Ok(())
    }

    /// Remembers indexed values that a row is about to lose.
    fn keep_links(&mut self, table: &Table, key: &Identity, record: &Record, known: &Known) -> Result<()> {
        for (index, old) in table.indexes.iter().zip(&known.indexed) {
            let new = record.row.as_ref().and_then(|row| indexed_value(row, &index.column));
            if *old == rusqlite::types::Value::Null || new.as_ref().is_some_and(|new| new.is(old)) {
                continue;
            }
            let Some(value) = known.row.as_ref().and_then(|row| row.get(&index.column)) else { continue };
            let text = "INSERT OR IGNORE INTO headwater_links (table_id, column, key, value) VALUES (?1, ?2, ?3, ?4)";
            let mut statement = self.conn.prepare_cached(text).map_err(sql)?;
            statement.execute((table.id, &*index.column, key, codec::value_to_text(value))).map_err(sql)?;
        }
        Ok(())
    }

    /// Remembers a write for [`Recent`].
    fn tell(&mut self, table: &Table, key: &Identity, row: Option<&Row>) {
        if let Some(written) = &mut self.written {
            written.tell(&table.name, key, row);
        }
    }

    fn note(&mut self, position: &Position) {
        if position.is_derived() {
            return;
        }
        match self.positions.iter_mut().find(|p| p.is_beside(position)) {
            Some(noted) => noted.offset = noted.offset.max(position.offset),
            None => self.positions.push(position.clone()),
        }
    }

    fn note_positions(&mut self) -> Result<()> {
        for position in std::mem::take(&mut self.positions) {
            let topic = self.catalog.topic_id(self.conn, &position.topic, position.epoch)?;
            let text = "INSERT INTO headwater_positions (topic, partition, \"offset\") VALUES (?1, ?2, ?3) \
                        ON CONFLICT DO UPDATE SET \"offset\" = excluded.\"offset\" WHERE excluded.\"offset\" > \"offset\"";
            let mut statement = self.conn.prepare_cached(text).map_err(sql)?;
            self.changed |= statement.execute((topic, position.partition, position.offset)).map_err(sql)? > 0;
        }
        Ok(())
    }

    fn note_live(&mut self) -> Result<()> {
        for (table, delta) in std::mem::take(&mut self.live).into_iter().filter(|(_, delta)| *delta != 0) {
            let text = "UPDATE headwater_tables SET live = live + ?2 WHERE id = ?1";
            self.conn.prepare_cached(text).and_then(|mut s| s.execute((table, delta))).map_err(sql)?;
        }
        Ok(())
    }
}

/// Binds topic, partition, offset and source position from `first` on.
fn bind_position(
    conn: &Connection,
    catalog: &mut Catalog,
    bind: &mut impl FnMut(usize, &dyn ToSql) -> Result<()>,
    first: usize,
    position: &Position,
) -> Result<()> {
    bind(first, &catalog.topic_id(conn, &position.topic, position.epoch)?)?;
    bind(first + 1, &position.partition)?;
    bind(first + 2, &position.offset)?;
    bind(first + 3, &source_text(&position.source))
}

/// Reads topic, partition, offset and source position from column `first` on.
pub(super) fn read_position(
    conn: &Connection,
    catalog: &mut Catalog,
    row: &rusqlite::Row<'_>,
    first: usize,
) -> Result<Position> {
    let (topic, epoch) = catalog.topic(conn, row.get(first).map_err(sql)?)?;
    let source = row.get_ref(first + 3).map_err(sql)?.as_str_or_null().map_err(broken)?;
    Ok(Position {
        topic,
        epoch,
        partition: row.get(first + 1).map_err(sql)?,
        offset: row.get(first + 2).map_err(sql)?,
        source: source_from_text(source)?,
    })
}
