//! Columns that are added, dropped or retyped while events flow. What a pipeline was checked with no longer holds then, so
//! its plan is made again with the new columns, and a pipeline that cannot be right any more stops before it has written
//! anything from them.
//!
//! The raw store follows every change by itself. The last known columns of each table are remembered in the state store,
//! with the place from which on they hold: an older event that is read again is no change.
//!
//! Deliberately absent: renames. A source tells them as a drop and an addition.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pipeline::{Pipeline, SchemaPolicy};
use crate::record::{Column, Order, Position, Record, TableSchema, supersedes};
use crate::stage::LaneContext;
use crate::stores::SharedStore;

/// What one lane knows about the columns of tables.
pub struct Shapes {
    pipeline: Arc<Pipeline>,
    opened: Option<(SharedStore, bool)>,
    /// The schema that each table's last row had: as long as rows share it, nothing has to be compared.
    last: FxHashMap<Arc<str>, Arc<TableSchema>>,
}

/// What is remembered of a table.
#[derive(Serialize, Deserialize)]
struct Known {
    columns: Vec<Column>,
    /// The first row that had them, as far as was seen.
    since: Position,
}

impl Shapes {
    /// Nothing is known yet.
    pub fn new(pipeline: Arc<Pipeline>) -> Self {
        Shapes { pipeline, opened: None, last: FxHashMap::default() }
    }

    /// Opens the state store.
    pub async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        let store = lane.stores.get(&lane.state).await.map_err(|e| e.at("state store"))?;
        self.opened = Some((store, lane.accepted.schema));
        Ok(())
    }

    /// Looks at the columns of the records that the first stage gave.
    pub async fn observe(&mut self, records: &[Record]) -> Result<()> {
        for record in records {
            let Some(row) = &record.row else { continue };
            match self.last.get(&record.table) {
                Some(last) if Arc::ptr_eq(last, row.schema()) => continue,
                Some(last) if same(&last.columns, &row.schema().columns) => {}
                _ => self.compare(record, row.schema()).await?,
            }
            self.last.insert(record.table.clone(), row.schema().clone());
        }
        Ok(())
    }

    async fn compare(&self, record: &Record, now: &TableSchema) -> Result<()> {
        let Some((store, accepted)) = &self.opened else { return Ok(()) };
        let flow = self.pipeline.steps.get(1).map(|step| &step.flow);
        let policy = flow.map_or(SchemaPolicy::Ignore, |flow| flow.on_schema_change.of(&record.table));
        if policy == SchemaPolicy::Ignore {
            return Ok(());
        }
        let name = format!("columns/{}/{}", self.pipeline.name, record.table);
        loop {
            let text = store.facts(&name).await?.remove(&name);
            let known: Option<Known> = text.as_deref().map(|text| read(&name, text)).transpose()?;
            if let Some(known) = &known {
                let is_old = supersedes(&known.since, &record.position) != Order::Newer;
                if is_old || same(&known.columns, &now.columns) {
                    return Ok(());
                }
                self.judge(record, known, now, policy, *accepted)?;
            }
            let columns = now.columns.clone();
            let known = serde_json::to_string(&Known { columns, since: record.position.clone() });
            let known = known.map_err(|e| Error::Broken(format!("the columns of {}: {e}", record.table)))?;
            if store.replace_fact(&name, text.as_deref(), &known).await? {
                return Ok(());
            }
            // Another lane was faster: compare with what it remembered.
        }
    }

    /// Whether the pipeline may go on with the columns `now`.
    fn judge(
        &self,
        record: &Record,
        known: &Known,
        now: &TableSchema,
        policy: SchemaPolicy,
        accepted: bool,
    ) -> Result<()> {
        let before = TableSchema { columns: known.columns.clone() };
        let change = difference(&before, now);
        let Position { topic, partition, offset, .. } = &record.position;
        let place = format!("table {}: {change} (topic {topic} partition {partition} offset {offset})", record.table);
        let wrong = self.pipeline.check_again(&record.table, &before, now);
        if !wrong.is_empty() {
            return Err(Error::Broken(format!(
                "{place}, and this pipeline can no longer be right: {}. nothing of it has been written; mend the file and \
                 start again, it goes on from here",
                wrong.join("; ")
            )));
        }
        if policy == SchemaPolicy::Pause && !accepted {
            return Err(Error::Broken(format!(
                "{place}, and `on_schema_change: pause` holds for it. nothing of it has been written; run once with \
                 --accept-schema to go on from here"
            )));
        }
        tracing::warn!(pipeline = &*self.pipeline.name, "the columns have changed, going on: {place}");
        Ok(())
    }
}

fn read(name: &str, text: &str) -> Result<Known> {
    serde_json::from_str(text).map_err(|_| Error::Broken(format!("the fact {name} in the state store does not read")))
}

/// Whether both have the same columns, in any order.
fn same(a: &[Column], b: &[Column]) -> bool {
    a == b || (a.len() == b.len() && a.iter().all(|column| b.contains(column)))
}

/// What has changed, in words.
fn difference(before: &TableSchema, now: &TableSchema) -> String {
    let mut changes = Vec::new();
    for column in &now.columns {
        match before.column(&column.name) {
            None => changes.push(format!("column {} was added", column.name)),
            Some(old) if old.kind != column.kind => {
                changes.push(format!("column {} was {} and is {}", column.name, old.kind, column.kind));
            }
            Some(_) => {}
        }
    }
    let gone = before.columns.iter().filter(|column| now.column(&column.name).is_none());
    changes.extend(gone.map(|column| format!("column {} was dropped", column.name)));
    changes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Kind;

    #[test]
    fn changes_are_told_in_words() {
        let before = TableSchema::new([("id", Kind::Int64), ("a", Kind::Int64), ("b", Kind::Text)]);
        let now = TableSchema::new([("c", Kind::Bool), ("a", Kind::Text), ("id", Kind::Int64)]);
        assert_eq!(
            difference(&before, &now),
            "column c was added, column a was int64 and is text, column b was dropped"
        );
        assert!(!same(&before.columns, &now.columns));
        let turned = TableSchema::new([("a", Kind::Int64), ("id", Kind::Int64), ("b", Kind::Text)]);
        assert!(same(&before.columns, &turned.columns));
    }
}
