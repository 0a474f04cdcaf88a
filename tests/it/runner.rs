//! The runner's promises, with a source and a sink that fail on purpose: nothing is committed before its effect, an
//! outage repeats from the last commit, a broken promise stops the pipeline, a shutdown drains.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use headwater::pipeline::{Flow, Pipeline, Problem, Section, load_text};
use headwater::record::{Batch, Epoch, Message, Reject};
use headwater::runner::{Fleet, Outcome, RunOptions};
use headwater::stage::{LaneContext, Offsets, Registry, Source, Stage};
use headwater::stores::Stores;
use headwater::{Error, Result};
use tokio_util::sync::CancellationToken;

/// What one test's source and sink share, found by the name in the YAML.
#[derive(Default)]
pub struct World {
    pub messages: usize,
    pub committed: Mutex<usize>,
    pub effects: Mutex<Vec<i64>>,
    /// Faults still to come, the first one next: (fails before the effect, error).
    pub faults: Mutex<Vec<(bool, Error)>>,
    pub endless: bool,
    pub reject_every: Option<i64>,
}

static WORLDS: Mutex<Option<HashMap<String, Arc<World>>>> = Mutex::new(None);

fn world(name: &str) -> Arc<World> {
    WORLDS.lock().unwrap().as_ref().unwrap()[name].clone()
}

pub fn register(name: &str, world: World) -> Arc<World> {
    let world = Arc::new(world);
    WORLDS.lock().unwrap().get_or_insert_default().insert(name.to_string(), world.clone());
    world
}

struct Log {
    world: Arc<World>,
    next: usize,
    lane: Option<LaneContext>,
}

#[async_trait]
impl Source for Log {
    fn plan(&mut self) -> Result<Flow, Vec<Problem>> {
        Ok(Flow { open: true, ..Flow::default() })
    }

    async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        self.next = *self.world.committed.lock().unwrap();
        self.lane = Some(lane.clone());
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Batch>> {
        if self.lane.as_ref().unwrap().shutdown.is_cancelled()
            || (self.next >= self.world.messages && !self.world.endless)
        {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let message = |offset: usize| Message {
            topic: "t".into(),
            epoch: Epoch::default(),
            partition: 0,
            offset: offset as i64,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: Vec::new(),
        };
        let batch = (self.next..self.world.messages.min(self.next + 3)).map(message).collect::<Vec<_>>();
        self.next += batch.len();
        Ok(Some(Batch::from_messages(batch)))
    }

    async fn commit(&mut self, _: &Offsets) -> Result<()> {
        let effects = self.world.effects.lock().unwrap();
        assert!((0..self.next).all(|offset| effects.contains(&(offset as i64))), "committed before the effect");
        *self.world.committed.lock().unwrap() = self.next;
        Ok(())
    }
}

struct Ledger(Arc<World>);

#[async_trait]
impl Stage for Ledger {
    fn plan(&mut self, input: Flow) -> Result<Flow, Vec<Problem>> {
        Ok(input)
    }

    async fn process(&mut self, mut batch: Batch) -> Result<Batch> {
        let fault = self.0.faults.lock().unwrap().pop();
        let (before, after) = match fault {
            Some((true, error)) => (Some(error), None),
            Some((false, error)) => (None, Some(error)),
            None => (None, None),
        };
        if let Some(error) = before {
            return Err(error);
        }
        self.0.effects.lock().unwrap().extend(batch.messages.iter().map(|m| m.offset));
        let rejected = |m: &Message| self.0.reject_every.is_some_and(|every| m.offset % every == 0);
        for (origin, _) in batch.messages.iter().enumerate().filter(|(_, m)| rejected(m)) {
            let reason = "on purpose".to_string();
            batch.rejects.push(Reject { origin: origin as u32, table: None, code: "test", reason });
        }
        after.map_or(Ok(batch), Err)
    }
}

pub fn registry() -> Registry {
    Registry::empty()
        .source("log", |section: &mut Section<'_>| {
            let world = world(&section.required_text("world").value);
            Box::new(Log { world, next: 0, lane: None })
        })
        .stage("ledger", |section: &mut Section<'_>| Box::new(Ledger(world(&section.required_text("world").value))))
}

/// A pipeline over the world called `name`, with its data folder and its options.
pub fn prepared(name: &str, more: &str, shutdown: CancellationToken) -> (Pipeline, RunOptions, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let yaml =
        format!("name: {name}\nsource:\n  log: {{ world: {name} }}\nstages:\n  - ledger: {{ world: {name} }}\n{more}");
    let pipeline = load_text(name, &yaml, &registry(), &|_: &str| None).unwrap();
    let stores = Arc::new(Stores::new(dir.path()));
    let options =
        RunOptions { data_dir: dir.path().into(), stores, until_end: true, accepted: Default::default(), shutdown };
    (pipeline, options, dir)
}

async fn run(name: &str, more: &str, shutdown: CancellationToken) -> (Outcome, tempfile::TempDir) {
    let (pipeline, options, dir) = prepared(name, more, shutdown);
    let outcome = Fleet::start(vec![pipeline], &options).finish(true).await.remove(0).outcome;
    (outcome, dir)
}

fn outage() -> Error {
    Error::Unavailable("the target is away".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_before_or_after_the_effect_repeats_from_the_last_commit() {
    let faults = vec![(false, outage()), (true, outage()), (true, outage()), (false, outage())];
    let world = register("outages", World { messages: 10, faults: Mutex::new(faults), ..World::default() });
    let (outcome, _dir) = run("outages", "", CancellationToken::new()).await;
    assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
    assert_eq!(*world.committed.lock().unwrap(), 10);
    let effects = world.effects.lock().unwrap();
    let repeated_after_the_effect = 2 * 3;
    assert_eq!(effects.len(), 10 + repeated_after_the_effect);
    assert!(effects.windows(2).all(|w| w[1] <= w[0] + 1), "an effect was skipped: {effects:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_promise_stops_the_pipeline_and_commits_nothing_more() {
    let faults = vec![(true, Error::Broken("foreign data".into()))];
    let world = register("broken", World { messages: 10, faults: Mutex::new(faults), ..World::default() });
    let (outcome, _dir) = run("broken", "", CancellationToken::new()).await;
    assert!(matches!(&outcome, Outcome::Failed(Error::Broken(text)) if text.contains("foreign data")), "{outcome:?}");
    assert_eq!(*world.committed.lock().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_drains_and_ends_well() {
    let world = register("drain", World { messages: 6, endless: true, ..World::default() });
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.cancel();
    });
    let (outcome, _dir) = run("drain", "", shutdown).await;
    assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
    assert_eq!(*world.committed.lock().unwrap(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_does_not_outlive_the_shutdown() {
    let faults = (0..1_000).map(|_| (true, outage())).collect();
    register("stuck", World { messages: 3, faults: Mutex::new(faults), ..World::default() });
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.cancel();
    });
    let begun = std::time::Instant::now();
    let (outcome, _dir) = run("stuck", "", shutdown).await;
    assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_are_parked_before_the_commit() {
    let world = register("parked", World { messages: 10, reject_every: Some(4), ..World::default() });
    let (outcome, dir) = run("parked", "", CancellationToken::new()).await;
    assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
    assert_eq!(*world.committed.lock().unwrap(), 10);
    let store = Stores::new(dir.path()).get("parked-parking").await.unwrap();
    let parked = store.parked(Some("parked"), None, 100).await.unwrap();
    let offsets: Vec<i64> = parked.iter().map(|p| p.message.offset).collect();
    assert_eq!(offsets, [0, 4, 8]);
    assert_eq!((parked[0].stage.as_str(), parked[0].reason.as_str()), ("0:ledger", "on purpose"));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_rejects_stop_the_pipeline_but_are_parked() {
    register("storm", World { messages: 300, reject_every: Some(1), ..World::default() });
    let limit = "parking: { stop_above: { records: 20, share: 0.5 } }";
    let (outcome, dir) = run("storm", limit, CancellationToken::new()).await;
    assert!(matches!(&outcome, Outcome::Failed(Error::Broken(text)) if text.contains("parked")), "{outcome:?}");
    let store = Stores::new(dir.path()).get("storm-parking").await.unwrap();
    assert_eq!(store.parked(None, None, 1_000).await.unwrap().len(), 21);
}
