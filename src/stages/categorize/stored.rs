//! Results as a table of the raw store: each a pure function of a snapshot and of a model version.
//!
//! For every record of the table (a re-delivered one as well: that is the crash recovery) and for every correction that
//! came, the rows concerned are read from a snapshot, answered, corrected, and written with the snapshot's version as
//! their position: of two results of a row the one from the later snapshot stays, whoever writes last.
//!
//! Invariants
//! - the model is asked for after the snapshot was taken ([`Current`]);
//! - in whatever order rows and corrections arrive, and however often, the result at rest is the one of the last snapshot;
//! - a result goes with its row; one whose text cannot be read stays as it was, and the record is rejected.

use std::collections::BTreeSet;

use bytestring::ByteString;

use super::super::due::{Due, DueRows};
use super::corrections::{Corrections, Decided, normal};
use super::current::Current;
use super::drift::Drift;
use super::result::{Answered, Results};
use super::shape::{Shape, Shapes};
use crate::error::Result;
use crate::model::{Buffers, Categorizer, Source};
use crate::record::{Batch, Op, Record, Row};
use crate::stores::{SharedStore, Snapshot};

/// Most rows that are answered from one round of look-ups.
const MAX_ROWS: usize = 2_000;

/// Where results are put, and what they are made from.
pub struct Stored {
    /// The categorized table.
    pub table: String,
    /// The table of results.
    pub into: String,
    /// The raw store.
    pub store: SharedStore,
}

/// What answers rows.
pub struct Answers<'s> {
    /// Which model.
    pub current: &'s mut Current,
    /// Where columns stand.
    pub shapes: &'s mut Shapes,
    /// How results look.
    pub results: &'s mut Results,
    /// Reused from row to row.
    pub buffers: &'s mut Buffers,
    /// Who stands before the model.
    pub corrections: Option<&'s Corrections>,
    /// Counts of answers, if they are watched.
    pub drift: Option<&'s mut Drift>,
}

/// A batch on its way through the stage.
struct Work<'w> {
    causes: &'w [Record],
    batch: &'w mut Batch,
    /// Records whose row could not be read.
    rejected: BTreeSet<usize>,
}

impl Stored {
    /// Computes the results that a batch calls for; they leave behind the batch's records.
    pub async fn process(&self, answers: &mut Answers<'_>, mut batch: Batch) -> Result<Batch> {
        let causes = std::mem::take(&mut batch.records);
        if let Some(drift) = &mut answers.drift {
            drift.begin();
        }
        let mut work = Work { causes: &causes, batch: &mut batch, rejected: BTreeSet::new() };
        let corrected = self.take_corrections(answers.corrections, &mut work).await?;
        let mut due = DueRows::default();
        for (at, record) in causes.iter().enumerate().filter(|(_, r)| *r.table == *self.table) {
            due.add(record.key.clone(), at, true);
        }
        let mut derived = Vec::new();
        let mut due = Some((due, corrected));
        while let Some((mut rows, corrected)) = due.take() {
            let mut view = self.store.snapshot().await?;
            let model = answers.current.get().await?;
            if let Some(corrections) = answers.corrections.filter(|_| !corrected.is_empty()) {
                let places = (&*self.table, &*self.into);
                for (key, cause) in corrections.concerned(&mut *view, places, &causes, &corrected).await? {
                    rows.add(key, cause, false);
                }
            }
            let mut decided = Decided::default();
            let rows = rows.into_rows();
            let parts = rows.chunks(MAX_ROWS);
            let last = parts.len().saturating_sub(1);
            for (at, part) in parts.enumerate() {
                let mut records = answers.round(self, &mut *view, &model, part, &mut work, &mut decided).await?;
                if let (Some(drift), Some(cause), true) = (&mut answers.drift, causes.first(), at == last) {
                    records.extend(drift.changed(&model, cause, view.version()));
                }
                derived.extend(self.keep(records, work.batch).await?);
            }
            due = self.overtaken(answers.corrections, decided).await?;
        }
        let rejected = work.rejected;
        let kept = causes.into_iter().enumerate().filter(|(at, _)| !rejected.contains(at));
        batch.records = kept.map(|(_, record)| record).chain(derived).collect();
        Ok(batch)
    }

    /// Stores results; gives them back without what is none.
    async fn keep(&self, records: Vec<Record>, batch: &mut Batch) -> Result<impl Iterator<Item = Record>> {
        let applied = self.store.apply(records).await?;
        batch.rejects.extend(applied.rejects.into_iter().map(|(_, reject)| reject));
        Ok(applied.records.into_iter().filter(|record| *record.table == *self.into))
    }

    /// The corrections among the records, with the derived table brought up to date.
    async fn take_corrections(&self, corrections: Option<&Corrections>, work: &mut Work<'_>) -> Result<Vec<usize>> {
        let Some(corrections) = corrections else { return Ok(Vec::new()) };
        let corrected = corrections.among(work.causes);
        let mute: Vec<usize> = corrections.without_category(work.causes, &corrected).collect();
        for at in mute {
            work.reject(at, "correction.category", "expected a category: a text that is not empty".to_string());
        }
        if !corrected.is_empty() {
            corrections.keep_texts(&self.store, work.causes, &corrected).await?;
        }
        Ok(corrected)
    }

    /// What has to be computed once more, because a correction came while results were being written.
    async fn overtaken(
        &self,
        corrections: Option<&Corrections>,
        decided: Decided,
    ) -> Result<Option<(DueRows, Vec<usize>)>> {
        let Some(corrections) = corrections.filter(|corrections| corrections.by_text()) else { return Ok(None) };
        let mut view = self.store.snapshot().await?;
        let changed = corrections.changed(&mut *view, decided).await?;
        if changed.is_empty() {
            return Ok(None);
        }
        let mut rows = DueRows::default();
        changed.into_iter().for_each(|due| rows.add(due.key, due.cause, due.own));
        Ok(Some((rows, Vec::new())))
    }
}

impl Work<'_> {
    fn reject(&mut self, at: usize, code: &'static str, reason: String) {
        if let Some(record) = self.causes.get(at) {
            self.batch.reject(record, code, reason);
            self.rejected.insert(at);
        }
    }
}

impl Answers<'_> {
    /// The results of `due`, as they are in `view`.
    async fn round(
        &mut self,
        stored: &Stored,
        view: &mut dyn Snapshot,
        model: &Categorizer,
        due: &[Due],
        work: &mut Work<'_>,
        decided: &mut Decided,
    ) -> Result<Vec<Record>> {
        let keys: Vec<Row> = due.iter().map(|due| due.key.clone()).collect();
        let rows = view.get(&stored.table, &keys).await?;
        let mut merchants = vec![None; rows.len()];
        let mut corrected = vec![None; rows.len()];
        if let Some(corrections) = self.corrections {
            if corrections.by_text() {
                let merchant =
                    |row: &Option<Row>| row.as_ref().and_then(|row| merchant(&self.shapes.of(row.schema()), row));
                merchants = rows.iter().map(merchant).collect();
            }
            corrected = corrections.of(view, &rows, &merchants, due, decided).await?;
        }
        self.results.at(view.version());
        let mut records = Vec::with_capacity(due.len());
        for (((due, row), merchant), corrected) in due.iter().zip(rows).zip(merchants).zip(corrected) {
            let Some(cause) = work.causes.get(due.cause) else { continue };
            let Some(row) = row else {
                records.extend(due.own.then(|| self.results.without_row(cause, due.key.clone())));
                continue;
            };
            match self.result(model, &row, cause, due, (merchant, corrected)) {
                Ok(record) => records.push(record),
                Err(reason) => work.reject(due.cause, "categorize.text", reason),
            }
        }
        Ok(records)
    }

    /// The result of one row.
    fn result(
        &mut self,
        model: &Categorizer,
        row: &Row,
        cause: &Record,
        due: &Due,
        (merchant, corrected): (Option<ByteString>, Option<ByteString>),
    ) -> Result<Record, String> {
        let shape = self.shapes.of(row.schema());
        shape.check(row)?;
        let facts = shape.facts(row);
        let mut verdict = model.decide(shape.texts(row), &facts, self.buffers);
        let because = match (self.results.explains, &corrected) {
            (true, None) => model.explain(&verdict, shape.texts(row), &facts, self.buffers),
            _ => Vec::new(),
        };
        if let Some(drift) = &mut self.drift {
            drift.count(model, shape.date(row), &verdict, &self.buffers.scratch);
        }
        if let Some(category) = &corrected {
            (verdict.category, verdict.confidence, verdict.source) = (category, 1.0, Source::Correction);
        }
        let key = if due.own { due.key.clone() } else { key_of(&due.key, row) };
        // A row that is new has no result yet; stores make use of knowing that.
        let op = if due.own && cause.key == due.key && cause.op.is_upsert() { cause.op } else { Op::Update };
        Ok(self.results.record(cause, key, op, Answered { model, verdict: &verdict, merchant, because }))
    }
}

/// The normal form of the row's first text that has one.
fn merchant(shape: &Shape, row: &Row) -> Option<ByteString> {
    shape.texts(row).find_map(normal)
}

/// The key as the row has it: one that came from a correction may have the type of the correction's column.
fn key_of(key: &Row, row: &Row) -> Row {
    let schema = row.schema();
    let column = |name: &str| Some((schema.column(name)?.clone(), row.get(name)?.clone()));
    let columns = key.iter().map(|(name, _)| column(name)).collect::<Option<(Vec<_>, Vec<_>)>>();
    columns.map_or_else(
        || key.clone(),
        |(columns, values)| Row::new(crate::record::TableSchema { columns }.into(), values),
    )
}
