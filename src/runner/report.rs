//! Tells people how far the pipelines are: a line per pipeline on a terminal, a structured log line per interval else.
//!
//! Deliberately absent: metrics endpoints.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::progress::{PipelineProgress, Snapshot};

/// Between two looks at the counters on a terminal.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(500);
/// Between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// A pipeline that is further behind than this many messages is loading, not following.
const LOADING_ABOVE: u64 = 10_000;

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
    let mut before: HashMap<String, (u64, f64)> = HashMap::new();
    loop {
        tokio::time::sleep(if on_terminal { TERMINAL_INTERVAL } else { LOG_INTERVAL }).await;
        for pipeline in &pipelines {
            let now = pipeline.snapshot();
            let (read, at) = before.insert(pipeline.name.clone(), (now.read, now.elapsed_secs)).unwrap_or_default();
            let rate = (now.read - read) as f64 / (now.elapsed_secs - at).max(0.001);
            match &bars {
                Some(bars) => bars.show(&pipeline.name, &now, rate),
                None => log(&pipeline.name, &now, rate),
            }
        }
    }
}

fn log(name: &str, now: &Snapshot, rate: f64) {
    let tables: Vec<String> = now.tables.iter().map(|(topic, t)| format!("{topic}={}", t.messages)).collect();
    tracing::info!(
        pipeline = name,
        read = now.read,
        emitted = now.emitted,
        parked = now.parked,
        rate = rate.round(),
        lag = now.lag,
        lag_secs = now.lag_secs(),
        source_secs = now.source_secs(),
        loading = now.loading,
        tables = tables.join(" "),
        "progress"
    );
}

struct Bars {
    bars: HashMap<String, ProgressBar>,
    _all: MultiProgress,
}

impl Bars {
    fn new(pipelines: &[Arc<PipelineProgress>]) -> Self {
        let all = MultiProgress::new();
        let style =
            ProgressStyle::with_template("{prefix:.bold} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = |p: &Arc<PipelineProgress>| {
            let bar = all.add(ProgressBar::new_spinner().with_style(style.clone()));
            bar.set_prefix(p.name.clone());
            (p.name.clone(), bar)
        };
        Bars { bars: pipelines.iter().map(bar).collect(), _all: all }
    }

    fn show(&self, name: &str, now: &Snapshot, rate: f64) {
        if let Some(bar) = self.bars.get(name) {
            bar.set_message(line(now, rate));
            bar.tick();
        }
    }
}

/// `load  41 %  82,000 rows  12,400/s  ETA 9 s` while far behind, `live  lag 12 (0.3 s)  500/s` after.
fn line(now: &Snapshot, rate: f64) -> String {
    let parked = if now.parked > 0 { format!("  parked {}", now.parked) } else { String::new() };
    // The source's own word counts; without it, a long way behind is a load.
    let is_load = |lag| now.loading.unwrap_or(lag > LOADING_ABOVE);
    match now.lag {
        Some(lag) if is_load(lag) => {
            let share = 100.0 * now.read as f64 / (now.read + lag).max(1) as f64;
            let eta = if rate > 0.0 { format!("{:.0} s", lag as f64 / rate) } else { "unknown".to_string() };
            format!("load  {share:.0} %  {} rows  {rate:.0}/s  ETA {eta}{parked}", now.read)
        }
        Some(lag) => {
            format!("live  {} rows  {rate:.0}/s  lag {lag} ({:.1} s){parked}", now.read, now.lag_secs().unwrap_or(0.0))
        }
        None => format!("read  {} rows  {rate:.0}/s{parked}", now.read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_lag_is_a_load_with_an_eta() {
        let now = Snapshot {
            read: 50_000,
            emitted: 0,
            parked: 2,
            lag: Some(50_000),
            elapsed_secs: 1.0,
            tables: Default::default(),
            alive_ms: None,
            read_until_ms: None,
            loading: None,
        };
        assert_eq!(line(&now, 10_000.0), "load  50 %  50000 rows  10000/s  ETA 5 s  parked 2");
        assert!(line(&Snapshot { lag: Some(3), ..now.clone() }, 1.0).starts_with("live"));
        // What the source told counts more than the lag.
        assert!(line(&Snapshot { loading: Some(false), ..now.clone() }, 1.0).starts_with("live"));
        assert!(line(&Snapshot { loading: Some(true), lag: Some(3), ..now }, 1.0).starts_with("load"));
    }
}
