//! `map`: changes the rows of a table with a VRL program.
//!
//! ```yaml
//! - map:
//!     table: transaction              # may be left out where only one table flows
//!     vrl: |
//!       .label = upcase(string(.counterparty) ?? "")
//!       del(.note)
//! ```
//!
//! Invariants: fields that the program does not assign keep their exact values; the key stays; `before` is dropped,
//! since it would show what the program hid. Assigned values come back as [`from_vrl`] gives them; after an assignment
//! to the whole row (`. = …`) those fields that are still what they were keep their exact values.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::expr::{Access, Evaluator, Expression, Scope, Touched, VrlValue, from_vrl, to_vrl};
use crate::pipeline::{Field, Flow, Problem, Section, Spanned, TableFlow};
use crate::record::{Batch, Column, Kind, Row, TableSchema, Value};
use crate::stage::Stage;

/// Shapes that a lane remembers; more mean that a program makes up names from values.
const MAX_SHAPES: usize = 64;

/// The stage.
pub struct Map {
    table: Option<Spanned<String>>,
    source: Spanned<String>,
    program: Option<Program>,
    evaluator: Evaluator,
}

/// Reads the section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Stage> {
    let source = section.text_or_self("vrl");
    Box::new(Map { table: section.text("table"), source, program: None, evaluator: Evaluator::default() })
}

#[async_trait]
impl Stage for Map {
    fn plan(&mut self, mut input: Flow) -> Result<Flow, Vec<Problem>> {
        let table = self.table(&input).map_err(|problem| vec![problem])?;
        let flow = input.check_table(&table).map_err(|problem| vec![problem])?.cloned();
        let flow = flow.unwrap_or(TableFlow { open: true, ..TableFlow::default() });
        let scope = Scope::new(&flow.fields, flow.open);
        let expression = Expression::compile(&self.source, &scope, Access::Write)?;
        let written: BTreeSet<String> = expression.writes().iter().filter_map(|path| path.first().cloned()).collect();
        if let Some(key) = flow.key.iter().find(|key| written.contains(*key) || expression.kind_after(key).is_none()) {
            let message = format!("`{key}` is part of the key of `{}` and has to stay as it is", table.value);
            return Err(vec![self.source.problem("map.key", message)]);
        }
        input.tables.insert(table.value.clone(), flow_after(flow, &expression, &written));
        let touched = Touched::by([&expression]);
        self.program = Some(Program { table: table.value, expression, touched, written, shapes: Vec::new() });
        Ok(input)
    }

    async fn process(&mut self, mut batch: Batch) -> Result<Batch> {
        let Some(program) = &mut self.program else { return Ok(batch) };
        let records = std::mem::take(&mut batch.records);
        batch.records.reserve(records.len());
        for mut record in records {
            let Some(row) = record.row.as_ref().filter(|_| *record.table == *program.table) else {
                batch.records.push(record);
                continue;
            };
            match program.run(&mut self.evaluator, row) {
                Ok(row) => {
                    record.row = Some(row);
                    record.before = None;
                    batch.records.push(record);
                }
                Err(reason) => batch.reject(&record, "expression.failed", format!("map: {reason}")),
            }
        }
        Ok(batch)
    }
}

impl Map {
    fn table(&self, input: &Flow) -> Result<Spanned<String>, Problem> {
        match (&self.table, input.tables.keys().next()) {
            (Some(table), _) => Ok(table.clone()),
            (None, Some(only)) if input.tables.len() == 1 && !input.open => Ok(self.source.with(only.clone())),
            _ => Err(self.source.problem("key.missing", "several tables may flow here: `table` has to name one")),
        }
    }
}

/// A table's fields after the program. A field that it assigns may depend on everything that it reads.
fn flow_after(flow: TableFlow, expression: &Expression, written: &BTreeSet<String>) -> TableFlow {
    let whole = expression.writes().iter().any(Vec::is_empty);
    let touched = Touched::by([expression]);
    let read: Vec<&Field> = flow.fields.iter().filter(|f| touched.contains(&f.name)).collect();
    let union = |of: fn(&Field) -> &[String]| -> Vec<String> {
        read.iter().flat_map(|f| of(f).iter().cloned()).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let made = |name: &String, kind: Kind| Field {
        name: name.clone(),
        kind,
        origin: union(|f| &f.origin),
        tags: union(|f| &f.tags),
    };
    let kept = |f: &Field| match expression.kind_after(&f.name) {
        Some(kind) if whole || written.contains(&f.name) => Some(made(&f.name, kind)),
        after => after.map(|_| f.clone()),
    };
    let mut fields: Vec<Field> = flow.fields.iter().filter_map(kept).collect();
    for name in written.iter().filter(|name| flow.field(name).is_none()) {
        fields.extend(expression.kind_after(name).map(|kind| made(name, kind)));
    }
    TableFlow { fields, open: flow.open || whole, key: flow.key.clone() }
}

struct Program {
    table: String,
    expression: Expression,
    touched: Touched,
    written: BTreeSet<String>,
    /// Input schema and what came out of it, so that rows go on sharing their schemas.
    shapes: Vec<(Arc<TableSchema>, Arc<TableSchema>)>,
}

impl Program {
    fn run(&mut self, evaluator: &mut Evaluator, row: &Row) -> Result<Row, String> {
        let mut target = self.touched.target(row)?;
        evaluator.eval(&self.expression, &mut target)?;
        let VrlValue::Object(mut after) = target else {
            return Err("the program left no row: it assigned something else to `.`".to_string());
        };
        let mut columns: Vec<Column> = Vec::with_capacity(row.values().len() + self.written.len());
        let mut values: Vec<Value> = Vec::with_capacity(columns.capacity());
        for (column, old) in row.schema().columns.iter().zip(row.values()) {
            let value = match after.remove(&*column.name) {
                None if self.touched.contains(&column.name) => continue,
                None => old.clone(),
                Some(new) if self.written.contains(&*column.name) => from_vrl(new),
                Some(new) if to_vrl(old).as_ref() == Ok(&new) => old.clone(),
                Some(new) => from_vrl(new),
            };
            columns.push(column.clone());
            values.push(value);
        }
        for (name, value) in after {
            let kind = self.expression.kind_after(&name).unwrap_or_default();
            columns.push(Column { name: name.as_str().into(), kind });
            values.push(from_vrl(value));
        }
        Ok(Row::new(self.shape(row.schema(), columns), values))
    }

    fn shape(&mut self, input: &Arc<TableSchema>, columns: Vec<Column>) -> Arc<TableSchema> {
        let known = |(from, to): &&(Arc<TableSchema>, Arc<TableSchema>)| {
            Arc::ptr_eq(from, input) && to.columns.iter().map(|c| &c.name).eq(columns.iter().map(|c| &c.name))
        };
        if let Some((_, shape)) = self.shapes.iter().find(known) {
            return shape.clone();
        }
        let kind = |c: Column| match self.written.contains(&*c.name) {
            true => Column { kind: self.expression.kind_after(&c.name).unwrap_or_default(), ..c },
            false => c,
        };
        let shape = Arc::new(TableSchema { columns: columns.into_iter().map(kind).collect() });
        if self.shapes.len() >= MAX_SHAPES {
            self.shapes.clear();
        }
        self.shapes.push((input.clone(), shape.clone()));
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{plan, record};
    use super::*;

    fn row() -> Row {
        let amount = Value::Decimal("-12.50".parse().unwrap());
        Row::of([("id", Value::Int(7)), ("status", "booked".into()), ("amount", amount), ("note", "x".into())])
    }

    async fn run(yaml: &str) -> (Batch, Flow) {
        let (mut stage, flow) = plan(make, yaml).unwrap();
        let batch = Batch { records: vec![record("t", row()), record("u", row())], ..Batch::default() };
        (stage.process(batch).await.unwrap(), flow)
    }

    #[tokio::test]
    async fn assigned_fields_change_and_the_others_stay_exact() {
        let (batch, flow) =
            run("{ table: t, vrl: '.label = upcase(string!(.status)); .status = 3; del(.note)' }").await;
        let amount = Value::Decimal("-12.50".parse().unwrap());
        let expected =
            Row::of([("id", Value::Int(7)), ("status", Value::Int(3)), ("amount", amount), ("label", "BOOKED".into())]);
        let got = batch.records[0].row.as_ref().unwrap();
        assert_eq!(got.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
        assert_eq!(batch.records[1].row.as_ref(), Some(&row()));
        let fields: Vec<_> = flow.tables["t"].fields.iter().map(|f| (f.name.as_str(), f.kind.to_string())).collect();
        let expected = [("id", "int64"), ("status", "int64"), ("amount", "decimal(12,2)"), ("label", "text")];
        assert_eq!(fields, expected.map(|(name, kind)| (name, kind.to_string())));
        assert_eq!(flow.tables["t"].field("label").unwrap().origin, ["t.note", "t.status"]);
    }

    #[tokio::test]
    async fn after_an_assignment_to_the_whole_row_what_is_unchanged_stays_exact() {
        let (batch, _) = run("{ table: t, vrl: '. = merge(object!(.), {\"status\": \"new\"})' }").await;
        let got = batch.records[0].row.as_ref().unwrap();
        assert!(matches!(got.get("amount"), Some(Value::Decimal(_))));
        assert_eq!(got.get("status"), Some(&"new".into()));
    }

    #[tokio::test]
    async fn rows_of_one_schema_go_on_sharing_theirs() {
        let (mut stage, _) = plan(make, "{ table: t, vrl: '.x = 1' }").unwrap();
        let one = record("t", row());
        let batch = Batch { records: vec![one.clone(), one], ..Batch::default() };
        let batch = stage.process(batch).await.unwrap();
        let schema = |i: usize| batch.records[i].row.as_ref().unwrap().schema().clone();
        assert!(Arc::ptr_eq(&schema(0), &schema(1)));
    }

    #[tokio::test]
    async fn a_failing_program_parks_the_record() {
        let (batch, _) = run("{ table: t, vrl: '.n = to_int!(.status)' }").await;
        assert_eq!(batch.records.len(), 1);
        assert_eq!(batch.rejects[0].code, "expression.failed");
    }

    #[test]
    fn keys_and_missing_tables_are_refused() {
        let code = |yaml: &str| plan(make, yaml).map(|_| ()).unwrap_err()[0].code;
        assert_eq!(code("{ table: t, vrl: '.id = 3' }"), "map.key");
        assert_eq!(code("{ table: t, vrl: 'del(.id)' }"), "map.key");
        assert_eq!(code("'.status = 3'"), "key.missing");
        assert_eq!(code("{ table: tt, vrl: '.status = 3' }"), "table.unknown");
        assert_eq!(code("{ table: t, vrl: '.status = upcase(.note)' }"), "expression.invalid");
    }
}
