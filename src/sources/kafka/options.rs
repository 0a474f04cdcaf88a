//! The `kafka` section: what users may set, what is ours, and the client configuration that follows.

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::assignment::{Assignment, BROKER_WAIT, partitions_of};
use crate::error::{Error, Result};
use crate::pipeline::{Section, Spanned};
use crate::stage::LaneContext;

/// Properties that carry the promises of this source; setting them is an error.
const OURS: &[&str] = &[
    "bootstrap.servers",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "isolation.level",
    "enable.partition.eof",
    "partition.assignment.strategy",
    "statistics.interval.ms",
];

/// Where a group begins that has committed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message that the broker still has.
    Earliest,
    /// Behind the newest message.
    Latest,
}

/// The section as read.
pub struct Options {
    /// Bootstrap servers.
    pub brokers: Spanned<String>,
    /// Topics by name.
    pub topics: Vec<Spanned<String>>,
    /// Consumer group, if set.
    pub group: Option<Spanned<String>>,
    /// A name that stays with this runner over restarts, if it has one.
    pub instance: Option<Spanned<String>>,
    /// Where to begin.
    pub start: Start,
    settings: Vec<(String, String)>,
}

impl Options {
    /// Reads the section.
    pub fn read(section: &mut Section<'_>) -> Self {
        let brokers = section.required_text("brokers");
        let _ = section.required_node("topics");
        let topics = section.texts("topics");
        let group = section.text("group");
        let instance = section.text("instance");
        let start = match section.choice("start", &["earliest", "latest"]) {
            "latest" => Start::Latest,
            _ => Start::Earliest,
        };
        let mut settings = Vec::new();
        for (name, node) in section.entries("settings") {
            if OURS.contains(&name.value.as_str()) {
                let message = format!("`{}` is set by this source and cannot be changed", name.value);
                section.problem(name.problem("kafka.setting", message));
            } else if let Some(value) = section.scalar(node) {
                settings.push((name.value, value.value));
            }
        }
        Options { brokers, topics, group, instance, start, settings }
    }

    /// The consumer group.
    pub fn group_of(&self, lane: &LaneContext) -> String {
        self.group.as_ref().map_or_else(|| format!("headwater-{}", lane.pipeline), |g| g.value.clone())
    }

    /// The client's configuration: ours last, so that nothing overrides it.
    pub fn client_config(&self, lane: &LaneContext) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", format!("headwater-{}-{}", lane.pipeline, lane.lane))
            .set("fetch.message.max.bytes", "524288")
            .set("fetch.max.bytes", "4194304")
            .set("fetch.wait.max.ms", "100")
            // A full queue postpones the next request by this long: a second, the default, would be longer than the queue
            // lasts. Shorter than this costs more requests: 5 ms 5 to 10 % more CPU a million events.
            .set("fetch.queue.backoff.ms", "20")
            .set("queued.max.messages.kbytes", "4096")
            .set("queued.min.messages", "10000")
            .set("session.timeout.ms", "15000")
            // With a heartbeat a lane learns that others came or went: balancing takes several of them.
            .set("heartbeat.interval.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("check.crcs", "true");
        for (name, value) in &self.settings {
            config.set(name, value);
        }
        let group = self.group_of(lane);
        if let Some(instance) = &self.instance {
            config.set("group.instance.id", format!("{}-{}", instance.value, lane.lane));
        }
        config
            .set("bootstrap.servers", &self.brokers.value)
            .set("group.id", group)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "false")
            .set("statistics.interval.ms", "2000");
        config
    }

    /// Fails as long as another process is in the group: it would get a share of the partitions.
    pub fn check_alone(&self, consumer: &BaseConsumer<Assignment>, lane: &LaneContext) -> Result<()> {
        let group = self.group_of(lane);
        let place = format!("kafka at {}: consumer group {group}", self.brokers.value);
        let list = consumer.fetch_group_list(Some(&group), BROKER_WAIT);
        let list = list.map_err(|e| Error::Unavailable(format!("{place}: nothing is told of it: {e}")))?;
        // What this runner was in an earlier life it takes over.
        let own = self.instance.as_ref().map(|instance| format!("{}-{}-", instance.value, lane.lane));
        let is_other = |id: &str| own.as_ref().is_none_or(|own| !id.starts_with(own));
        let members = list.groups().iter().filter(|found| found.name() == group).flat_map(|found| found.members());
        match members.filter(|member| is_other(member.id())).count() {
            0 => Ok(()),
            others => Err(Error::Unavailable(format!(
                "{place} has {others} member(s): with `consistency: transaction` one process reads everything. this one takes \
                 over when that one ends"
            ))),
        }
    }

    /// Fails early, and in words, when brokers or topics are not there: librdkafka would wait in silence. Gives the number
    /// of each topic's partitions.
    pub fn check_topics(&self, consumer: &BaseConsumer<Assignment>) -> Result<Vec<(String, i32)>> {
        let place = format!("kafka at {}", self.brokers.value);
        let count = |topic: &Spanned<String>| {
            let partitions = partitions_of(consumer, &topic.value).map_err(|e| e.at(&place))?;
            Ok((topic.value.clone(), partitions))
        };
        self.topics.iter().map(count).collect()
    }
}
