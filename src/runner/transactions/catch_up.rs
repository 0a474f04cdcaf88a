//! The raw store may be ahead of what was committed: a crash came between the two, or in the middle of the first. Documents
//! are computed from all that is in the raw store, so the first of them would show transactions of which the others are
//! still to come. Until all that was about to be applied then has been read again, nothing leaves; then it leaves as one.
//!
//! It is waited for no longer than for a transaction, and no more is held back for it.

use rustc_hash::FxHashMap;

use super::intent::Reach;
use super::queue::Queue;
use crate::record::Epoch;
use crate::stage::{Offsets, Place};

/// What has to be read before anything leaves.
#[derive(Default)]
pub struct CatchUp {
    /// The offset behind the last message that may have been applied of each partition.
    applied: Offsets,
    /// From where the source goes on, once it has told.
    begins: Option<Offsets>,
}

/// The partitions and what is held of them.
#[derive(Clone, Copy)]
pub struct Partitions<'a> {
    pub places: &'a FxHashMap<Place, usize>,
    pub queues: &'a [Queue],
}

impl Partitions<'_> {
    fn get(&self, place: &Place) -> Option<(usize, &Queue)> {
        let number = *self.places.get(place)?;
        Some((number, self.queues.get(number)?))
    }
}

impl CatchUp {
    /// Up to what was about to be applied. Topics that are no longer read are nothing to wait for.
    pub fn to(reach: Reach, topics: &[String]) -> Self {
        let mut applied = Offsets::new();
        for (name, partition, offset) in reach {
            let (topic, _) = Epoch::of_name(&name);
            if topics.is_empty() || topics.iter().any(|read| read == topic) {
                applied.insert((topic.into(), partition), offset + 1);
            }
        }
        CatchUp { applied, begins: None }
    }

    /// Takes where the source goes on, as far as it knows.
    pub fn begins(&mut self, begins: Option<Offsets>) {
        self.begins = begins.or(self.begins.take());
    }

    /// Whether something may have to be read again.
    pub fn goes_on(&self) -> bool {
        !self.applied.is_empty()
    }

    /// Whether nothing may leave, since a cut of these lengths would leave something behind that is in the raw store.
    pub fn holds(&mut self, partitions: Partitions<'_>, cut: &[usize], is_enough: bool) -> bool {
        let CatchUp { applied, begins } = self;
        let is_missing = |place: &Place, applied: i64| match (partitions.get(place), &*begins) {
            (Some((number, queue)), _) => queue.offset_at(cut.get(number).copied().unwrap_or_default()) < applied,
            (None, Some(begins)) => begins.get(place).is_none_or(|from| *from < applied),
            (None, None) => false,
        };
        let missing = applied.iter().filter(|(place, applied)| is_missing(place, **applied)).count();
        if missing > 0 && !is_enough {
            return true;
        }
        if missing > 0 {
            tracing::warn!(
                partitions = missing,
                "what was being applied when the lane stopped cannot be read again together: documents may show parts of \
                 transactions until it has been read"
            );
        }
        // Of what has not been seen at all, a source that does not tell where it begins may still bring something.
        let is_seen = |place: &Place| begins.is_some() || partitions.get(place).is_some();
        applied.retain(|place, _| missing == 0 && !is_seen(place));
        false
    }

    /// Partitions that are as far as they have to be.
    pub fn reached<'a>(&'a self, partitions: Partitions<'a>) -> impl Iterator<Item = &'a Place> {
        let is_reached = move |place: &&Place| {
            let Some((_, queue)) = partitions.get(place) else { return false };
            queue.len() > 0 && self.applied.get(*place).is_none_or(|applied| queue.next_offset() >= *applied)
        };
        partitions.places.keys().filter(is_reached)
    }
}
