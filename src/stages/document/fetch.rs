//! The rows that a chunk of documents is made of: one look-up for the roots and one for each join, each value once.
//!
//! Invariant: null joins nothing, as in SQL. Rows are kept once per distinct value and shared by the roots.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::graph::{Graph, Join, Side};
use crate::error::Result;
use crate::record::{Row, Value};
use crate::stores::{Identity, Snapshot, identity};

/// Rows drawn in by one join.
struct Level {
    rows: Vec<Row>,
    /// Which of `rows` belong to the root with the same number; at most one for a to-one join.
    of_root: Vec<Range<usize>>,
}

/// Everything that a chunk of documents is made of.
pub struct Chunk {
    roots: Vec<Option<Row>>,
    levels: Vec<Level>,
}

impl Chunk {
    /// Reads the rows behind the roots with `keys`.
    pub async fn read(graph: &Graph, view: &mut dyn Snapshot, keys: &[Row]) -> Result<Chunk> {
        let roots = view.get(&graph.root.name, keys).await?;
        let mut chunk = Chunk { roots, levels: Vec::with_capacity(graph.joins.len()) };
        for join in &graph.joins {
            let level = chunk.level(join, view).await?;
            chunk.levels.push(level);
        }
        Ok(chunk)
    }

    /// The documents' rows, in the order of the keys; `None` where the root row is gone.
    pub fn documents(&self) -> impl Iterator<Item = Option<Joined<'_>>> {
        self.roots
            .iter()
            .enumerate()
            .map(|(number, root)| root.as_ref().map(|root| Joined { root, chunk: Some(self), number }))
    }

    /// How many rows it holds.
    pub fn size(&self) -> usize {
        self.roots.len() + self.levels.iter().map(|level| level.rows.len()).sum::<usize>()
    }

    async fn level(&self, join: &Join, view: &mut dyn Snapshot) -> Result<Level> {
        let mut wanted = Wanted::default();
        let slots: Vec<Option<usize>> =
            (0..self.roots.len()).map(|i| wanted.slot(self.row(i, join.from)?, join)).collect();
        let found = match join.key_order() {
            Some(order) => wanted.by_key(join, &order, view).await?,
            None => wanted.by_column(join, view).await?,
        };
        let mut rows = Vec::new();
        let ranges: Vec<Range<usize>> = found
            .into_iter()
            .map(|matches| {
                let start = rows.len();
                rows.extend(matches);
                start..rows.len()
            })
            .collect();
        let range = |slot: Option<usize>| slot.and_then(|slot| ranges.get(slot).cloned()).unwrap_or(0..0);
        Ok(Level { rows, of_root: slots.into_iter().map(range).collect() })
    }

    fn row(&self, number: usize, side: Side) -> Option<&Row> {
        match side {
            Side::Root => self.roots.get(number)?.as_ref(),
            Side::Join(i) => self.joined(number, i).first(),
        }
    }

    fn joined(&self, number: usize, join: usize) -> &[Row] {
        let rows = |level: &'_ Level| level.of_root.get(number).cloned();
        self.levels.get(join).and_then(|level| level.rows.get(rows(level)?)).unwrap_or_default()
    }
}

/// One root row and the rows that it draws in.
#[derive(Clone, Copy)]
pub struct Joined<'a> {
    /// The root row.
    pub root: &'a Row,
    chunk: Option<&'a Chunk>,
    number: usize,
}

impl<'a> Joined<'a> {
    /// A row that draws in nothing.
    pub fn alone(row: &'a Row) -> Self {
        Joined { root: row, chunk: None, number: 0 }
    }

    /// The rows of the join with number `join`, in key order.
    pub fn rows(&self, join: usize) -> &'a [Row] {
        self.chunk.map_or(&[], |chunk| chunk.joined(self.number, join))
    }

    /// The row at `side`.
    pub fn row(&self, side: Side) -> Option<&'a Row> {
        match side {
            Side::Root => Some(self.root),
            Side::Join(i) => self.rows(i).first(),
        }
    }
}

/// The distinct values that a join looks up.
#[derive(Default)]
struct Wanted {
    slots: FxHashMap<Identity, usize>,
    values: Vec<Vec<Value>>,
}

impl Wanted {
    /// The number of `row`'s joining values; `None` when one of them is null.
    fn slot(&mut self, row: &Row, join: &Join) -> Option<usize> {
        let value = |(_, ours): &(String, String)| row.get(ours).filter(|value| !value.is_null()).cloned();
        let values = join.on.iter().map(value).collect::<Option<Vec<_>>>()?;
        let next = self.values.len();
        let slot = *self.slots.entry(identity(&values)).or_insert(next);
        if slot == next {
            self.values.push(values);
        }
        Some(slot)
    }

    async fn by_key(&self, join: &Join, order: &[usize], view: &mut dyn Snapshot) -> Result<Vec<Vec<Row>>> {
        let key = |values: &Vec<Value>| {
            let values = order.iter().filter_map(|i| values.get(*i).cloned()).collect();
            Row::new(join.table.key.clone(), values)
        };
        let keys: Vec<Row> = self.values.iter().map(key).collect();
        Ok(view.get(&join.table.name, &keys).await?.into_iter().map(|row| row.into_iter().collect()).collect())
    }

    async fn by_column(&self, join: &Join, view: &mut dyn Snapshot) -> Result<Vec<Vec<Row>>> {
        let mut found = vec![Vec::new(); self.values.len()];
        let Some(((lead, _), others)) = join.on.split_first() else { return Ok(found) };
        let leads: Vec<Value> = self.values.iter().filter_map(|values| values.first().cloned()).collect();
        for (slot, stored) in view.find(&join.table.name, lead, &leads).await? {
            let wanted = self.values.get(slot).and_then(|values| values.get(1..)).unwrap_or_default();
            let matches = others.iter().zip(wanted).all(|((theirs, _), value)| {
                let theirs = stored.row.get(theirs).filter(|v| !v.is_null());
                theirs.is_some_and(|theirs| {
                    identity(std::slice::from_ref(theirs)) == identity(std::slice::from_ref(value))
                })
            });
            if let Some(rows) = found.get_mut(slot).filter(|rows| matches && (join.many || rows.is_empty())) {
                rows.push(stored.row);
            }
        }
        Ok(found)
    }
}
