//! Puts the transactions of the source together again (`consistency: transaction`).
//!
//! A transaction's changes arrive from several partitions, in each of them in order, but at any time; the connector's own
//! topic says how many there are. So what has been decoded is held back, partition by partition, and leaves as the largest
//! *cut*: a piece from the front of every partition, such that no transaction lies on both sides. A batch of it is written
//! as one.
//!
//! Why a cut: order per partition is order per key, and stays. Beginnings and ends of transactions are messages of them,
//! too, and lie in one partition in the order of the commits; so transactions become visible in that order. And what is
//! held back is the rest of each partition: one offset each tells the source how far all is durable.
//!
//! A connector that was killed goes back and sends again what came after its last note, and what had got lost on the way
//! to Kafka with it: “1 2 3 2 3 4” is a legal log. The changes that come again are tied together, partition by partition,
//! up to the one that was the newest before: seen in pieces they would show old states. Together they change nothing. One
//! that is stopped in the middle of a transaction counts anew when it goes on (`resumed.rs`).
//!
//! Invariants
//! - memory is bounded by `events` and `bytes`, a batch, and one message of each partition. Partitions that are ahead rest
//!   before it comes to that; what does not fit even so leaves as it is, the oldest transaction first: *torn*, its
//!   documents written one by one, and each says why;
//! - a transaction that is not torn never leaves in parts;
//! - nothing is forgotten: a message is held, or it has left. One that is read a second time while the lane lives is one
//!   of these.
//!
//! Deliberately absent: anything durable. A lane that begins again reads again what it had held, and does not know what had
//! left before: a connector that goes back just then shows old states until it is where it was.

mod catch_up;
mod group;
mod intent;
mod known;
mod queue;
mod resumed;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::{Error, Result};
use crate::pipeline::Transactions;
use crate::record::{Batch, Membership, Message, News, Reject, Role, Torn, Unity};
use crate::stage::{Offsets, Place};

pub use catch_up::CatchUp;
use catch_up::Partitions;
use group::{Expected, Group};
pub use intent::Intent;
use known::Known;
use queue::{Change, Held, Queue, Tie};

/// Identities of torn transactions that are kept, to know the rest of them when it comes.
const TORN_KEPT: usize = 1_024;

/// Decoded messages that wait for the rest of their transactions.
pub struct Gather {
    limits: Transactions,
    expected: Expected,
    places: FxHashMap<Place, usize>,
    queues: Vec<Queue>,
    /// The queue of the connector's own topic.
    markers: Option<usize>,
    /// Transactions that have not left, by number: older ones have lower numbers.
    groups: BTreeMap<u64, Group>,
    numbers: FxHashMap<Arc<str>, u64>,
    next_number: u64,
    /// Those of them that were begun more than once.
    resumed: Vec<u64>,
    on_the_way: Duration,
    torn: VecDeque<Given>,
    known: Known,
    arrived: u64,
    held: usize,
    bytes: usize,
    /// Messages that came while too much was held.
    over: usize,
    /// Whether it was said that a topic has another name than the connector gives it.
    has_warned: bool,
    news: Vec<News>,
    clock: Clock,
    catch_up: CatchUp,
}

/// A transaction that was given up.
struct Given {
    id: Arc<str>,
    why: Torn,
    /// Whether its beginning has come. Another one is of the transaction's next delivery.
    begun: bool,
}

/// What leaves: a batch, and the rejects that its messages brought.
pub type Released = (Batch, Vec<(String, Reject)>);

#[cold]
fn warn_of_name(topic: &str) {
    tracing::warn!(
        topic,
        "transactions do not count the changes in this topic: is it routed, called otherwise than the connector calls it? then \
         its changes are not waited for, and readers may see parts of transactions"
    );
}

fn new_group(groups: &mut BTreeMap<u64, Group>, next: &mut u64, id: Arc<str>, now: Duration) -> u64 {
    *next += 1;
    groups.insert(*next, Group::new(id, now));
    *next
}

/// Time as transactions wait for it. While a batch is written nobody reads, and nothing can come: that hardly counts.
struct Clock {
    now: Duration,
    last: Instant,
    step_max: Duration,
}

impl Clock {
    fn tick(&mut self) -> Duration {
        let passed = self.last.elapsed();
        self.last = Instant::now();
        self.now += passed.min(self.step_max);
        self.now
    }
}

impl Gather {
    /// Nothing is held. `topics` are those that the source reads; none where it cannot say.
    pub fn new(limits: &Transactions, topics: &[String], catch_up: CatchUp) -> Self {
        Gather {
            limits: limits.clone(),
            expected: Expected::new(limits.prefix(), topics),
            places: FxHashMap::default(),
            queues: Vec::new(),
            markers: None,
            groups: BTreeMap::new(),
            numbers: FxHashMap::default(),
            next_number: 0,
            resumed: Vec::new(),
            on_the_way: resumed::ON_THE_WAY,
            torn: VecDeque::new(),
            known: Known::default(),
            arrived: 0,
            held: 0,
            bytes: 0,
            over: 0,
            has_warned: false,
            news: Vec::new(),
            clock: Clock { now: Duration::ZERO, last: Instant::now(), step_max: limits.age / 10 },
            catch_up,
        }
    }

    /// Takes a decoded batch with what its decoder rejected.
    pub fn take(&mut self, batch: Batch, rejects: Vec<(String, Reject)>) -> Result<()> {
        self.clock.tick();
        let Batch { messages, records, members, news, .. } = batch;
        self.news.extend(news);
        let mut members = members.into_iter().peekable();
        let mut records = records.into_iter().peekable();
        let mut rejects = rejects.into_iter().peekable();
        for (origin, message) in messages.into_iter().enumerate() {
            let is_here = |at: u32| at as usize == origin;
            let member = members.next_if(|(at, _)| is_here(*at)).map(|(_, member)| member);
            let mut held = Held::new(self.arrived, message);
            held.records.extend(std::iter::from_fn(|| records.next_if(|record| is_here(record.origin))));
            held.rejects.extend(std::iter::from_fn(|| rejects.next_if(|(_, reject)| is_here(reject.origin))));
            self.arrived += 1;
            let number = self.queue_of(&held.message);
            if self.queues.get(number).is_some_and(|queue| queue.has_seen(held.message.offset)) {
                continue; // Partitions that come back are read from the last commit; this lane still holds the rest.
            }
            held.tie = self.tie(number, &held, member)?;
            self.over = if self.is_full().is_some() { self.over + 1 } else { 0 };
            self.held += 1;
            self.bytes += held.size;
            if let Some(queue) = self.queues.get_mut(number) {
                queue.push(held);
            }
        }
        Ok(())
    }

    /// The number of the queue that a message belongs into.
    fn queue_of(&mut self, message: &Message) -> usize {
        let place = (message.topic.clone(), message.partition);
        let number = *self.places.entry(place).or_insert(self.queues.len());
        if number == self.queues.len() {
            self.queues.push(Queue::default());
            if *message.topic == *self.limits.topic.value {
                self.markers = Some(number);
            }
        }
        number
    }

    /// What a message belongs to.
    fn tie(&mut self, queue: usize, held: &Held, member: Option<Membership>) -> Result<Tie> {
        let Some(Membership { id, role }) = member else { return Ok(held.tie_without_transaction()) };
        let message = &held.message;
        if matches!(role, Role::Begin | Role::End { .. }) && message.partition != 0 {
            return Err(Error::Broken(format!(
                "topic {} has several partitions: with `consistency: transaction` the connector's transaction topic has to \
                 have one, in which transactions lie in the order of their commits. create it anew with one partition \
                 (topic.creation.* of the connector)",
                message.topic
            )));
        }
        let begins = role == Role::Begin;
        self.torn.retain(|given| given.id != id || !(begins && given.begun));
        if let Some(given) = self.torn.iter_mut().find(|given| given.id == id) {
            given.begun |= begins;
            return Ok(Tie::Torn(given.why));
        }
        if let Role::Change { order } = role {
            let change = Change::of(held, id.clone(), order);
            if self.has_come(queue, &change) {
                return Ok(self.again(queue, &change));
            }
            self.end_again(queue, change);
        } else if self.known.contains(&id) {
            return Ok(Tie::None);
        }
        let (now, groups, next) = (self.clock.now, &mut self.groups, &mut self.next_number);
        let number = *self.numbers.entry(id.clone()).or_insert_with(|| new_group(groups, next, id.clone(), now));
        let (Some(queue_state), Some(group)) = (self.queues.get_mut(queue), self.groups.get_mut(&number)) else {
            return Ok(Tie::None);
        };
        group.take((queue, queue_state.next_index()), now, message, role, &self.expected);
        if let Some(topic) = group.uncounted().filter(|_| !self.has_warned) {
            self.has_warned = true;
            warn_of_name(topic);
        }
        if begins && group.is_resumed() && !self.resumed.contains(&number) {
            self.resumed.push(number);
        }
        Ok(Tie::Group(number))
    }

    /// Whether the connector has sent this change before.
    fn has_come(&self, queue: usize, change: &Change) -> bool {
        let group = || self.numbers.get(&change.id).and_then(|number| self.groups.get(number));
        if self.known.contains(&change.id) {
            return true;
        }
        match self.queues.get(queue).and_then(|queue| queue.newest.as_ref()) {
            Some(newest) if newest.id == change.id => !change.is_behind(newest),
            // It has gone on since.
            _ => group().is_some_and(|group| group.is_in(queue)),
        }
    }

    /// A change that has not come before: what came again in its partition has all come.
    fn end_again(&mut self, queue: usize, change: Change) {
        let Some(queue_state) = self.queues.get_mut(queue) else { return };
        queue_state.newest = Some(change);
        if let Some(group) = queue_state.again.take().and_then(|number| self.groups.get_mut(&number)) {
            group.end_again();
        }
    }

    /// A change that has come before. Until its partition is where it was, everything in it that comes again stays together:
    /// else readers would see an old state of some documents beside a newer one of others.
    fn again(&mut self, queue: usize, change: &Change) -> Tie {
        let (now, groups, next) = (self.clock.now, &mut self.groups, &mut self.next_number);
        let Some(queue_state) = self.queues.get_mut(queue) else { return Tie::None };
        let number = match queue_state.again.filter(|number| groups.contains_key(number)) {
            Some(number) => number,
            None => new_group(groups, next, "".into(), now),
        };
        let is_last = |newest: &Change| newest.id == change.id && change.has_reached(newest);
        let is_last = queue_state.newest.as_ref().is_none_or(is_last);
        queue_state.again = (!is_last).then_some(number);
        if let Some(group) = groups.get_mut(&number) {
            group.take_again(queue, queue_state.next_index(), is_last);
        }
        Tie::Group(number)
    }

    /// The next batch that may leave.
    pub fn release(&mut self) -> Option<Released> {
        let now = self.clock.tick();
        // Each partition may bring a message more until it rests: what is lacking may be among them.
        let over = self.is_full().filter(|_| self.over > self.queues.len());
        if let Some((fronts, why)) = self.loose_fronts() {
            // Those of a torn transaction were counted with it.
            let untold = u64::from(why == Torn::Untold);
            return Some(self.drain(&fronts, Unity { together: false, torn: Some(why), transactions: untold }));
        }
        let cut = self.cut();
        let partitions = Partitions { places: &self.places, queues: &self.queues };
        let is_enough = over.is_some() || now > self.limits.age;
        if self.catch_up.goes_on() && self.catch_up.holds(partitions, &cut, is_enough) {
            return None;
        }
        if cut.iter().any(|length| *length > 0) {
            return Some(self.drain(&cut, Unity { together: true, torn: None, transactions: 0 }));
        }
        let (number, group) = self.groups.iter().find(|(_, group)| !group.is_complete())?;
        let is_late = now.saturating_sub(group.since) > self.limits.age;
        let (number, why) = (*number, over.or(is_late.then_some(Torn::Age))?);
        Some(self.tear(number, why))
    }

    /// Whether as much is held as may be.
    fn is_full(&self) -> Option<Torn> {
        match () {
            () if self.held >= self.limits.events => Some(Torn::Events),
            () if self.bytes >= self.limits.bytes => Some(Torn::Bytes),
            () => None,
        }
    }

    /// Pieces at the fronts of the partitions that no transaction waits for, up to the last one that has to say why.
    fn loose_fronts(&self) -> Option<(Vec<usize>, Torn)> {
        let mut why = None;
        let fronts = self.queues.iter().map(|queue| queue.loose_front(&mut why)).collect();
        why.map(|why| (fronts, why))
    }

    /// For each partition, how much of it may leave: the most such that no transaction is cut in two.
    fn cut(&self) -> Vec<usize> {
        let mut cut: Vec<usize> = self.queues.iter().map(Queue::up_to_loose).collect();
        let mut out: FxHashSet<u64> = FxHashSet::default();
        // What begins behind a loose piece stays, too.
        let mut todo: Vec<u64> = Vec::new();
        for (queue, length) in self.queues.iter().zip(&cut) {
            queue.groups(*length..queue.len()).for_each(|number| {
                if out.insert(number) {
                    todo.push(number);
                }
            });
        }
        for (number, _) in self.groups.iter().filter(|(_, group)| !group.is_complete()) {
            if out.insert(*number) {
                todo.push(*number);
            }
        }
        while let Some(group) = todo.pop().and_then(|number| self.groups.get(&number)) {
            for (queue, index) in &group.firsts {
                let (Some(held), Some(length)) = (self.queues.get(*queue), cut.get_mut(*queue)) else { continue };
                let at = held.position(*index);
                if at < *length {
                    todo.extend(held.groups(at..*length).filter(|number| out.insert(*number)));
                    *length = at;
                }
            }
        }
        cut
    }

    /// Gives a transaction up: it leaves as far as it is here, with whatever lies before it.
    fn tear(&mut self, number: u64, why: Torn) -> Released {
        let (mut fronts, mut inside) = (vec![0; self.queues.len()], FxHashSet::from_iter([number]));
        let mut todo = vec![number];
        while let Some(number) = todo.pop() {
            for (queue, front) in self.queues.iter().zip(&mut fronts) {
                let end = queue.end_of(number);
                if end > *front {
                    todo.extend(queue.groups(*front..end).filter(|other| inside.insert(*other)));
                    *front = end;
                }
            }
        }
        let mut torn = 0;
        for number in inside {
            let Some(group) = self.groups.get(&number) else { continue };
            torn += 1;
            if !group.is_complete() && !group.comes_again() {
                self.torn.push_back(Given { id: group.id.clone(), why, begun: group.has_begun() });
            }
        }
        while self.torn.len() > TORN_KEPT {
            self.torn.pop_front();
        }
        self.drain(&fronts, Unity { together: false, torn: Some(why), transactions: torn })
    }

    /// Takes so many messages off the front of each partition, in the order in which they arrived.
    fn drain(&mut self, lengths: &[usize], mut unity: Unity) -> Released {
        let mut held: Vec<Held> = Vec::new();
        for (queue, length) in self.queues.iter_mut().zip(lengths) {
            held.extend(queue.take(*length));
        }
        held.sort_by_key(|held| held.arrived);
        let mut batch = Batch { news: std::mem::take(&mut self.news), ..Batch::default() };
        let (mut rejects, mut is_tied) = (Vec::new(), false);
        for held in held {
            self.held -= 1;
            self.bytes -= held.size;
            is_tied |= matches!(held.tie, Tie::Group(_)) && !held.records.is_empty();
            if let Tie::Group(number) = held.tie
                && let Some(group) = self.groups.remove(&number)
            {
                if self.numbers.remove(&group.id).is_some() && unity.torn.is_none() {
                    self.known.insert(&group.id);
                }
                unity.transactions += u64::from(unity.together && group.has_changes());
            }
            let origin = u32::try_from(batch.messages.len()).unwrap_or(u32::MAX);
            batch.records.extend(held.records.into_iter().map(|record| crate::record::Record { origin, ..record }));
            rejects.extend(held.rejects.into_iter().map(|(stage, reject)| (stage, Reject { origin, ..reject })));
            batch.messages.push(held.message);
        }
        // Else there is nothing to see in parts: a snapshot is loaded as fast as ever.
        batch.unity = Unity { together: unity.together && is_tied, ..unity };
        (batch, rejects)
    }

    /// The first message of each partition that is still held.
    pub fn kept(&self) -> Offsets {
        self.fronts().filter_map(|(place, queue)| Some((place.clone(), queue.front()?.message.offset))).collect()
    }

    /// How many messages are held.
    pub fn held(&self) -> usize {
        self.held
    }

    /// How many messages may come next: fewer and fewer, as it gets tight.
    pub fn room(&self) -> usize {
        match self.is_full() {
            Some(_) => 1,
            None => (self.limits.events - self.held).div_ceil(2),
        }
    }

    /// Partitions that need not be read further for now: a good deal is held, and they are past the transaction that is
    /// waited for. What it lacks lies in others.
    pub fn ahead(&self) -> BTreeSet<Place> {
        if self.held * 2 < self.limits.events && self.bytes * 2 < self.limits.bytes {
            return BTreeSet::new();
        }
        if self.catch_up.goes_on() {
            let is_data = |place: &&Place| *place.0 != *self.limits.topic.value;
            return self.catch_up.reached(self.partitions()).filter(is_data).cloned().collect();
        }
        let Some(waited_for) = self.waited_for() else { return BTreeSet::new() };
        self.fronts()
            .filter(|(place, queue)| self.is_past(waited_for, place, queue))
            .map(|(place, _)| place.clone())
            .collect()
    }

    /// Whether nothing that a transaction lacks can come in this partition any more, as far as that can be seen: a wrong
    /// “yes” would let a partition rest that is waited for.
    fn is_past(&self, waited_for: u64, place: &Place, queue: &Queue) -> bool {
        let Some(group) = self.groups.get(&waited_for) else { return false };
        if group.comes_again() {
            return queue.again != Some(waited_for);
        }
        if *place.0 == *self.limits.topic.value {
            return group.has_ended();
        }
        match self.place_in_commits(group) {
            // Not even its beginning has been told, and in this partition that does not come.
            None => queue.len() > 0,
            Some(own) => {
                queue.groups(0..queue.len()).rev().filter_map(|number| self.groups.get(&number)).any(|other| {
                    let is_later = self.place_in_commits(other).is_none_or(|place| place > own);
                    !other.comes_again() && is_later
                })
            }
        }
    }

    /// Where in the order of the commits a transaction stands, once the connector's topic has told.
    fn place_in_commits(&self, group: &Group) -> Option<u64> {
        group.firsts.iter().find(|(queue, _)| Some(*queue) == self.markers).map(|(_, index)| *index)
    }

    /// The incomplete transaction that holds up the others: the first one in the order of the commits.
    fn waited_for(&self) -> Option<u64> {
        let is_open = |number: &u64| self.groups.get(number).is_some_and(|group| !group.is_complete());
        let markers = self.markers.and_then(|number| self.queues.get(number));
        let first = markers.and_then(|queue| queue.groups(0..queue.len()).find(is_open));
        first.or_else(|| self.groups.keys().copied().find(is_open))
    }

    fn partitions(&self) -> Partitions<'_> {
        Partitions { places: &self.places, queues: &self.queues }
    }

    fn fronts(&self) -> impl Iterator<Item = (&Place, &Queue)> {
        self.places.iter().filter_map(|(place, number)| Some((place, self.queues.get(*number)?)))
    }

    /// From where the source goes on, as far as it knows.
    pub fn begins(&mut self, begins: impl FnOnce() -> Option<Offsets>) {
        if self.catch_up.goes_on() {
            self.catch_up.begins(begins());
        }
    }
}

#[cfg(test)]
mod tests;
