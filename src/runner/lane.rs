//! The data path: one loop that can be read on one screen.

use crate::error::Result;
use crate::record::{Batch, Reject};
use crate::stage::{Source, Stage, Waiting};

use super::parking::Parking;
use super::shapes::Shapes;

/// The parts of one lane, opened.
pub struct Lane {
    /// Where batches come from.
    pub source: Box<dyn Source>,
    /// What happens to them, with the ids that errors and parked messages name.
    pub stages: Vec<(String, Box<dyn Stage>)>,
    /// Notices columns that change.
    pub shapes: Shapes,
}

impl Lane {
    /// Works until the source ends or the shutdown is asked for. Whatever was read is durable and committed on `Ok`.
    pub async fn work(
        &mut self,
        parking: &Parking,
        mut waiting: impl FnMut(Option<Waiting>) + Send,
        mut committed: impl FnMut(&Batch, usize) + Send,
    ) -> Result<()> {
        while let Some(batch) = self.source.next().await? {
            waiting(self.source.waiting());
            if batch.messages.is_empty() {
                continue;
            }
            let (batch, rejects) = self.through(batch).await?;
            parking.park(&batch.messages, &rejects).await?;
            self.source.commit().await?;
            committed(&batch, rejects.len());
        }
        Ok(())
    }

    /// Takes a batch through all stages; looks at the records as the first one, which makes them, gives them.
    async fn through(&mut self, batch: Batch) -> Result<(Batch, Vec<(String, Reject)>)> {
        let made = self.stages.len().min(1);
        let (first, others) = self.stages.split_at_mut(made);
        let (batch, mut rejects) = work_through(first, batch).await?;
        self.shapes.observe(&batch.records).await?;
        let (batch, more) = work_through(others, batch).await?;
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
        rejects.extend(batch.rejects.drain(..).map(|reject| (id.clone(), reject)));
    }
    Ok((batch, rejects))
}
