//! Takes rows of the raw store through the stages behind it again, while live changes flow elsewhere: after a new version
//! of a model was published, all its results and what was made of them follow.
//!
//! Invariants
//! - the position is stored with the counts and with what the rows of the page were before, in front of each page: after
//!   a crash the page is done again, and the report counts it once;
//! - the first of those notes is a commit that comes after the model was looked up and before any snapshot is read here.
//!   A lane that reads a later snapshot has looked for the model later, too; one that answers with an older model has an
//!   older snapshot, and its result does not replace ours;
//! - rows that come or change behind the page are seen to by whoever stores them.
//!
//! Rows are read in pages of their own snapshots, so that a long run neither outlives the server's history nor keeps a
//! write-ahead log from being folded. Deliberately absent: parking. A row that a stage refuses stands in the raw store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::backoff::Outage;
use super::lane::work_through;
use super::pipeline::{RunOptions, build_lane, lane_context, pause};
use crate::error::{Error, Result};
use crate::pipeline::{Pipeline, ResultTable};
use crate::record::{Batch, Op, Record, Row, Value};
use crate::stage::Stage;
use crate::stores::{ScannedRow, SharedStore, Snapshot, key_from_text, key_to_text};

/// Rows per page.
const PAGE_ROWS: usize = 500;

/// What is to be done again.
pub struct Request<'r> {
    /// The table of results.
    pub results: ResultTable,
    /// The version of the model in use, as results name it.
    pub model: String,
    /// Which rows, in words: a run with other words does not go on where this one stopped.
    pub only: String,
    /// Whether a row with this result is to be done again. One without a result always is.
    pub takes: &'r (dyn Fn(&Row) -> bool + Send + Sync),
    /// Most rows per second.
    pub rate: Option<u32>,
}

/// What was done, counted by row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows looked at.
    pub seen: u64,
    /// Rows categorized again.
    pub again: u64,
    /// Of these, rows that a stage refused.
    pub refused: u64,
    /// Rows by category before and after, where these differ; `` stands for no result.
    pub changes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Rows categorized again by who decided.
    pub sources: BTreeMap<String, u64>,
}

impl Tally {
    /// Rows whose category is another one now.
    pub fn changed(&self) -> u64 {
        self.changes.values().flat_map(BTreeMap::values).sum()
    }
}

/// How it ended.
#[derive(Debug)]
pub struct Done {
    /// What was done, earlier runs that this one went on with included.
    pub tally: Tally,
    /// Whether it went on where an earlier run stopped.
    pub resumed: bool,
    /// Whether all rows were looked at; else it was stopped and goes on when it is started again.
    pub complete: bool,
}

/// What is stored between pages.
#[derive(Default, Serialize, Deserialize)]
struct State {
    model: String,
    only: String,
    /// The last key that is done.
    after: Option<String>,
    tally: Tally,
    /// Categories before, by key, of the rows of the page under way.
    page: BTreeMap<String, String>,
}

/// A table's rows on their way.
struct Work<'w> {
    request: &'w Request<'w>,
    store: SharedStore,
    note: String,
    state: State,
}

/// Categorizes again what `request` asks for; `progress` hears how many rows of how many were looked at.
pub async fn recategorize(
    pipeline: &Arc<Pipeline>,
    options: &RunOptions,
    request: &Request<'_>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Done> {
    let store = pipeline.steps.iter().find_map(|step| step.flow.store.clone());
    let store = store.ok_or_else(|| Error::Config(format!("{}: there is no `raw` stage", pipeline.name)))?;
    let store = options.stores.existing(&store).await?;
    let note = format!("recategorize/{}/{}", pipeline.name, request.results.name);
    let known = store.facts(&note).await?.remove(&note);
    let (state, resumed) = match known.and_then(|text| serde_json::from_str::<State>(&text).ok()) {
        Some(state) if state.model == request.model && state.only == request.only => (state, true),
        _ => (State { model: request.model.clone(), only: request.only.clone(), ..State::default() }, false),
    };
    let mut work = Work { request, store, note, state };
    work.keep().await?;
    let total = work.store.tables().await?.into_iter().find(|(name, _)| *name == request.results.of);
    let total = total.map_or(0, |(_, rows)| rows);
    let complete = work.pages(pipeline, options, &mut |seen| progress(seen, total.max(seen))).await?;
    if complete {
        work.store.remember(&[(work.note, String::new())]).await?;
    }
    Ok(Done { tally: work.state.tally, resumed, complete })
}

impl Work<'_> {
    /// All pages; false when the shutdown came first.
    async fn pages(
        &mut self,
        pipeline: &Arc<Pipeline>,
        options: &RunOptions,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<bool> {
        let mut stages = None;
        let mut outage: Option<Outage> = None;
        let (begun, mut taken) = (Instant::now(), 0);
        while !options.shutdown.is_cancelled() {
            let error = match self.page(pipeline, options, &mut stages).await {
                Ok(None) => return Ok(true),
                Ok(Some(rows)) => {
                    outage.take().into_iter().for_each(|over| over.end(&pipeline.name, 0));
                    progress(self.state.tally.seen);
                    taken += rows as u64;
                    pause(self.ahead_of_rate(begun, taken), &options.shutdown).await;
                    continue;
                }
                Err(error @ Error::Unavailable(_)) => error,
                Err(error) => return Err(error),
            };
            stages = None;
            let outage = outage.get_or_insert_with(|| Outage::begin(&pipeline.name, 0, &error));
            pause(outage.next_pause(&pipeline.name, 0, &error), &options.shutdown).await;
        }
        self.keep().await?;
        Ok(false)
    }

    /// How long to wait, so that no more than the rate is taken.
    fn ahead_of_rate(&self, begun: Instant, taken: u64) -> Duration {
        let due = self.request.rate.map_or(0.0, |rate| taken as f64 / f64::from(rate.max(1)));
        Duration::from_secs_f64(due).saturating_sub(begun.elapsed())
    }

    fn page_rows(&self) -> usize {
        self.request.rate.map_or(PAGE_ROWS, |rate| (rate as usize / 2).clamp(1, PAGE_ROWS))
    }

    /// The next page: how many of its rows were categorized again; `None` when there is none.
    async fn page(
        &mut self,
        pipeline: &Arc<Pipeline>,
        options: &RunOptions,
        stages: &mut Option<Vec<(String, Box<dyn Stage>)>>,
    ) -> Result<Option<usize>> {
        if stages.is_none() {
            *stages = Some(open_stages(pipeline, options).await?);
        }
        let Some(stages) = stages else { return Ok(None) };
        let after = self.state.after.as_deref().map(key_from_text).transpose()?;
        let mut view = self.store.snapshot().await?;
        let rows = view.scan(&self.request.results.of, after.as_ref(), self.page_rows()).await?;
        let Some(last) = rows.last().map(|row| key_to_text(&row.key)) else { return Ok(None) };
        let seen = rows.len() as u64;
        let again = self.pick(&mut *view, rows).await?;
        drop(view);
        self.keep().await?;
        let keys: Vec<Row> = again.iter().map(|record| record.key.clone()).collect();
        let (_, refused) = work_through(stages, Batch { records: again, ..Batch::default() }).await?;
        if let Some((stage, reject)) = refused.first() {
            tracing::warn!(stage, code = reject.code, refused = refused.len(), "refused: {}", reject.reason);
        }
        self.state.tally.refused += refused.len() as u64;
        self.count(&keys).await?;
        self.state.tally.seen += seen;
        self.state.after = Some(last);
        Ok(Some(keys.len()))
    }

    /// The rows that are to be done again, as the raw store would deliver them; notes what they are now.
    async fn pick(&mut self, view: &mut dyn Snapshot, rows: Vec<ScannedRow>) -> Result<Vec<Record>> {
        let keys: Vec<Row> = rows.iter().map(|row| row.key.clone()).collect();
        let results = view.get(&self.request.results.name, &keys).await?;
        let before = std::mem::take(&mut self.state.page);
        let mut records = Vec::with_capacity(rows.len());
        for (row, result) in rows.into_iter().zip(results) {
            let key = key_to_text(&row.key);
            // A page that a crash has cut short was picked before, whatever its results are by now.
            let category = match before.get(&key) {
                Some(category) => category.clone(),
                None if result.as_ref().is_none_or(|result| (self.request.takes)(result)) => text(&result, "category"),
                None => continue,
            };
            self.state.page.insert(key, category);
            records.push(self.record(row));
        }
        Ok(records)
    }

    fn record(&self, ScannedRow { key, row, position }: ScannedRow) -> Record {
        Record {
            table: self.request.results.of.as_str().into(),
            op: Op::Update,
            key,
            row: Some(row),
            before: None,
            patch: None,
            snapshot: Default::default(),
            version: position.epoch.version(position.offset),
            position,
            changed_at: None,
            origin: 0,
        }
    }

    /// Counts what became of the rows of a page.
    async fn count(&mut self, keys: &[Row]) -> Result<()> {
        let mut view = self.store.snapshot().await?;
        let results = view.get(&self.request.results.name, keys).await?;
        let tally = &mut self.state.tally;
        for (key, result) in keys.iter().zip(results) {
            let Some(before) = self.state.page.remove(&key_to_text(key)) else { continue };
            let after = text(&result, "category");
            tally.again += 1;
            *tally.sources.entry(text(&result, "source")).or_default() += 1;
            if before != after {
                *tally.changes.entry(before).or_default().entry(after).or_default() += 1;
            }
        }
        Ok(())
    }

    async fn keep(&self) -> Result<()> {
        let text = serde_json::to_string(&self.state).map_err(|e| Error::Broken(e.to_string()))?;
        self.store.remember(&[(self.note.clone(), text)]).await
    }
}

/// The text in a column of a result; nothing where there is no result.
fn text(result: &Option<Row>, column: &str) -> String {
    result.as_ref().and_then(|row| row.get(column)).and_then(Value::as_str).unwrap_or_default().to_string()
}

/// The stages behind the raw store, opened.
async fn open_stages(pipeline: &Arc<Pipeline>, options: &RunOptions) -> Result<Vec<(String, Box<dyn Stage>)>> {
    let context = lane_context(pipeline, options, 0, options.shutdown.clone());
    // The first step is the source.
    let raw = pipeline.steps.iter().position(|step| step.flow.store.is_some()).unwrap_or_default();
    let mut stages = build_lane(pipeline)?.stages.split_off(raw);
    for (id, stage) in &mut stages {
        stage.open(&context).await.map_err(|e| e.at(&*id))?;
    }
    Ok(stages)
}
