//! The two traits that components implement, and the registry that knows them.
//!
//! A source hands out batches and is told when all of them are durable. A stage takes a batch and gives a batch; a sink
//! is a stage whose effect is outside. There are no other kinds of component, no background queues and no
//! acknowledgement objects: `Ok` from [`Stage::process`] means that the effect is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::pipeline::{BatchLimits, Flow, Problem, Section};
use crate::record::Batch;
use crate::stores::Stores;

/// What a component may know about the lane that it works in.
#[derive(Clone)]
pub struct LaneContext {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// This lane, from 0.
    pub lane: usize,
    /// How many lanes the pipeline has.
    pub lanes: usize,
    /// When a source closes a batch.
    pub batch: BatchLimits,
    /// Where embedded stores live.
    pub data_dir: PathBuf,
    /// The raw and parking stores of this process, opened once each.
    pub stores: Arc<Stores>,
    /// The store that keeps what must outlive a run: the pipeline's raw store, or where it parks. May be a URI with a
    /// password: not for printing.
    pub state: Arc<str>,
    /// Cancelled when the pipeline shall stop; sources return `None` soon after.
    pub shutdown: CancellationToken,
    /// End with the recording, or when everything that was in the topics at start has been read.
    pub until_end: bool,
    /// What a person has accepted.
    pub accepted: Accepted,
}

/// Changes of the log and of tables that stop a pipeline until a person has looked at them; for one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Offsets are gone from the log (`--accept-gap`).
    pub gap: bool,
    /// Topics have more partitions (`--accept-partitions`).
    pub partitions: bool,
    /// Topics were deleted and created anew (`--accept-recreated`).
    pub recreated: bool,
    /// Columns of a table that pauses at changes are others (`--accept-schema`).
    pub schema: bool,
}

/// How many messages wait in each topic that a source reads; 0 is told, too.
pub type Waiting = BTreeMap<String, u64>;

/// A partition of a topic.
pub type Place = (Arc<str>, i32);
/// An offset in each of some partitions.
pub type Offsets = BTreeMap<Place, i64>;

/// Where records come from. One instance per lane.
#[async_trait]
pub trait Source: Send {
    /// What flows out of it; no I/O.
    fn plan(&mut self) -> Result<Flow, Vec<Problem>>;

    /// Connects and takes up the last committed position.
    async fn open(&mut self, lane: &LaneContext) -> Result<()>;

    /// The next batch, in order per partition. An empty batch says “nothing at the moment”; `None` that the source has
    /// ended or the lane's shutdown was asked for. Cancel-safe: dropping the future loses nothing.
    async fn next(&mut self) -> Result<Option<Batch>>;

    /// All that was handed out is durable, up to these offsets where the lane keeps some of it back: record the position.
    async fn commit(&mut self, kept: &Offsets) -> Result<()>;

    /// Partitions of which nothing is wanted for now, because others have to come first; all others go on, with at most so
    /// many messages next.
    fn rest(&mut self, _ahead: &BTreeSet<Place>, _room: usize) -> Result<()> {
        Ok(())
    }

    /// Told before [`Source::open`] where one lane of one process has to read everything.
    fn read_alone(&mut self) {}

    /// The offsets from which this lane began to read its partitions, once it has some and if that can be told.
    fn begins(&self) -> Option<Offsets> {
        None
    }

    /// Up to where the log of each of this lane's partitions reaches at this moment; nothing of what cannot be asked.
    async fn ends(&mut self) -> Result<Offsets> {
        Ok(Offsets::new())
    }

    /// The offset behind all that was handed out of each of this lane's partitions, even where the log holds no message
    /// directly before it.
    fn reached(&self) -> Offsets {
        Offsets::new()
    }

    /// Leaves the source in an orderly way (a consumer leaves its group).
    async fn close(&mut self) {}

    /// What waits behind what was handed out, if that is known.
    fn waiting(&self) -> Option<Waiting> {
        None
    }
}

/// A step of a pipeline. One instance per lane.
///
/// Running the same batch again changes nothing; the order of records per key is kept. A stage that meets data it
/// cannot read or apply moves it to [`Batch::rejects`] and goes on.
#[async_trait]
pub trait Stage: Send {
    /// Which fields it takes and gives; no I/O. Called once, before `open`, with what the stage before it gives.
    fn plan(&mut self, input: Flow) -> Result<Flow, Vec<Problem>>;

    /// Connects, loads files, creates what is missing.
    async fn open(&mut self, _lane: &LaneContext) -> Result<()> {
        Ok(())
    }

    /// Handles one batch. `Ok` means that the effect is durable.
    async fn process(&mut self, batch: Batch) -> Result<Batch>;
}

/// Makes a source from its YAML section.
pub type SourceFactory = fn(&mut Section<'_>) -> Box<dyn Source>;
/// Makes a stage from its YAML section.
pub type StageFactory = fn(&mut Section<'_>) -> Box<dyn Stage>;

/// The components that pipelines may name: one line each.
#[derive(Default, Clone)]
pub struct Registry {
    sources: BTreeMap<&'static str, SourceFactory>,
    stages: BTreeMap<&'static str, StageFactory>,
}

impl Registry {
    /// A registry without components.
    pub fn empty() -> Self {
        Registry::default()
    }

    /// Adds a source under the name that pipelines use.
    #[must_use]
    pub fn source(mut self, name: &'static str, make: SourceFactory) -> Self {
        self.sources.insert(name, make);
        self
    }

    /// Adds a stage or sink under the name that pipelines use.
    #[must_use]
    pub fn stage(mut self, name: &'static str, make: StageFactory) -> Self {
        self.stages.insert(name, make);
        self
    }

    /// The factory of the source called `name`.
    pub fn find_source(&self, name: &str) -> Option<SourceFactory> {
        self.sources.get(name).copied()
    }

    /// The factory of the stage called `name`.
    pub fn find_stage(&self, name: &str) -> Option<StageFactory> {
        self.stages.get(name).copied()
    }

    /// Names of all sources.
    pub fn source_names(&self) -> impl Iterator<Item = &'static str> {
        self.sources.keys().copied()
    }

    /// Names of all stages and sinks.
    pub fn stage_names(&self) -> impl Iterator<Item = &'static str> {
        self.stages.keys().copied()
    }
}
