//! What is not one row under one key: truncates, and rows of tables without a key.
//!
//! A table without a key is a multiset. Each row is stored under the position that brought it; a delete, which names its
//! row by content only, takes one live row with equal content and leaves its own position there, so that the same delete
//! again finds what it took. What the connector sends again under other offsets is recognized as `resent.rs` says. Deliberately absent: deletes that arrive before their row. They are rejected.

use rusqlite::OptionalExtension;

use super::apply::{Batch, read_position};
use super::catalog::{KEYLESS, Table, source_text};
use super::file::{broken, sql};
use crate::error::Result;
use crate::record::{Op, Order, Position, Record, Row, SourcePosition, supersedes};
use crate::stores::identity::{Identity, identity, instance_key, values_of};
use crate::stores::merge::{Digest, MISSING, NO_MATCH, complete, digest, is_vague, key_row};
use crate::stores::resent::{Place, Twin, Verdict, judge, origin, place, predecessor};
use crate::stores::{Sweep, codec, grave_version, truncated};

impl Batch<'_> {
    /// Every row older than the truncate becomes a tombstone and leaves as a delete, so that whatever was derived from
    /// it follows. Memory: one record per row of the table.
    pub(super) fn truncate(&mut self, table: &Table, record: &Record) -> Result<()> {
        let at = &record.position;
        if table.truncated.as_ref().is_none_or(|t| supersedes(t, at) == Order::Newer) {
            let text = serde_json::to_string(at).map_err(broken)?;
            self.conn
                .execute("UPDATE headwater_tables SET truncated = ?2 WHERE id = ?1", (table.id, text))
                .map_err(sql)?;
            self.catalog.forget(&table.name);
            self.changed = true;
        }
        self.bury_where(table, record, |stored| truncated(stored, at))
    }

    /// The rows that a snapshot did not show; as a truncate of some rows.
    pub(super) fn sweep(&mut self, sweep: &Sweep) -> Result<()> {
        let table = self.catalog.table(self.conn, &sweep.table)?;
        self.bury_where(&table, &sweep.delete(), |stored| sweep.judge(stored))
    }

    /// Makes tombstones of the rows that the record is newer than, and gives them as deletes; those that it took before,
    /// again. `judge` says of a row's place which it is and where its tombstone stands.
    fn bury_where(
        &mut self,
        table: &Table,
        record: &Record,
        judge: impl Fn(&Position) -> (Order, Position),
    ) -> Result<()> {
        let mut gone = Vec::new();
        let text = format!(
            "SELECT topic, partition, \"offset\", source, deleted, schema, row, key FROM {} ORDER BY key",
            table.sql_name
        );
        let mut statement = self.conn.prepare(&text).map_err(sql)?;
        let mut rows = statement.query([]).map_err(sql)?;
        while let Some(row) = rows.next().map_err(sql)? {
            let deleted: bool = row.get(4).map_err(sql)?;
            let stored = read_position(self.conn, self.catalog, row, 0)?;
            let (order, at) = judge(&stored);
            if order == Order::Stale || (order == Order::Newer) == deleted {
                continue;
            }
            let shape = self.catalog.shape(self.conn, row.get(5).map_err(sql)?)?;
            let key: Identity = row.get(7).map_err(sql)?;
            let text = row.get_ref(6).map_err(sql)?.as_str_or_null().map_err(broken)?;
            let row = text.filter(|_| is_vague(&shape.key)).map(|text| codec::read_row(text, &shape.row)).transpose();
            let row = row.map_err(|e| broken(format!("table {}: {e}", table.name)))?;
            let version = grave_version(&stored, &at);
            gone.push((key_row(&key, &shape.key, row.as_ref()).map_err(broken)?, key, order, at, version));
        }
        for (key_row, key, order, position, version) in gone {
            if order == Order::Newer {
                self.bury(table, &key, &position, false)?;
            }
            self.applied.records.push(Record {
                op: Op::Delete,
                key: key_row,
                row: None,
                patch: None,
                before: None,
                position,
                version,
                ..record.clone()
            });
        }
        Ok(())
    }

    /// A change in a table without a key.
    pub(super) fn keyless(&mut self, table: &Table, mut record: Record) -> Result<()> {
        if !table.keyless {
            self.prepare_keyless(table)?;
        }
        let first = self.first(table, &record.position)?;
        if let (Some(row), Some(before)) = (&mut record.row, &record.before) {
            complete(row, before);
        }
        if record.row.as_ref().is_some_and(Row::is_partial) {
            let reason = "a row without a key has values that the source did not send: set replica identity full";
            self.reject(record, "row.unchanged_without_base", reason.into());
            return Ok(());
        }
        if matches!(record.op, Op::Update | Op::Delete) && !self.take_one(table, &record)? {
            self.reject(record, "keyless.no_match", NO_MATCH.into());
            return Ok(());
        }
        match record.row {
            Some(_) if record.op.is_upsert() => self.add_one(table, record, first),
            None if record.op.is_upsert() => {
                self.reject(record, "row.missing", MISSING.into());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn prepare_keyless(&mut self, table: &Table) -> Result<()> {
        let index = |what: &str| super::file::quoted(&format!("headwater_{what}_{}", table.id));
        let (name, digest, born) = (&table.sql_name, index("digest"), index("born"));
        // `born` and `died`: the places in the source's log that brought the row and took it; `again`: the offset under which
        // it was sent last, if more than once.
        let text = format!(
            "ALTER TABLE {name} ADD COLUMN born TEXT; ALTER TABLE {name} ADD COLUMN died TEXT; \
             ALTER TABLE {name} ADD COLUMN again INTEGER; \
             CREATE INDEX IF NOT EXISTS {digest} ON {name} (digest, deleted); CREATE INDEX {born} ON {name} (digest, born)"
        );
        self.conn.execute_batch(&text).map_err(sql)?;
        let text = "UPDATE headwater_tables SET keyless = ?2 WHERE id = ?1";
        self.conn.execute(text, (table.id, KEYLESS)).map_err(sql)?;
        self.catalog.forget(&table.name);
        Ok(())
    }

    fn add_one(&mut self, table: &Table, mut record: Record, first: Option<i64>) -> Result<()> {
        record.key = instance_key(&record.position);
        let key = identity(record.key.values());
        let digest = record.row.as_ref().map(digest).unwrap_or_default();
        let stored = match self.known(table, &key, false)? {
            Some(known) => !known.deleted && supersedes(&known.position, &record.position) == Order::Same,
            None => {
                !self.was_sent_before(table, &record, &digest, first)?
                    && self.insert(table, &key, &record, Some(&digest))?
                    && self.note_birth(table, &key, &record.position.source)?
            }
        };
        if !stored {
            self.applied.stale += 1;
            return Ok(());
        }
        if record.op == Op::Update {
            record.op = Op::Create;
        }
        self.applied.records.push(record);
        Ok(())
    }

    fn note_birth(&mut self, table: &Table, key: &Identity, source: &SourcePosition) -> Result<bool> {
        let text = format!("UPDATE {} SET born = ?2 WHERE key = ?1", table.sql_name);
        let mut statement = self.conn.prepare_cached(&text).map_err(sql)?;
        statement.execute((key, source_text(&origin(source)))).map(|_| true).map_err(sql)
    }

    /// Where the run of the message began, if that is known.
    fn first(&mut self, table: &Table, at: &Position) -> Result<Option<i64>> {
        if let Some(first) = self.runs.first(at) {
            return Ok(Some(first));
        }
        let text = format!("SELECT born FROM {} WHERE key = ?1", table.sql_name);
        let mut statement = self.conn.prepare_cached(&text).map_err(sql)?;
        let born: Option<Option<String>> =
            statement.query_row([predecessor(at)], |row| row.get(0)).optional().map_err(sql)?;
        let other = born.flatten().is_some_and(|born| Some(born) != source_text(&origin(&at.source)));
        Ok(other.then(|| self.runs.begin(at)))
    }

    /// Whether the connector sends a row again that is, or was, there; then that is noted.
    fn was_sent_before(&mut self, table: &Table, record: &Record, digest: &Digest, first: Option<i64>) -> Result<bool> {
        let at = &record.position;
        let (place, source) = match (place(record.op, &at.source), source_text(&origin(&at.source))) {
            (Place::Vague, _) | (_, None) => return Ok(false),
            (place, Some(source)) => (place, source),
        };
        let text = format!("SELECT key, again FROM {} WHERE digest = ?1 AND born = ?2", table.sql_name);
        let mut statement = self.conn.prepare_cached(&text).map_err(sql)?;
        let found = statement.query_map((digest, source), |row| Ok((row.get::<_, Identity>(0)?, row.get(1)?)));
        let (mut keys, mut twins) = (Vec::new(), Vec::new());
        for entry in found.map_err(sql)? {
            let (key, again) = entry.map_err(sql)?;
            if let Some(twin) = Twin::of(&key, again, at) {
                twins.push(twin);
                keys.push(key);
            }
        }
        let again = match judge(place, at, first, &twins) {
            Verdict::New => return Ok(false),
            Verdict::Known => return Ok(true),
            Verdict::Again(twin) => keys.get(twin),
        };
        let text = format!("UPDATE {} SET again = ?2 WHERE key = ?1", table.sql_name);
        let mut statement = self.conn.prepare_cached(&text).map_err(sql)?;
        statement.execute((again, at.offset)).map_err(sql)?;
        self.changed = true;
        Ok(true)
    }

    /// Removes one live row that equals `record.before`; false if there is none.
    fn take_one(&mut self, table: &Table, record: &Record) -> Result<bool> {
        let Some(before) = &record.before else { return Ok(false) };
        let (digest, at) = (digest(before), &record.position);
        let topic = self.catalog.topic_id(self.conn, &at.topic, at.epoch)?;
        let taken = format!(
            "SELECT key FROM {} WHERE digest = ?1 AND deleted = 1 AND topic = ?2 AND partition = ?3 AND \"offset\" = ?4",
            table.sql_name
        );
        let mut statement = self.conn.prepare_cached(&taken).map_err(sql)?;
        let again: Option<Identity> =
            statement.query_row((digest, topic, at.partition, at.offset), |r| r.get(0)).optional().map_err(sql)?;
        let again = match again {
            None => self.taken_before(table, &digest, record)?,
            again => again,
        };
        let key = match again {
            Some(key) => key,
            None => match self.oldest_equal(table, &digest, record)? {
                Some(key) => {
                    self.bury(table, &key, at, false)?;
                    let text = format!("UPDATE {} SET died = ?2 WHERE key = ?1", table.sql_name);
                    let mut statement = self.conn.prepare_cached(&text).map_err(sql)?;
                    statement.execute((&key, source_text(&origin(&at.source)))).map_err(sql)?;
                    key
                }
                None => return Ok(false),
            },
        };
        let schema = instance_key(at).schema().clone();
        let key = Row::new(schema.clone(), values_of(&key, &schema).map_err(broken)?);
        self.applied.records.push(Record { op: Op::Delete, key, row: None, ..record.clone() });
        Ok(true)
    }

    /// The row that the same change of the source has taken, under another offset.
    fn taken_before(&self, table: &Table, digest: &Digest, record: &Record) -> Result<Option<Identity>> {
        let source = &record.position.source;
        if place(record.op, source) != Place::Own {
            return Ok(None);
        }
        let text = format!("SELECT key FROM {} WHERE digest = ?1 AND deleted = 1 AND died = ?2", table.sql_name);
        let mut statement = self.conn.prepare_cached(&text).map_err(sql)?;
        statement.query_row((digest, source_text(&origin(source))), |r| r.get(0)).optional().map_err(sql)
    }

    fn oldest_equal(&mut self, table: &Table, digest: &[u8], record: &Record) -> Result<Option<Identity>> {
        let text = format!(
            "SELECT topic, partition, \"offset\", source, key FROM {} WHERE digest = ?1 AND deleted = 0 \
             ORDER BY topic, partition, \"offset\"",
            table.sql_name
        );
        let mut statement = self.conn.prepare_cached(&text).map_err(sql)?;
        let mut rows = statement.query([digest]).map_err(sql)?;
        while let Some(row) = rows.next().map_err(sql)? {
            let stored = read_position(self.conn, self.catalog, row, 0)?;
            if supersedes(&stored, &record.position) == Order::Newer {
                return row.get(4).map(Some).map_err(sql);
            }
        }
        Ok(None)
    }
}
