//! Counts of what the model answered, by window of time, kept in the raw store with the results.
//!
//! A window is the month of a date column, or, without one, the day of processing. Each opened stage is a writer of its
//! own and stores its sums so far, so that writers never meet; whoever reads adds them up. Counting looks a window up in
//! a short list and allocates nothing per row.
//!
//! Sums are told, too: as metrics with each batch (`told.rs`), in a log line a minute with the figures of the window that was
//! counted in last, and in a warning once when one has drifted too far.
//!
//! Invariant: sums are stored in the same commit as the results that they count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;

use super::shape::civil;
use super::told::Told;
use crate::model::drift::{FEWEST_ROWS, Window};
use crate::model::{Categorizer, Model, Scratch, Verdict};
use crate::pipeline::{Section, Spanned};
use crate::record::{Date, Kind, Op, Position, Record, Row, TableSchema, Timestamp, Value};

/// Most windows that one writer keeps; rows of more are counted as if they had no date.
const MOST_WINDOWS: usize = 1_200;

/// Between two lines of figures.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The columns of a stored window; the first three are its key.
const COLUMNS: [(&str, Kind); 4] =
    [("model", Kind::Text), ("window", Kind::Text), ("writer", Kind::Text), ("counts", Kind::Json)];

/// What the section says.
pub struct Watch {
    /// The column whose month is the window.
    pub date: Option<Spanned<String>>,
    /// An index of the category mix above this is a warning.
    limit: Option<f64>,
}

impl Watch {
    /// Reads `{ date: booked_at, limit: 0.25 }`.
    pub fn read(section: &mut Section<'_>) -> Self {
        let date = section.text("date");
        let limit = section.float("limit");
        if let Some(limit) = limit.as_ref().filter(|limit| limit.value <= 0.0) {
            section.problem(limit.problem("value.range", "expected a number above 0, such as 0.25"));
        }
        Watch { date, limit: limit.map(|limit| limit.value) }
    }
}

/// Which window; a later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    /// Rows that have no date.
    Undated,
    /// Year and month of a row's date.
    Month(i64, u32),
    /// Day of processing.
    Day(Date),
}

/// A window under way.
struct Open {
    when: When,
    model: ByteString,
    counts: Window,
    /// The counts that metrics have been told.
    before: Window,
    changed: bool,
    warned: bool,
}

/// The sums of one stage.
pub struct Drift {
    table: Arc<str>,
    into: String,
    writer: String,
    limit: Option<f64>,
    schemas: (Arc<TableSchema>, Arc<TableSchema>),
    windows: Vec<Open>,
    /// The window that was counted in last.
    last: usize,
    today: Date,
    /// When figures were logged last.
    said: Option<Instant>,
    told: Option<Told>,
}

impl Drift {
    /// Nothing counted yet, of results in `into`.
    pub fn new(watch: &Watch, into: &str) -> Self {
        let schema = |columns: &[(&str, Kind)]| Arc::new(TableSchema::new(columns.iter().cloned()));
        let key = COLUMNS.get(..3).unwrap_or_default();
        Drift {
            table: table_of(into).into(),
            into: into.to_string(),
            writer: format!("{:016x}", rand::random::<u64>()),
            limit: watch.limit,
            schemas: (schema(key), schema(&COLUMNS)),
            windows: Vec::new(),
            last: 0,
            today: Date { days: 0 },
            said: None,
            told: None,
        }
    }

    /// Counts as metrics, too, from now on.
    pub fn tell(&mut self, told: Told) {
        self.told = Some(told);
    }

    /// A batch begins.
    pub fn begin(&mut self) {
        self.today = Date { days: i32::try_from(Timestamp::now().secs.div_euclid(86_400)).unwrap_or(0) };
    }

    /// Counts an answer to the row whose text is set in `scratch`; `date` is `None` when there is no date column.
    pub fn count(&mut self, model: &Categorizer, date: Option<&Value>, verdict: &Verdict<'_>, scratch: &Scratch) {
        let when = match date {
            Some(date) => month(date),
            None => When::Day(self.today),
        };
        let is = |open: &Open| open.when == when && open.model == model.id;
        if !self.windows.get(self.last).is_some_and(is) {
            self.last = match self.windows.iter().position(is) {
                Some(known) => known,
                None => self.open(when, model),
            };
        }
        if let Some(open) = self.windows.get_mut(self.last) {
            open.counts.add(model, verdict);
            if let (Some(trained), Some(_)) = (model.model(), &verdict.answer) {
                open.counts.add_words(trained.new_words(scratch));
            }
            open.changed = true;
        }
    }

    fn open(&mut self, when: When, model: &Categorizer) -> usize {
        let when = if self.windows.len() < MOST_WINDOWS { when } else { When::Undated };
        let is = |open: &Open| open.when == when && open.model == model.id;
        self.windows.iter().position(is).unwrap_or_else(|| {
            let counts = Window::new(model.classes().len());
            self.windows.push(Open {
                when,
                model: model.id.clone(),
                before: counts.clone(),
                counts,
                changed: false,
                warned: false,
            });
            self.windows.len() - 1
        })
    }

    /// The sums that have changed, to be stored with the results made from the snapshot with this version. Says how windows
    /// stand, and which have drifted too far.
    pub fn changed(&mut self, model: &Categorizer, cause: &Record, version: u64) -> Vec<Record> {
        let training = model.model().and_then(Model::training_mix);
        let of = |open: &Open| training.as_deref().filter(|_| open.model == model.id);
        let due = self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        if let Some(open) = self.windows.get(self.last).filter(|open| due && open.counts.rows >= FEWEST_ROWS) {
            open.say(&self.into, of(open));
            self.said = Some(Instant::now());
        }
        let newest = self.windows.iter().map(|open| open.when).max();
        let mut records = Vec::new();
        for open in self.windows.iter_mut().filter(|open| open.changed) {
            open.changed = false;
            if let Some(told) = self.told.as_ref().filter(|_| open.model == model.id) {
                open.tell(told, model, training.as_deref().filter(|_| newest == Some(open.when)));
            }
            if let Some(limit) = self.limit {
                open.warn(&self.into, of(open), limit);
            }
            let window = open.when.to_string();
            let counts = serde_json::to_string(&open.counts).unwrap_or_default();
            let key = vec![Value::Text(open.model.clone()), Value::text(window), Value::text(self.writer.clone())];
            let values = key.iter().cloned().chain([Value::Json(counts.into())]).collect();
            records.push(Record {
                table: self.table.clone(),
                op: Op::Update,
                key: Row::new(self.schemas.0.clone(), key),
                row: Some(Row::new(self.schemas.1.clone(), values)),
                before: None,
                patch: None,
                snapshot: Default::default(),
                position: Position::derived(version),
                version,
                changed_at: None,
                origin: cause.origin,
            });
        }
        records
    }
}

impl Open {
    /// Tells metrics what has been counted since they were told last; how far the mix is from `training`'s, if asked.
    fn tell(&mut self, told: &Told, model: &Categorizer, training: Option<&[u64]>) {
        told.add(model, &self.before, &self.counts);
        self.before.clone_from(&self.counts);
        if let Some(psi) = training.and_then(|training| self.counts.shares(Some(training)).psi) {
            told.set_psi(model, psi);
        }
    }

    /// Logs the figures.
    fn say(&self, table: &str, training: Option<&[u64]>) {
        let shares = self.counts.shares(training);
        let [uncategorized, unseen, confidence] = [shares.uncategorized, shares.unseen, shares.confidence].map(digits);
        let new_words = shares.new_words.map(digits);
        let (model, window, rows, psi) = (&*self.model, self.when.to_string(), shares.rows, shares.psi.map(digits));
        tracing::info!(
            table,
            model,
            window,
            rows,
            uncategorized,
            unseen,
            new_words,
            confidence,
            psi,
            "what the model answered"
        );
    }

    /// Warns, once, when the category mix is further from training's than `limit`.
    fn warn(&mut self, table: &str, training: Option<&[u64]>, limit: f64) {
        if self.warned {
            return;
        }
        let shares = self.counts.shares(training);
        if let Some(psi) = shares.psi.filter(|psi| *psi > limit) {
            self.warned = true;
            let (model, window, rows, psi) = (&*self.model, self.when.to_string(), shares.rows, digits(psi));
            let advice = "the category mix has drifted from the one of training: see `headwater model drift`";
            tracing::warn!(table, model, window, rows, psi, limit, "{advice}");
        }
    }
}

fn digits(share: f64) -> f64 {
    (share * 1_000.0).round() / 1_000.0
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            When::Month(year, month) => write!(f, "{year:04}-{month:02}"),
            When::Day(date) => {
                let (year, month, day) = date.ymd();
                write!(f, "{year:04}-{month:02}-{day:02}")
            }
            When::Undated => f.write_str("undated"),
        }
    }
}

/// The table that holds the counts of results in `into`.
pub fn table_of(into: &str) -> String {
    format!("{into}_drift")
}

/// The month of a date, a timestamp, or a text that begins like `2020-04`.
fn month(value: &Value) -> When {
    let found = match value {
        Value::Text(text) => (|| {
            let (year, rest) = text.split_once('-')?;
            let month: u32 = rest.get(..2)?.parse().ok().filter(|month| (1..=12).contains(month))?;
            Some((year.parse().ok().filter(|_| year.len() == 4)?, month, 1))
        })(),
        value => civil(value),
    };
    found.map_or(When::Undated, |(year, month, _)| When::Month(year, month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_every_kind_have_a_month() {
        let shown = |value: Value| month(&value).to_string();
        let day = Date::from_ymd(2020, 4, 17).unwrap();
        assert_eq!(shown(Value::Date(day)), "2020-04");
        let at = Timestamp::from_millis(i64::from(day.days) * 86_400_000 + 5);
        assert_eq!(shown(Value::TimestampTz(at)), "2020-04");
        assert_eq!(shown("2020-04-17".into()), "2020-04");
        for undated in ["", "17.04.2020", "2020-13", "2020-4", "20-04", "2020-0ä"] {
            assert_eq!(shown(undated.into()), "undated", "{undated}");
        }
        assert_eq!(shown(Value::Null), "undated");
    }
}
