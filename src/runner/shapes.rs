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
    /// What is remembered of each table, and a schema that is the same: as long as rows share it, nothing is compared.
    seen: FxHashMap<Arc<str>, (Arc<TableSchema>, Known)>,
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
        Shapes { pipeline, opened: None, seen: FxHashMap::default() }
    }

    /// Opens the state store.
    pub async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        let store = lane.stores.get(&lane.state).await.map_err(|e| e.at("state store"))?;
        self.opened = Some((store, lane.accepted.schema));
        Ok(())
    }

    /// Looks at the columns of the records that the first stage gave.
    pub async fn observe(&mut self, records: &[Record]) -> Result<()> {
        let mut last: Option<&Arc<TableSchema>> = None;
        for record in records {
            let Some(row) = &record.row else { continue };
            let schema = row.schema();
            // Most rows follow one of their own table.
            if last.replace(schema).is_some_and(|last| Arc::ptr_eq(last, schema)) {
                continue;
            }
            match self.seen.get_mut(&record.table) {
                Some((shared, _)) if Arc::ptr_eq(shared, schema) => continue,
                Some((shared, known)) if same(&known.columns, &schema.columns) => {
                    *shared = schema.clone();
                    continue;
                }
                // An older event that is read again.
                Some((_, known)) if supersedes(&known.since, &record.position) != Order::Newer => continue,
                _ => {}
            }
            if let Some(known) = self.compare(record, schema).await? {
                let shared = Arc::new(TableSchema { columns: known.columns.clone() });
                self.seen.insert(record.table.clone(), (shared, known));
            }
        }
        Ok(())
    }

    /// Compares with what is remembered; gives what is remembered from now on, nothing where nobody asks for it.
    async fn compare(&self, record: &Record, now: &TableSchema) -> Result<Option<Known>> {
        let Some((store, accepted)) = &self.opened else { return Ok(None) };
        let flow = self.pipeline.steps.get(1).map(|step| &step.flow);
        let policy = flow.map_or(SchemaPolicy::Ignore, |flow| flow.on_schema_change.of(&record.table));
        if policy == SchemaPolicy::Ignore {
            return Ok(None);
        }
        let name = format!("columns/{}/{}", self.pipeline.name, record.table);
        loop {
            let text = store.facts(&name).await?.remove(&name);
            let known: Option<Known> = text.as_deref().map(|text| read(&name, text)).transpose()?;
            if let Some(known) = known {
                let is_old = supersedes(&known.since, &record.position) != Order::Newer;
                if is_old || same(&known.columns, &now.columns) {
                    return Ok(Some(known));
                }
                self.judge(record, &known, now, policy, *accepted)?;
            }
            let known = Known { columns: now.columns.clone(), since: record.position.clone() };
            let next = serde_json::to_string(&known);
            let next = next.map_err(|e| Error::Broken(format!("the columns of {}: {e}", record.table)))?;
            if store.replace_fact(&name, text.as_deref(), &next).await? {
                return Ok(Some(known));
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
    use crate::record::{Epoch, Kind, Op, Row, SourcePosition, Value};
    use crate::stores::Stores;

    /// A pipeline that uses the column `owner`.
    const PIPELINE: &str = "
name: accounts
source: { file: { path: none.jsonl } }
stages:
  - debezium: {}
  - raw: bank
  - document: { root: account, fields: { owner: .owner } }
  - sqlite: { path: documents.db }
";

    fn record(columns: &[&str], offset: i64) -> Record {
        let row = Row::of(columns.iter().map(|name| (*name, Value::Int(1))));
        let (topic, epoch, source) = ("t".into(), Epoch::default(), SourcePosition::Unknown);
        Record {
            table: "account".into(),
            op: Op::Update,
            key: Row::empty(),
            row: Some(row),
            patch: None,
            before: None,
            position: Position { topic, epoch, partition: 0, offset, source },
            version: 0,
            changed_at: None,
            snapshot: Default::default(),
            origin: 0,
        }
    }

    async fn shapes(dir: &std::path::Path) -> Shapes {
        let pipeline = crate::pipeline::load_text("a.yaml", PIPELINE, &crate::builtin(), &|_: &str| None);
        let pipeline = Arc::new(pipeline.unwrap_or_else(|failure| panic!("{:?}", failure.problems)));
        let mut shapes = Shapes::new(pipeline);
        shapes.opened = Some((Stores::new(dir).get("bank").await.unwrap(), false));
        shapes
    }

    #[tokio::test]
    async fn an_older_event_that_is_read_again_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (record(&["id"], 1), record(&["id", "owner"], 5));
        let mut lane = shapes(dir.path()).await;
        lane.observe(&[old.clone(), new.clone(), old.clone(), new]).await.unwrap();
        // A new process, which reads from before the change.
        let mut lane = shapes(dir.path()).await;
        lane.observe(&[old]).await.unwrap();
        let dropped = lane.observe(&[record(&["id"], 9)]).await.unwrap_err().to_string();
        assert!(dropped.contains("column owner was dropped") && dropped.contains("a.yaml:7:"), "{dropped}");
    }

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
