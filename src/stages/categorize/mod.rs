//! `categorize`: asks a model for the category of each row of a table.
//!
//! ```yaml
//! # after `raw`: results are a table of their own in the raw store, to be joined by a `document` stage
//! - categorize: { table: transaction, model: models/spending, text: [counterparty, description], amount: amount, into: transaction_category }
//! # without a raw store: three columns more
//! - categorize: { table: transaction, model: models/spending, text: [description], add: category }
//! ```
//! `model` is a folder of versions (the one that its `current` file names is used, and a newly published one is taken at
//! a batch border) or one version's folder, which pins it.
//!
//! With `into`, the result of a row has the row's key and position, so that delivering the row again changes nothing, and
//! goes with the row when that is deleted. Its record travels behind the batch's others.
//!
//! Invariants: a category depends on the row and the model version alone; while a text is [`Value::Unchanged`] the added
//! columns are too. A newly published version that cannot be loaded is reported once, and the old one stays in use.

mod result;
mod shape;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::error::{Error, Result};
use crate::model::{Buffers, Categorizer, Verdict, folder};
use crate::pipeline::{Field, Flow, Problem, Section, Spanned, TableFlow};
use crate::record::{Batch, Kind, Row};
use crate::stage::{LaneContext, Stage};
use crate::stores::SharedStore;

use result::Results;
use shape::{Columns, Shape, Shapes};

/// How often the `current` file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The stage.
pub struct Categorize {
    table: Spanned<String>,
    path: PathBuf,
    text: Vec<Spanned<String>>,
    amount: Option<Spanned<String>>,
    into: Option<Spanned<String>>,
    add: Option<Spanned<String>>,
    store_name: Option<String>,
    store: Option<SharedStore>,
    shapes: Shapes,
    results: Results,
    model: Option<Arc<Categorizer>>,
    buffers: Buffers,
    looked: Instant,
    /// A version that could not be loaded, so that it is reported once.
    refused: Option<PathBuf>,
}

/// Reads the section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Stage> {
    let table = section.required_text("table");
    let path = section.required_text("model");
    let text = section.texts("text");
    if text.is_empty() {
        section.problem(section.here().problem("key.missing", "`text` has to name at least one text column"));
    }
    let (amount, into, add) = (section.text("amount"), section.text("into"), section.text("add"));
    if into.is_some() == add.is_some() {
        let message = "exactly one of `into` (a table of results in the raw store) and `add` (columns) is expected";
        section.problem(section.here().problem("key.missing", message));
    }
    let columns = Columns {
        text: text.iter().map(|c| c.value.as_str().into()).collect(),
        amount: amount.as_ref().map(|c| c.value.as_str().into()),
        add: add.as_ref().map(|c| c.value.as_str().into()),
    };
    Box::new(Categorize {
        path: PathBuf::from(&path.value),
        results: Results::new(into.as_ref().map_or("", |t| &t.value)),
        shapes: Shapes::new(columns),
        table,
        text,
        amount,
        into,
        add,
        store_name: None,
        store: None,
        model: None,
        buffers: Buffers::default(),
        looked: Instant::now(),
        refused: None,
    })
}

#[async_trait]
impl Stage for Categorize {
    fn plan(&mut self, mut input: Flow) -> Result<Flow, Vec<Problem>> {
        let flow = input.check_table(&self.table).map_err(|problem| vec![problem])?.cloned();
        let mut flow = flow.unwrap_or(TableFlow { open: true, ..TableFlow::default() });
        let read = self.read_fields(&flow)?;
        if let Some(add) = &self.add {
            let fields = result::added_fields(&add.value, &read);
            if let Some(taken) = fields.iter().find(|f| flow.field(&f.name).is_some()) {
                let message = format!("the table has a field `{}` already; choose another name", taken.name);
                return Err(vec![add.problem("field.duplicate", message)]);
            }
            flow.fields.extend(fields);
            input.tables.insert(self.table.value.clone(), flow);
        } else if let Some(into) = &self.into {
            let Some(store) = input.store.clone() else {
                let problem = into.problem("store.missing", "`into` needs a raw store to put results into");
                return Err(vec![problem.help("put a `raw` stage before this one, or use `add` instead of `into`")]);
            };
            if input.stored.contains_key(&into.value) || input.tables.contains_key(&into.value) {
                let message = format!("there is a table `{}` already; choose another name", into.value);
                return Err(vec![into.problem("table.duplicate", message)]);
            }
            let results = result::table_flow(&flow, &read);
            input.tables.insert(into.value.clone(), results.clone());
            input.stored.insert(into.value.clone(), results);
            self.store_name = Some(store);
        }
        Ok(input)
    }

    async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        if let Some(name) = &self.store_name {
            self.store = Some(lane.stores.get(name).await?);
        }
        self.model = Some(load(self.path.clone()).await?);
        Ok(())
    }

    async fn process(&mut self, mut batch: Batch) -> Result<Batch> {
        self.take_new_version().await;
        let model = self.model.clone().ok_or_else(|| Error::Broken("categorize: used before it was opened".into()))?;
        match self.store.clone() {
            Some(store) => self.store_results(&store, &model, batch).await,
            None => {
                self.add_columns(&model, &mut batch);
                Ok(batch)
            }
        }
    }
}

impl Categorize {
    /// The fields that decide, checked.
    fn read_fields(&self, flow: &TableFlow) -> Result<Vec<Field>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut fields = Vec::new();
        let mut check = |name: &Spanned<String>, fits: fn(&Kind) -> bool, expected: &str| match flow.check_field(name) {
            Err(problem) => problems.push(problem),
            Ok(Some(field)) if !fits(&field.kind) => {
                let message = format!("`{}` is {}, expected {expected}", name.value, field.kind);
                problems.push(name.problem("type.wrong", message));
            }
            Ok(found) => fields.extend(found.cloned()),
        };
        for name in &self.text {
            check(name, |kind| matches!(kind, Kind::Text | Kind::Any), "text");
        }
        if let Some(name) = &self.amount {
            let number = |kind: &Kind| {
                matches!(kind, Kind::Any | Kind::Decimal { .. } | Kind::Int64 | Kind::UInt64 | Kind::Float64)
            };
            check(name, number, "a number");
        }
        if problems.is_empty() { Ok(fields) } else { Err(problems) }
    }

    fn add_columns(&mut self, model: &Categorizer, batch: &mut Batch) {
        let records = std::mem::take(&mut batch.records);
        batch.records.reserve(records.len());
        for mut record in records {
            let Some(row) = record.row.take_if(|_| *record.table == *self.table.value) else {
                batch.records.push(record);
                continue;
            };
            let shape = self.shapes.of(row.schema());
            match decide(model, &shape, &row, &mut self.buffers) {
                Ok(verdict) => {
                    record.row = Some(result::extended(row, &shape, verdict));
                    batch.records.push(record);
                }
                Err(reason) => batch.reject(&record, "categorize.text", reason),
            }
        }
    }

    async fn store_results(&mut self, store: &SharedStore, model: &Categorizer, mut batch: Batch) -> Result<Batch> {
        let mut derived = Vec::with_capacity(batch.records.len());
        let mut unreadable = Vec::new();
        for (at, record) in batch.records.iter().enumerate().filter(|(_, r)| *r.table == *self.table.value) {
            let Some(row) = &record.row else {
                derived.push(self.results.without_row(record));
                continue;
            };
            let shape = self.shapes.of(row.schema());
            match decide(model, &shape, row, &mut self.buffers) {
                // What the texts are is not known: what was stored for them stays.
                Ok(None) => {}
                Ok(Some(verdict)) => derived.push(self.results.record(record, model, &verdict)),
                Err(reason) => unreadable.push((at, reason)),
            }
        }
        for (at, reason) in unreadable.into_iter().rev() {
            let record = batch.records.remove(at);
            batch.reject(&record, "categorize.text", reason);
        }
        if derived.is_empty() {
            return Ok(batch);
        }
        let applied = store.apply(derived).await?;
        batch.records.extend(applied.records);
        batch.rejects.extend(applied.rejects.into_iter().map(|(_, reject)| reject));
        Ok(batch)
    }

    /// Looks whether another version was published; at most once a second.
    async fn take_new_version(&mut self) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        let path = self.path.clone();
        let Ok(Ok(folder)) = tokio::task::spawn_blocking(move || folder::resolve(&path)).await else { return };
        if self.model.as_ref().is_some_and(|m| m.folder == folder) || self.refused.as_ref() == Some(&folder) {
            return;
        }
        match load(self.path.clone()).await {
            Ok(model) => {
                tracing::info!(model = %model.id, "took a newly published model");
                self.model = Some(model);
                self.refused = None;
            }
            Err(error) => {
                tracing::warn!(%error, "a newly published model cannot be used; the one before it stays in use");
                self.refused = Some(folder);
            }
        }
    }
}

async fn load(path: PathBuf) -> Result<Arc<Categorizer>> {
    let loaded = tokio::task::spawn_blocking(move || Categorizer::shared(Path::new(&path))).await;
    loaded.map_err(|e| Error::Broken(format!("loading the model was interrupted: {e}")))?
}

/// The verdict on a row; `None` while one of its texts is unchanged.
fn decide<'m>(
    model: &'m Categorizer,
    shape: &Shape,
    row: &Row,
    buffers: &mut Buffers,
) -> Result<Option<Verdict<'m>>, String> {
    if shape.check(row)? { Ok(Some(model.decide(shape.texts(row), shape.amount(row), buffers))) } else { Ok(None) }
}

#[cfg(test)]
mod tests;
