//! Pauses between attempts, and saying the reason once.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::error::Error;

/// A minute between reminders of an outage that goes on.
const REMIND: Duration = Duration::from_secs(60);

/// One lane's outage, if it has one.
pub struct Outage {
    delays: ExponentialBackoff,
    reason: String,
    since: Instant,
    said: Instant,
}

impl Outage {
    /// An outage that begins now.
    pub fn begin(pipeline: &str, lane: usize, error: &Error) -> Self {
        tracing::warn!(pipeline, lane, "paused, trying again: {error}");
        Outage { delays: delays(), reason: error.to_string(), since: Instant::now(), said: Instant::now() }
    }

    /// The next pause; says the reason when it has changed, or a reminder once a minute.
    pub fn next_pause(&mut self, pipeline: &str, lane: usize, error: &Error) -> Duration {
        let reason = error.to_string();
        if reason != self.reason || self.said.elapsed() > REMIND {
            tracing::warn!(pipeline, lane, paused_secs = self.since.elapsed().as_secs(), "still paused: {error}");
            self.reason = reason;
            self.said = Instant::now();
        }
        self.delays.next().unwrap_or(Duration::from_secs(10))
    }

    /// It is over: a batch was committed.
    pub fn end(self, pipeline: &str, lane: usize) {
        tracing::info!(pipeline, lane, paused_secs = self.since.elapsed().as_secs(), "working again");
    }
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(10))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}
