//! One batch: read what is stored under its keys, decide in memory, write what changed, guarded by revisions.
//!
//! Whoever loses a race reads and decides again; that is the same path as a re-delivery, so nothing is applied twice. A
//! batch is not one transaction: a crash may leave a part of it, which the next delivery completes. Positions are noted
//! last, so that they never claim more than is stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, RawBson, RawDocumentBuf, doc, rawdoc};

use super::MongoStore;
use super::catalog::{self, TABLES, Table, raw};
use super::fold::{Fold, Outcome, row_of};
use super::rows;
use super::state::{State, source_text, write_position};
use crate::error::{Error, Result};
use crate::mongo::number;
use crate::record::{Op, Order, Position, Record, Reject, Row, supersedes};
use crate::stores::identity::{Identity, identity, instance_key};
use crate::stores::merge::{Digest, complete, digest, former_key, key_row};
use crate::stores::resent::{Place, Runs, origin, place, predecessor};
use crate::stores::{Applied, grave_version, newest_positions, truncated};

/// Lost races in a row before the lane backs off.
const ATTEMPTS: u32 = 20;
/// Collection of the applied positions.
pub const POSITIONS: &str = "headwater_positions";

/// Records that cannot be stored whatever is there, by their place in the batch.
type Banned = BTreeMap<usize, (&'static str, String)>;

impl MongoStore {
    /// Applies records in order.
    pub(super) async fn apply_batch(&self, records: Vec<Record>) -> Result<Applied> {
        let positions = last_positions(&records);
        let mut applied = Applied::default();
        let mut rows = Vec::new();
        for record in records {
            if record.op == Op::Truncate {
                self.apply_rows(std::mem::take(&mut rows), &mut applied).await?;
                self.truncate(record, &mut applied).await?;
            } else {
                rows.push(record);
            }
        }
        self.apply_rows(rows, &mut applied).await?;
        self.note(positions).await?;
        Ok(applied)
    }

    async fn apply_rows(&self, records: Vec<Record>, applied: &mut Applied) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut banned = Banned::new();
        for attempt in 0..ATTEMPTS {
            let mut outcomes: Vec<Outcome> = vec![Outcome::Stale; records.len()];
            let mut runs = self.runs().beside(&records);
            if self.attempt(&records, &mut outcomes, &mut banned, &mut runs).await? {
                self.runs().extend(runs);
                collect(records, outcomes, applied);
                return Ok(());
            }
            let pause = Duration::from_millis(u64::from(attempt) * (1 + u64::from(rand::random::<u8>() % 8)));
            tokio::time::sleep(pause).await;
        }
        Err(Error::Unavailable(format!("{}: others keep changing the same rows", self.server.place())))
    }

    /// Decides and writes; false when it must be done again.
    async fn attempt(
        &self,
        records: &[Record],
        outcomes: &mut [Outcome],
        banned: &mut Banned,
        runs: &mut Runs,
    ) -> Result<bool> {
        let mut by_table: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        for (index, record) in records.iter().enumerate() {
            by_table.entry(record.table.clone()).or_default().push(index);
        }
        let names: Vec<_> = by_table.keys().cloned().collect();
        let tables = catalog::tables(&self.server, &names).await?;
        let mut complete = true;
        for (name, indexes) in by_table {
            let Some(table) = tables.get(&name) else { continue };
            let mut fold = self.load(table, records, &indexes, runs).await?;
            for index in indexes {
                let outcome = match banned.get(&index) {
                    Some((code, reason)) => Outcome::Rejected(code, reason.clone()),
                    None => fold.record(index, records, outcomes),
                };
                if let Some(place) = outcomes.get_mut(index) {
                    *place = outcome;
                }
            }
            complete &= self.write(fold, records, outcomes, banned).await?;
        }
        Ok(complete)
    }

    /// What is stored under the keys (and equal contents) of the records at `indexes`.
    async fn load<'t>(
        &self,
        table: &'t Table,
        records: &[Record],
        indexes: &[usize],
        runs: &'t mut Runs,
    ) -> Result<Fold<'t>> {
        let (mut ids, mut equal) = (bson::RawArrayBuf::new(), bson::RawArrayBuf::new());
        let mut keyless = false;
        for record in indexes.iter().filter_map(|index| records.get(*index)) {
            if record.key.is_empty() {
                keyless = true;
                ids.push(rows::write_identity(&identity(instance_key(&record.position).values())));
                ids.push(rows::write_identity(&predecessor(&record.position)));
                for row in record.before.iter() {
                    equal.push(rawdoc! { "digest": binary(&digest(row)) });
                }
                // What the connector may have sent before.
                for row in record.row.iter().filter(|_| place(record.op, &record.position.source) != Place::Vague) {
                    let born = source_text(&origin(&record.position.source));
                    equal.push(rawdoc! { "digest": binary(&content(record, row)), "born": born });
                }
            } else {
                ids.push(rows::write_identity(&identity(record.key.values())));
                if let Some(former) = former_key(record) {
                    ids.push(rows::write_identity(&identity(former.values())));
                }
            }
        }
        let by_key = rawdoc! { "_id": { "$in": ids } };
        let filter = if keyless {
            let index = doc! { "key": { "digest": 1, "born": 1 }, "name": "headwater_content", "sparse": true };
            let command =
                doc! { "createIndexes": &table.collection, "indexes": [index], "writeConcern": { "w": "majority" } };
            self.server.run(command).await?;
            equal.push(by_key);
            rawdoc! { "$or": equal }
        } else {
            by_key
        };
        let command = rawdoc! { "find": &*table.collection, "filter": filter };
        let found = self.server.find(command, None).await?;
        self.shapes.load(&self.server, &found).await?;
        let states = found.iter().map(|document| State::read(document, table, &self.shapes));
        Ok(Fold::new(table, runs, states.collect::<Result<Vec<_>>>()?))
    }

    /// Writes what the fold changed; false when others were faster or a row turned out not to be storable.
    async fn write(
        &self,
        fold: Fold<'_>,
        records: &[Record],
        outcomes: &[Outcome],
        banned: &mut Banned,
    ) -> Result<bool> {
        let (mut inserts, mut updates) = (Vec::new(), Vec::new());
        let barred = banned.len();
        for (id, state) in fold.states.iter().filter(|(_, state)| state.dirty) {
            let shape = self.shape_of(state, records, outcomes).await?;
            match state.write(id, row_of(state, records, outcomes), &shape, fold.table) {
                Ok(document) if state.revision == 0 => inserts.push(document),
                Ok(document) => updates.push(guarded(id, state.revision, RawBson::Document(document))),
                Err(unfit) => {
                    banned.insert(state.latest.unwrap_or_default(), unfit);
                }
            }
        }
        if banned.len() > barred {
            return Ok(false);
        }
        let (to_insert, to_update) = (inserts.len() as u64, updates.len() as u64);
        let inserted = self.server.insert(&fold.table.collection, inserts).await?.matched;
        let updated = self.server.update(&fold.table.collection, updates).await?.matched;
        Ok(inserted == to_insert && updated == to_update)
    }

    async fn shape_of(&self, state: &State, records: &[Record], outcomes: &[Outcome]) -> Result<Arc<str>> {
        let source = state.latest.and_then(|index| Some((records.get(index)?, outcomes.get(index)?)));
        let (key, row) = match source {
            None if state.revision > 0 => return Ok(state.shape.clone()),
            Some((_, Outcome::Became(became))) => {
                let record = became.iter().find(|record| record.row.is_some());
                (record.map(|record| record.key.schema().clone()), record.and_then(|record| record.row.as_ref()))
            }
            Some((record, Outcome::Kept(Some(whole)))) => (Some(record.key.schema().clone()), Some(whole)),
            Some((record, _)) => (Some(record.key.schema().clone()), record.row.as_ref()),
            // A tombstone for a row that was never seen.
            None => (None, None),
        };
        let none = self.no_columns.clone();
        let row = row.map_or_else(|| none.clone(), |row| row.schema().clone());
        self.shapes.store(&self.server, &key.unwrap_or(none), &row).await
    }

    /// Every row older than the truncate becomes a tombstone and leaves as a delete. Memory: one record per row.
    async fn truncate(&self, record: Record, applied: &mut Applied) -> Result<()> {
        let at = &record.position;
        let place = rawdoc! { "at.t": &*at.epoch.name(&at.topic), "at.p": at.partition, "at.o": at.offset };
        let elsewhere = rawdoc! { "dead": true, "at.s": source_text(&at.source) };
        let filter = rawdoc! { "$or": [{ "dead": false }, place, elsewhere] };
        let tables = catalog::tables(&self.server, std::slice::from_ref(&record.table)).await?;
        for table in tables.values() {
            self.note_truncate(table, at).await?;
        }
        let gone = self.bury_where(&record, filter, |stored| truncated(stored, at)).await?;
        applied.records.extend(gone);
        Ok(())
    }

    /// Makes tombstones of the rows that the record is newer than, and gives them as deletes; those that it took before,
    /// again. `filter` says which rows it may be newer than, `judge` of a row's place which it is and where its tombstone
    /// stands.
    pub(super) async fn bury_where(
        &self,
        record: &Record,
        filter: RawDocumentBuf,
        judge: impl Fn(&Position) -> (Order, Position),
    ) -> Result<Vec<Record>> {
        for _ in 0..ATTEMPTS {
            let tables = catalog::tables(&self.server, std::slice::from_ref(&record.table)).await?;
            let Some(table) = tables.get(&record.table) else { continue };
            let command = rawdoc! { "find": &*table.collection, "filter": filter.clone(), "sort": { "_id": 1 } };
            let found = self.server.find(command, None).await?;
            self.shapes.load(&self.server, &found).await?;
            let (mut gone, mut statements) = (Vec::new(), Vec::new());
            for document in &found {
                let (id, state) = State::read(document, table, &self.shapes)?;
                let (order, position) = judge(&state.position);
                if order == Order::Stale || (order == Order::Newer) == state.dead {
                    continue;
                }
                if order == Order::Newer {
                    let set = rawdoc! { "dead": true, "at": write_position(&position), "v": state.revision + 1 };
                    statements.push(guarded(&id, state.revision, RawBson::Document(rawdoc! { "$set": set })));
                }
                let key = key_row(&id, &self.shapes.get(&state.shape)?.key, state.stored.as_ref());
                let key = key.map_err(catalog::broken)?;
                gone.push(Record {
                    op: Op::Delete,
                    key,
                    row: None,
                    patch: None,
                    before: None,
                    version: grave_version(&state.position, &position),
                    position,
                    ..record.clone()
                });
            }
            let expected = statements.len() as u64;
            if self.server.update(&table.collection, statements).await?.matched == expected {
                return Ok(gone);
            }
        }
        Err(Error::Unavailable(format!("{}: others keep changing the same rows", self.server.place())))
    }

    async fn note_truncate(&self, table: &Table, at: &Position) -> Result<()> {
        if table.truncated.as_ref().is_some_and(|t| supersedes(t, at) != Order::Newer) {
            return Ok(());
        }
        let text = serde_json::to_string(at).map_err(catalog::broken)?;
        let statement = rawdoc! { "q": { "_id": &*table.name }, "u": { "$set": { "truncated": text } } };
        self.server.update(TABLES, vec![statement]).await.map(|_| ())
    }

    async fn note(&self, positions: Vec<Position>) -> Result<()> {
        let statements = positions.iter().map(|position| {
            let id = rawdoc! { "topic": &*position.epoch.name(&position.topic), "partition": position.partition };
            rawdoc! { "q": { "_id": id }, "u": { "$max": { "offset": position.offset } }, "upsert": true }
        });
        self.server.update(POSITIONS, statements.collect()).await.map(|_| ())
    }

    /// The last applied offset of every topic and partition.
    pub(super) async fn read_positions(&self) -> Result<Vec<(String, i32, i64)>> {
        let found = self.server.find(raw(&doc! { "find": POSITIONS, "sort": { "_id": 1 } })?, None).await?;
        let read = |document: &RawDocumentBuf| {
            let id = document.get_document("_id").ok()?;
            let (topic, partition) = (id.get_str("topic").ok()?.to_string(), id.get_i32("partition").ok()?);
            Some((topic, partition, document.get_i64("offset").ok()?))
        };
        let read = |document| read(document).ok_or_else(|| catalog::broken("a position does not read"));
        Ok(newest_positions(found.iter().map(read).collect::<Result<Vec<_>>>()?))
    }

    /// How many rows of a table are not tombstones.
    pub(super) async fn count_live(&self, table: &Table) -> Result<u64> {
        let reply =
            self.server.run(doc! { "count": &table.collection, "query": { "dead": Bson::Boolean(false) } }).await?;
        Ok(number(&reply, "n").unsigned_abs())
    }
}

fn binary(digest: &Digest) -> bson::Binary {
    bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: digest.to_vec() }
}

/// The content of a row without a key once its values are complete.
fn content(record: &Record, row: &Row) -> Digest {
    let mut row = row.clone();
    if let Some(before) = &record.before {
        complete(&mut row, before);
    }
    digest(&row)
}

/// An update that holds only if the stored revision is still the one that was read.
pub fn guarded(id: &Identity, revision: i64, update: RawBson) -> RawDocumentBuf {
    rawdoc! { "q": { "_id": rows::write_identity(id), "v": revision }, "u": update }
}

fn collect(records: Vec<Record>, outcomes: Vec<Outcome>, applied: &mut Applied) {
    for (mut record, outcome) in records.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Kept(completed) => {
                if completed.is_some() {
                    (record.row, record.patch) = (completed, None);
                }
                applied.records.push(record);
            }
            Outcome::Became(became) => applied.records.extend(became),
            Outcome::Stale => applied.stale += 1,
            Outcome::Rejected(code, reason) => {
                let table = Some(record.table.to_string());
                let reject = Reject { origin: record.origin, table, code, reason };
                applied.rejects.push((record, reject));
            }
        }
    }
}

fn last_positions(records: &[Record]) -> Vec<Position> {
    let mut last: Vec<Position> = Vec::new();
    for position in records.iter().map(|record| &record.position).filter(|position| !position.is_derived()) {
        match last.iter_mut().find(|p| p.is_beside(position)) {
            Some(noted) => noted.offset = noted.offset.max(position.offset),
            None => last.push(position.clone()),
        }
    }
    last
}

/// The columns of nothing.
pub fn no_columns() -> Arc<crate::record::TableSchema> {
    Row::empty().schema().clone()
}
