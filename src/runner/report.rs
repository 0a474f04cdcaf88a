//! Tells people how far the pipelines are: lines on a terminal, a structured log line per interval else; each for the
//! whole pipeline and topic by topic.
//!
//! Deliberately absent: metrics, which are told by [`status`](crate::status).

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::progress::{PipelineProgress, Reached, Snapshot};

/// Between two looks at the counters on a terminal.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(500);
/// Between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Topics shown on a terminal: those that are furthest behind.
const TOPICS_SHOWN: usize = 8;
/// Rates are smoothed over about this time, so that an ETA can be read.
const SMOOTHING_SECS: f64 = 5.0;

/// Reports until it is dropped.
pub struct Report {
    task: tokio::task::JoinHandle<()>,
}

impl Report {
    /// Starts reporting about `pipelines`.
    pub fn start(pipelines: Vec<Arc<PipelineProgress>>, quiet: bool) -> Self {
        let on_terminal = !quiet && std::io::stderr().is_terminal();
        Report { task: tokio::spawn(report(pipelines, on_terminal)) }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn report(pipelines: Vec<Arc<PipelineProgress>>, on_terminal: bool) {
    let bars = on_terminal.then(|| Bars::new(&pipelines));
    let mut paces: Vec<Pace> = pipelines.iter().map(|_| Pace::default()).collect();
    loop {
        tokio::time::sleep(if on_terminal { TERMINAL_INTERVAL } else { LOG_INTERVAL }).await;
        for (index, (pipeline, pace)) in pipelines.iter().zip(&mut paces).enumerate() {
            let now = pipeline.snapshot();
            pace.measure(&now);
            match &bars {
                Some(bars) => bars.show(index, &now, pace),
                None => log(&pipeline.name, &now, pace),
            }
        }
    }
}

/// Messages a second of a pipeline and of each of its topics.
#[derive(Default)]
struct Pace {
    whole: Rate,
    topics: HashMap<String, Rate>,
}

#[derive(Default, Clone, Copy)]
struct Rate {
    messages: u64,
    at_secs: f64,
    per_sec: f64,
}

impl Pace {
    fn measure(&mut self, now: &Snapshot) {
        self.whole.measure(now.read, now.elapsed_secs);
        for (topic, reached) in &now.topics {
            match self.topics.get_mut(topic) {
                Some(rate) => rate.measure(reached.messages, now.elapsed_secs),
                None => {
                    let mut rate = Rate::default();
                    rate.measure(reached.messages, now.elapsed_secs);
                    self.topics.insert(topic.clone(), rate);
                }
            }
        }
    }

    fn of(&self, topic: &str) -> f64 {
        self.topics.get(topic).map_or(0.0, |rate| rate.per_sec)
    }
}

impl Rate {
    fn measure(&mut self, messages: u64, at_secs: f64) {
        let span = (at_secs - self.at_secs).max(0.001);
        let now = messages.saturating_sub(self.messages) as f64 / span;
        let weight = if self.at_secs == 0.0 { 1.0 } else { 1.0 - (-span / SMOOTHING_SECS).exp() };
        *self = Rate { messages, at_secs, per_sec: self.per_sec + weight * (now - self.per_sec) };
    }
}

fn log(name: &str, now: &Snapshot, pace: &Pace) {
    let total = now.total();
    tracing::info!(
        pipeline = name,
        read = now.read,
        emitted = now.emitted,
        parked = now.parked,
        transactions_whole = now.whole,
        transactions_torn = now.torn,
        rate = pace.whole.per_sec.round(),
        lag = total.waiting,
        lag_secs = total.lag_secs,
        eta_secs = eta_secs(&total, pace.whole.per_sec),
        source_secs = now.source_secs,
        loading = now.loading,
        topics = %topics(now, pace),
        "progress"
    );
}

/// Every topic as JSON, since a log line's fields have no structure.
fn topics(now: &Snapshot, pace: &Pace) -> serde_json::Value {
    let topic = |(topic, reached): (&String, &Reached)| {
        let rate = pace.of(topic);
        let of = json!({
            "read": reached.messages, "rate": rate.round(), "lag": reached.waiting, "lag_secs": reached.lag_secs,
            "eta_secs": eta_secs(reached, rate),
        });
        (topic.clone(), of)
    };
    now.topics.iter().map(topic).collect::<serde_json::Map<_, _>>().into()
}

/// When a load will be done; `None` when nothing is being loaded, or nothing moves.
fn eta_secs(reached: &Reached, rate: f64) -> Option<f64> {
    let waiting = reached.waiting.filter(|_| reached.loading && rate > 0.0)?;
    Some((waiting as f64 / rate).ceil())
}

struct Bars {
    bars: Vec<ProgressBar>,
    _all: MultiProgress,
}

impl Bars {
    fn new(pipelines: &[Arc<PipelineProgress>]) -> Self {
        let all = MultiProgress::new();
        let style =
            ProgressStyle::with_template("{prefix:.bold} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = |p: &Arc<PipelineProgress>| {
            let bar = all.add(ProgressBar::new_spinner().with_style(style.clone()));
            bar.with_prefix(p.name.clone())
        };
        Bars { bars: pipelines.iter().map(bar).collect(), _all: all }
    }

    fn show(&self, index: usize, now: &Snapshot, pace: &Pace) {
        if let Some(bar) = self.bars.get(index) {
            bar.set_message(lines(now, pace));
            bar.tick();
        }
    }
}

/// The pipeline's line, and one for each of the topics that are furthest behind.
fn lines(now: &Snapshot, pace: &Pace) -> String {
    let mut text = line(&now.total(), pace.whole.per_sec);
    if now.parked > 0 {
        text.push_str(&format!("  parked {}", now.parked));
    }
    if now.torn > 0 {
        text.push_str(&format!("  torn {} of {}", now.torn, now.torn + now.whole));
    }
    let mut topics: Vec<_> = now.topics.iter().collect();
    topics.sort_by_key(|(_, reached)| std::cmp::Reverse(reached.waiting));
    let hidden = topics.split_off(topics.len().min(TOPICS_SHOWN)).len();
    let width = topics.iter().map(|(topic, _)| topic.chars().count()).max().unwrap_or(0);
    for (topic, reached) in topics {
        text.push_str(&format!("\n  {topic:width$}  {}", line(reached, pace.of(topic))));
    }
    if hidden > 0 {
        text.push_str(&format!("\n  and {hidden} topics more, no further behind"));
    }
    text
}

/// `load  41 %  82000 rows  12400/s  ETA 9 s` while far behind, `live  82000 rows  500/s  lag 12 (0.3 s)` after.
fn line(reached: &Reached, rate: f64) -> String {
    let rows = reached.messages;
    match reached.waiting {
        Some(waiting) if reached.loading => {
            let share = 100.0 * rows as f64 / (rows + waiting).max(1) as f64;
            let eta = eta_secs(reached, rate).map_or("unknown".to_string(), |secs| format!("{secs:.0} s"));
            format!("load  {share:.0} %  {rows} rows  {rate:.0}/s  ETA {eta}")
        }
        Some(waiting) => {
            let late = reached.lag_secs.map_or(String::new(), |secs| format!(" ({secs:.1} s)"));
            format!("live  {rows} rows  {rate:.0}/s  lag {waiting}{late}")
        }
        None => format!("read  {rows} rows  {rate:.0}/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(messages: u64, waiting: Option<u64>, lag_secs: Option<f64>) -> Reached {
        Reached { messages, waiting, lag_secs, loading: waiting > Some(10_000) }
    }

    /// A pipeline that loads one topic and follows another, 10 seconds after its start.
    fn now() -> Snapshot {
        let topics = [
            ("bank.customer".to_string(), reached(2_000, Some(3), Some(0.25))),
            ("bank.transaction".to_string(), reached(80_000, Some(120_000), Some(90.0))),
        ];
        Snapshot { read: 82_000, parked: 2, elapsed_secs: 10.0, topics: topics.into(), ..Snapshot::default() }
    }

    fn pace(now: &Snapshot) -> Pace {
        let mut pace = Pace::default();
        pace.measure(now);
        pace
    }

    #[test]
    fn a_line_says_whether_a_topic_is_loaded_or_followed() {
        assert_eq!(line(&reached(50_000, Some(50_000), None), 10_000.0), "load  50 %  50000 rows  10000/s  ETA 5 s");
        assert_eq!(line(&reached(0, Some(10_001), None), 0.0), "load  0 %  0 rows  0/s  ETA unknown");
        assert_eq!(line(&reached(9, Some(10_000), Some(2.04)), 1.4), "live  9 rows  1/s  lag 10000 (2.0 s)");
        assert_eq!(line(&reached(9, Some(1), None), 0.0), "live  9 rows  0/s  lag 1");
        assert_eq!(line(&reached(9, None, None), 3.0), "read  9 rows  3/s");
    }

    #[test]
    fn the_furthest_behind_comes_first() {
        let now = now();
        let expected = "load  41 %  82000 rows  8200/s  ETA 15 s  parked 2
  bank.transaction  load  40 %  80000 rows  8000/s  ETA 15 s
  bank.customer     live  2000 rows  200/s  lag 3 (0.2 s)";
        assert_eq!(lines(&now, &pace(&now)), expected);
        let many = (0..10).map(|n| (format!("t{n}"), reached(0, Some(n), None)));
        let many = Snapshot { topics: many.collect(), ..Snapshot::default() };
        let shown = lines(&many, &Pace::default());
        assert_eq!(shown.lines().nth(1), Some("  t9  live  0 rows  0/s  lag 9"));
        assert_eq!(shown.lines().last(), Some("  and 2 topics more, no further behind"));
    }

    #[test]
    fn a_log_line_tells_of_every_topic() {
        let now = now();
        let customer = r#"{"eta_secs":null,"lag":3,"lag_secs":0.25,"rate":200.0,"read":2000}"#;
        let transaction = r#"{"eta_secs":15.0,"lag":120000,"lag_secs":90.0,"rate":8000.0,"read":80000}"#;
        let expected = format!(r#"{{"bank.customer":{customer},"bank.transaction":{transaction}}}"#);
        let told: serde_json::Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(topics(&now, &pace(&now)), told);
    }

    #[test]
    fn rates_follow_slowly_and_reach_what_lasts() {
        let mut rate = Rate::default();
        rate.measure(1_000, 1.0);
        assert_eq!(rate.per_sec, 1_000.0);
        rate.measure(1_000, 1.5);
        assert!((900.0..1_000.0).contains(&rate.per_sec), "{}", rate.per_sec);
        rate.measure(1_000, 60.0);
        assert!(rate.per_sec < 1.0, "{}", rate.per_sec);
    }
}
