//! Events of tables without a key that the connector sends again, under other offsets of the topic: after a crash it goes
//! back to the last place that it had noted. Rows with a key do not mind; a multiset would count them twice.
//!
//! An event is known by its place in the source's log. Where that place is its alone, an equal row from there is the same
//! row. PostgreSQL gives all rows of one `COPY` block one place, and two of them may be equal: there, a row is one that
//! was sent before only if something else was sent in between, which ends the run of that place. So does another commit
//! before the same place: a block is in one transaction, but a connector that begins anew does not know the last commit.
//!
//! Invariant: in doubt a row is new. What is not recognized is doubled, which can be seen and mended; what was taken for
//! known in error would be lost. In doubt are: an insert of PostgreSQL that was sent again with nothing in between by a
//! connector that had noted the commit before it, the first run that a process reads, an insert of PostgreSQL in another partition than before,
//! and sources without a place that could be relied on: snapshots, Oracle, flattened rows that do not tell it.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::identity::{Identity, identity, instance_key, instance_place};
use crate::record::{Epoch, Op, Position, Record, SourcePosition};

/// What a source's place says about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing that could be relied on.
    Vague,
    /// Other events may have the same one.
    Shared,
    /// No other event has it.
    Own,
}

/// What the place of a change with this `op` says.
pub fn place(op: Op, source: &SourcePosition) -> Place {
    match (op, source) {
        // All rows of a snapshot have one place, and a snapshot may be taken again.
        (Op::Read | Op::Truncate, _) => Place::Vague,
        (Op::Create, SourcePosition::Postgres { .. }) => Place::Shared,
        (_, SourcePosition::Postgres { .. }) => Place::Own,
        (_, SourcePosition::MySql { file: 1.., pos: 1.., .. }) => Place::Own,
        (_, SourcePosition::SqlServer { change_lsn, .. }) if *change_lsn != (0, 0) => Place::Own,
        _ => Place::Vague,
    }
}

/// The place as it is the same each time: the commit before it is not known to a connector that has just begun.
pub fn origin(source: &SourcePosition) -> SourcePosition {
    match *source {
        SourcePosition::Postgres { incarnation, lsn, .. } => {
            SourcePosition::Postgres { incarnation, commit_lsn: 0, lsn }
        }
        other => other,
    }
}

/// For each partition, the run of messages of one place that is being read.
#[derive(Debug, Clone, Default)]
pub struct Runs(FxHashMap<(Arc<str>, Epoch, i32), Run>);

#[derive(Debug, Clone)]
struct Run {
    /// With the commit before it.
    source: SourcePosition,
    /// Behind which offset it began, at the earliest; `None` where nothing before it was seen.
    first: Option<i64>,
    last: i64,
}

impl Runs {
    /// Those of the partitions that a batch reads: another lane may change the others meanwhile.
    pub fn beside(&self, records: &[Record]) -> Runs {
        let at = |record: &Record| (record.position.topic.clone(), record.position.epoch, record.position.partition);
        let keyless = records.iter().filter(|record| record.key.is_empty());
        Runs(keyless.map(at).filter_map(|at| self.0.get_key_value(&at)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// Takes over what a batch has learned.
    pub fn extend(&mut self, learned: Runs) {
        self.0.extend(learned.0);
    }

    /// Learns that the run of the message at `position` begins with it: the one before it came from another place.
    pub fn begin(&mut self, position: &Position) -> i64 {
        let at = (position.topic.clone(), position.epoch, position.partition);
        let run = Run { source: position.source, first: Some(position.offset), last: position.offset };
        self.0.insert(at, run);
        position.offset
    }

    /// The earliest offset at which the run can have begun that the message at `position` belongs to, if that is known.
    pub fn first(&mut self, position: &Position) -> Option<i64> {
        let Position { topic, epoch, partition, offset, .. } = position;
        let source = position.source;
        let unseen = || Run { source, first: None, last: *offset };
        let run = self.0.entry((topic.clone(), *epoch, *partition)).or_insert_with(unseen);
        if run.source == source {
            run.last = run.last.max(*offset);
        } else {
            // What came last ended the run before. Where this one began behind it, others may know; that is far enough.
            // Read again from an earlier offset, nothing is known.
            let first = (run.last < *offset).then_some(run.last.saturating_add(1));
            *run = Run { first, ..unseen() };
        }
        run.first
    }
}

/// The identity of what the message right before the one at `position` brought, if it brought a row.
pub fn predecessor(position: &Position) -> Identity {
    let before = Position { offset: position.offset.saturating_sub(1), ..position.clone() };
    identity(instance_key(&before).values())
}

/// An equal row that came from the same place of the source.
#[derive(Debug, Clone, Copy)]
pub struct Twin {
    /// Whether it stands in the message's partition.
    pub beside: bool,
    /// The offset that brought it.
    pub offset: i64,
    /// The last offset under which it was sent again.
    pub again: Option<i64>,
}

impl Twin {
    /// The row stored under `id`, beside a message at `position`.
    pub fn of(id: &Identity, again: Option<i64>, position: &Position) -> Option<Twin> {
        let (topic, partition, offset) = instance_place(id)?;
        let beside = partition == i64::from(position.partition) && *topic == *position.epoch.name(&position.topic);
        Some(Twin { beside, offset, again })
    }
}

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A row of its own.
    New,
    /// Known; nothing is to be noted.
    Known,
    /// The twin at this index, sent again: to be noted there.
    Again(usize),
}

/// What the event at `position` is, whose run began at `first`, beside its twins.
pub fn judge(place: Place, position: &Position, first: Option<i64>, twins: &[Twin]) -> Verdict {
    match place {
        Place::Vague => return Verdict::New,
        Place::Own if twins.is_empty() => return Verdict::New,
        Place::Own => return Verdict::Known,
        Place::Shared => {}
    }
    let earlier = || twins.iter().enumerate().filter(|(_, twin)| twin.beside && twin.offset < position.offset);
    if earlier().any(|(_, twin)| twin.again.is_some_and(|again| again >= position.offset)) {
        return Verdict::Known;
    }
    let seen = |twin: &Twin| twin.again.unwrap_or(twin.offset);
    let before = earlier().filter(|(_, twin)| first.is_some_and(|first| seen(twin) < first));
    before.min_by_key(|(_, twin)| seen(twin)).map_or(Verdict::New, |(at, _)| Verdict::Again(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64, lsn: u64) -> Position {
        let source = SourcePosition::Postgres { incarnation: 1, commit_lsn: 5, lsn };
        Position { topic: "t".into(), epoch: Epoch::default(), partition: 0, offset, source }
    }

    #[test]
    fn a_run_begins_where_its_place_does_and_is_unknown_before() {
        let mut runs = Runs::default();
        let read = [(5, 1, None), (6, 1, None), (7, 2, Some(7)), (8, 2, Some(7)), (9, 1, Some(9)), (7, 2, None)];
        for (offset, lsn, first) in read.into_iter().chain([(8, 1, Some(8)), (11, 2, Some(9)), (12, 2, Some(9))]) {
            assert_eq!(runs.first(&at(offset, lsn)), first, "{offset}");
        }
    }

    #[test]
    fn a_run_ends_where_the_commit_before_the_same_place_is_another() {
        let mut runs = Runs::default();
        let mut after = |offset, commit_lsn| {
            let source = SourcePosition::Postgres { incarnation: 1, commit_lsn, lsn: 7 };
            runs.first(&Position { source, ..at(offset, 7) })
        };
        assert_eq!(
            [(3, 5), (4, 5), (5, 0), (6, 0)].map(|(offset, commit)| after(offset, commit)),
            [None, None, Some(5), Some(5)]
        );
    }

    #[test]
    fn in_doubt_a_row_is_new() {
        let twin = |offset, again| Twin { beside: true, offset, again };
        let judge = |first, twins: &[Twin]| judge(Place::Shared, &at(20, 1), first, twins);
        assert_eq!(judge(Some(20), &[]), Verdict::New);
        assert_eq!(judge(Some(18), &[twin(18, None), twin(19, None)]), Verdict::New, "copies in one run");
        assert_eq!(judge(None, &[twin(3, None)]), Verdict::New, "the run's beginning was not seen");
        assert_eq!(judge(Some(20), &[Twin { beside: false, ..twin(3, None) }]), Verdict::New);
        assert_eq!(judge(Some(20), &[twin(30, None)]), Verdict::New, "it was before them");
        assert_eq!(judge(Some(20), &[twin(4, Some(12)), twin(3, None)]), Verdict::Again(1));
        assert_eq!(judge(Some(18), &[twin(3, Some(18)), twin(4, Some(12))]), Verdict::Again(1));
        assert_eq!(judge(Some(18), &[twin(3, Some(18)), twin(4, Some(19))]), Verdict::New, "a third, cut off before");
        assert_eq!(judge(Some(20), &[twin(3, Some(20))]), Verdict::Known, "read again");
    }
}
