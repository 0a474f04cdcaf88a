//! `consistency`: what readers of a target may see of a transaction of the source.
//!
//! ```yaml
//! consistency: key                 # the default: each document by itself, as soon as it can be
//! consistency:
//!   transaction:                   # all documents that one transaction changed, at once
//!     topic: bank.transaction      # Debezium's transaction topic (provide.transaction.metadata), one of the source's topics
//!     events: 10000                # most changes that are held back, and documents that are written together
//!     bytes: 64MB                  # their size
//!     age: 30s                     # how long a transaction waits for its end and for the rest of its changes
//! ```
//!
//! A transaction's changes lie in several topics and partitions. One lane has to read them all: what is in another lane,
//! or in a topic that this pipeline does not read, cannot be waited for.

use std::time::Duration;

use super::{BatchLimits, Flow, Node, NodeKind, Problem, Section, Spanned};

/// Transactions of the source that are to be seen whole, and how much of them is kept in memory for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Transactions {
    /// The topic in which the connector tells where transactions begin and end.
    pub topic: Spanned<String>,
    /// Most messages that are held back, and most documents that are written together.
    pub events: usize,
    /// Most bytes of both.
    pub bytes: usize,
    /// How long a transaction waits for its end and for the rest of its changes.
    pub age: Duration,
}

impl Transactions {
    const EVENTS: u64 = 10_000;
    const EVENTS_MAX: u64 = 1_000_000;
    const BYTES: usize = 64 << 20;
    const BYTES_MAX: u64 = 1 << 30;
    const AGE: Duration = Duration::from_secs(30);
    const AGE_MAX: Duration = Duration::from_secs(3_600);

    /// Reads the value of `consistency`; nothing where documents are seen each by itself.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let node = section.node("consistency")?;
        let (name, settings) = match &node.kind {
            NodeKind::Scalar { text, .. } => (text.as_str(), None),
            NodeKind::Map(entries) => match entries.as_slice() {
                [(name, settings)] => (name.value.as_str(), Some(settings)),
                _ => ("", None),
            },
            NodeKind::List(_) => ("", None),
        };
        match (name, settings) {
            ("key", None) => None,
            ("transaction", Some(settings)) => Some(section.nested(settings, Self::limits)),
            ("transaction", None) => {
                let problem = node.problem("key.missing", "`transaction` needs the connector's transaction topic");
                section.problem(problem.help("write `consistency: { transaction: { topic: PREFIX.transaction } }`"));
                None
            }
            _ => {
                let problem = node.problem("value.unknown", "expected `key` or `transaction`");
                section.problem(problem.suggest(name, ["key", "transaction"]));
                None
            }
        }
    }

    fn limits(section: &mut Section<'_>) -> Self {
        let topic = section.required_text("topic");
        let events = section.number_in("events", 1..=Self::EVENTS_MAX, Self::EVENTS) as usize;
        let (bytes, age) = (section.bytes("bytes"), section.duration("age"));
        if let Some(n) = bytes.as_ref().filter(|n| n.value < 1_024 || n.value > Self::BYTES_MAX) {
            section.problem(n.problem("value.range", "expected 1KB to 1GB"));
        }
        if let Some(n) = age.as_ref().filter(|n| n.value.is_zero() || n.value > Self::AGE_MAX) {
            section.problem(n.problem("value.range", "expected 1ms to 1h"));
        }
        let bytes = bytes.map_or(Self::BYTES, |n| n.value as usize);
        Transactions { topic, events, bytes, age: age.map_or(Self::AGE, |n| n.value) }
    }

    /// What the connector calls its topics begins with this.
    pub fn prefix(&self) -> &str {
        self.topic.rsplit_once('.').map_or("", |(prefix, _)| prefix)
    }

    /// Batches so small that one of them never fills what may be held back.
    pub(super) fn share(&self, batch: BatchLimits) -> BatchLimits {
        let (records, bytes) = ((self.events / 2).max(1), (self.bytes / 2).max(1));
        BatchLimits { records: batch.records.min(records), bytes: batch.bytes.min(bytes), ..batch }
    }

    /// Everything that keeps the rest of the pipeline from putting transactions together. `lanes` is where their number
    /// stands, if it is not one; `sound` says whether all parts could be planned.
    pub(super) fn check(&self, lanes: Option<&Node>, flows: &[&Flow], sound: bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(lanes) = lanes {
            let text = "with `consistency: transaction` there is one lane: a transaction's changes lie in several \
                        partitions, and lanes share those out";
            problems.push(lanes.problem("consistency.lanes", text).help("leave `lanes` out"));
        }
        let topics = flows.first().map_or(&[][..], |flow| &flow.topics);
        if self.prefix().is_empty() {
            let text = "expected the connector's transaction topic, PREFIX.transaction by default";
            problems.push(self.topic.problem("value.wrong", text));
        } else if !topics.is_empty() {
            self.check_topics(topics, &mut problems);
        }
        if sound && problems.is_empty() && !flows.iter().any(|flow| flow.tells_transactions) {
            let text = "no stage tells which transaction a change was made in";
            problems.push(self.topic.problem("consistency.untold", text).help("begin with `- debezium: {}`"));
        }
        problems
    }

    fn check_topics(&self, topics: &[Spanned<String>], problems: &mut Vec<Problem>) {
        if !topics.iter().any(|topic| topic.value == self.topic.value) {
            let text = format!("the source does not read the topic `{}`", self.topic.value);
            let problem = self.topic.problem("consistency.topic", text);
            let problem = problem.suggest(&self.topic, topics.iter().map(|topic| topic.value.as_str()));
            problems.push(problem.help("add it to the source's `topics`: a lane sees only what its pipeline reads"));
        }
        for topic in topics {
            let behind = topic.strip_prefix(self.prefix());
            let is_ours = behind.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            if !is_ours && !topic.starts_with("__debezium-heartbeat") {
                let text = format!(
                    "`{}` is not of the connector whose transactions `{}` tells: its topics begin with `{}.`",
                    topic.value,
                    self.topic.value,
                    self.prefix()
                );
                let help = "one pipeline puts together the transactions of one connector, whose topics have the names that \
                            it gives them";
                problems.push(topic.problem("consistency.topic", text).help(help));
            }
        }
    }

    /// The problem of a component that cannot write several documents at once.
    pub fn refused(&self, here: &Spanned<()>, component: &str) -> Problem {
        let text = format!("`{component}` does not write the documents of a transaction at once and marked");
        let help = "write to `mongodb`, or leave `consistency: transaction` out";
        here.problem("consistency.sink", text).help(help)
    }
}
