//! How far the raw store may have got: noted before a batch is applied to it, since a crash in the middle leaves a part.

use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::record::Message;
use crate::stage::LaneContext;
use crate::stores::SharedStore;

/// The last offset of topics (in their lives) and partitions.
pub type Reach = Vec<(String, i32, i64)>;

/// The note, a fact in the state store: `transactions/PIPELINE` → [`Reach`].
pub struct Intent {
    store: SharedStore,
    name: String,
}

impl Intent {
    /// Opens the state store.
    pub async fn open(lane: &LaneContext) -> Result<Intent> {
        let store = lane.stores.get(&lane.state).await.map_err(|e| e.at("state store"))?;
        Ok(Intent { store, name: format!("transactions/{}", lane.pipeline) })
    }

    /// What was noted last; nothing at first.
    pub async fn read(&self) -> Result<Reach> {
        let Some(text) = self.store.facts(&self.name).await?.remove(&self.name) else { return Ok(Reach::new()) };
        let unreadable = |_| Error::Broken(format!("the fact {} in the state store does not read", self.name));
        serde_json::from_str(&text).map_err(unreadable)
    }

    /// Notes that these messages are about to be applied. All before them is durable and committed.
    pub async fn note(&self, messages: &[Message]) -> Result<()> {
        let mut last: FxHashMap<_, i64> = FxHashMap::default();
        for message in messages {
            last.insert((&message.topic, message.epoch, message.partition), message.offset);
        }
        let reach = last
            .into_iter()
            .map(|((topic, epoch, partition), offset)| (epoch.name(topic).into_owned(), partition, offset));
        let text = serde_json::to_string(&reach.collect::<Reach>());
        let text = text.map_err(|e| Error::Broken(format!("the fact {}: {e}", self.name)))?;
        self.store.remember(&[(self.name.clone(), text)]).await
    }
}
