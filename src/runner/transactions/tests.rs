//! Logs of a connector that commits one transaction after the other, read in whatever order partitions come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::pipeline::Spanned;
use crate::record::{Epoch, Op, Position, Record, Row, SourcePosition};

const MARKERS: &str = "bank.transaction";
const TOPICS: [&str; 3] = ["bank.a", "bank.b", MARKERS];

fn gather(events: usize, age: Duration, catch_up: CatchUp) -> Gather {
    let topic = Spanned { value: MARKERS.to_string(), span: Default::default(), path: String::new() };
    let limits = Transactions { topic, events, bytes: 1 << 30, age };
    Gather::new(&limits, &TOPICS.map(String::from), catch_up)
}

/// A message, what it says of a transaction, and what happened to a row.
type Entry = (Message, Option<Membership>, Option<Op>);

/// What is in the topics, by partition.
#[derive(Default)]
struct Log {
    partitions: BTreeMap<(&'static str, i32), Vec<Entry>>,
    order: u64,
    counts: BTreeMap<&'static str, u64>,
    without_places: bool,
    /// In the source's log.
    places: BTreeMap<(&'static str, i32, i64), SourcePosition>,
}

impl Log {
    fn put(&mut self, topic: &'static str, partition: i32, member: Option<Membership>, op: Option<Op>) {
        let messages = self.partitions.entry((topic, partition)).or_default();
        let value = Some(bytes::Bytes::from_static(b"{}"));
        let message =
            Message { topic: topic.into(), partition, offset: messages.len() as i64, value, ..Message::default() };
        messages.push((message, member, op));
    }

    fn begin(&mut self, id: &str) {
        (self.order, self.counts) = (0, BTreeMap::new());
        self.put(MARKERS, 0, member(id, Role::Begin), None);
    }

    fn change(&mut self, id: &str, topic: &'static str, partition: i32) {
        self.change_at(id, topic, partition, self.order + 1);
    }

    /// A change at a place in the source's log, of which here every transaction has its own part.
    fn change_at(&mut self, id: &str, topic: &'static str, partition: i32, place: u64) {
        self.order += 1;
        *self.counts.entry(topic).or_default() += 1;
        self.put(topic, partition, member(id, Role::Change { order: Some(self.order) }), Some(Op::Update));
        if !self.without_places {
            let lsn = id.parse::<u64>().unwrap() * 100 + place;
            let source = SourcePosition::Postgres { incarnation: 1, commit_lsn: 0, lsn };
            self.places.insert((topic, partition, self.partitions[&(topic, partition)].len() as i64 - 1), source);
        }
    }

    fn end(&mut self, id: &str) {
        let changes =
            self.counts.iter().map(|(topic, n)| (topic.trim_start_matches("bank.").to_string(), *n)).collect();
        self.put(MARKERS, 0, member(id, Role::End { changes }), None);
    }

    /// The second message of a delete.
    fn tombstone(&mut self, topic: &'static str, partition: i32) {
        self.put(topic, partition, None, Some(Op::Delete));
        let last = self.partitions.get_mut(&(topic, partition)).and_then(|messages| messages.last_mut());
        last.unwrap().0.value = None;
    }

    fn transaction(&mut self, id: &str, changes: &[(&'static str, i32)]) {
        self.begin(id);
        changes.iter().for_each(|(topic, partition)| self.change(id, topic, *partition));
        self.end(id);
    }

    /// Messages of a partition from an offset on, as its lane's decoder gives them.
    fn read(&self, topic: &'static str, partition: i32, from: usize, count: usize) -> Batch {
        let mut batch = Batch::default();
        let messages = self.partitions.get(&(topic, partition)).map_or(&[][..], Vec::as_slice);
        for (origin, (message, member, op)) in messages.iter().skip(from).take(count).enumerate() {
            batch.messages.push(message.clone());
            batch.members.extend(member.clone().map(|member| (origin as u32, member)));
            let place = self.places.get(&(topic, partition, message.offset)).copied().unwrap_or_default();
            batch.records.extend(op.map(|op| record(message, op, origin as u32, place)));
        }
        batch
    }

    fn read_all(&self, topic: &'static str, partition: i32) -> Batch {
        self.read(topic, partition, 0, usize::MAX)
    }
}

fn member(id: &str, role: Role) -> Option<Membership> {
    Some(Membership { id: id.into(), role })
}

fn record(message: &Message, op: Op, origin: u32, source: SourcePosition) -> Record {
    let (topic, partition, offset) = (message.topic.clone(), message.partition, message.offset);
    Record {
        table: topic.clone(),
        op,
        key: Row::empty(),
        row: None,
        patch: None,
        before: None,
        position: Position { topic, epoch: Epoch::default(), partition, offset, source },
        version: 0,
        changed_at: None,
        snapshot: Default::default(),
        origin,
    }
}

fn take(gather: &mut Gather, batch: Batch) {
    gather.take(batch, Vec::new()).unwrap();
}

/// All that may leave now, of transactions too of which something is on its way.
fn let_go(gather: &mut Gather) -> Vec<(Unity, usize)> {
    std::iter::from_fn(|| gather.release()).map(|(batch, _)| (batch.unity, batch.messages.len())).collect()
}

fn places(batch: &Batch) -> Vec<String> {
    batch.messages.iter().map(|m| format!("{}/{}:{}", m.topic, m.partition, m.offset)).collect()
}

/// All that may leave now: unity, places. Nothing is on its way.
fn released(gather: &mut Gather) -> Vec<(Unity, Vec<String>)> {
    gather.on_the_way = Duration::ZERO;
    if gather.asks_for_ends() {
        gather.ends(&Offsets::new());
    }
    gather.look_for_rest(Offsets::new);
    std::iter::from_fn(|| gather.release()).map(|(batch, _)| (batch.unity, places(&batch))).collect()
}

fn whole(transactions: u64) -> Unity {
    Unity { together: true, torn: None, transactions }
}

const LONG: Duration = Duration::from_secs(3_600);

#[test]
fn any_order_of_partitions_gives_whole_transactions_in_the_order_of_their_commits() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let log = random_log(&mut random);
        let mut gather = gather(1_000_000, LONG, CatchUp::default());
        let mut read: BTreeMap<(&str, i32), usize> = BTreeMap::new();
        let mut left: BTreeMap<(String, i32), i64> = BTreeMap::new();
        let mut ended: Vec<u64> = Vec::new();
        let mut total = 0;
        let all: usize = log.partitions.values().map(Vec::len).sum();
        while read.values().sum::<usize>() < all {
            let places: Vec<_> = log.partitions.keys().copied().collect();
            let (topic, partition) = places[random.gen_range(0..places.len())];
            let from = read.entry((topic, partition)).or_default();
            // Now and then a part is read twice, as after a rebalance.
            let back = if random.gen_bool(0.2) { random.gen_range(0..=*from) } else { 0 };
            let count = random.gen_range(0..6);
            let batch = log.read(topic, partition, *from - back, count + back);
            *from = (*from + count).min(log.partitions[&(topic, partition)].len());
            take(&mut gather, batch);
            while let Some((batch, _)) = gather.release() {
                total += batch.messages.len();
                check_batch(&log, &batch, &mut left, &mut ended, seed);
                for ((topic, partition), offset) in gather.kept() {
                    assert_eq!(left.get(&(topic.to_string(), partition)).copied().unwrap_or(0), offset, "seed {seed}");
                }
            }
        }
        assert_eq!((total, gather.held()), (all, 0), "seed {seed}");
        assert!(ended.is_sorted(), "seed {seed}: {ended:?}");
    }
}

fn random_log(random: &mut StdRng) -> Log {
    let mut log = Log::default();
    for number in 0..random.gen_range(1..25) {
        if random.gen_bool(0.2) {
            log.put("bank.a", random.gen_range(0..2), None, Some(Op::Read));
        }
        let changes: Vec<_> = (0..random.gen_range(0..5))
            .map(|_| (["bank.a", "bank.b", "bank.unread"][random.gen_range(0..3)], random.gen_range(0..2)))
            .collect();
        log.transaction(&format!("{number}"), &changes);
    }
    log.partitions.retain(|(topic, _), _| *topic != "bank.unread");
    log
}

/// A batch holds whole transactions only, and goes on in each partition where the last one ended.
fn check_batch(log: &Log, batch: &Batch, left: &mut BTreeMap<(String, i32), i64>, ended: &mut Vec<u64>, seed: u64) {
    let mut inside: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for message in &batch.messages {
        let next = left.entry((message.topic.to_string(), message.partition)).or_default();
        assert_eq!(message.offset, *next, "seed {seed}: {}/{}", message.topic, message.partition);
        *next += 1;
        let (_, member, _) = &log.partitions[&(of(&message.topic), message.partition)][message.offset as usize];
        let Some(Membership { id, role }) = member else { continue };
        *inside.entry(id.clone()).or_default() += 1;
        if matches!(role, Role::End { .. }) {
            ended.push(id.parse().unwrap());
        }
    }
    let of_log = |id: &Arc<str>| {
        log.partitions.values().flatten().filter(|(_, m, _)| m.as_ref().is_some_and(|m| m.id == *id)).count()
    };
    for (id, messages) in &inside {
        assert_eq!(*messages, of_log(id), "seed {seed}: transaction {id} is cut");
    }
    for record in &batch.records {
        assert_eq!(batch.messages[record.origin as usize].offset, record.position.offset, "seed {seed}");
    }
    assert_eq!(batch.unity.torn, None);
}

fn of(topic: &str) -> &'static str {
    TOPICS.into_iter().find(|known| *known == topic).unwrap()
}

#[test]
fn a_later_transaction_waits_for_an_earlier_one() {
    let mut log = Log::default();
    log.transaction("1", &[("bank.a", 0), ("bank.b", 0)]);
    log.transaction("2", &[("bank.a", 1)]);
    let mut gather = gather(100, LONG, CatchUp::default());
    take(&mut gather, log.read_all("bank.a", 0));
    take(&mut gather, log.read_all("bank.a", 1));
    take(&mut gather, log.read_all(MARKERS, 0));
    assert_eq!(released(&mut gather), []);
    assert_eq!(gather.kept().len(), 3);
    take(&mut gather, log.read_all("bank.b", 0));
    let [(unity, places)] = &released(&mut gather)[..] else { panic!() };
    assert_eq!((*unity, places.len()), (whole(2), 7));
    assert!(gather.kept().is_empty());
}

#[test]
fn tables_that_are_not_read_are_not_waited_for() {
    let mut log = Log::default();
    log.transaction("1", &[("bank.unread", 0)]);
    log.transaction("2", &[("bank.unread", 0), ("bank.a", 0)]);
    let mut gather = gather(100, LONG, CatchUp::default());
    take(&mut gather, log.read_all(MARKERS, 0));
    assert_eq!(
        released(&mut gather),
        [(Unity::default(), vec!["bank.transaction/0:0".into(), "bank.transaction/0:1".into()])]
    );
    take(&mut gather, log.read_all("bank.a", 0));
    assert_eq!(released(&mut gather)[0].0, whole(1));
}

#[test]
fn rows_of_a_snapshot_wait_for_nothing_and_are_not_marked() {
    let mut log = Log::default();
    log.put("bank.a", 0, None, Some(Op::Read));
    log.put("bank.a", 0, None, None);
    let mut gather = gather(100, LONG, CatchUp::default());
    take(&mut gather, log.read_all("bank.a", 0));
    assert_eq!(released(&mut gather), [(Unity::default(), vec!["bank.a/0:0".into(), "bank.a/0:1".into()])]);
}

#[test]
fn a_change_that_names_no_transaction_is_marked_and_tears_no_other() {
    let mut log = Log::default();
    log.transaction("1", &[("bank.a", 0)]);
    log.put("bank.a", 0, None, Some(Op::Update));
    log.transaction("2", &[("bank.a", 0)]);
    let mut gather = gather(100, LONG, CatchUp::default());
    take(&mut gather, log.read_all("bank.a", 0));
    take(&mut gather, log.read_all(MARKERS, 0));
    let [first, second, third] = &released(&mut gather)[..] else { panic!() };
    assert_eq!((first.0, third.0), (whole(1), whole(1)));
    let untold = Unity { together: false, torn: Some(Torn::Untold), transactions: 1 };
    assert_eq!(second, &(untold, vec!["bank.a/0:1".into()]));
}

#[test]
fn too_many_changes_tear_a_transaction_and_what_comes_later_of_it() {
    let mut log = Log::default();
    log.transaction("1", &[("bank.a", 0); 9]);
    log.transaction("2", &[("bank.a", 0)]);
    for markers_first in [true, false] {
        let mut gather = gather(5, LONG, CatchUp::default());
        let torn = |transactions| Unity { together: false, torn: Some(Torn::Events), transactions };
        take(&mut gather, log.read(MARKERS, 0, 0, usize::from(markers_first)));
        take(&mut gather, log.read("bank.a", 0, 0, 6));
        assert_eq!((released(&mut gather), gather.room()), (vec![], 1), "each partition may bring one more");
        take(&mut gather, log.read("bank.a", 0, 6, 2));
        let [(unity, places)] = &released(&mut gather)[..] else { panic!() };
        assert_eq!((*unity, places.len()), (torn(1), 8 + usize::from(markers_first)));
        take(&mut gather, log.read("bank.a", 0, 8, 2));
        take(&mut gather, log.read(MARKERS, 0, usize::from(markers_first), 4));
        let [rest, next] = &released(&mut gather)[..] else { panic!() };
        assert_eq!(rest.0, torn(0), "the last change and the end were counted before");
        assert_eq!((next.0, next.1.len()), (whole(1), 3));
        // The connector goes back: this time there is room for it.
        log.transaction("1", &[("bank.a", 0)]);
        take(&mut gather, log.read(MARKERS, 0, 4, 2));
        take(&mut gather, log.read("bank.a", 0, 10, 1));
        assert_eq!(released(&mut gather)[0].0, whole(1));
        log.partitions.get_mut(&("bank.a", 0)).unwrap().truncate(10);
        log.partitions.get_mut(&(MARKERS, 0)).unwrap().truncate(4);
    }
}

#[test]
fn too_many_bytes_tear_a_transaction() {
    let mut log = Log::default();
    log.transaction("1", &[("bank.a", 0); 5]);
    let mut gather = gather(100, LONG, CatchUp::default());
    gather.limits.bytes = 5;
    take(&mut gather, log.read("bank.a", 0, 0, 3));
    assert_eq!(released(&mut gather), []);
    take(&mut gather, log.read("bank.a", 0, 3, 2));
    assert_eq!(released(&mut gather)[0].0, Unity { together: false, torn: Some(Torn::Bytes), transactions: 1 });
}

#[test]
fn a_change_that_does_not_come_tears_its_transaction_alone() {
    let mut log = Log::default();
    log.transaction("1", &[("bank.a", 0), ("bank.b", 0)]);
    log.transaction("2", &[("bank.a", 0), ("bank.b", 0)]);
    let mut gather = gather(100, Duration::from_millis(20), CatchUp::default());
    take(&mut gather, log.read_all("bank.a", 0));
    take(&mut gather, log.read_all(MARKERS, 0));
    assert_eq!(released(&mut gather), []);
    let torn = std::iter::from_fn(|| {
        std::thread::sleep(Duration::from_millis(2));
        Some(released(&mut gather))
    });
    let torn = torn.take(1_000).find(|released| !released.is_empty()).unwrap();
    assert_eq!(torn[0].0, Unity { together: false, torn: Some(Torn::Age), transactions: 1 });
    assert_eq!(torn[0].1.len(), 3);
    take(&mut gather, log.read_all("bank.b", 0));
    let late: Vec<Unity> = released(&mut gather).into_iter().map(|(unity, _)| unity).collect();
    assert_eq!(late[0], Unity { together: false, torn: Some(Torn::Age), transactions: 0 }, "what came late says so");
    // The second one has waited as long, or not quite.
    assert_eq!(gather.held(), 0);
}

/// Reads so much of each partition, in turns, and gives what leaves after each turn.
fn turns(gather: &mut Gather, log: &Log, turns: usize) -> Vec<Vec<(Unity, usize)>> {
    let mut left = Vec::new();
    for turn in 0..turns {
        for (topic, size) in [("bank.b", 1), (MARKERS, 2), ("bank.a", 1)] {
            take(gather, log.read(topic, 0, turn * size, size));
        }
        left.push(released(gather).into_iter().map(|(unity, places)| (unity, places.len())).collect());
    }
    left
}

/// Markers, or changes that have come before: nothing that counts.
fn again(together: bool) -> Unity {
    Unity { together, torn: None, transactions: 0 }
}

#[test]
fn what_a_connector_sends_again_stays_together() {
    let mut log = Log::default();
    for id in ["1", "2", "3", "2", "3", "4"] {
        log.transaction(id, &[("bank.a", 0), ("bank.b", 0)]);
    }
    let one = || vec![(whole(1), 4)];
    let mut gather = gather(100, LONG, CatchUp::default());
    let left = turns(&mut gather, &log, 6);
    assert_eq!(left, [one(), one(), one(), vec![(again(false), 2)], vec![(again(true), 6)], one()]);
    assert_eq!(gather.held(), 0);
    // The connector's topic is behind.
    let mut gather = self::gather(100, LONG, CatchUp::default());
    let _ = turns(&mut gather, &log, 2);
    take(&mut gather, log.read("bank.a", 0, 2, 2));
    take(&mut gather, log.read("bank.b", 0, 2, 3));
    take(&mut gather, log.read(MARKERS, 0, 4, 6));
    let sizes = |gather: &mut Gather| -> Vec<_> {
        released(gather).into_iter().map(|(unity, places)| (unity, places.len())).collect()
    };
    assert_eq!(
        sizes(&mut gather),
        [(whole(1), 10)],
        "of the second one's change in `a` the third one's is still to come"
    );
    take(&mut gather, log.read("bank.a", 0, 4, 1));
    assert_eq!(sizes(&mut gather), [(again(true), 2)]);
}

#[test]
fn what_got_lost_comes_with_what_comes_again() {
    let mut log = Log::default();
    log.transaction("1", &[("bank.a", 0), ("bank.b", 0)]);
    log.transaction("2", &[("bank.a", 0), ("bank.b", 0)]);
    // The second one's change of `b` was not in Kafka when the connector was killed, nor was its end.
    log.partitions.get_mut(&("bank.b", 0)).unwrap().truncate(1);
    log.partitions.get_mut(&(MARKERS, 0)).unwrap().truncate(3);
    for id in ["1", "2", "3"] {
        log.transaction(id, &[("bank.a", 0), ("bank.b", 0)]);
    }
    let mut gather = gather(100, LONG, CatchUp::default());
    for topic in ["bank.a", "bank.b", MARKERS] {
        take(&mut gather, log.read_all(topic, 0));
    }
    let left: Vec<_> = released(&mut gather).into_iter().map(|(unity, places)| (unity, places.len())).collect();
    assert_eq!((left, gather.held()), (vec![(whole(3), 18)], 0));
}

#[test]
fn a_transaction_that_was_begun_twice_is_one() {
    let mut log = Log::default();
    log.begin("5");
    log.change("5", "bank.a", 0);
    log.transaction("5", &[("bank.a", 0), ("bank.b", 0)]);
    let mut gather = gather(100, LONG, CatchUp::default());
    take(&mut gather, log.read_all(MARKERS, 0));
    take(&mut gather, log.read_all("bank.a", 0));
    assert_eq!(released(&mut gather), [], "two copies of one change are one change");
    take(&mut gather, log.read_all("bank.b", 0));
    assert_eq!(released(&mut gather)[0].0, whole(1));
    assert_eq!(gather.held(), 0);
}

#[test]
fn more_that_comes_again_than_is_held_back_is_torn() {
    let mut log = Log::default();
    for id in [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7] {
        log.transaction(&format!("{id}"), &[("bank.a", 0), ("bank.b", 0)]);
    }
    let mut gather = gather(6, LONG, CatchUp::default());
    let left: Vec<_> = turns(&mut gather, &log, 16).into_iter().flatten().collect();
    assert!(left.iter().any(|(unity, _)| unity.torn == Some(Torn::Events)), "{left:?}");
    assert_eq!((left.iter().map(|(_, messages)| messages).sum::<usize>(), gather.held()), (64, 0));
}

#[test]
fn what_the_raw_store_has_leaves_as_one() {
    let mut log = Log::default();
    log.transaction("1", &[("bank.a", 0)]);
    log.transaction("2", &[("bank.a", 0), ("bank.b", 0)]);
    log.transaction("3", &[("bank.b", 0)]);
    let applied = |topic: &str, offset| (topic.to_string(), 0, offset);
    let positions = vec![applied("bank.a", 1), applied("bank.b", 1), applied(MARKERS, 5), applied("bank.other", 7)];
    let begins = || Some(TOPICS.iter().map(|topic| (((*topic).into(), 0), 0)).collect());
    let mut gather = gather(100, LONG, CatchUp::to(positions, &TOPICS.map(String::from)));
    gather.begins(begins);
    take(&mut gather, log.read_all("bank.a", 0));
    take(&mut gather, log.read(MARKERS, 0, 0, 4));
    assert_eq!(released(&mut gather), []);
    take(&mut gather, log.read_all("bank.b", 0));
    assert_eq!(released(&mut gather), [], "the third one's change is here, its end is not");
    take(&mut gather, log.read(MARKERS, 0, 4, 2));
    assert_eq!(released(&mut gather).iter().map(|(unity, _)| *unity).collect::<Vec<_>>(), [whole(3)]);
}

#[test]
fn nothing_is_read_again_for_what_was_committed() {
    let mut log = Log::default();
    log.transaction("1", &[("bank.a", 0)]);
    let positions = vec![("bank.a".to_string(), 0, 6), ("bank.b".to_string(), 0, 3)];
    let mut gather = gather(100, LONG, CatchUp::to(positions, &TOPICS.map(String::from)));
    gather.begins(|| Some(Offsets::from([(("bank.a".into(), 0), 7), (("bank.b".into(), 0), 4)])));
    take(&mut gather, log.read_all(MARKERS, 0));
    let change = log.read_all("bank.a", 0);
    let messages = change.messages.iter().map(|m| Message { offset: 7, ..m.clone() }).collect();
    take(&mut gather, Batch { messages, ..change });
    assert_eq!(released(&mut gather)[0].0, whole(1));
}

#[test]
fn partitions_that_are_ahead_rest_while_others_are_waited_for() {
    let mut log = Log::default();
    for id in 0..10 {
        log.transaction(&format!("{id}"), &[("bank.a", 0), ("bank.b", 0)]);
    }
    let mut gather = gather(40, LONG, CatchUp::default());
    let ahead =
        |gather: &Gather| gather.ahead().into_iter().map(|(topic, _)| topic.to_string()).collect::<BTreeSet<_>>();
    take(&mut gather, log.read_all("bank.a", 0));
    assert!(ahead(&gather).is_empty(), "little is held");
    take(&mut gather, log.read(MARKERS, 0, 0, 11));
    assert_eq!(ahead(&gather), ["bank.a".to_string(), MARKERS.to_string()].into());
    take(&mut gather, log.read(MARKERS, 0, 11, 9));
    take(&mut gather, log.read_all("bank.b", 0));
    assert_eq!(released(&mut gather)[0].0, whole(10));
    assert!(ahead(&gather).is_empty());
}

/// As a lane reads: one partition is far behind, what is ahead rests, and no more is read than there is room for.
#[test]
fn whoever_lets_partitions_rest_waits_for_none_of_these() {
    for seed in 0..400 {
        let mut random = StdRng::seed_from_u64(seed);
        let log = log_with_tombstones(&mut random);
        let places: Vec<_> = log.partitions.keys().copied().collect();
        let slow = places[random.gen_range(0..places.len())];
        let all: usize = log.partitions.values().map(Vec::len).sum();
        let mut gather = gather(60, LONG, CatchUp::default());
        let mut read: BTreeMap<(&str, i32), usize> = BTreeMap::new();
        let (mut left, mut ended, mut total) = (BTreeMap::new(), Vec::new(), 0);
        for _ in 0..20_000 {
            let resting = gather.ahead();
            let place = places[random.gen_range(0..places.len())];
            if resting.contains(&(place.0.into(), place.1)) || (place == slow && random.gen_bool(0.8)) {
                continue;
            }
            let from = read.entry(place).or_default();
            let batch = log.read(place.0, place.1, *from, random.gen_range(0..=gather.room().min(8)));
            *from += batch.messages.len();
            take(&mut gather, batch);
            while let Some((batch, _)) = gather.release() {
                total += batch.messages.len();
                check_batch(&log, &batch, &mut left, &mut ended, seed);
            }
        }
        assert_eq!((total, gather.held()), (all, 0), "seed {seed}: {read:?} {:?}", gather.ahead());
    }
}

fn log_with_tombstones(random: &mut StdRng) -> Log {
    let mut log = Log::default();
    for number in 0..random.gen_range(40..120) {
        let id = number.to_string();
        log.begin(&id);
        for _ in 0..random.gen_range(0..6) {
            let (topic, partition) = (["bank.a", "bank.b"][random.gen_range(0..2)], random.gen_range(0..2));
            log.change(&id, topic, partition);
            if random.gen_bool(0.3) {
                log.tombstone(topic, partition);
            }
        }
        log.end(&id);
    }
    log
}

#[test]
fn a_transaction_in_whose_middle_the_connector_was_stopped_is_whole_with_all_that_was_before() {
    let mut log = Log::default();
    log.begin("1");
    log.change_at("1", "bank.a", 0, 1);
    log.change_at("1", "bank.b", 0, 2);
    log.begin("1");
    log.change_at("1", "bank.a", 0, 3);
    log.change_at("1", "bank.a", 1, 4);
    log.end("1");
    let mut gather = gather(100, LONG, CatchUp::default());
    gather.on_the_way = Duration::ZERO;
    let reach = |read: [i64; 3]| -> Offsets {
        [("bank.a", 0), ("bank.a", 1), ("bank.b", 0)].into_iter().map(|(t, p)| (t.into(), p)).zip(read).collect()
    };
    take(&mut gather, log.read_all(MARKERS, 0));
    take(&mut gather, log.read_all("bank.a", 1));
    take(&mut gather, log.read("bank.a", 0, 0, 1));
    assert!(gather.asks_for_ends(), "two changes have come, as many as the end counts");
    assert_eq!(let_go(&mut gather), []);
    gather.ends(&reach([2, 1, 1]));
    assert!(!gather.asks_for_ends());
    gather.look_for_rest(|| reach([1, 1, 0]));
    take(&mut gather, log.read("bank.a", 0, 1, 1));
    gather.look_for_rest(|| reach([2, 1, 0]));
    assert_eq!(let_go(&mut gather), [], "what had been sent of `b` before the stop");
    take(&mut gather, log.read_all("bank.b", 0));
    gather.look_for_rest(|| reach([2, 1, 1]));
    assert_eq!(let_go(&mut gather), [(whole(1), 7)]);
}

#[test]
fn what_comes_again_from_the_middle_of_a_transaction_stays_together() {
    for without_places in [false, true] {
        let mut log = Log { without_places, ..Log::default() };
        log.transaction("1", &[("bank.a", 0), ("bank.a", 0)]);
        log.transaction("2", &[("bank.a", 0)]);
        log.begin("1");
        log.change_at("1", "bank.a", 0, 2);
        log.end("1");
        log.transaction("2", &[("bank.a", 0)]);
        log.transaction("3", &[("bank.a", 0)]);
        let mut gather = gather(100, LONG, CatchUp::default());
        let mut read = |topic, from, count| {
            take(&mut gather, log.read(topic, 0, from, count));
            released(&mut gather).into_iter().map(|(unity, places)| (unity, places.len())).collect::<Vec<_>>()
        };
        read(MARKERS, 0, 4);
        assert_eq!(read("bank.a", 0, 3), [(whole(2), 7)]);
        assert_eq!(read(MARKERS, 4, 4), [(again(false), 4)]);
        assert_eq!(read("bank.a", 3, 1), [], "the second one's state would be gone");
        assert_eq!(read("bank.a", 4, 1).len(), 1, "{without_places}");
        read(MARKERS, 8, 2);
        assert_eq!(read("bank.a", 5, 1), [(whole(1), 3)]);
    }
}

/// A connector that is stopped and killed at any moment: readers see each row as of one and the same transaction.
#[test]
fn whatever_a_connector_sends_again_readers_see_one_state() {
    for seed in 0..400 {
        let mut random = StdRng::seed_from_u64(seed);
        let (log, touched) = log_of_restarts(&mut random);
        let mut gather = gather(1_000_000, LONG, CatchUp::default());
        gather.on_the_way = Duration::ZERO;
        let places: Vec<_> = log.partitions.keys().copied().collect();
        let ends: Offsets = log.partitions.iter().map(|((t, p), all)| (((*t).into(), *p), all.len() as i64)).collect();
        let mut read: BTreeMap<(&str, i32), usize> = BTreeMap::new();
        let mut rows: BTreeMap<(String, i32), u64> = BTreeMap::new();
        for _ in 0..5_000 {
            let place = places[random.gen_range(0..places.len())];
            let from = read.entry(place).or_default();
            let batch = log.read(place.0, place.1, *from, random.gen_range(0..6));
            *from += batch.messages.len();
            take(&mut gather, batch);
            if gather.asks_for_ends() {
                gather.ends(&ends);
            }
            let reached = || read.iter().map(|((t, p), next)| (((*t).into(), *p), *next as i64)).collect();
            gather.look_for_rest(reached);
            while let Some((batch, _)) = gather.release() {
                assert_eq!(batch.unity.torn, None, "seed {seed}");
                for message in batch.messages.iter().filter(|message| *message.topic != *MARKERS) {
                    let place = (of(&message.topic), message.partition);
                    let (_, member, _) = &log.partitions[&place][message.offset as usize];
                    rows.insert(
                        (message.topic.to_string(), message.partition),
                        member.as_ref().unwrap().id.parse().unwrap(),
                    );
                }
                let newest = rows.values().copied().max().unwrap_or_default();
                for (place, touched) in &touched {
                    let expected = touched.iter().copied().filter(|id| *id <= newest).max();
                    let found = rows.get(&(place.0.to_string(), place.1)).copied();
                    assert_eq!(found, expected, "seed {seed}: {place:?} with transaction {newest}");
                }
            }
        }
        assert_eq!(gather.held(), 0, "seed {seed}");
    }
}

/// Transactions from 1 on, of one row in each partition; and which of them change each row.
fn log_of_restarts(random: &mut StdRng) -> (Log, BTreeMap<(&'static str, i32), Vec<u64>>) {
    let (mut log, mut touched) = (Log::default(), BTreeMap::new());
    let mut changes: Vec<(u64, &'static str, i32)> = Vec::new();
    for id in 1..random.gen_range(5..30) {
        for _ in 0..random.gen_range(1..5) {
            let (topic, partition) = (["bank.a", "bank.b"][random.gen_range(0..2)], random.gen_range(0..2));
            changes.push((id, topic, partition));
            touched.entry((topic, partition)).or_insert_with(Vec::new).push(id);
        }
    }
    let (mut at, mut restarts, mut open) = (0, random.gen_range(0..4), 0);
    while let Some((id, topic, partition)) = changes.get(at).copied() {
        if open != id {
            log.begin(&id.to_string());
            open = id;
        }
        log.change_at(&id.to_string(), topic, partition, at as u64);
        at += 1;
        if changes.get(at).is_none_or(|next| next.0 != id) {
            log.end(&id.to_string());
        }
        if restarts > 0 && random.gen_bool(0.1) {
            // Where it goes on is a change that it has not noted as sent.
            restarts -= 1;
            at -= random.gen_range(0..=at.min(12)) * usize::from(random.gen_bool(0.5));
            open = 0;
        }
    }
    (log, touched)
}

#[test]
fn a_transaction_topic_of_several_partitions_is_refused() {
    let mut log = Log::default();
    log.put(MARKERS, 1, member("1", Role::Begin), None);
    let error = gather(10, LONG, CatchUp::default()).take(log.read_all(MARKERS, 1), Vec::new()).unwrap_err();
    assert!(error.to_string().contains("bank.transaction has several partitions"), "{error}");
}
