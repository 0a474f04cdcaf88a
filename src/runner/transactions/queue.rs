//! What is held of one partition, in its order.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::record::{Message, Op, Record, Reject, SourcePosition, Torn, compare_sources};

/// A decoded message.
pub struct Held {
    /// When it came, among all.
    pub arrived: u64,
    /// Its bytes, for the limit.
    pub size: usize,
    /// The message.
    pub message: Message,
    /// Its records.
    pub records: SmallVec<[Record; 1]>,
    /// What its decoder said against it.
    pub rejects: Vec<(String, Reject)>,
    /// What it belongs to.
    pub tie: Tie,
}

/// What a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// To nothing: a row of a snapshot, a tombstone, an event that is no change.
    None,
    /// To this transaction.
    Group(u64),
    /// To none that could be kept whole, for this reason.
    Torn(Torn),
}

impl Held {
    /// A message that came as number `arrived`.
    pub fn new(arrived: u64, message: Message) -> Self {
        let size = message.size_bytes();
        Held { arrived, size, message, records: SmallVec::new(), rejects: Vec::new(), tie: Tie::None }
    }

    /// A change that names no transaction: a row of a snapshot has none, a tombstone has no place for it. Anything else
    /// should have said.
    pub fn tie_without_transaction(&self) -> Tie {
        let is_untold = |record: &Record| record.op != Op::Read && self.message.value.is_some();
        match self.records.iter().any(is_untold) {
            true => Tie::Torn(Torn::Untold),
            false => Tie::None,
        }
    }
}

/// A change, as the connector told it.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its transaction.
    pub id: Arc<str>,
    order: Option<u64>,
    place: SourcePosition,
}

impl Change {
    /// The change that a message holds.
    pub fn of(held: &Held, id: Arc<str>, order: Option<u64>) -> Self {
        let place = held.records.first().map(|record| record.position.source).unwrap_or_default();
        Change { id, order, place }
    }

    /// Whether it lies behind another one of the same transaction and partition. Numbers decide only where places in the
    /// source's log do not: they may have begun again at 1.
    pub fn is_behind(&self, other: &Change) -> bool {
        match compare_sources(&self.place, &other.place) {
            Some(Ordering::Equal) | None => self.order.zip(other.order).is_none_or(|(own, other)| own > other),
            Some(order) => order.is_gt(),
        }
    }

    /// Whether it is another one of the same transaction and partition, or lies behind it.
    pub fn has_reached(&self, other: &Change) -> bool {
        match compare_sources(&self.place, &other.place) {
            Some(order) => order.is_ge(),
            None => self.order.zip(other.order).is_none_or(|(own, other)| own >= other),
        }
    }
}

/// The messages of a partition.
#[derive(Default)]
pub struct Queue {
    held: VecDeque<Held>,
    /// How many have left: the number of the first that is here.
    left: u64,
    /// How many here are torn.
    loose: usize,
    /// Behind the last message that was seen.
    next: i64,
    /// The last change that had not come before.
    pub newest: Option<Change>,
    /// What holds the changes together that come again, while there are more to come.
    pub again: Option<u64>,
}

impl Queue {
    /// Adds the next message.
    pub fn push(&mut self, held: Held) {
        self.next = held.message.offset + 1;
        self.loose += usize::from(matches!(held.tie, Tie::Torn(_)));
        self.held.push_back(held);
    }

    /// Whether this offset was seen before.
    pub fn has_seen(&self, offset: i64) -> bool {
        offset < self.next
    }

    /// The offset behind the last message that was seen.
    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// The number of the next message that comes.
    pub fn next_index(&self) -> u64 {
        self.left + self.held.len() as u64
    }

    /// Where message number `index` stands now.
    pub fn position(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.left)).unwrap_or(usize::MAX)
    }

    /// The offset of the message at a place; at the end, the next one.
    pub fn offset_at(&self, position: usize) -> i64 {
        self.held.get(position).map_or(self.next, |held| held.message.offset)
    }

    /// How many are here.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// The first.
    pub fn front(&self) -> Option<&Held> {
        self.held.front()
    }

    /// The transactions of some of the messages.
    pub fn groups(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = u64> + '_ {
        self.held.range(range.start.min(self.held.len())..range.end.min(self.held.len())).filter_map(|held| match held
            .tie
        {
            Tie::Group(number) => Some(number),
            _ => None,
        })
    }

    /// The place behind the last message of a transaction; 0 without one.
    pub fn end_of(&self, number: u64) -> usize {
        self.held.iter().rposition(|held| held.tie == Tie::Group(number)).map_or(0, |last| last + 1)
    }

    /// The place of the first torn message, else the end.
    pub fn up_to_loose(&self) -> usize {
        let is_loose = |held: &Held| matches!(held.tie, Tie::Torn(_));
        let first = if self.loose == 0 { None } else { self.held.iter().position(is_loose) };
        first.unwrap_or(self.held.len())
    }

    /// How many messages at the front are of no transaction, up to the last one that is torn for the reason `why`, which
    /// the first that is found gives.
    pub fn loose_front(&self, why: &mut Option<Torn>) -> usize {
        let mut front = 0;
        if self.loose == 0 {
            return front;
        }
        for (at, held) in self.held.iter().enumerate() {
            match held.tie {
                Tie::None => {}
                Tie::Torn(torn) if *why.get_or_insert(torn) == torn => front = at + 1,
                _ => break,
            }
        }
        front
    }

    /// Takes messages off the front.
    pub fn take(&mut self, length: usize) -> impl Iterator<Item = Held> + '_ {
        let length = length.min(self.held.len());
        self.left += length as u64;
        self.loose -= self.held.iter().take(length).filter(|held| matches!(held.tie, Tie::Torn(_))).count();
        self.held.drain(..length)
    }
}
