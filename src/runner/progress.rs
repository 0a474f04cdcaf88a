//! What a pipeline has done and how far it is behind: counted once per batch, read by whoever reports.
//!
//! A heartbeat that becomes durable while nothing waits tells that everything before it has been read, also in topics
//! that had no message for long: their age then counts from the heartbeat.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::record::{Batch, News, Timestamp};

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
    /// The source's clock when it last gave a sign of life, and up to where all topics were read; 0 while unknown.
    alive_ms: AtomicI64,
    read_until_ms: AtomicI64,
    /// By connector: whether its initial load is complete.
    loads: Mutex<BTreeMap<String, bool>>,
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
    /// The source's clock when it last gave a sign of life (heartbeats), milliseconds since 1970.
    pub alive_ms: Option<i64>,
    /// Up to which time of the source's clock all topics have been read, as far as heartbeats told.
    pub read_until_ms: Option<i64>,
    /// Whether the source's initial load goes on, as far as its notifications told.
    pub loading: Option<bool>,
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
            alive_ms: AtomicI64::new(0),
            read_until_ms: AtomicI64::new(0),
            loads: Mutex::default(),
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
        batch.news.iter().for_each(|news| self.take(news));
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

    fn take(&self, news: &News) {
        match news {
            News::Alive { at_ms } => {
                self.alive_ms.fetch_max(*at_ms, Relaxed);
                if self.waiting() == Some(0) {
                    self.read_until_ms.fetch_max(*at_ms, Relaxed);
                }
            }
            News::InitialLoad { connector, complete } => {
                let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
                let before = loads.insert(connector.clone(), *complete);
                if *complete && before != Some(true) {
                    tracing::info!(pipeline = self.name, connector, "the source's initial load is complete");
                }
            }
        }
    }

    /// Messages that wait in the source; `None` while that is unknown.
    fn waiting(&self) -> Option<u64> {
        let known = self.lanes.iter().any(|l| l.lag_known.load(Relaxed) > 0);
        known.then(|| self.lanes.iter().map(|l| l.lag.load(Relaxed)).sum())
    }

    /// All counters.
    pub fn snapshot(&self) -> Snapshot {
        let told = |at: &AtomicI64| Some(at.load(Relaxed)).filter(|at| *at > 0);
        let loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        Snapshot {
            read: self.read.load(Relaxed),
            emitted: self.emitted.load(Relaxed),
            parked: self.parked.load(Relaxed),
            lag: self.waiting(),
            elapsed_secs: self.started.elapsed().as_secs_f64(),
            tables: self.tables.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            alive_ms: told(&self.alive_ms),
            read_until_ms: told(&self.read_until_ms),
            loading: (!loads.is_empty()).then(|| loads.values().any(|complete| !complete)),
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
        let read_until = self.read_until_ms.unwrap_or(0);
        let ages = self.tables.values().map(|t| age_secs(t.newest_ms.max(read_until)));
        Some(ages.fold(0.0, f64::max))
    }

    /// Seconds since the source last gave a sign of life; `None` without heartbeats. It grows while the connector is
    /// away, though then nothing waits.
    pub fn source_secs(&self) -> Option<f64> {
        self.alive_ms.map(age_secs)
    }
}

fn age_secs(at_ms: i64) -> f64 {
    (Timestamp::now().as_millis() - at_ms).max(0) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Epoch, Message};

    fn message(topic: &str, at_ms: i64) -> Message {
        Message {
            topic: topic.into(),
            epoch: Epoch::default(),
            partition: 0,
            offset: 0,
            timestamp_ms: Some(at_ms),
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_heartbeat_keeps_the_age_of_an_idle_table_honest() {
        let progress = PipelineProgress::new("p", 1);
        let now = Timestamp::now().as_millis();
        let hour = 3_600_000;
        let idle = Batch::from_messages(vec![message("country", now - 24 * hour)]);
        progress.commit(&idle, 0);
        progress.lag(0, Some(5));
        assert!(progress.snapshot().lag_secs().unwrap() > 80_000.0, "the idle topic looks a day behind");
        let heartbeat = |at_ms| Batch { news: vec![News::Alive { at_ms }], ..Batch::default() };
        progress.commit(&heartbeat(now - 2 * hour), 0);
        assert!(
            progress.snapshot().lag_secs().unwrap() > 80_000.0,
            "messages wait: the heartbeat may be ahead of them"
        );
        progress.lag(0, Some(0));
        progress.commit(&heartbeat(now - hour), 0);
        assert_eq!(progress.snapshot().lag_secs(), Some(0.0));
        progress.lag(0, Some(5));
        let behind = progress.snapshot().lag_secs().unwrap();
        assert!((3_500.0..3_700.0).contains(&behind), "{behind}");
        assert!((3_500.0..3_700.0).contains(&progress.snapshot().source_secs().unwrap()));
    }

    #[test]
    fn a_load_is_complete_when_every_connector_says_so() {
        let progress = PipelineProgress::new("p", 1);
        let news = |connector: &str, complete| {
            let news = vec![News::InitialLoad { connector: connector.into(), complete }];
            progress.commit(&Batch { news, ..Batch::default() }, 0);
            progress.snapshot().loading
        };
        assert_eq!(progress.snapshot().loading, None);
        assert_eq!(news("a", false), Some(true));
        assert_eq!(news("b", true), Some(true));
        assert_eq!(news("a", true), Some(false));
    }
}
