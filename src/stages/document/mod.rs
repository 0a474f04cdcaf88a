//! `document`: business documents, each a pure function of a raw-store snapshot.
//!
//! ```yaml
//! - document:
//!     root: transaction               # one document per live row; its key is the row's key
//!     with:                           # joined column: column of the root, or of a join above
//!       account:  { table: account,  on: { id: account_id } }
//!       customer: { table: customer, on: { id: account.customer_id } }
//!       refunds:  { table: transaction, on: { refund_of: id }, many: true }
//!     fields:
//!       amount: .amount               # a plain path copies the value exactly
//!       customer.name: .customer.name
//!       label: 'upcase(string!(.counterparty))'      # VRL over the root row, joins under their names
//!       refunds: { list: refunds, fields: { id: .id, amount: .amount }, order: [-booked_at], limit: 10 }
//!       refunded: { sum: refunds.amount }            # also count, min, max; `where` narrows
//!     into: transactions              # the stream's name; the root table's by default
//! ```
//!
//! For every record that the raw store has taken (a re-delivered one as well: that is the crash recovery) the join graph
//! is walked back to the roots that the row feeds or has fed, and their documents are computed again, all of a batch from
//! one snapshot, whose version guards the write. A row that feeds no document leaves nothing.
//!
//! Invariants
//! - in whatever order rows arrive, and however often, the last document of a root is the one of the last snapshot;
//! - a to-one join that finds nothing gives nulls; one that finds several rows takes the one with the lowest key;
//! - what is computed after a start supersedes what was computed before it, even where no row has changed meanwhile: a
//!   changed definition replaces all documents when the log is read again from its beginning;
//! - a document whose root row is gone leaves as a delete, with the version of the snapshot that no longer had it.
//!
//! Bounds: rows are read for at most [`MAX_ROOTS`] documents at a time, for fewer where they draw in long lists; but the
//! documents of one batch leave together: a change of a row that feeds very many documents makes a batch of that many.

mod build;
mod fetch;
mod fields;
mod graph;
mod order;
mod resolve;
mod spec;

use std::sync::Arc;

use async_trait::async_trait;
use rustc_hash::FxHashMap;

use self::build::{Builder, Failure};
use self::fetch::{Chunk, Joined};
use self::resolve::{Definition, resolve};
use self::spec::Spec;
use super::due::{Due, DueRows};
use crate::error::{Error, Result};
use crate::pipeline::{Flow, Problem, Section};
use crate::record::{Batch, Op, Record, Reject, Row};
use crate::stage::{LaneContext, Stage};
use crate::stores::{SharedStore, Snapshot};

/// Most documents that are computed from one round of look-ups.
const MAX_ROOTS: usize = 2_000;
/// How many documents a lane starts with where lists are drawn in, whose length is not known yet.
const FIRST_ROOTS: usize = 64;
/// Rows in memory that make the next round smaller.
const MANY_ROWS: usize = 50_000;

/// The stage.
pub struct Document {
    spec: Spec,
    here: crate::pipeline::Spanned<()>,
    store_name: String,
    definition: Option<Definition>,
    store: Option<SharedStore>,
    builder: Builder,
    round: usize,
}

/// Reads the section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Stage> {
    Box::new(Document {
        spec: Spec::read(section),
        here: section.here(),
        store_name: String::new(),
        definition: None,
        store: None,
        builder: Builder::default(),
        round: MAX_ROOTS,
    })
}

#[async_trait]
impl Stage for Document {
    fn plan(&mut self, input: Flow) -> Result<Flow, Vec<Problem>> {
        let Some(store) = input.store.clone() else {
            let problem = self.here.problem("document.no_store", "documents are computed from a raw store");
            return Err(vec![problem.help("put `- raw: { store: NAME }` before this stage")]);
        };
        let (definition, table) = resolve(&self.spec, &input)?;
        let indexes = definition.graph.indexes().into_iter().map(|index| (index.table, index.column));
        let indexes = input.indexes.iter().cloned().chain(indexes).collect();
        let tables = [(definition.into.to_string(), table)].into();
        self.store_name = store;
        self.round = if definition.graph.joins.iter().any(|join| join.many) { FIRST_ROOTS } else { MAX_ROOTS };
        self.definition = Some(definition);
        Ok(Flow { tables, open: false, indexes, ..input })
    }

    async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        let store = lane.stores.get(&self.store_name).await?;
        if let Some(definition) = &self.definition {
            store.ensure_indexes(&definition.graph.indexes()).await?;
        }
        store.advance().await?;
        self.store = Some(store);
        Ok(())
    }

    async fn process(&mut self, mut batch: Batch) -> Result<Batch> {
        let (Some(definition), Some(store)) = (&self.definition, &self.store) else {
            return Err(Error::Broken("the document stage was not opened".into()));
        };
        let causes = std::mem::take(&mut batch.records);
        if !causes.iter().any(|record| definition.graph.uses(&record.table)) {
            return Ok(batch);
        }
        let mut view = store.snapshot().await?;
        let affected = affected(definition, &mut *view, &causes).await?;
        let mut computing = Computing { definition, builder: &mut self.builder, causes: &causes, batch: &mut batch };
        let mut roots = affected.as_slice();
        while !roots.is_empty() {
            let (round, rest) = roots.split_at(self.round.min(roots.len()));
            let rows = computing.round(&mut *view, round).await?;
            self.round = if rows > MANY_ROWS { self.round / 2 } else { self.round * 2 }.clamp(1, MAX_ROOTS);
            roots = rest;
        }
        Ok(batch)
    }
}

/// The documents that a batch of records affects: their root rows, each once.
async fn affected(definition: &Definition, view: &mut dyn Snapshot, causes: &[Record]) -> Result<Vec<Due>> {
    let graph = &definition.graph;
    let mut due = DueRows::default();
    let mut by_table: FxHashMap<&str, Vec<usize>> = FxHashMap::default();
    for (number, cause) in causes.iter().enumerate().filter(|(_, cause)| graph.uses(&cause.table)) {
        if cause.op == Op::Truncate {
            return Err(Error::Broken(format!("table {}: the raw store left a truncate unresolved", cause.table)));
        }
        by_table.entry(&cause.table).or_default().push(number);
        if *cause.table == *graph.root.name {
            due.add(cause.key.clone(), number, true);
        }
    }
    let mut tables: Vec<_> = by_table.into_iter().collect();
    tables.sort_unstable();
    for (table, numbers) in tables {
        let keys: Vec<Row> = numbers.iter().filter_map(|n| causes.get(*n)).map(|c| c.key.clone()).collect();
        for (key, changed) in graph.roots(view, table, &keys).await? {
            due.add(key, numbers.get(changed).copied().unwrap_or_default(), false);
        }
    }
    Ok(due.into_rows())
}

/// One batch's documents in the making.
struct Computing<'a> {
    definition: &'a Definition,
    builder: &'a mut Builder,
    causes: &'a [Record],
    batch: &'a mut Batch,
}

impl Computing<'_> {
    /// Computes the documents of `roots`; says how many rows that took.
    async fn round(&mut self, view: &mut dyn Snapshot, roots: &[Due]) -> Result<usize> {
        let version = view.version();
        let keys: Vec<Row> = roots.iter().map(|root| root.key.clone()).collect();
        let chunk = Chunk::read(&self.definition.graph, view, &keys).await?;
        for (root, joined) in roots.iter().zip(chunk.documents()) {
            let Some(cause) = self.causes.get(root.cause) else { continue };
            match joined {
                Some(joined) => match self.document(joined) {
                    Ok(row) => self.push(cause, Op::Update, self.key(root, joined.root), Some(row), version),
                    Err(failure) => self.reject(cause, failure),
                },
                None if root.own => self.push(cause, Op::Delete, root.key.clone(), None, version),
                None => {}
            }
        }
        Ok(chunk.size())
    }

    fn document(&mut self, joined: Joined<'_>) -> Result<Row, Failure> {
        match &self.definition.shape {
            Some(shape) => self.builder.document(shape, joined),
            None => Ok(self.builder.whole(&self.definition.graph, joined)),
        }
    }

    /// The key as the root row has it: one that came through a link may have the type of the linking column.
    fn key(&self, root: &Due, row: &Row) -> Row {
        let schema = root.key.schema();
        let values = schema.columns.iter().map(|column| row.get(&column.name).cloned()).collect::<Option<Vec<_>>>();
        values.map_or_else(|| root.key.clone(), |values| Row::new(schema.clone(), values))
    }

    fn push(&mut self, cause: &Record, op: Op, key: Row, row: Option<Row>, version: u64) {
        self.batch.records.push(Record {
            table: Arc::clone(&self.definition.into),
            op,
            key,
            row,
            patch: None,
            before: None,
            position: cause.position.clone(),
            version,
            changed_at: cause.changed_at,
            snapshot: Default::default(),
            origin: cause.origin,
        });
    }

    fn reject(&mut self, cause: &Record, failure: Failure) {
        self.batch.rejects.push(Reject {
            origin: cause.origin,
            table: Some(self.definition.into.to_string()),
            code: failure.code,
            reason: format!("document {}: {}", self.definition.into, failure.reason),
        });
    }
}

#[cfg(test)]
mod tests;
