//! `headwater model drift`: how far what a model sees has moved from what it was trained on.
//!
//! Of a pipeline, it adds up what the `categorize` stages with `drift:` have counted in the raw store; with `--data` it
//! counts the answers of a model to rows of a file, by their period. The order of windows is that of their names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::super::run::{block_on, stores};
use super::super::{Context, Outcome, report};
use crate::model::Buffers;
use crate::model::drift::{Shares, Window};
use crate::pipeline::{Pipeline, ProcessVariables, ResultTable, load};
use crate::record::Value;
use crate::stores::Snapshot;
use crate::{Error, Result};

/// Rows read at a time.
const PAGE_ROWS: usize = 1_000;

#[derive(clap::Args)]
pub struct Args {
    /// Pipeline file; with --data a model
    path: PathBuf,
    /// Rows to be answered instead: CSV, TSV or JSON lines, plain or gzip
    #[arg(long, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    /// What the columns of the data are: the train.toml beside the model by default
    #[arg(long, value_name = "TOML")]
    training: Option<PathBuf>,
    /// Only periods from this one on
    #[arg(long, value_name = "PERIOD", requires = "data")]
    from: Option<String>,
    /// A population stability index above this is an alarm
    #[arg(long, default_value_t = 0.25)]
    limit: f64,
}

/// Windows of one model.
struct Watched {
    model: String,
    classes: Vec<String>,
    training: Option<Vec<u64>>,
    windows: BTreeMap<String, Window>,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome> {
    if !args.data.is_empty() {
        return Ok(tell(&[of_data(args)?], args.limit));
    }
    match load(&args.path, &context.registry, &ProcessVariables) {
        Ok(pipeline) => Ok(tell(&block_on(of_pipeline(&pipeline, context))??, args.limit)),
        Err(failure) => Ok(report::outcome(&[failure], context)),
    }
}

/// The model's answers to the rows of files.
fn of_data(args: &Args) -> Result<Watched> {
    let model = super::load_model(&args.path)?;
    let (_, data) = super::load_data(&args.path, args.training.as_deref(), &args.data)?;
    let mut windows: BTreeMap<String, Window> = BTreeMap::new();
    let mut buffers = Buffers::default();
    for row in &data.rows {
        let period = data.period(row);
        if args.from.as_deref().is_some_and(|from| period < from) {
            continue;
        }
        buffers.scratch.set_normal(data.text(row));
        let answer = model.answer(&mut buffers, &data.facts(row));
        if !windows.contains_key(period) {
            windows.insert(period.to_string(), Window::new(model.info.classes.len()));
        }
        if let Some(window) = windows.get_mut(period) {
            window.add_answer(&answer, answer.best().1 >= model.info.threshold);
            window.add_words(model.new_words(&buffers.scratch));
        }
    }
    let id = format!("{}@{}", model.info.name, model.info.version);
    Ok(Watched { model: id, training: model.training_mix(), classes: model.info.classes, windows })
}

/// What the stages of a pipeline have counted.
async fn of_pipeline(pipeline: &Pipeline, context: &Context) -> Result<Vec<Watched>> {
    let flow = pipeline.steps.last().map(|step| step.flow.clone()).unwrap_or_default();
    let (Some(store), true) = (&flow.store, flow.results.iter().any(|table| table.drift.is_some())) else {
        let expected = "expected a `categorize` stage with `into` and `drift: {}`, which counts what is answered";
        return Err(Error::Config(format!("{}: {expected}", pipeline.name)));
    };
    let mut view = stores(context).existing(store).await?.snapshot().await?;
    let mut watched = Vec::new();
    for table in &flow.results {
        let mut models: BTreeMap<String, BTreeMap<String, Window>> = BTreeMap::new();
        for (model, window, counts) in counted(&mut *view, table).await? {
            models.entry(model).or_default().entry(window).or_default().merge(&counts);
        }
        watched.extend(models.into_iter().map(|(model, windows)| of_model(table, model, windows)));
    }
    Ok(watched)
}

/// Model, window and counts of every writer.
async fn counted(view: &mut dyn Snapshot, table: &ResultTable) -> Result<Vec<(String, String, Window)>> {
    let Some(name) = &table.drift else { return Ok(Vec::new()) };
    let (mut counted, mut after) = (Vec::new(), None);
    loop {
        let page = view.scan(name, after.as_ref(), PAGE_ROWS).await?;
        for row in &page {
            let text = |column: &str| row.row.get(column).and_then(Value::as_str).unwrap_or_default();
            let counts = serde_json::from_str(text("counts"));
            let counts = counts.map_err(|e| Error::Broken(format!("table {name}: counts do not read: {e}")))?;
            counted.push((text("model").to_string(), text("window").to_string(), counts));
        }
        match page.last() {
            Some(last) => after = Some(last.key.clone()),
            None => return Ok(counted),
        }
    }
}

/// Windows with what their model says of its training, if it is still there.
fn of_model(table: &ResultTable, id: String, windows: BTreeMap<String, Window>) -> Watched {
    let path = Path::new(&table.model);
    let version = id.rsplit_once('@').map_or("", |(_, version)| version);
    let of_version = super::load_model(&path.join(version)).or_else(|_| super::load_model(path)).ok();
    let model = of_version.filter(|model| format!("{}@{}", model.info.name, model.info.version) == id);
    let classes = model.as_ref().map(|model| model.info.classes.clone()).unwrap_or_default();
    Watched { model: id, training: model.and_then(|model| model.training_mix()), classes, windows }
}

fn tell(watched: &[Watched], limit: f64) -> Outcome {
    let mut text = String::new();
    let (mut results, mut alarms) = (Vec::new(), Vec::new());
    for of in watched {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}", of.model);
        if of.training.is_none() {
            let _ = writeln!(text, "  no index: the model tells no category mix of its training; train it again");
        }
        let _ = writeln!(text, "  window          rows  uncategorized  new texts  new words  confidence    PSI");
        for (name, window) in &of.windows {
            let shares = window.shares(of.training.as_deref());
            let alarm = shares.psi.is_some_and(|psi| psi > limit);
            let psi = shares.psi.map_or("-".to_string(), |psi| format!("{psi:.3}"));
            let Shares { rows, uncategorized, unseen, new_words, confidence, .. } = shares;
            let new_words = new_words.map_or("-".to_string(), |share| format!("{:.2} %", share * 100.0));
            let mark = if alarm { "  drifted" } else { "" };
            let _ = writeln!(
                text,
                "  {name:10} {rows:>9}  {:>11.2} %  {:>7.1} %  {new_words:>9}  {confidence:>10.3}  {psi:>5}{mark}",
                uncategorized * 100.0,
                unseen * 100.0
            );
            if alarm {
                alarms.push(json!({ "model": of.model, "window": name, "psi": shares.psi }));
            }
            results.push(result(of, name, window, &shares, alarm));
        }
    }
    let first = alarms.first().and_then(|alarm| alarm["window"].as_str()).map(str::to_string);
    let first = first.map_or(String::new(), |first| format!(", the first in {first}"));
    let summary = format!("{} windows, {} above {limit}{first}", results.len(), alarms.len());
    let _ = writeln!(text, "{summary}");
    Outcome { text, summary, result: json!({ "limit": limit, "windows": results, "alarms": alarms }), error: None }
}

fn result(of: &Watched, name: &str, window: &Window, shares: &Shares, alarm: bool) -> Json {
    let other = "(other)".to_string();
    let names = of.classes.iter().chain(std::iter::once(&other));
    let mix: BTreeMap<&String, u64> = names.zip(&window.mix).map(|(name, rows)| (name, *rows)).collect();
    json!({
        "model": of.model, "window": name, "rows": shares.rows, "uncategorized": shares.uncategorized,
        "unseen": shares.unseen, "new_words": shares.new_words, "confidence": shares.confidence, "psi": shares.psi,
        "drifted": alarm, "histogram": window.histogram, "mix": mix,
    })
}
