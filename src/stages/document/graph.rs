//! The join graph of a document: which rows a root row draws in, and, walked backwards, which roots a row feeds.
//!
//! Invariant: walked backwards from a changed row, every value that its joined column has *ever* had counts
//! ([`Snapshot::links_of`]), so that the root that it left is found as surely as the one that it moved to. From there on
//! current rows suffice: whichever row changed its own link has a record of its own, which recomputes its roots.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::error::Result;
use crate::record::{Row, TableSchema, Value};
use crate::stores::{Index, Snapshot};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The root row.
    Root,
    /// The row of the join with this number.
    Join(usize),
}

/// A table and its key.
#[derive(Debug, Clone)]
pub struct Table {
    /// Name in the raw store.
    pub name: String,
    /// Key columns; empty when they are not known.
    pub key: Arc<TableSchema>,
}

impl Table {
    /// Whether `column` alone is the key.
    fn is_key(&self, column: &str) -> bool {
        matches!(self.key.columns.as_slice(), [only] if *only.name == *column)
    }
}

/// One join, from a side that is known before it.
#[derive(Debug, Clone)]
pub struct Join {
    /// Name in the document's expressions.
    pub name: String,
    /// The joined table.
    pub table: Table,
    /// Whose columns it starts from.
    pub from: Side,
    /// (column of the joined table, column of the side it starts from); at least one pair.
    pub on: Vec<(String, String)>,
    /// Whether it draws in all rows that match, in key order, or only the first.
    pub many: bool,
}

impl Join {
    /// The order in which the pairs of `on` make a key of the joined table, when they do: then it is read by key.
    pub fn key_order(&self) -> Option<Vec<usize>> {
        let key = &self.table.key.columns;
        let order = key.iter().map(|column| self.on.iter().position(|(theirs, _)| **theirs == *column.name));
        order.collect::<Option<Vec<_>>>().filter(|order| !order.is_empty() && order.len() == self.on.len())
    }

    /// The pair that rows are looked up by, in both directions; other pairs only narrow.
    fn lead(&self) -> (&str, &str) {
        self.on.first().map_or(("", ""), |(theirs, ours)| (theirs, ours))
    }
}

/// A root and its joins.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The root table.
    pub root: Table,
    /// Joins; each starts from the root or from an earlier one.
    pub joins: Vec<Join>,
}

/// A value that leads to roots, and the number of the record that brought it.
type Lead = (Value, usize);

impl Graph {
    /// Whether rows of `table` are part of documents.
    pub fn uses(&self, table: &str) -> bool {
        self.root.name == table || self.joins.iter().any(|join| join.table.name == table)
    }

    /// The table at `side`.
    pub fn table(&self, side: Side) -> &Table {
        match side {
            Side::Join(i) => self.joins.get(i).map_or(&self.root, |join| &join.table),
            Side::Root => &self.root,
        }
    }

    /// What has to be indexed: columns that joins read rows by, and columns that lead back to the root.
    pub fn indexes(&self) -> Vec<Index> {
        let mut indexes = Vec::new();
        for join in &self.joins {
            let (theirs, ours) = join.lead();
            let near = self.table(join.from);
            if join.key_order().is_none() {
                indexes.push(Index { table: join.table.name.clone(), column: theirs.to_string() });
            }
            if !near.is_key(ours) {
                indexes.push(Index { table: near.name.clone(), column: ours.to_string() });
            }
        }
        indexes.sort();
        indexes.dedup();
        indexes
    }

    /// The keys of the roots that rows of `table` feed or have fed through joins, each with the number of the changed
    /// key that leads to it. Repetitions are possible, and keys of roots that are not there (any more).
    pub async fn roots(&self, view: &mut dyn Snapshot, table: &str, changed: &[Row]) -> Result<Vec<(Row, usize)>> {
        let mut roots = Vec::new();
        for join in self.joins.iter().filter(|join| join.table.name == table) {
            let links = view.links_of(table, join.lead().0, changed).await?;
            let leads = links.into_iter().map(|(record, value)| (value, record)).collect();
            self.walk(view, join, leads, &mut roots).await?;
        }
        Ok(roots)
    }

    /// One step back from `join`, and on to the root.
    fn walk<'a>(
        &'a self,
        view: &'a mut dyn Snapshot,
        join: &'a Join,
        leads: Vec<Lead>,
        roots: &'a mut Vec<(Row, usize)>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (near, column) = (self.table(join.from), join.lead().1);
            let Some(further) = (match join.from {
                Side::Root => None,
                Side::Join(i) => self.joins.get(i),
            }) else {
                if near.is_key(column) {
                    roots.extend(leads.into_iter().map(|(value, r)| (Row::new(near.key.clone(), vec![value]), r)));
                } else {
                    let (values, records): (Vec<_>, Vec<_>) = leads.into_iter().unzip();
                    let found = view.find(&near.name, column, &values).await?;
                    roots.extend(found.into_iter().filter_map(|(i, row)| Some((row.key, *records.get(i)?))));
                }
                return Ok(());
            };
            let (values, records): (Vec<_>, Vec<_>) = leads.into_iter().unzip();
            let rows: Vec<(usize, Row)> = if near.is_key(column) {
                let keys: Vec<Row> = values.into_iter().map(|v| Row::new(near.key.clone(), vec![v])).collect();
                let rows = view.get(&near.name, &keys).await?;
                rows.into_iter().enumerate().filter_map(|(i, row)| Some((i, row?))).collect()
            } else {
                let found = view.find(&near.name, column, &values).await?;
                found.into_iter().map(|(i, stored)| (i, stored.row)).collect()
            };
            let next = further.lead().0;
            let leads = rows.into_iter().filter_map(|(i, row)| {
                let value = row.get(next).filter(|value| !value.is_null())?;
                Some((value.clone(), *records.get(i)?))
            });
            let leads = leads.collect();
            self.walk(view, further, leads, roots).await
        })
    }
}
