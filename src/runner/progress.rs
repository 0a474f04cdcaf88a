//! What a pipeline has done and how far it is behind, as a whole and topic by topic: counted once per batch, read by
//! whoever reports.
//!
//! A heartbeat that becomes durable while nothing waits tells that everything before it has been read, also in topics
//! that had no message for long: their age then counts from the heartbeat.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::record::{Batch, News, Timestamp, Torn, Unity};
use crate::stage::Waiting;

use super::lanes::{Lanes, State};

/// What is further behind than this many messages is being loaded, not followed, unless the source tells better.
const LOADING_ABOVE: u64 = 10_000;
/// How often it is said that transactions are torn, for each reason.
const SAY_TORN_EVERY: Duration = Duration::from_secs(10);

/// Counters of one pipeline, shared by its lanes.
pub struct PipelineProgress {
    /// The pipeline's name.
    pub name: String,
    pub(super) lanes: Lanes,
    started: Instant,
    read: AtomicU64,
    emitted: AtomicU64,
    parked: AtomicU64,
    whole: AtomicU64,
    torn: AtomicU64,
    /// Reasons of torn transactions: when they were said last, and how many have come since.
    tears: Mutex<BTreeMap<Torn, (Instant, u64)>>,
    /// What waits for each lane; `None` until its source has told.
    waiting: Vec<Mutex<Option<Waiting>>>,
    topics: Mutex<BTreeMap<String, Done>>,
    /// The source's clock when it last gave a sign of life, and up to where all topics were read; 0 while unknown.
    alive_ms: AtomicI64,
    read_until_ms: AtomicI64,
    /// By connector: whether its initial load is complete.
    loads: Mutex<BTreeMap<String, bool>>,
}

/// What has become durable of one topic.
#[derive(Default)]
struct Done {
    messages: u64,
    /// The broker's timestamp of the newest of them, milliseconds since 1970.
    newest_ms: Option<i64>,
}

/// How far one topic, or all of them together, has come.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reached {
    /// Messages made durable.
    pub messages: u64,
    /// Messages that wait in the source; `None` while that is unknown.
    pub waiting: Option<u64>,
    /// Seconds between now and the newest durable message while others wait, 0 when none does; `None` while unknown.
    pub lag_secs: Option<f64>,
    /// Whether it is being loaded, rather than followed.
    pub loading: bool,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Messages made durable.
    pub read: u64,
    /// Records that left the last stage.
    pub emitted: u64,
    /// Messages parked.
    pub parked: u64,
    /// Transactions of the source that became visible whole, where the pipeline asks for that.
    pub whole: u64,
    /// Those that did not.
    pub torn: u64,
    /// How often a lane lost something outside and opened again.
    pub restarts: u64,
    /// Seconds since the start.
    pub elapsed_secs: f64,
    /// By topic.
    pub topics: BTreeMap<String, Reached>,
    /// Seconds since the source last gave a sign of life (heartbeats). It grows while the connector is away, though then
    /// nothing waits.
    pub source_secs: Option<f64>,
    /// Whether the source's initial load goes on, as far as its notifications told.
    pub loading: Option<bool>,
}

impl PipelineProgress {
    /// Counters at zero.
    pub fn new(name: &str, lanes: usize) -> Self {
        PipelineProgress {
            name: name.to_string(),
            lanes: Lanes::new(lanes),
            started: Instant::now(),
            read: AtomicU64::new(0),
            emitted: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            whole: AtomicU64::new(0),
            torn: AtomicU64::new(0),
            tears: Mutex::default(),
            waiting: std::iter::repeat_with(Mutex::default).take(lanes).collect(),
            topics: Mutex::default(),
            alive_ms: AtomicI64::new(0),
            read_until_ms: AtomicI64::new(0),
            loads: Mutex::default(),
        }
    }

    /// What waits for a lane behind what it has read.
    pub fn waiting(&self, lane: usize, waiting: Option<Waiting>) {
        if let Some(known) = self.waiting.get(lane).filter(|_| waiting.is_some()) {
            *locked(known) = waiting;
        }
    }

    /// A batch has become durable.
    pub fn commit(&self, batch: &Batch, parked: usize) {
        self.read.fetch_add(batch.messages.len() as u64, Relaxed);
        self.emitted.fetch_add(batch.records.len() as u64, Relaxed);
        self.parked.fetch_add(parked as u64, Relaxed);
        self.take_unity(batch.unity);
        batch.news.iter().for_each(|news| self.take(news));
        let mut topics = locked(&self.topics);
        for run in batch.messages.chunk_by(|a, b| a.topic == b.topic) {
            let Some(first) = run.first() else { continue };
            if !topics.contains_key(&*first.topic) {
                topics.insert(first.topic.to_string(), Done::default());
            }
            if let Some(done) = topics.get_mut(&*first.topic) {
                done.messages += run.len() as u64;
                done.newest_ms = run.iter().filter_map(|m| m.timestamp_ms).max().max(done.newest_ms);
            }
        }
    }

    /// Counts transactions; says why some were torn, at most once in a while for each reason.
    fn take_unity(&self, Unity { torn, transactions, .. }: Unity) {
        let Some(why) = torn.filter(|_| transactions > 0) else {
            self.whole.fetch_add(transactions, Relaxed);
            return;
        };
        self.torn.fetch_add(transactions, Relaxed);
        let now = Instant::now();
        let mut tears = locked(&self.tears);
        let known = tears.get(&why).copied();
        let count = known.map_or(0, |(_, count)| count) + transactions;
        if known.is_some_and(|(said, _)| now.duration_since(said) < SAY_TORN_EVERY) {
            tears.entry(why).and_modify(|(_, waiting)| *waiting = count);
            return;
        }
        tears.insert(why, (now, 0));
        tracing::warn!(
            pipeline = self.name,
            transactions = count,
            reason = why.as_str(),
            "transactions are not seen whole; their documents have `_headwater.torn`"
        );
    }

    fn take(&self, news: &News) {
        match news {
            News::Alive { at_ms } => {
                self.alive_ms.fetch_max(*at_ms, Relaxed);
                let nothing_waits = |lane: &Mutex<Option<Waiting>>| {
                    locked(lane).as_ref().map(|waiting| waiting.values().all(|count| *count == 0))
                };
                let mut known = self.waiting.iter().filter_map(nothing_waits).peekable();
                if known.peek().is_some() && known.all(|nothing| nothing) {
                    self.read_until_ms.fetch_max(*at_ms, Relaxed);
                }
            }
            News::InitialLoad { connector, complete } => {
                let before = locked(&self.loads).insert(connector.clone(), *complete);
                if *complete && before != Some(true) {
                    tracing::info!(pipeline = self.name, connector, "the source's initial load is complete");
                }
            }
            News::Scanned { .. } => {}
        }
    }

    /// What the pipeline is doing.
    pub fn state(&self) -> State {
        self.lanes.state()
    }

    /// All counters.
    pub fn snapshot(&self) -> Snapshot {
        let now_ms = Timestamp::now().as_millis();
        let alive_ms = Some(self.alive_ms.load(Relaxed)).filter(|at_ms| *at_ms > 0);
        let loading = self.loading();
        Snapshot {
            read: self.read.load(Relaxed),
            emitted: self.emitted.load(Relaxed),
            parked: self.parked.load(Relaxed),
            whole: self.whole.load(Relaxed),
            torn: self.torn.load(Relaxed),
            restarts: self.lanes.restarts(),
            elapsed_secs: self.started.elapsed().as_secs_f64(),
            topics: self.reached(now_ms, loading),
            source_secs: alive_ms.map(|at_ms| age_secs(now_ms, at_ms)),
            loading,
        }
    }

    fn loading(&self) -> Option<bool> {
        let loads = locked(&self.loads);
        (!loads.is_empty()).then(|| loads.values().any(|complete| !complete))
    }

    fn reached(&self, now_ms: i64, loading: Option<bool>) -> BTreeMap<String, Reached> {
        let mut waiting: BTreeMap<String, u64> = BTreeMap::new();
        for lane in &self.waiting {
            for (topic, count) in locked(lane).iter().flatten() {
                *waiting.entry(topic.clone()).or_default() += count;
            }
        }
        let read_until_ms = Some(self.read_until_ms.load(Relaxed)).filter(|at_ms| *at_ms > 0);
        let topics = locked(&self.topics);
        let reached = |topic: &String| {
            let (waiting, done) = (waiting.get(topic).copied(), topics.get(topic));
            let newest_ms = done.and_then(|done| done.newest_ms).max(read_until_ms);
            let lag_secs = match waiting {
                Some(0) => Some(0.0),
                Some(_) => newest_ms.map(|newest_ms| age_secs(now_ms, newest_ms)),
                None => None,
            };
            let loading = is_load(waiting, loading.map(|goes_on| goes_on && waiting != Some(0)));
            (topic.clone(), Reached { messages: done.map_or(0, |done| done.messages), waiting, lag_secs, loading })
        };
        waiting.keys().chain(topics.keys()).map(reached).collect()
    }
}

impl Snapshot {
    /// All topics together; as late as the latest of them.
    pub fn total(&self) -> Reached {
        let waiting = self.topics.values().filter_map(|topic| topic.waiting).reduce(|a, b| a + b);
        let lag_secs = self.topics.values().filter_map(|topic| topic.lag_secs).reduce(f64::max);
        Reached { messages: self.read, waiting, lag_secs, loading: is_load(waiting, self.loading) }
    }
}

/// The source's own word counts; without it, a long way behind is a load.
fn is_load(waiting: Option<u64>, told: Option<bool>) -> bool {
    waiting.is_some_and(|waiting| told.unwrap_or(waiting > LOADING_ABOVE))
}

fn age_secs(now_ms: i64, at_ms: i64) -> f64 {
    now_ms.saturating_sub(at_ms).max(0) as f64 / 1_000.0
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Epoch, Message};

    fn message(topic: &str, timestamp_ms: Option<i64>) -> Message {
        let (epoch, headers) = (Epoch::default(), Vec::new());
        Message { topic: topic.into(), epoch, partition: 0, offset: 0, timestamp_ms, key: None, value: None, headers }
    }

    fn waiting(of: &[(&str, u64)]) -> Option<Waiting> {
        Some(of.iter().map(|(topic, count)| (topic.to_string(), *count)).collect())
    }

    #[test]
    fn topics_are_told_apart_over_all_lanes() {
        let progress = PipelineProgress::new("p", 2);
        let messages = vec![message("a", Some(3_000)), message("a", Some(2_000)), message("b", None)];
        progress.commit(&Batch::from_messages(messages), 1);
        let unknown = Reached { messages: 2, waiting: None, lag_secs: None, loading: false };
        assert_eq!(progress.reached(0, None)["a"], unknown);
        progress.waiting(0, waiting(&[("a", 5), ("b", 1)]));
        progress.waiting(1, waiting(&[("a", 2), ("c", 0)]));
        progress.waiting(1, None);
        progress.waiting(7, waiting(&[("a", 9)]));
        let reached = progress.reached(4_500, None);
        let of = |messages, waiting, lag_secs| Reached { messages, waiting: Some(waiting), lag_secs, loading: false };
        assert_eq!(reached["a"], of(2, 7, Some(1.5)));
        assert_eq!(reached["b"], of(1, 1, None), "the source gives no time");
        assert_eq!(reached["c"], of(0, 0, Some(0.0)));
        assert_eq!(Snapshot { read: 3, topics: reached, ..Snapshot::default() }.total(), of(3, 8, Some(1.5)));
    }

    #[test]
    fn a_heartbeat_keeps_the_age_of_an_idle_topic_honest() {
        let progress = PipelineProgress::new("p", 1);
        let lag_secs = || progress.reached(100_000, None)["country"].lag_secs;
        let heartbeat = |at_ms| progress.commit(&Batch { news: vec![News::Alive { at_ms }], ..Batch::default() }, 0);
        progress.commit(&Batch::from_messages(vec![message("country", Some(10_000))]), 0);
        progress.waiting(0, waiting(&[("country", 5)]));
        assert_eq!(lag_secs(), Some(90.0));
        heartbeat(60_000);
        assert_eq!(lag_secs(), Some(90.0), "messages wait: the heartbeat may be ahead of them");
        progress.waiting(0, waiting(&[("country", 0)]));
        heartbeat(70_000);
        assert_eq!(lag_secs(), Some(0.0));
        progress.waiting(0, waiting(&[("country", 5)]));
        assert_eq!(lag_secs(), Some(30.0));
        assert!(progress.snapshot().source_secs > Some(1_000_000_000.0));
    }

    #[test]
    fn a_load_is_complete_when_every_connector_says_so() {
        let progress = PipelineProgress::new("p", 1);
        let news = |connector: &str, complete| {
            let news = vec![News::InitialLoad { connector: connector.into(), complete }];
            progress.commit(&Batch { news, ..Batch::default() }, 0);
            progress.snapshot().loading
        };
        progress.waiting(0, waiting(&[("a", 3), ("b", 0), ("c", 10_001)]));
        let loaded = || progress.snapshot().topics.into_values().map(|topic| topic.loading).collect::<Vec<_>>();
        assert_eq!((progress.snapshot().loading, loaded()), (None, vec![false, false, true]));
        assert_eq!(news("a", false), Some(true));
        assert_eq!((news("b", true), loaded()), (Some(true), vec![true, false, true]));
        assert!(progress.snapshot().total().loading);
        assert_eq!((news("a", true), loaded()), (Some(false), vec![false, false, false]));
    }

    #[test]
    fn a_partition_that_moved_on_waits_no_longer() {
        let progress = PipelineProgress::new("p", 1);
        progress.waiting(0, waiting(&[("a", 5), ("b", 1)]));
        progress.waiting(0, waiting(&[("b", 0)]));
        assert_eq!(progress.snapshot().total().waiting, Some(0));
    }
}
