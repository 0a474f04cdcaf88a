//! What a pipeline has done and how far it is behind: counted once per batch, read by whoever reports.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::record::{Batch, Timestamp};

/// Counters of one pipeline, shared by its lanes.
pub struct PipelineProgress {
    /// The pipeline's name.
    pub name: String,
    started: Instant,
    read: AtomicU64,
    emitted: AtomicU64,
    parked: AtomicU64,
    lanes: Vec<LaneProgress>,
    tables: Mutex<BTreeMap<String, TableProgress>>,
}

#[derive(Default)]
struct LaneProgress {
    lag: AtomicU64,
    lag_known: AtomicU64,
}

/// What is known of one source topic.
#[derive(Debug, Clone, Copy, Default)]
pub struct TableProgress {
    /// Messages made durable.
    pub messages: u64,
    /// The broker's timestamp of the newest of them, milliseconds since 1970.
    pub newest_ms: i64,
}

/// The counters at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Messages made durable.
    pub read: u64,
    /// Records that left the last stage.
    pub emitted: u64,
    /// Messages parked.
    pub parked: u64,
    /// Messages that wait in the source; `None` while that is unknown.
    pub lag: Option<u64>,
    /// Seconds since the start.
    pub elapsed_secs: f64,
    /// By topic.
    pub tables: BTreeMap<String, TableProgress>,
}

impl PipelineProgress {
    /// Counters at zero.
    pub fn new(name: &str, lanes: usize) -> Self {
        PipelineProgress {
            name: name.to_string(),
            started: Instant::now(),
            read: AtomicU64::new(0),
            emitted: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            lanes: std::iter::repeat_with(LaneProgress::default).take(lanes).collect(),
            tables: Mutex::default(),
        }
    }

    /// A lane's messages that wait behind what it has read.
    pub fn lag(&self, lane: usize, lag: Option<u64>) {
        if let (Some(lane), Some(lag)) = (self.lanes.get(lane), lag) {
            lane.lag.store(lag, Relaxed);
            lane.lag_known.store(1, Relaxed);
        }
    }

    /// A batch has become durable.
    pub fn commit(&self, batch: &Batch, parked: usize) {
        self.read.fetch_add(batch.messages.len() as u64, Relaxed);
        self.emitted.fetch_add(batch.records.len() as u64, Relaxed);
        self.parked.fetch_add(parked as u64, Relaxed);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        for run in batch.messages.chunk_by(|a, b| a.topic == b.topic) {
            let Some(first) = run.first() else { continue };
            if !tables.contains_key(&*first.topic) {
                tables.insert(first.topic.to_string(), TableProgress::default());
            }
            if let Some(table) = tables.get_mut(&*first.topic) {
                table.messages += run.len() as u64;
                table.newest_ms = run.iter().filter_map(|m| m.timestamp_ms).fold(table.newest_ms, i64::max);
            }
        }
    }

    /// All counters.
    pub fn snapshot(&self) -> Snapshot {
        let known = self.lanes.iter().any(|l| l.lag_known.load(Relaxed) > 0);
        Snapshot {
            read: self.read.load(Relaxed),
            emitted: self.emitted.load(Relaxed),
            parked: self.parked.load(Relaxed),
            lag: known.then(|| self.lanes.iter().map(|l| l.lag.load(Relaxed)).sum()),
            elapsed_secs: self.started.elapsed().as_secs_f64(),
            tables: self.tables.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Snapshot {
    /// The largest distance in seconds between now and the newest durable message of a topic, while messages wait;
    /// `None` when the source does not know what waits.
    pub fn lag_secs(&self) -> Option<f64> {
        if self.lag? == 0 {
            return Some(0.0);
        }
        let now = Timestamp::now().as_millis();
        Some(self.tables.values().map(|t| (now - t.newest_ms).max(0) as f64 / 1_000.0).fold(0.0, f64::max))
    }
}
