//! A stage that tells how long its batches take and how many records leave it.
//!
//! Costs two looks at the clock a batch, and nothing more while nobody collects metrics.

use std::time::Instant;

use async_trait::async_trait;
use metrics::{Counter, Histogram, counter, histogram};

use crate::error::Result;
use crate::pipeline::{Flow, Problem};
use crate::record::Batch;
use crate::stage::{LaneContext, Stage};

/// Wraps a stage.
pub(super) struct Measured {
    stage: Box<dyn Stage>,
    seconds: Histogram,
    records: Counter,
}

impl Measured {
    /// Measures the stage called `id`.
    pub(super) fn new(pipeline: &str, id: &str, stage: Box<dyn Stage>) -> Self {
        let labels = [("pipeline", pipeline.to_string()), ("stage", id.to_string())];
        let seconds = histogram!("headwater_stage_batch_seconds", &labels);
        Measured { stage, seconds, records: counter!("headwater_stage_records_total", &labels) }
    }
}

#[async_trait]
impl Stage for Measured {
    fn plan(&mut self, input: Flow) -> Result<Flow, Vec<Problem>> {
        self.stage.plan(input)
    }

    async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        self.stage.open(lane).await
    }

    async fn process(&mut self, batch: Batch) -> Result<Batch> {
        let begun = Instant::now();
        let batch = self.stage.process(batch).await?;
        self.seconds.record(begun.elapsed());
        self.records.increment(batch.records.len() as u64);
        Ok(batch)
    }
}
