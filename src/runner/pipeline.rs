//! One pipeline from start to end: opens its lanes, rebuilds them after outages, stops them together.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backoff::Outage;
use super::lane::Lane;
use super::measured::Measured;
use super::parking::Parking;
use super::progress::PipelineProgress;
use super::shapes::Shapes;
use super::transactions::{CatchUp, Gather, Intent};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::record::Batch;
use crate::stage::{Accepted, LaneContext, Stage};
use crate::stores::Stores;

/// What all pipelines of a run share.
#[derive(Clone)]
pub struct RunOptions {
    /// Where embedded stores and positions live.
    pub data_dir: PathBuf,
    /// The stores of this process.
    pub stores: Arc<Stores>,
    /// End with the recording, or with what is in the topics at start.
    pub until_end: bool,
    /// What a person has accepted about the log.
    pub accepted: Accepted,
    /// Cancelled by SIGTERM or Ctrl-C.
    pub shutdown: CancellationToken,
}

/// How a pipeline ended.
#[derive(Debug)]
pub enum Outcome {
    /// Everything that was read is durable and committed.
    Done,
    /// It did not drain within its shutdown time; what was in flight will be read again.
    NotDrained,
    /// It cannot go on.
    Failed(Error),
}

/// Runs `pipeline` until it ends, fails or is told to stop.
pub async fn run(pipeline: Arc<Pipeline>, options: RunOptions, progress: Arc<PipelineProgress>) -> Outcome {
    let outcome = work(pipeline, options, &progress).await;
    progress.lanes.over(matches!(outcome, Outcome::Failed(_)));
    outcome
}

async fn work(pipeline: Arc<Pipeline>, options: RunOptions, progress: &Arc<PipelineProgress>) -> Outcome {
    // A lane that fails for good takes the others with it, but not the other pipelines.
    let stop = options.shutdown.child_token();
    let parking = match open_parking(&pipeline, &options, &stop).await {
        Ok(Some(parking)) => Arc::new(parking),
        Ok(None) => return Outcome::Done,
        Err(error) => return Outcome::Failed(error),
    };
    let mut lanes = JoinSet::new();
    for lane in 0..pipeline.lanes {
        let context = lane_context(&pipeline, &options, lane, stop.clone());
        lanes.spawn(keep_working(pipeline.clone(), context, parking.clone(), progress.clone()));
    }
    let mut failure = None;
    loop {
        let ended = tokio::select! {
            ended = lanes.join_next() => ended,
            () = deadline(&stop, pipeline.shutdown) => {
                lanes.abort_all();
                return failure.map_or(Outcome::NotDrained, Outcome::Failed);
            }
        };
        match ended {
            None => return failure.map_or(Outcome::Done, Outcome::Failed),
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => {
                stop.cancel();
                failure.get_or_insert(error);
            }
            Some(Err(crash)) => {
                stop.cancel();
                failure.get_or_insert(Error::Broken(format!("a lane ended by itself: {crash}")));
            }
        }
    }
}

pub(super) fn lane_context(
    pipeline: &Pipeline,
    options: &RunOptions,
    lane: usize,
    shutdown: CancellationToken,
) -> LaneContext {
    LaneContext {
        pipeline: pipeline.name.clone(),
        lane,
        lanes: pipeline.lanes,
        batch: pipeline.batch,
        data_dir: options.data_dir.clone(),
        stores: options.stores.clone(),
        state: pipeline.state.clone(),
        shutdown,
        until_end: options.until_end,
        accepted: options.accepted,
    }
}

async fn deadline(stop: &CancellationToken, limit: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(limit).await;
}

/// Opens the parking store; waits out an outage. `None` when the shutdown came first.
async fn open_parking(pipeline: &Pipeline, options: &RunOptions, stop: &CancellationToken) -> Result<Option<Parking>> {
    let mut outage: Option<Outage> = None;
    loop {
        match options.stores.get(&pipeline.parking.store).await {
            Ok(store) => return Ok(Some(Parking::new(&pipeline.name, store, pipeline.parking.stop_above))),
            Err(error @ Error::Unavailable(_)) => {
                let outage = outage.get_or_insert_with(|| Outage::begin(&pipeline.name, 0, &error));
                if !pause(outage.next_pause(&pipeline.name, 0, &error), stop).await {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error.at("parking")),
        }
    }
}

/// A lane's life: build, open, work; after an outage, again.
async fn keep_working(
    pipeline: Arc<Pipeline>,
    context: LaneContext,
    parking: Arc<Parking>,
    progress: Arc<PipelineProgress>,
) -> Result<()> {
    let (name, number) = (pipeline.name.clone(), context.lane);
    let mut outage: Option<Outage> = None;
    loop {
        let error = match work_once(&pipeline, &context, &parking, &progress, &mut outage).await {
            Ok(()) => return Ok(()),
            Err(error @ Error::Unavailable(_)) => error,
            Err(error) => return Err(error),
        };
        progress.lanes.lost(number);
        let outage = outage.get_or_insert_with(|| Outage::begin(&name, number, &error));
        if !pause(outage.next_pause(&name, number, &error), &context.shutdown).await {
            return Ok(());
        }
    }
}

async fn work_once(
    pipeline: &Arc<Pipeline>,
    context: &LaneContext,
    parking: &Parking,
    progress: &PipelineProgress,
    outage: &mut Option<Outage>,
) -> Result<()> {
    let mut lane = open_lane(pipeline, context).await?;
    progress.lanes.opened(context.lane);
    let committed = |batch: &Batch, parked: usize| {
        progress.commit(batch, parked);
        if let Some(over) = outage.take() {
            over.end(&pipeline.name, context.lane);
        }
    };
    let worked =
        lane.work(&context.shutdown, parking, |waiting| progress.waiting(context.lane, waiting), committed).await;
    lane.source.close().await;
    worked
}

/// Sinks are opened first: when a target is away, the source is not joined, and Kafka gives its partitions to others.
async fn open_lane(pipeline: &Arc<Pipeline>, context: &LaneContext) -> Result<Lane> {
    let mut lane = build_lane(pipeline)?;
    for (id, stage) in &mut lane.stages {
        stage.open(context).await.map_err(|e| e.at(&*id))?;
    }
    lane.shapes.open(context).await?;
    hold_back(pipeline, context, &mut lane).await?;
    lane.source.open(context).await.map_err(|e| e.at("source"))?;
    Ok(lane)
}

/// What holds transactions back until they are whole, where the pipeline asks for that; and, where documents are computed
/// from a raw store, the note of what was about to be applied to it.
async fn hold_back(pipeline: &Pipeline, context: &LaneContext, lane: &mut Lane) -> Result<()> {
    let Some(transactions) = &pipeline.transactions else { return Ok(()) };
    let topics = pipeline.steps.first().map_or(&[][..], |step| &step.flow.topics);
    let topics: Vec<String> = topics.iter().map(|topic| topic.value.clone()).collect();
    let mut catch_up = CatchUp::default();
    if pipeline.steps.last().is_some_and(|step| step.flow.store.is_some()) {
        let intent = Intent::open(context).await?;
        catch_up = CatchUp::to(intent.read().await?, &topics);
        lane.intent = Some(intent);
    }
    lane.source.read_alone();
    lane.gather = Some(Gather::new(transactions, &topics, catch_up));
    Ok(())
}

/// The components of a lane, not opened yet.
pub(super) fn build_lane(pipeline: &Arc<Pipeline>) -> Result<Lane> {
    let (source, stages) = pipeline.build().map_err(|problems| {
        Error::Broken(problems.first().map_or_else(|| "the plan no longer builds".to_string(), ToString::to_string))
    })?;
    let measured = |(id, stage): (String, Box<dyn Stage>)| {
        let stage: Box<dyn Stage> = Box::new(Measured::new(&pipeline.name, &id, stage));
        (id, stage)
    };
    let stages = stages.into_iter().map(measured).collect();
    Ok(Lane { source, stages, shapes: Shapes::new(pipeline.clone()), gather: None, intent: None })
}

/// Sleeps; false when the shutdown came first.
pub(super) async fn pause(time: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = stop.cancelled() => false,
    }
}
