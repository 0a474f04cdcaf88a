//! Which tables each topic carries, remembered in the state store.
//!
//! A tombstone that is a delete names a key and no table. After a start it may be the first message of its topic, whose
//! name need not be the table's (routing, renamed topics): what was read before tells it then. Whoever read the row that
//! it deletes had noted the table before the row was stored.
//!
//! State: facts `tables-of/TOPIC`, a topic's later lives apart from it. Invariant: nothing is deleted by a guess in a table
//! whose rows come from another topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cdc::{Event, Fault};
use crate::error::{Error, Result};
use crate::record::Message;
use crate::stage::LaneContext;
use crate::stores::SharedStore;

const PREFIX: &str = "tables-of/";

/// What one lane knows of all topics.
#[derive(Default)]
pub struct TopicTables {
    store: Option<SharedStore>,
    /// By topic.
    known: BTreeMap<String, BTreeSet<String>>,
    /// Whether it was asked for during this batch. The rows of what the batch deletes were read before the batch.
    is_fresh: bool,
}

impl TopicTables {
    /// Opens the state store.
    pub async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        self.store = Some(lane.stores.get(&lane.state).await.map_err(|e| e.at("state store"))?);
        self.look_up().await
    }

    /// A batch begins.
    pub fn begin(&mut self) {
        self.is_fresh = false;
    }

    async fn look_up(&mut self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        for (name, text) in store.facts(PREFIX).await? {
            let Some(topic) = name.strip_prefix(PREFIX) else { continue };
            self.known.insert(topic.to_string(), read(&name, &text)?);
        }
        self.is_fresh = true;
        Ok(())
    }

    /// The tables of the message's topic; none before any of its changes was read.
    pub async fn of(&mut self, message: &Message) -> Result<BTreeSet<String>> {
        if !self.is_fresh {
            self.look_up().await?;
        }
        Ok(self.known.get(&*message.epoch.name(&message.topic)).cloned().unwrap_or_default())
    }

    /// A tombstone of whose topic nothing is known: it is of the table that the topic is called after, unless that one's
    /// rows come from elsewhere.
    pub fn judge(
        &self,
        message: &Message,
        guess: std::result::Result<Event, Fault>,
    ) -> std::result::Result<Event, Fault> {
        let Ok(Event::Change(record)) = &guess else { return guess };
        let topic = message.epoch.name(&message.topic);
        match self.known.iter().find(|(other, tables)| **other != *topic && tables.contains(&*record.table)) {
            None => guess,
            Some((other, _)) => Err(Fault::new(
                "tombstone.table",
                format!(
                    "nothing in the topic has told yet which table it carries, and the one that it is called after comes from \
                     the topic {other}"
                ),
            )),
        }
    }

    /// Remembers which tables changes of topics were of, before they are stored.
    pub async fn note(&mut self, named: Vec<(String, Arc<str>)>) -> Result<()> {
        for (topic, table) in named {
            if !self.known.get(&topic).is_some_and(|tables| tables.contains(&*table)) {
                self.add(topic, &table).await?;
            }
        }
        Ok(())
    }

    async fn add(&mut self, topic: String, table: &str) -> Result<()> {
        let name = format!("{PREFIX}{topic}");
        loop {
            let tables = self.known.entry(topic.clone()).or_default();
            tables.insert(table.to_string());
            let Some(store) = &self.store else { return Ok(()) };
            let text = store.facts(&name).await?.remove(&name);
            if let Some(text) = &text {
                tables.extend(read(&name, text)?);
            }
            let next = serde_json::to_string(tables).map_err(|e| Error::Broken(format!("the fact {name}: {e}")))?;
            if text.as_deref() == Some(&*next) || store.replace_fact(&name, text.as_deref(), &next).await? {
                return Ok(());
            }
        }
    }
}

fn read(name: &str, text: &str) -> Result<BTreeSet<String>> {
    serde_json::from_str(text).map_err(|_| Error::Broken(format!("the fact {name} in the state store does not read")))
}
