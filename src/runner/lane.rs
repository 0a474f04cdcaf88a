//! The data path: one loop that can be read on one screen.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::record::{Batch, Reject, Torn};
use crate::stage::{Offsets, Source, Stage, Waiting};

use super::parking::Parking;
use super::shapes::Shapes;
use super::transactions::{Gather, Intent, Released};

/// Between two looks at a source that has ended while transactions still wait.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The parts of one lane, opened.
pub struct Lane {
    /// Where batches come from.
    pub source: Box<dyn Source>,
    /// What happens to them, with the ids that errors and parked messages name.
    pub stages: Vec<(String, Box<dyn Stage>)>,
    /// Notices columns that change.
    pub shapes: Shapes,
    /// Holds back what is to be seen together, where the pipeline asks for that.
    pub gather: Option<Gather>,
    /// Notes what is about to be applied to a raw store, where that is to be seen together.
    pub intent: Option<Intent>,
}

impl Lane {
    /// Works until the source ends or the shutdown is asked for. Whatever was read is durable and committed on `Ok`, but
    /// for transactions that were not whole at a shutdown: they will be read again.
    pub async fn work(
        &mut self,
        stop: &CancellationToken,
        parking: &Parking,
        mut waiting: impl FnMut(Option<Waiting>) + Send,
        mut committed: impl FnMut(&Batch, usize) + Send,
    ) -> Result<()> {
        while let Some(batch) = self.next(stop).await? {
            waiting(self.source.waiting());
            let mut read = (!batch.messages.is_empty()).then_some(batch);
            while let Some(released) = self.release(&mut read).await? {
                let (batch, rejects) = self.through(released).await?;
                parking.park(&batch.messages, &rejects).await?;
                let kept = self.gather.as_ref().map_or_else(Offsets::new, Gather::kept);
                self.source.commit(&kept).await?;
                committed(&batch, rejects.len());
            }
            if let Some(gather) = &self.gather {
                self.source.rest(&gather.ahead(), gather.room())?;
            }
        }
        Ok(())
    }

    /// The source's next batch. When it has ended, transactions that are still waited for have their time.
    async fn next(&mut self, stop: &CancellationToken) -> Result<Option<Batch>> {
        let next = self.source.next().await?;
        let held = self.gather.as_ref().map_or(0, Gather::held);
        if next.is_some() || held == 0 {
            return Ok(next);
        }
        if stop.is_cancelled() {
            tracing::info!(messages = held, "transactions that are not whole yet will be read again");
            return Ok(None);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        Ok(Some(Batch::default()))
    }

    /// Decodes what was read, once, and gives the next batch that may go on: that one, or what its transactions allow.
    async fn release(&mut self, read: &mut Option<Batch>) -> Result<Option<Released>> {
        let decoded = match read.take() {
            Some(batch) => {
                let made = self.stages.len().min(1);
                Some(work_through(self.stages.get_mut(..made).unwrap_or_default(), batch).await?)
            }
            None => None,
        };
        let Some(gather) = &mut self.gather else { return Ok(decoded) };
        if let Some((batch, rejects)) = decoded {
            gather.begins(|| self.source.begins());
            gather.take(batch, rejects)?;
        }
        if gather.asks_for_ends() {
            gather.ends(&self.source.ends().await?);
        }
        gather.look_for_rest(|| self.source.reached());
        Ok(gather.release())
    }

    /// Takes a batch through all stages but the first, which made its records.
    async fn through(&mut self, (mut batch, mut rejects): Released) -> Result<Released> {
        self.shapes.observe(&batch.records).await?;
        if !rejects.is_empty() {
            tear(&mut batch);
        }
        if let Some(intent) = self.intent.as_ref().filter(|_| batch.unity.together) {
            intent.note(&batch.messages).await?;
        }
        let (batch, more) = work_through(self.stages.get_mut(1..).unwrap_or_default(), batch).await?;
        rejects.extend(more);
        Ok((batch, rejects))
    }
}

/// Takes a batch through all stages; gives what is left of it and the rejects with the stage that made them.
pub async fn work_through(
    stages: &mut [(String, Box<dyn Stage>)],
    mut batch: Batch,
) -> Result<(Batch, Vec<(String, Reject)>)> {
    let mut rejects = Vec::new();
    for (id, stage) in stages {
        batch = stage.process(batch).await.map_err(|e| e.at(&*id))?;
        if !batch.rejects.is_empty() {
            tear(&mut batch);
        }
        rejects.extend(batch.rejects.drain(..).map(|reject| (id.clone(), reject)));
    }
    Ok((batch, rejects))
}

/// A part of the batch was taken out: what is left is written together, and says that it is not all.
fn tear(batch: &mut Batch) {
    if batch.unity.together {
        batch.unity.torn.get_or_insert(Torn::Refused);
    }
}
