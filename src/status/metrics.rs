//! The metrics of a process: what components count by the `metrics` facade, and the progress of its pipelines, which is
//! looked at when somebody asks.
//!
//! Names: `headwater_…`, base units, counters end in `_total`. Labels are names out of pipeline files and classes of
//! reasons, so that their number is bounded by what was configured.
//!
//! A custom stage counts by the same facade (`metrics::counter!("my_rows_total").increment(1)`) and is told with the rest.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::error::{Error, Result};
use crate::runner::{PipelineProgress, Snapshot, State};

/// Upper bounds of a batch's time in a stage.
const SECONDS: [f64; 12] = [0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
/// How often measured times are sorted into their bounds; until then each takes room.
const SORT_EVERY: Duration = Duration::from_secs(5);

/// The recorder of this process.
pub(super) struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Collects from now on; once a process.
    pub(super) fn collect() -> Result<Self> {
        let broken = |e: String| Error::Broken(format!("metrics cannot be collected: {e}"));
        let bounds = Matcher::Full("headwater_stage_batch_seconds".to_string());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(bounds, &SECONDS);
        let recorder = builder.map_err(|e| broken(e.to_string()))?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|e| broken(e.to_string()))?;
        describe();
        gauge!("headwater_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(Metrics { handle })
    }

    /// All metrics, as text.
    pub(super) fn text(&self, pipelines: &[Arc<PipelineProgress>]) -> String {
        pipelines.iter().for_each(|pipeline| tell(&pipeline.name, &pipeline.snapshot(), pipeline.state()));
        self.handle.render()
    }

    /// Keeps what nobody asks for from growing.
    pub(super) async fn keep_small(&self) {
        loop {
            tokio::time::sleep(SORT_EVERY).await;
            self.handle.run_upkeep();
        }
    }
}

fn describe() {
    describe_gauge!("headwater_build_info", "1, with the version of the program");
    describe_gauge!("headwater_pipeline_state", "1 for what the pipeline is doing, 0 for what it is not doing");
    describe_counter!("headwater_lane_restarts_total", "how often a lane lost something outside and opened again");
    describe_counter!("headwater_messages_read_total", "messages of the source that became durable");
    describe_counter!("headwater_records_emitted_total", "records that left the last stage");
    describe_counter!("headwater_parked_messages_total", "messages that were parked, by stage and class of the reason");
    describe_counter!("headwater_transactions_total", "transactions of the source, seen whole or torn");
    describe_gauge!("headwater_lag_messages", "messages that wait in the source");
    describe_gauge!("headwater_lag_seconds", "freshness: age of the newest durable message while others wait, else 0");
    describe_gauge!("headwater_source_silence_seconds", "time since the source's last heartbeat");
    describe_gauge!("headwater_initial_load", "1 while the source's initial load goes on");
    describe_histogram!("headwater_stage_batch_seconds", "time of a batch in a stage");
    describe_counter!("headwater_stage_records_total", "records that left a stage");
    describe_counter!("headwater_model_rows_total", "rows that were categorized where `drift` is watched");
    describe_counter!("headwater_model_uncategorized_total", "rows that nothing was sure enough about");
    describe_counter!("headwater_model_asked_total", "rows with a text that the trained model was asked about");
    describe_counter!("headwater_model_confidence_total", "the same rows by confidence, in steps up to `upper`");
    describe_counter!("headwater_model_unseen_texts_total", "rows whose text was not labelled in training");
    describe_counter!("headwater_model_words_total", "words of the texts that the trained model was asked about");
    describe_counter!("headwater_model_new_words_total", "of these, words that training never saw");
    describe_counter!("headwater_model_answers_total", "rows by the model's best category");
    describe_gauge!("headwater_model_psi", "distance of the newest window's category mix from the one of training");
}

/// Sets what is known from a pipeline's counters. What is not known is not told.
fn tell(pipeline: &str, now: &Snapshot, state: State) {
    let name = || ("pipeline", pipeline.to_string());
    for other in State::ALL {
        let labels = [name(), ("state", other.as_str().to_string())];
        gauge!("headwater_pipeline_state", &labels).set(f64::from(u8::from(other == state)));
    }
    counter!("headwater_lane_restarts_total", &[name()]).absolute(now.restarts);
    counter!("headwater_records_emitted_total", &[name()]).absolute(now.emitted);
    for (outcome, count) in [("whole", now.whole), ("torn", now.torn)] {
        let labels = [name(), ("outcome", outcome.to_string())];
        counter!("headwater_transactions_total", &labels).absolute(count);
    }
    if let Some(silent) = now.source_secs {
        gauge!("headwater_source_silence_seconds", &[name()]).set(silent);
    }
    if let Some(loading) = now.loading {
        gauge!("headwater_initial_load", &[name()]).set(f64::from(u8::from(loading)));
    }
    for (topic, reached) in &now.topics {
        let labels = [name(), ("topic", topic.clone())];
        counter!("headwater_messages_read_total", &labels).absolute(reached.messages);
        if let Some(waiting) = reached.waiting {
            gauge!("headwater_lag_messages", &labels).set(waiting as f64);
        }
        if let Some(lag) = reached.lag_secs {
            gauge!("headwater_lag_seconds", &labels).set(lag);
        }
    }
}
