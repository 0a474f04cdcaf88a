//! How far a long command is: a bar on a terminal, a log line now and then elsewhere; both say when it will end.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines where there is no terminal.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Work whose steps are counted.
pub struct Progress {
    bar: ProgressBar,
    doing: &'static str,
    begun: Instant,
    /// What was done when counting began: an earlier run may have done a part.
    first: Option<u64>,
    said: Instant,
}

impl Progress {
    /// Nothing is done yet. `doing` names the work in log lines, `unit` its steps on the bar; `quiet` shows no bar.
    pub fn new(quiet: bool, doing: &'static str, unit: &str) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(1) };
        let template =
            format!("{{msg}} [{{bar:30}}] {{percent}} %  {{pos}} of {{len}} {unit}  {{per_sec}}  ETA {{eta}}");
        let style = ProgressStyle::with_template(&template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Progress { bar, doing, begun: Instant::now(), first: None, said: Instant::now() }
    }

    /// So many of so many steps are done; `what` is being worked on.
    pub fn say(&mut self, what: &str, done: u64, of: u64) {
        if self.bar.message() != what {
            self.bar.set_message(what.to_string());
        }
        self.bar.set_length(of);
        self.bar.set_position(done);
        let first = *self.first.get_or_insert(done);
        if self.said.elapsed() < SAY_EVERY {
            return;
        }
        self.said = Instant::now();
        let rate = done.saturating_sub(first) as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let eta_secs = (of.saturating_sub(done) as f64 / rate.max(0.001)).round();
        tracing::info!(what, done, of, rate = (rate * 100.0).round() / 100.0, eta_secs, "{}", self.doing);
    }

    /// Whether nobody sees the bar.
    pub fn is_hidden(&self) -> bool {
        self.bar.is_hidden()
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
