//! One transaction: what has come of it, and what has to come.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::resumed::Rest;
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
    /// By topic, how many changes have come.
    seen: FxHashMap<Arc<str>, u64>,
    /// How many changes have to come, by topic; known at its end.
    changes: Option<Vec<(Arc<str>, u64)>>,
    /// When the last end of it came.
    ended_at: Option<Duration>,
    /// How often its beginning has come.
    begins: u32,
    /// What has to be read of a transaction that was begun more than once.
    pub rest: Rest,
    /// Of changes that come again: whether all of them have.
    again: bool,
}

impl Group {
    /// Nothing of it has come yet.
    pub fn new(id: Arc<str>, since: Duration) -> Self {
        Group {
            id,
            since,
            firsts: Vec::new(),
            seen: FxHashMap::default(),
            changes: None,
            ended_at: None,
            begins: 0,
            rest: Rest::Unknown,
            again: false,
        }
    }

    /// Takes a message of it that comes `now`, and will be number `index` in queue `queue`.
    pub fn take(
        &mut self,
        (queue, index): (usize, u64),
        now: Duration,
        message: &Message,
        role: Role,
        expected: &Expected,
    ) {
        if !self.is_in(queue) {
            self.firsts.push((queue, index));
        }
        match role {
            Role::Begin => self.begins += 1,
            Role::Change { .. } => *self.seen.entry(message.topic.clone()).or_default() += 1,
            Role::End { changes } => {
                let read = changes.iter().filter_map(|(table, count)| Some((expected.topic_of(table)?, *count)));
                self.changes = Some(read.collect());
                self.ended_at = Some(now);
            }
        }
    }

    /// Whether something of it has come in a queue.
    pub fn is_in(&self, queue: usize) -> bool {
        self.firsts.iter().any(|(known, _)| *known == queue)
    }

    /// Takes a change that comes again; it is complete with the last one.
    pub fn take_again(&mut self, queue: usize, index: u64, is_last: bool) {
        if self.firsts.is_empty() {
            self.firsts.push((queue, index));
        }
        self.again = is_last;
    }

    /// What comes next has not come before.
    pub fn end_again(&mut self) {
        self.again = true;
    }

    /// Whether it is none of the source's transactions, but holds changes together that come again.
    pub fn comes_again(&self) -> bool {
        self.id.is_empty()
    }

    /// Whether its beginning has come.
    pub fn has_begun(&self) -> bool {
        self.begins > 0
    }

    /// Whether the connector broke off in the middle of it and began again.
    pub fn is_resumed(&self) -> bool {
        self.begins > 1
    }

    /// When the last end of it came, if all that this one counts has come.
    pub fn counted_at(&self) -> Option<Duration> {
        let has_all = |(topic, count): &(Arc<str>, u64)| self.seen.get(topic).copied().unwrap_or_default() >= *count;
        self.ended_at.filter(|_| self.changes.iter().flatten().all(has_all))
    }

    /// Whether its end has come.
    pub fn has_ended(&self) -> bool {
        self.changes.is_some()
    }

    /// A topic that has brought changes of it which its end does not count: the topic is not called as the connector calls
    /// it. What was sent before a connector was stopped is never counted.
    pub fn uncounted(&self) -> Option<&str> {
        let counted = self.changes.as_ref().filter(|_| self.begins == 1)?;
        let is_counted = |topic: &Arc<str>| counted.iter().any(|(known, _)| known == topic);
        self.seen.keys().find(|topic| !is_counted(topic)).map(|topic| &**topic)
    }

    /// Whether its end has come, and all of its changes that reach this pipeline.
    pub fn is_complete(&self) -> bool {
        self.again || self.counted_at().is_some() && (!self.is_resumed() || self.rest == Rest::Read)
    }

    /// Whether it changes anything here.
    pub fn has_changes(&self) -> bool {
        !self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(topic: &str, begins: u32) -> Group {
        let expected = Expected::new("bank", &["bank.account".into(), "bank.routed".into()]);
        let mut group = Group::new("1".into(), Duration::ZERO);
        let mut take = |topic: &str, role| {
            let message = Message { topic: topic.into(), ..Message::default() };
            group.take((0, 0), Duration::ZERO, &message, role, &expected);
        };
        (0..begins).for_each(|_| take("bank.transaction", Role::Begin));
        take(topic, Role::Change { order: None });
        take("bank.transaction", Role::End { changes: vec![("account".into(), 1)] });
        group
    }

    #[test]
    fn changes_of_a_topic_that_the_end_does_not_count_are_noticed() {
        assert_eq!(took("bank.account", 1).uncounted(), None);
        assert_eq!(took("bank.routed", 1).uncounted(), Some("bank.routed"));
        assert_eq!(took("bank.routed", 2).uncounted(), None, "one that was broken off counts only its rest");
        assert_eq!(took("bank.routed", 0).uncounted(), None, "its beginning, and what it counted, may lie before");
    }
}
