//! What a batch makes of the rows of one table: all decisions, no I/O.
//!
//! Invariant: the same decisions as the embedded engine takes row by row; one suite of tests runs over both.

use rustc_hash::FxHashMap;

use super::catalog::Table;
use super::state::{State, source_text};
use crate::record::{Op, Order, Position, Record, Row, supersedes};
use crate::stores::identity::{Identity, identity, instance_key};
use crate::stores::merge::{
    Digest, MISSING, NO_MATCH, UNCHANGED, complete, completed, digest, former_key, indexed_value, is_incomplete,
    was_moved,
};
use crate::stores::resent::{Place, Runs, Twin, Verdict, judge, origin, place, predecessor};

/// What became of one record.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is what is stored; with the complete row if values were filled in.
    Kept(Option<Row>),
    /// It leaves as these records instead.
    Became(Vec<Record>),
    /// Something newer is stored.
    Stale,
    /// It cannot be applied.
    Rejected(&'static str, String),
}

/// The rows of one table that a batch touches.
pub struct Fold<'a> {
    /// The table.
    pub table: &'a Table,
    /// Rows by key.
    pub states: FxHashMap<Identity, State>,
    /// Rows without a key by content.
    pub by_digest: FxHashMap<Digest, Vec<Identity>>,
    /// Which messages of tables without a key belong together.
    pub runs: &'a mut Runs,
}

impl<'a> Fold<'a> {
    /// A fold over what is stored.
    pub fn new(table: &'a Table, runs: &'a mut Runs, stored: impl IntoIterator<Item = (Identity, State)>) -> Self {
        let mut fold = Fold { table, states: FxHashMap::default(), by_digest: FxHashMap::default(), runs };
        for (id, state) in stored {
            if let Some(digest) = state.digest {
                fold.by_digest.entry(digest).or_default().push(id.clone());
            }
            fold.states.insert(id, state);
        }
        fold.by_digest.values_mut().for_each(|ids| ids.sort());
        fold
    }

    /// Applies the record at `index`; `outcomes` are those of the records before it.
    pub fn record(&mut self, index: usize, records: &[Record], outcomes: &[Outcome]) -> Outcome {
        let Some(record) = records.get(index) else { return Outcome::Stale };
        let context = Context { index, record, records, outcomes };
        match record.op {
            _ if record.key.is_empty() => self.keyless(&context),
            Op::Delete => self.delete(&context),
            _ => self.upsert(&context),
        }
    }

    fn is_truncated(&self, record: &Record) -> bool {
        self.table.truncated.as_ref().is_some_and(|t| supersedes(t, &record.position) == Order::Stale)
    }

    fn upsert(&mut self, context: &Context<'_>) -> Outcome {
        let record = context.record;
        let missing = || Outcome::Rejected("row.missing", MISSING.into());
        if record.row.is_none() && record.patch.is_none() {
            return missing();
        }
        let id = identity(record.key.values());
        let known = self.states.get(&id);
        let order = known.map_or(Order::Newer, |known| supersedes(&known.position, &record.position));
        // A tombstone may be older than the truncate, and the row lie between them.
        // And what a sweep took is gone, though it stands where its row stood.
        let gone = order == Order::Same && known.is_some_and(|known| known.dead);
        if order == Order::Stale || gone || self.is_truncated(record) {
            return Outcome::Stale;
        }
        let mut whole = None;
        if is_incomplete(record) {
            let base = known.filter(|known| !known.dead).and_then(|known| context.row(known));
            let base = base.or_else(|| self.former(context));
            match completed(record, base) {
                Ok(row) => whole = Some(row),
                Err((code, reason)) => return Outcome::Rejected(code, reason.into()),
            }
        }
        if order == Order::Newer {
            let Some(new) = whole.as_ref().or(record.row.as_ref()) else { return missing() };
            let former = known.map(|known| self.lost_values(known, new, context)).unwrap_or_default();
            let state = self.states.entry(id).or_insert_with(|| State::new(record.position.clone()));
            for (n, value) in former {
                let values = state.was.entry(n).or_default();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            state.position = record.position.clone();
            (state.dead, state.dirty, state.latest) = (false, true, Some(context.index));
        }
        Outcome::Kept(whole)
    }

    /// What the row of an incomplete record was under the key that it had before.
    fn former<'s>(&'s self, context: &'s Context<'_>) -> Option<&'s Row> {
        let known = self.states.get(&identity(former_key(context.record)?.values()))?;
        was_moved(&known.position, known.dead, context.record).then(|| context.row(known))?
    }

    /// Indexed values that a row is about to lose, by number of the column.
    fn lost_values(&self, known: &State, new: &Row, context: &Context<'_>) -> Vec<(usize, crate::record::Value)> {
        let Some(old) = context.row(known) else { return Vec::new() };
        let columns = self.table.indexes.iter().enumerate();
        columns
            .filter(|(_, column)| indexed_value(old, column) != indexed_value(new, column))
            .filter_map(|(n, column)| Some((n, old.get(column).filter(|value| !value.is_null())?.clone())))
            .collect()
    }

    fn delete(&mut self, context: &Context<'_>) -> Outcome {
        let record = context.record;
        let id = identity(record.key.values());
        let truncated = self.is_truncated(record);
        match self.states.get_mut(&id) {
            None if truncated => {}
            None => {
                let mut tombstone = State::new(record.position.clone());
                tombstone.dirty = true;
                self.states.insert(id, tombstone);
            }
            Some(known) => match supersedes(&known.position, &record.position) {
                Order::Stale => return Outcome::Stale,
                Order::Same => {}
                Order::Newer => {
                    known.position = record.position.clone();
                    (known.dead, known.dirty) = (true, true);
                }
            },
        }
        Outcome::Kept(None)
    }

    fn keyless(&mut self, context: &Context<'_>) -> Outcome {
        let record = context.record;
        let first = self.first(&record.position);
        let mut row = record.row.clone();
        if let (Some(row), Some(before)) = (&mut row, &record.before) {
            complete(row, before);
        }
        if row.as_ref().is_some_and(Row::is_partial) {
            return Outcome::Rejected("row.unchanged_without_base", UNCHANGED.into());
        }
        if record.op.is_upsert() && row.is_none() {
            return Outcome::Rejected("row.missing", MISSING.into());
        }
        let mut leaving = Vec::new();
        if matches!(record.op, Op::Update | Op::Delete) {
            match self.take_one(record) {
                Some(taken) => leaving.push(taken),
                None => return Outcome::Rejected("keyless.no_match", NO_MATCH.into()),
            }
        }
        if let Some(row) = row.filter(|_| record.op.is_upsert()) {
            match self.add_one(context, row, first) {
                Some(added) => leaving.push(added),
                None if leaving.is_empty() => return Outcome::Stale,
                None => {}
            }
        }
        Outcome::Became(leaving)
    }

    fn add_one(&mut self, context: &Context<'_>, row: Row, first: Option<i64>) -> Option<Record> {
        let record = context.record;
        let key = instance_key(&record.position);
        let id = identity(key.values());
        match self.states.get(&id) {
            Some(known) if known.dead || supersedes(&known.position, &record.position) != Order::Same => return None,
            Some(_) => {}
            None if self.is_truncated(record) => return None,
            None => {
                let digest = digest(&row);
                if self.was_sent_before(record, &digest, first) {
                    return None;
                }
                let mut state = State::new(record.position.clone());
                (state.dead, state.dirty, state.latest) = (false, true, Some(context.index));
                (state.digest, state.born) = (Some(digest), Some(source_text(&origin(&record.position.source))));
                self.by_digest.entry(digest).or_default().push(id.clone());
                self.states.insert(id, state);
            }
        }
        let op = if record.op == Op::Update { Op::Create } else { record.op };
        Some(Record { op, key, row: Some(row), ..record.clone() })
    }

    /// Where the run of the message began, if that is known.
    fn first(&mut self, at: &Position) -> Option<i64> {
        self.runs.first(at).or_else(|| {
            let born = self.states.get(&predecessor(at))?.born.as_ref()?;
            (*born != source_text(&origin(&at.source))).then(|| self.runs.begin(at))
        })
    }

    /// Whether the connector sends a row again that is, or was, there; then that is noted.
    fn was_sent_before(&mut self, record: &Record, digest: &Digest, first: Option<i64>) -> bool {
        let at = &record.position;
        let born = source_text(&origin(&at.source));
        let equal = self.by_digest.get(digest).into_iter().flatten();
        let twin = |id: &Identity| {
            let state = self.states.get(id).filter(|state| state.born.as_ref() == Some(&born))?;
            Some((id.clone(), Twin::of(id, state.again, at)?))
        };
        let (ids, twins): (Vec<_>, Vec<_>) = equal.filter_map(twin).unzip();
        match judge(place(record.op, &at.source), at, first, &twins) {
            Verdict::New => false,
            Verdict::Known => true,
            Verdict::Again(twin) => {
                if let Some(state) = ids.get(twin).and_then(|id| self.states.get_mut(id)) {
                    (state.again, state.dirty) = (Some(at.offset), true);
                }
                true
            }
        }
    }

    /// Removes one live row that equals `record.before`, or finds the one that this record removed earlier.
    fn take_one(&mut self, record: &Record) -> Option<Record> {
        let digest = digest(record.before.as_ref()?);
        let ids = self.by_digest.get(&digest)?;
        let order = |id: &&Identity, dead: bool| {
            let state = self.states.get(*id).filter(|state| state.dead == dead);
            state.map(|state| supersedes(&state.position, &record.position))
        };
        let taken = |id: &&Identity| {
            self.states
                .get(*id)
                .is_some_and(|s| s.dead && origin(&s.position.source) == origin(&record.position.source))
        };
        // By the same message; or by the same change of the source, under another offset.
        let again = ids.iter().find(|id| order(id, true) == Some(Order::Same)).or_else(|| {
            let own = place(record.op, &record.position.source) == Place::Own;
            ids.iter().find(|id| own && taken(id))
        });
        let id = again.or_else(|| ids.iter().find(|id| order(id, false) == Some(Order::Newer)))?.clone();
        let fresh = again.is_none();
        let state = self.states.get_mut(&id)?;
        if fresh {
            state.position = record.position.clone();
            (state.dead, state.dirty) = (true, true);
        }
        let schema = instance_key(&record.position).schema().clone();
        let values = crate::stores::identity::values_of(&id, &schema).ok()?;
        Some(Record { op: Op::Delete, key: Row::new(schema, values), row: None, ..record.clone() })
    }
}

/// A record among the others of its batch.
struct Context<'a> {
    index: usize,
    record: &'a Record,
    records: &'a [Record],
    outcomes: &'a [Outcome],
}

impl Context<'_> {
    fn row<'s>(&'s self, state: &'s State) -> Option<&'s Row> {
        row_of(state, self.records, self.outcomes)
    }
}

/// The row that `state` stands for, among those stored and those of the batch.
pub fn row_of<'s>(state: &'s State, records: &'s [Record], outcomes: &'s [Outcome]) -> Option<&'s Row> {
    let Some(index) = state.latest else { return state.stored.as_ref() };
    match outcomes.get(index) {
        Some(Outcome::Kept(Some(completed))) => Some(completed),
        Some(Outcome::Became(records)) => records.iter().find_map(|record| record.row.as_ref()),
        _ => records.get(index)?.row.as_ref(),
    }
}
