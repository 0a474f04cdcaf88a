//! `raw`: applies what flows by to a raw TX store, and passes on what is stored now.
//!
//! ```yaml
//! - raw: bank                 # DATA_DIR/bank.db, or what the settings call `bank`
//! - raw: { store: "${RAW_STORE}", reconcile: [customer] }
//! ```
//!
//! What leaves is durable: complete rows (unchanged values filled in), re-delivered ones included, so that later stages
//! derive from them again after a crash. Stale changes do not leave, a truncate leaves as the deletes that it means, and
//! rows of tables without a key leave with the key under which they are stored. A table under `reconcile` loses the rows
//! that a later snapshot of the whole table did not show (`reconcile`).

mod reconcile;

use async_trait::async_trait;

use crate::error::{Error, Result};
use crate::pipeline::{Flow, Problem, Section, Spanned};
use crate::record::Batch;
use crate::stage::{LaneContext, Stage};
use crate::stores::SharedStore;
use reconcile::Reconciler;

/// The stage.
pub struct Raw {
    /// May be a URI with a password: not for printing.
    name: Spanned<String>,
    store: Option<SharedStore>,
    reconcile: Vec<Spanned<String>>,
    reconciler: Option<Reconciler>,
}

/// Reads the section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Stage> {
    let name = section.text_or_self("store");
    Box::new(Raw { name, store: None, reconcile: section.texts("reconcile"), reconciler: None })
}

#[async_trait]
impl Stage for Raw {
    fn plan(&mut self, mut input: Flow) -> Result<Flow, Vec<Problem>> {
        if input.store.is_some() {
            let message = "the records are in a raw store already: one `raw` stage is enough";
            return Err(vec![self.name.problem("raw.twice", message)]);
        }
        for table in &self.reconcile {
            input.check_table(table).map_err(|problem| vec![problem])?;
        }
        input.store = Some(self.name.value.clone());
        input.stored = input.tables.clone();
        Ok(input)
    }

    async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        let store = lane.stores.get(&self.name).await?;
        let tables = self.reconcile.iter().map(|table| table.value.as_str().into());
        self.reconciler = Some(Reconciler::new(store.clone(), tables.collect()));
        self.store = Some(store);
        Ok(())
    }

    async fn process(&mut self, mut batch: Batch) -> Result<Batch> {
        let store = self.store.as_ref().ok_or_else(|| Error::Broken("raw: used before it was opened".into()))?;
        let records = std::mem::take(&mut batch.records);
        let taken = records.len();
        let seen = self.reconciler.as_mut().map(|reconciler| reconciler.look(&records));
        let applied = store.apply(records).await?;
        tracing::debug!(
            store = store.id(),
            taken,
            applied = applied.records.len(),
            stale = applied.stale,
            rejected = applied.rejects.len(),
            "applied"
        );
        batch.records = applied.records;
        // Without a message there is none that the deletes could come from.
        if let (Some(reconciler), Some(seen), Some(origin)) =
            (&mut self.reconciler, seen, batch.messages.len().checked_sub(1))
        {
            let origin = u32::try_from(origin).unwrap_or(u32::MAX);
            batch.records.extend(reconciler.sweep(seen, &batch.news, origin).await?);
        }
        batch.rejects.extend(applied.rejects.into_iter().map(|(_, reject)| reject));
        Ok(batch)
    }
}
