//! Transactions in the middle of which the connector was stopped. When it goes on it tells their beginning once more, counts
//! from 1 again, and at the end it knows only the changes since (seen with Debezium 3.6 and PostgreSQL). How many there
//! were before nobody tells; but all of them were in Kafka by then.
//!
//! So such a transaction is whole when as much has come as its end counts, and a while later everything has been read that
//! was in the topics then: also the changes that the end does count, but which were mistaken for earlier ones.

use std::time::Duration;

use super::Gather;
use super::group::Group;
use super::queue::Queue;
use crate::stage::{Offsets, Place};

/// Within this time after a transaction's end all of its changes are in Kafka: the connector sent them before, but to
/// other partitions.
pub const ON_THE_WAY: Duration = Duration::from_secs(5);

/// What has to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest {
    /// Nobody has looked yet.
    Unknown,
    /// Each partition up to this offset.
    UpTo(Offsets),
    /// Nothing more.
    Read,
}

impl Gather {
    /// Whether it is time to look how far the topics reach.
    pub fn asks_for_ends(&mut self) -> bool {
        let now = self.clock.now;
        self.resumed.retain(|number| self.groups.contains_key(number));
        self.resumed.iter().filter_map(|number| self.groups.get(number)).any(|group| asks(group, now, self.on_the_way))
    }

    /// Takes how far the topics reach now. Whoever cannot tell gives nothing.
    pub fn ends(&mut self, ends: &Offsets) {
        let now = self.clock.now;
        for number in &self.resumed {
            if let Some(group) = self.groups.get_mut(number).filter(|group| asks(group, now, self.on_the_way)) {
                group.rest = Rest::UpTo(ends.clone());
            }
        }
    }

    /// Looks whether that has been read. `reached` is up to where the source has handed out everything.
    pub fn look_for_rest(&mut self, reached: impl FnOnce() -> Offsets) {
        let waiting = |number: &u64| matches!(self.groups.get(number).map(|group| &group.rest), Some(Rest::UpTo(_)));
        let waiting: Vec<u64> = self.resumed.iter().copied().filter(waiting).collect();
        if waiting.is_empty() {
            return;
        }
        let reached = reached();
        for number in waiting {
            let Some(Rest::UpTo(ends)) = self.groups.get(&number).map(|group| &group.rest) else { continue };
            let is_read = ends.iter().all(|(place, end)| self.is_read(number, place, *end, &reached));
            if let Some(group) = self.groups.get_mut(&number).filter(|_| is_read) {
                group.rest = Rest::Read;
            }
        }
    }

    /// Whether a partition has been read up to an offset, as far as a transaction needs it.
    fn is_read(&self, number: u64, place: &Place, end: i64, reached: &Offsets) -> bool {
        let queue = self.places.get(place).and_then(|queue| self.queues.get(*queue));
        let next = queue.map_or(0, Queue::next_offset).max(reached.get(place).copied().unwrap_or_default());
        next >= end || queue.is_some_and(|queue| self.is_past(number, place, queue))
    }
}

/// Whether nothing of a transaction can be on its way any more, and nobody has looked yet how far the topics reach.
fn asks(group: &Group, now: Duration, on_the_way: Duration) -> bool {
    group.rest == Rest::Unknown && group.counted_at().is_some_and(|at| now.saturating_sub(at) >= on_the_way)
}
