//! `categorize`: asks a model for the category of each row of a table.
//!
//! ```yaml
//! # after `raw`: results are a table of their own in the raw store, to be joined by a `document` stage
//! - categorize:
//!     table: transaction
//!     model: models/spending
//!     text: [counterparty, description]   # the first that is not empty counts as the merchant
//!     amount: amount                      # what else rules and model may look at: amount (negative: money goes out),
//!     direction: side                     # debit or credit in whatever words, merchant category code, and a date, of
//!     mcc: merchant_code                  # which the day of the month counts. A model uses what it was trained with
//!     day: booked_at
//!     into: transaction_category
//!     explain: true                       # results say what decided; false by default
//!     corrections:                        # a table of the pipeline; it wins over rules and model, for past and future rows
//!       table: category_correction
//!       on: { id: transaction_id }        # the corrected row's key: the correction's column
//!       text: merchant                    # or all rows of a merchant: whose normal text equals that of this column
//!       category: category                # the column with the category; this one by default
//!     drift:                              # counts what the model answered, for `headwater model drift`
//!       date: booked_at                   # by month of this column; by day of processing without it
//!       limit: 0.25                       # warns when the category mix is further from that of training
//! # without a raw store: three columns more
//! - categorize: { table: transaction, model: models/spending, text: [description], add: category }
//! ```
//! `model` is a folder of versions (the one that its `current` file names is used, and a newly published one is taken at
//! a batch border) or one version's folder, which pins it.
//!
//! With `into`, a result is `{key, category, confidence, top3, model, source}`: `source` is `correction`, `rule`, `memory`
//! (the text itself was labelled in training), `model` or `default`; `because` is what decided, `[{word, weight}, …]`. It
//! is computed from a raw-store snapshot and goes with its row. Its record travels behind the batch's others. Columns are
//! those of the stored row: what a `map` before this stage made is not seen.
//!
//! Invariants: a category depends on the row, the corrections and the model version alone; while a text is
//! [`Value::Unchanged`] the added columns are too.

mod corrections;
mod current;
mod drift;
mod result;
mod shape;
mod stored;
mod told;

use async_trait::async_trait;

use crate::error::Result;
use crate::model::{Buffers, Categorizer, Verdict};
use crate::pipeline::{Field, Flow, Problem, ResultTable, Section, Spanned, TableFlow};
use crate::record::{Batch, Kind, Row};
use crate::stage::{LaneContext, Stage};

use corrections::Corrections;
use current::Current;
use drift::{Drift, Watch};
use result::Results;
use shape::{Columns, Facts, Shape, Shapes};
use stored::{Answers, Stored};
use told::Told;

/// The stage.
pub struct Categorize {
    table: Spanned<String>,
    model: Spanned<String>,
    text: Vec<Spanned<String>>,
    facts: Facts<Option<Spanned<String>>>,
    into: Option<Spanned<String>>,
    add: Option<Spanned<String>>,
    corrections: Option<Corrections>,
    watch: Option<Watch>,
    drift: Option<Drift>,
    store_name: Option<String>,
    stored: Option<Stored>,
    shapes: Shapes,
    results: Results,
    current: Current,
    buffers: Buffers,
}

/// Reads the section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Stage> {
    let table = section.required_text("table");
    let model = section.required_text("model");
    let text = section.texts("text");
    if text.is_empty() {
        section.problem(section.here().problem("key.missing", "`text` has to name at least one text column"));
    }
    let facts =
        Facts { amount: "amount", direction: "direction", mcc: "mcc", day: "day" }.map(|name| section.text(name));
    let (into, add) = (section.text("into"), section.text("add"));
    if into.is_some() == add.is_some() {
        let message = "exactly one of `into` (a table of results in the raw store) and `add` (columns) is expected";
        section.problem(section.here().problem("key.missing", message));
    }
    let explains = section.flag("explain", false);
    let name = into.as_ref().map_or("", |into| &into.value).to_string();
    let corrections = section.section("corrections", |section| Corrections::read(section, &name));
    let watch = section.section("drift", Watch::read);
    if let (Some(add), true) = (&add, explains || corrections.is_some() || watch.is_some()) {
        let message = "`explain`, `corrections` and `drift` need a table of results: use `into` behind a `raw` stage";
        section.problem(add.problem("key.missing", message));
    }
    let columns = Columns {
        text: text.iter().map(|c| c.value.as_str().into()).collect(),
        facts: facts.map(|name| name.as_ref().map(|c| c.value.as_str().into())),
        add: add.as_ref().map(|c| c.value.as_str().into()),
        date: watch.as_ref().and_then(|watch| watch.date.as_ref()).map(|c| c.value.as_str().into()),
    };
    let merchants = corrections.as_ref().is_some_and(Corrections::by_text);
    Box::new(Categorize {
        current: Current::new(&model),
        results: Results::new(&name, explains, merchants),
        shapes: Shapes::new(columns),
        table,
        model,
        text,
        facts,
        into,
        add,
        corrections,
        drift: watch.as_ref().map(|watch| Drift::new(watch, &name)),
        watch,
        store_name: None,
        stored: None,
        buffers: Buffers::default(),
    })
}

#[async_trait]
impl Stage for Categorize {
    fn plan(&mut self, mut input: Flow) -> Result<Flow, Vec<Problem>> {
        let flow = input.check_table(&self.table).map_err(|problem| vec![problem])?.cloned();
        let mut flow = flow.unwrap_or(TableFlow { open: true, ..TableFlow::default() });
        if let Some(add) = &self.add {
            let fields = result::added_fields(&add.value, &self.read_fields(&flow)?);
            if let Some(taken) = fields.iter().find(|f| flow.field(&f.name).is_some()) {
                let message = format!("the table has a field `{}` already; choose another name", taken.name);
                return Err(vec![add.problem("field.duplicate", message)]);
            }
            flow.fields.extend(fields);
            input.tables.insert(self.table.value.clone(), flow);
        } else if let Some(into) = &self.into {
            self.store_name = Some(self.plan_results(into, &mut input)?);
        }
        Ok(input)
    }

    async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        if let (Some(name), Some(into)) = (&self.store_name, &self.into) {
            let store = lane.stores.get(name).await?;
            if let Some(corrections) = &self.corrections {
                store.ensure_indexes(&corrections.indexes(&self.table, into)).await?;
            }
            self.stored = Some(Stored { table: self.table.value.clone(), into: into.value.clone(), store });
        }
        if let (Some(drift), Some(into)) = (&mut self.drift, &self.into) {
            drift.tell(Told::new(lane, &into.value));
        }
        self.current.open().await
    }

    async fn process(&mut self, mut batch: Batch) -> Result<Batch> {
        let Some(stored) = &self.stored else {
            let model = self.current.get().await?;
            self.add_columns(&model, &mut batch);
            return Ok(batch);
        };
        let concerned = |table: &str| {
            *table == *self.table.value || self.corrections.as_ref().is_some_and(|c| *table == *c.table.value)
        };
        if !batch.records.iter().any(|record| concerned(&record.table)) {
            return Ok(batch);
        }
        let mut answers = Answers {
            current: &mut self.current,
            shapes: &mut self.shapes,
            results: &mut self.results,
            buffers: &mut self.buffers,
            corrections: self.corrections.as_ref(),
            drift: self.drift.as_mut(),
        };
        stored.process(&mut answers, batch).await
    }
}

impl Categorize {
    /// Plans a table of results; the name of the raw store.
    fn plan_results(&self, into: &Spanned<String>, input: &mut Flow) -> Result<String, Vec<Problem>> {
        let Some(store) = input.store.clone() else {
            let problem = into.problem("store.missing", "`into` needs a raw store to put results into");
            return Err(vec![problem.help("put a `raw` stage before this one, or use `add` instead of `into`")]);
        };
        if input.stored.contains_key(&into.value) || input.tables.contains_key(&into.value) {
            let message = format!("there is a table `{}` already; choose another name", into.value);
            return Err(vec![into.problem("table.duplicate", message)]);
        }
        let flow = input.check_stored(&self.table).map_err(|problem| vec![problem])?.cloned();
        let flow = flow.unwrap_or(TableFlow { open: true, ..TableFlow::default() });
        let read = self.read_fields(&flow)?;
        if let Some(corrections) = &self.corrections {
            corrections.check(input, &flow)?;
        }
        if let Some(date) = self.watch.as_ref().and_then(|watch| watch.date.as_ref()) {
            flow.check_field(date).map_err(|problem| vec![problem])?;
        }
        let results = result::table_flow(&flow, &read, &self.results);
        input.tables.insert(into.value.clone(), results.clone());
        input.stored.insert(into.value.clone(), results);
        input.results.push(ResultTable {
            name: into.value.clone(),
            of: self.table.value.clone(),
            model: self.model.value.clone(),
            drift: self.watch.as_ref().map(|_| drift::table_of(into)),
        });
        Ok(store)
    }

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
        let Facts { amount, direction, mcc, day } = &self.facts;
        let number =
            |kind: &Kind| matches!(kind, Kind::Any | Kind::Decimal { .. } | Kind::Int64 | Kind::UInt64 | Kind::Float64);
        let side = |kind: &Kind| matches!(kind, Kind::Any | Kind::Text | Kind::Bool);
        let code = |kind: &Kind| matches!(kind, Kind::Any | Kind::Text | Kind::Int64 | Kind::UInt64);
        let date = |kind: &Kind| {
            matches!(kind, Kind::Any | Kind::Text | Kind::Date | Kind::Timestamp(_) | Kind::TimestampTz(_))
        };
        amount.iter().for_each(|name| check(name, number, "a number"));
        direction.iter().for_each(|name| check(name, side, "text or bool"));
        mcc.iter().for_each(|name| check(name, code, "text or a whole number"));
        day.iter().for_each(|name| check(name, date, "a date, a timestamp or text"));
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
}

/// The verdict on a row; `None` while one of its texts is unchanged.
fn decide<'m>(
    model: &'m Categorizer,
    shape: &Shape,
    row: &Row,
    buffers: &mut Buffers,
) -> Result<Option<Verdict<'m>>, String> {
    if shape.check(row)? { Ok(Some(model.decide(shape.texts(row), &shape.facts(row), buffers))) } else { Ok(None) }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
