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
//! Invariants: fields that the program does not assign keep their exact values, also beside an assigned one in the same
//! nested document; the key stays; `before` is dropped, since it would show what the program hid. Assigned values come
//! back as [`from_vrl`] gives them; after an assignment to the whole row (`. = …`) those fields that are still what they
//! were keep their exact values.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytestring::ByteString;

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
        let expression = Expression::compile(&self.source, &Scope::of(&flow), Access::Write)?;
        let written: BTreeSet<String> = expression.writes().iter().filter_map(|path| path.first().cloned()).collect();
        // A document need not show its key; what it does not show cannot be changed.
        let mut shown = flow.key.iter().filter(|key| flow.open || flow.field(key).is_some());
        if let Some(key) = shown.find(|key| written.contains(*key) || expression.kind_after(&[key]).is_none()) {
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
    let path = |name: &str| -> Vec<String> {
        if flow.nested { name.split('.').map(str::to_string).collect() } else { vec![name.to_string()] }
    };
    let touches =
        |path: &[String]| expression.reads().iter().chain(expression.writes()).any(|used| overlap(used, path));
    let read: Vec<&Field> = flow.fields.iter().filter(|f| touches(&path(&f.name))).collect();
    let union = |of: fn(&Field) -> &[String]| -> Vec<String> {
        read.iter().flat_map(|f| of(f).iter().cloned()).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let made = |name: &String, kind: Kind| Field {
        name: name.clone(),
        kind,
        origin: union(|f| &f.origin),
        tags: union(|f| &f.tags),
    };
    let kept = |f: &Field| {
        let path = path(&f.name);
        let kind = expression.kind_after(&path.iter().map(String::as_str).collect::<Vec<_>>())?;
        let assigned = expression.writes().iter().any(|written| overlap(written, &path));
        Some(if assigned { made(&f.name, kind) } else { f.clone() })
    };
    let mut fields: Vec<Field> = flow.fields.iter().filter_map(kept).collect();
    for name in written {
        let after = match flow.nested {
            true => expression.fields_after(name),
            false => expression.kind_after(&[name]).map(|kind| (name.clone(), kind)).into_iter().collect(),
        };
        for (name, kind) in after {
            if !fields.iter().any(|known| overlap(&path(&known.name), &path(&name))) {
                fields.push(made(&name, kind));
            }
        }
    }
    TableFlow { fields, open: flow.open || whole, nested: flow.nested, key: flow.key.clone() }
}

/// Whether one of two paths is the other, or lies below it.
fn overlap(a: &[String], b: &[String]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
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
        let assigned: Vec<&[String]> = self.expression.writes().iter().map(Vec::as_slice).collect();
        let mut columns: Vec<Column> = Vec::with_capacity(row.values().len() + self.written.len());
        let mut values: Vec<Value> = Vec::with_capacity(columns.capacity());
        for (column, old) in row.schema().columns.iter().zip(row.values()) {
            let value = match after.remove(&*column.name) {
                None if self.touched.contains(&column.name) => continue,
                None => old.clone(),
                Some(new) => exact(old, new, &below(&column.name, &assigned)),
            };
            columns.push(column.clone());
            values.push(value);
        }
        for (name, value) in after {
            let kind = self.expression.kind_after(&[&name]).unwrap_or_default();
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
            true => Column { kind: self.expression.kind_after(&[&c.name]).unwrap_or_default(), ..c },
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

/// `new` as a value; whatever in it is not assigned by one of the paths and still what it was in `old` keeps the exact
/// value of `old`.
fn exact(old: &Value, new: VrlValue, assigned: &[&[String]]) -> Value {
    if assigned.iter().any(|path| path.is_empty()) {
        return from_vrl(new);
    }
    match (old, new) {
        (Value::Map(old), VrlValue::Object(mut new)) => {
            let kept = |(name, value): &(ByteString, Value)| {
                let new = new.remove(&**name)?;
                Some((name.clone(), exact(value, new, &below(name, assigned))))
            };
            let mut entries: Vec<_> = old.iter().filter_map(kept).collect();
            entries.extend(new.into_iter().map(|(name, value)| (String::from(name).into(), from_vrl(value))));
            Value::Map(entries)
        }
        (old, new) if to_vrl(old).as_ref() == Ok(&new) => old.clone(),
        (_, new) => from_vrl(new),
    }
}

/// What is left of those `paths` that start with `name`.
fn below<'a>(name: &str, paths: &[&'a [String]]) -> Vec<&'a [String]> {
    paths
        .iter()
        .filter_map(|path| path.split_first())
        .filter(|(first, _)| *first == name)
        .map(|(_, rest)| rest)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{plan, plan_behind, record, table};
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

    /// A stream of documents with a customer in each; their key, `id`, is not one of their fields.
    fn documents() -> Flow {
        let columns = [("id", "int64"), ("customer.name", "text"), ("customer.limit", "decimal(12,2)"), ("at", "text")];
        let (name, mut documents) = table("d", &columns);
        documents.fields.remove(0);
        documents.nested = true;
        Flow { tables: [(name, documents)].into(), ..Flow::default() }
    }

    fn fields(flow: &Flow) -> Vec<(String, String, Vec<String>)> {
        let fields = &flow.tables["d"].fields;
        fields.iter().map(|f| (f.name.clone(), f.kind.to_string(), f.origin.clone())).collect()
    }

    #[tokio::test]
    async fn beside_an_assigned_nested_field_the_others_stay_exact() {
        let program = "'.customer.name = upcase(string!(.customer.name)); .customer.city = {\"code\": 7}; .from = {\"app\": \"x\"}'";
        let (mut stage, flow) = plan_behind(make, program, documents()).unwrap();
        let field = |name: &str, kind: &str, origin: &[&str]| {
            (name.to_string(), kind.to_string(), origin.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let from = ["d.customer.name"];
        assert_eq!(
            fields(&flow),
            [
                field("customer.name", "text", &from),
                field("customer.limit", "decimal(12,2)", &["d.customer.limit"]),
                field("at", "text", &["d.at"]),
                field("customer.city.code", "int64", &from),
                field("from.app", "text", &from),
            ]
        );
        let limit = Value::Decimal("500.00".parse().unwrap());
        let customer = |name: &str| vec![("name".into(), name.into()), ("limit".into(), limit.clone())];
        let row = Row::of([("customer", Value::Map(customer("Ada"))), ("at", "noon".into())]);
        let batch = Batch { records: vec![record("d", row)], ..Batch::default() };
        let batch = stage.process(batch).await.unwrap();
        let mut expected = customer("ADA");
        expected.push(("city".into(), Value::Map(vec![("code".into(), Value::Int(7))])));
        let got = batch.records[0].row.as_ref().unwrap();
        assert_eq!(got.get("customer"), Some(&Value::Map(expected)));
        assert_eq!(got.get("from"), Some(&Value::Map(vec![("app".into(), "x".into())])));
    }

    #[test]
    fn what_is_deleted_or_replaced_is_no_longer_known() {
        let after = |program: &str| fields(&plan_behind(make, program, documents()).unwrap().1);
        let names = |program: &str| after(program).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
        assert_eq!(names("'del(.customer.limit)'"), ["customer.name", "at"]);
        assert_eq!(names("'.customer = {\"name\": 3, \"vip\": true}'"), ["customer.name", "at", "customer.vip"]);
        assert_eq!(after("'.customer = {\"name\": 3}'")[0].1, "int64");
        assert_eq!(names("'.customer = null'"), ["at", "customer"]);
        let code = |yaml: &str| plan_behind(make, yaml, documents()).map(|_| ()).unwrap_err()[0].code;
        assert_eq!(code("'.x = .customer.nmae'"), "field.unknown");
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
