//! Keeps rejected messages aside before their offsets are committed, and stops the pipeline when they become many.
//!
//! Deliberately absent: holding back later messages of a parked key. Versions make a late retry of a full row harmless.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::error::{Error, Result};
use crate::pipeline::StopAbove;
use crate::record::{Message, Reject, Timestamp};
use crate::stores::{Parked, SharedStore};

/// The parking place of one pipeline, shared by its lanes.
pub struct Parking {
    pipeline: String,
    store: SharedStore,
    limit: StopAbove,
    recent: Mutex<VecDeque<(Instant, u64, u64)>>,
}

impl Parking {
    /// Parks into `store` what `pipeline` rejects.
    pub fn new(pipeline: &str, store: SharedStore, limit: StopAbove) -> Self {
        Parking { pipeline: pipeline.to_string(), store, limit, recent: Mutex::default() }
    }

    /// Makes `rejects` of `messages` durable. Fails with [`Error::Broken`] when their share has grown too large; they
    /// are parked even then.
    pub async fn park(&self, messages: &[Message], rejects: &[(String, Reject)]) -> Result<()> {
        if !rejects.is_empty() {
            let parked: Vec<Parked> =
                rejects.iter().filter_map(|(stage, reject)| self.entry(messages, stage, reject)).collect();
            if let Some(first) = parked.first() {
                let place = format!("{}:{}:{}", first.message.topic, first.message.partition, first.message.offset);
                tracing::warn!(pipeline = %self.pipeline, parked = parked.len(), first = place, code = first.code, "parked: {}", first.reason);
            }
            self.store.park(&parked).await.map_err(|e| e.at("parking"))?;
            rejects.iter().for_each(|(stage, reject)| self.count(stage, reject.code));
        }
        self.check_share(messages.len() as u64, rejects.len() as u64)
    }

    fn count(&self, stage: &str, code: &'static str) {
        let (pipeline, stage, code) = (self.pipeline.clone(), stage.to_string(), code.to_string());
        let labels = [("pipeline", pipeline), ("stage", stage), ("code", code)];
        metrics::counter!("headwater_parked_messages_total", &labels).increment(1);
    }

    fn entry(&self, messages: &[Message], stage: &str, reject: &Reject) -> Option<Parked> {
        let message = messages.get(reject.origin as usize)?.clone();
        Some(Parked {
            id: format!("{}:{}:{}:{stage}", message.epoch.name(&message.topic), message.partition, message.offset),
            pipeline: self.pipeline.clone(),
            stage: stage.to_string(),
            code: reject.code.to_string(),
            reason: reject.reason.clone(),
            table: reject.table.clone(),
            parked_at_ms: Timestamp::now().as_millis(),
            message,
        })
    }

    fn check_share(&self, seen: u64, parked: u64) -> Result<()> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        recent.push_back((now, seen, parked));
        while recent.front().is_some_and(|(at, ..)| now.duration_since(*at) > self.limit.within) {
            recent.pop_front();
        }
        if parked == 0 {
            return Ok(());
        }
        let (seen, parked) = recent.iter().fold((0, 0), |(s, p), (_, seen, parked)| (s + seen, p + parked));
        if parked > self.limit.records && parked as f64 > self.limit.share * seen as f64 {
            return Err(Error::Broken(format!(
                "{parked} of the last {seen} messages had to be parked, more than {} and more than {} %: the pipeline stops before \
                 it parks everything. look at `headwater parked list`, mend the cause, or raise parking.stop_above",
                self.limit.records,
                self.limit.share * 100.0
            )));
        }
        Ok(())
    }
}
