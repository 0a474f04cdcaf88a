//! `headwater recategorize`: after a new version of a model was published, categorizes the rows of the raw store again and
//! lets everything behind follow, while live changes flow in other processes.
//!
//! It goes on where it was stopped or killed. Results of corrections stay corrections.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::run::{block_on, options};
use super::{Context, Outcome, report};
use crate::model::{Categorizer, UNCATEGORIZED, folder};
use crate::pipeline::{ProcessVariables, ResultTable, load};
use crate::record::{Row, Value};
use crate::runner::{self, Done, Request};
use crate::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Pipeline file
    file: PathBuf,
    /// Only some rows: `uncategorized`, `changed` (results of another version than the one in use), or `since=VERSION`
    /// (results of that version or a later one). Rows without a result are always done
    #[arg(long, value_parser = only)]
    only: Option<Only>,
    /// At most this many rows a second
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// No progress on the terminal
    #[arg(long, short)]
    quiet: bool,
}

/// Which rows.
#[derive(Debug, Clone, PartialEq)]
enum Only {
    Uncategorized,
    Changed,
    Since(String),
}

fn only(text: &str) -> Result<Only, String> {
    match (text, text.strip_prefix("since=")) {
        ("uncategorized", _) => Ok(Only::Uncategorized),
        ("changed", _) => Ok(Only::Changed),
        (_, Some(version)) => {
            folder::check_version(version).map(|()| Only::Since(version.to_string())).map_err(Into::into)
        }
        _ => Err("expected uncategorized, changed or since=VERSION".to_string()),
    }
}

impl Only {
    /// Whether a row with this result is to be done, when `model` is in use.
    fn takes(&self, result: &Row, model: &str) -> bool {
        let text = |column: &str| result.get(column).and_then(Value::as_str).unwrap_or_default();
        let version = |id: &str| id.rsplit_once('@').map_or(id, |(_, version)| version).to_string();
        match self {
            Only::Uncategorized => text("category") == UNCATEGORIZED,
            Only::Changed => text("model") != model,
            Only::Since(since) => folder::order(&version(text("model")), since).is_ge(),
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let pipeline = match load(&args.file, &context.registry, &ProcessVariables) {
        Ok(pipeline) => Arc::new(pipeline),
        Err(failure) => return Ok(report::outcome(&[failure], context)),
    };
    let tables = pipeline.steps.last().map(|step| step.flow.results.clone()).unwrap_or_default();
    if tables.is_empty() {
        let expected = "expected a `categorize` stage with `into` behind a `raw` stage";
        return Err(Error::Config(format!("{}: {expected}", args.file.display())));
    }
    block_on(async {
        let shutdown = CancellationToken::new();
        runner::listen(shutdown.clone());
        let options = options(context, shutdown);
        let mut outcome = Outcome::default();
        let mut results = Vec::new();
        for table in tables {
            // Loaded before anything is read: results are compared with this version.
            let model = Categorizer::load(Path::new(&table.model))?.id.to_string();
            let takes = |result: &Row| args.only.as_ref().is_none_or(|only| only.takes(result, &model));
            let only = args.only.as_ref().map_or_else(String::new, |only| format!("{only:?}"));
            let request =
                Request { results: table.clone(), model: model.clone(), only, takes: &takes, rate: args.rate };
            let begun = Instant::now();
            let mut progress = Progress::new(args.quiet || context.out.is_json(), "categorizing again", "rows");
            let mut say = |seen, of| progress.say(&table.name, seen, of);
            let done = runner::recategorize(&pipeline, &options, &request, &mut say).await?;
            progress.end();
            tell(&mut outcome, &table, &model, &done, begun.elapsed());
            results.push(result(&table, &model, &done, begun.elapsed()));
        }
        outcome.result = json!({ "tables": results });
        Ok(outcome)
    })?
}

/// Says it to people.
fn tell(outcome: &mut Outcome, table: &ResultTable, model: &str, done: &Done, time: Duration) {
    let (tally, text) = (&done.tally, &mut outcome.text);
    let how = if done.complete { "" } else { "stopped; the same command goes on from here. " };
    let summary = format!(
        "{}: {how}{} of {} rows categorized again with {model}, {} changed, in {:.1} s",
        table.name,
        tally.again,
        tally.seen,
        tally.changed(),
        time.as_secs_f64()
    );
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{summary}{}", if done.resumed { " (went on where an earlier run stopped)" } else { "" });
    if tally.refused > 0 {
        let _ = writeln!(text, "  {} rows were refused by a stage; the log says why", tally.refused);
    }
    let width = tally.changes.keys().map(String::len).max().unwrap_or(0).max(8);
    for (from, to, rows) in changes(done) {
        let _ = writeln!(text, "  {rows:>9}  {from:width$} -> {to}");
    }
    outcome.summary = if outcome.summary.is_empty() { summary } else { format!("{}; {summary}", outcome.summary) };
}

/// Changes, the most frequent first.
fn changes(done: &Done) -> Vec<(&str, &str, u64)> {
    let mut all: Vec<(&str, &str, u64)> = Vec::new();
    for (from, tos) in &done.tally.changes {
        all.extend(tos.iter().map(|(to, rows)| (name(from), name(to), *rows)));
    }
    all.sort_by(|a, b| b.2.cmp(&a.2).then(a.cmp(b)));
    all
}

/// A category, or that there was no result.
fn name(category: &str) -> &str {
    if category.is_empty() { "(none)" } else { category }
}

/// Says it to programs.
fn result(table: &ResultTable, model: &str, done: &Done, time: Duration) -> Json {
    let tally = &done.tally;
    let change = |(from, to, rows)| json!({ "from": from, "to": to, "rows": rows });
    json!({
        "table": table.name, "of": table.of, "model": model, "complete": done.complete, "resumed": done.resumed,
        "seen": tally.seen, "again": tally.again, "changed": tally.changed(), "refused": tally.refused,
        "changes": changes(done).into_iter().map(change).collect::<Vec<_>>(), "sources": tally.sources,
        "seconds": time.as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(category: &'static str, model: &'static str) -> Row {
        Row::of([("category", Value::from(category)), ("model", Value::from(model))])
    }

    #[test]
    fn rows_are_chosen_by_their_results() {
        let takes = |text: &str, row: &Row| only(text).unwrap().takes(row, "m@1.10.0");
        assert!(takes("uncategorized", &of("uncategorized", "m@1.10.0")));
        assert!(!takes("uncategorized", &of("food", "m@1.2.0")));
        assert!(takes("changed", &of("food", "m@1.2.0")));
        assert!(!takes("changed", &of("food", "m@1.10.0")));
        assert!(takes("since=1.2.0", &of("food", "m@1.10.0")));
        assert!(takes("since=1.2.0", &of("food", "m@1.2.0")));
        assert!(!takes("since=1.2.1", &of("food", "m@1.2.0")));
        assert!(only("since=../x").is_err() && only("all").is_err());
    }
}
