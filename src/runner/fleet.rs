//! Several pipelines in one process: they share stores and the shutdown, and fail one by one.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::pipeline::{Outcome, RunOptions, run};
use super::progress::{PipelineProgress, Snapshot};
use super::report::Report;
use crate::error::Error;
use crate::pipeline::Pipeline;

/// How one of several pipelines ended, and what it had done.
#[derive(Debug)]
pub struct Ended {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// How.
    pub outcome: Outcome,
    /// Its counters at the end.
    pub progress: Snapshot,
}

/// Pipelines at work.
pub struct Fleet {
    running: Vec<(Arc<str>, Arc<PipelineProgress>, JoinHandle<Outcome>)>,
}

impl Fleet {
    /// Starts all `pipelines`.
    pub fn start(pipelines: Vec<Pipeline>, options: &RunOptions) -> Self {
        let start = |pipeline: Pipeline| {
            let progress = Arc::new(PipelineProgress::new(&pipeline.name, pipeline.lanes));
            let name = pipeline.name.clone();
            let task = tokio::spawn(run(Arc::new(pipeline), options.clone(), progress.clone()));
            (name, progress, task)
        };
        Fleet { running: pipelines.into_iter().map(start).collect() }
    }

    /// The counters of all pipelines, as they go on.
    pub fn progress(&self) -> Vec<Arc<PipelineProgress>> {
        self.running.iter().map(|(_, progress, _)| progress.clone()).collect()
    }

    /// Reports until each pipeline has ended. `quiet` shows no progress on a terminal.
    pub async fn finish(self, quiet: bool) -> Vec<Ended> {
        let report = Report::start(self.progress(), quiet);
        let mut ended = Vec::with_capacity(self.running.len());
        for (pipeline, progress, task) in self.running {
            let crashed = |crash| Outcome::Failed(Error::Broken(format!("the pipeline ended by itself: {crash}")));
            let outcome = task.await.unwrap_or_else(crashed);
            if let Outcome::Failed(error) = &outcome {
                tracing::error!(pipeline = &*pipeline, "stopped: {error}");
            }
            ended.push(Ended { pipeline, outcome, progress: progress.snapshot() });
        }
        drop(report);
        ended
    }
}
