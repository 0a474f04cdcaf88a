//! One transaction: what has come of it, and what has to come.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::record::{Message, Role};

/// Which of a transaction's changes reach this pipeline.
pub struct Expected {
    /// `PREFIX.`
    prefix: String,
    /// Topics that are read; none where that is not known.
    topics: FxHashSet<Arc<str>>,
}

impl Expected {
    /// Changes of topics that begin with `prefix`; of all of them where `topics` is empty.
    pub fn new(prefix: &str, topics: &[String]) -> Self {
        Expected { prefix: format!("{prefix}."), topics: topics.iter().map(|topic| topic.as_str().into()).collect() }
    }

    /// The topic in which a table's changes come, if it is read. In topics' names Debezium replaces what Kafka does not
    /// allow.
    fn topic_of(&self, table: &str) -> Option<Arc<str>> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let name = table.chars().map(|c| if allowed(c) { c } else { '_' });
        let topic: Arc<str> = self.prefix.chars().chain(name).collect::<String>().into();
        (self.topics.is_empty() || self.topics.contains(&topic)).then_some(topic)
    }
}

/// A transaction that has not left.
pub struct Group {
    /// Its identity.
    pub id: Arc<str>,
    /// When the first of it came.
    pub since: Duration,
    /// Its first message in each queue it is in: queue, number there.
    pub firsts: Vec<(usize, u64)>,
    /// By topic, the changes that have come.
    seen: FxHashMap<Arc<str>, FxHashSet<u64>>,
    /// How many changes have to come, by topic; known at its end.
    changes: Option<Vec<(Arc<str>, u64)>>,
    begun: bool,
    /// Of changes that come again: whether all of them have.
    again: bool,
}

impl Group {
    /// Nothing of it has come yet.
    pub fn new(id: Arc<str>, since: Duration) -> Self {
        Group { id, since, firsts: Vec::new(), seen: FxHashMap::default(), changes: None, begun: false, again: false }
    }

    /// Takes a message of it, which will be number `index` in queue `queue`.
    pub fn take(&mut self, queue: usize, index: u64, message: &Message, role: Role, expected: &Expected) {
        if !self.firsts.iter().any(|(known, _)| *known == queue) {
            self.firsts.push((queue, index));
        }
        match role {
            Role::Begin => self.begun = true,
            Role::Change { order } => {
                // Without a number the place has to tell them apart.
                let place =
                    (1 << 63) | (u64::from(message.partition.unsigned_abs()) << 40) ^ message.offset.unsigned_abs();
                self.seen.entry(message.topic.clone()).or_default().insert(order.unwrap_or(place));
            }
            Role::End { changes } => {
                let read = changes.iter().filter_map(|(table, count)| Some((expected.topic_of(table)?, *count)));
                self.changes = Some(read.collect());
            }
        }
    }

    /// Takes a change that comes again; it is complete with the last one.
    pub fn take_again(&mut self, queue: usize, index: u64, is_last: bool) {
        if self.firsts.is_empty() {
            self.firsts.push((queue, index));
        }
        self.again = is_last;
    }

    /// Whether just this has come before. Of changes without a number that cannot be told.
    pub fn has_come(&self, topic: &str, role: &Role) -> bool {
        match role {
            Role::Begin => self.begun,
            Role::End { .. } => self.has_ended(),
            Role::Change { order: None } => false,
            Role::Change { order: Some(order) } => self.seen.get(topic).is_some_and(|seen| seen.contains(order)),
        }
    }

    /// Whether it is none of the source's transactions, but holds changes together that come again.
    pub fn comes_again(&self) -> bool {
        self.id.is_empty()
    }

    /// Whether its beginning has come.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether its end has come.
    pub fn has_ended(&self) -> bool {
        self.changes.is_some()
    }

    /// Whether its end has come, and all of its changes that reach this pipeline.
    pub fn is_complete(&self) -> bool {
        let has_all =
            |(topic, count): &(Arc<str>, u64)| self.seen.get(topic).map_or(0, FxHashSet::len) as u64 >= *count;
        self.again || self.changes.as_ref().is_some_and(|changes| changes.iter().all(has_all))
    }

    /// Whether it changes anything here.
    pub fn has_changes(&self) -> bool {
        !self.seen.is_empty()
    }
}
