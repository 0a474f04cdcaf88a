//! Takes parked messages through their pipeline again: after a mended cause they are applied and leave the parking store.
//!
//! Invariant: a message is forgotten only after its effect is durable. A late retry is harmless: every write carries the
//! version of the message's own place in the log, and an older version never replaces a newer one.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::lane::work_through;
use super::parking::Parking;
use super::pipeline::{RunOptions, build_lane, lane_context};
use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::record::{Batch, Epoch, Message};
use crate::stores::Parked;

/// What became of the parked messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Retried {
    /// Applied, and no longer parked.
    pub applied: u64,
    /// Rejected again; parked with the new reason.
    pub rejected: u64,
}

/// Retries the parked messages of `pipeline`: those with one of `ids`, or all of them.
pub async fn retry(pipeline: &Arc<Pipeline>, options: &RunOptions, ids: Option<&[String]>) -> Result<Retried> {
    let store = options.stores.get(&pipeline.parking.store).await?;
    let parking = Parking::new(&pipeline.name, store.clone(), pipeline.parking.stop_above);
    let context = lane_context(pipeline, options, 0, CancellationToken::new());
    let mut lane = build_lane(pipeline)?;
    for (id, stage) in &mut lane.stages {
        stage.open(&context).await.map_err(|e| e.at(&*id))?;
    }
    let mut retried = Retried::default();
    let mut after: Option<String> = None;
    loop {
        let page = store.parked(Some(&pipeline.name), after.as_deref(), pipeline.batch.records).await?;
        let Some(last) = page.last() else { return Ok(retried) };
        after = Some(last.id.clone());
        let mut page: Vec<Parked> = page.into_iter().filter(|p| ids.is_none_or(|ids| ids.contains(&p.id))).collect();
        page.sort_by(|a, b| place(&a.message).cmp(&place(&b.message)));
        let messages = page.iter().map(|p| p.message.clone()).collect();
        let (batch, rejects) = work_through(&mut lane.stages, Batch::from_messages(messages)).await?;
        parking.park(&batch.messages, &rejects).await?;
        let again = |index: usize| rejects.iter().any(|(_, reject)| reject.origin as usize == index);
        let (rejected, applied): (Vec<_>, Vec<_>) = page.into_iter().enumerate().partition(|(index, _)| again(*index));
        // A message that another stage rejects now has a new entry; its old one would be retried for ever.
        let moved = rejected
            .iter()
            .filter(|(i, p)| rejects.iter().any(|(stage, r)| r.origin as usize == *i && *stage != p.stage));
        let done: Vec<String> = applied.iter().chain(moved).map(|(_, parked)| parked.id.clone()).collect();
        store.unpark(&done).await?;
        retried.applied += applied.len() as u64;
        retried.rejected += rejected.len() as u64;
    }
}

fn place(message: &Message) -> (&str, Epoch, i32, i64) {
    (&message.topic, message.epoch, message.partition, message.offset)
}
