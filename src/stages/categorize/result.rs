//! What a verdict looks like as added columns or as a stored row of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytestring::ByteString;

use super::shape::{Shape, added};
use crate::model::{Candidate, Categorizer, Source, Verdict};
use crate::pipeline::{Field, TableFlow};
use crate::record::{Column, Kind, Record, Row, TableSchema, Value};

/// Columns of a stored result, behind the key's.
fn columns() -> [(&'static str, Kind); 5] {
    [
        ("category", Kind::Text),
        ("confidence", Kind::Float64),
        ("top3", Kind::List(Box::new(Kind::Map))),
        ("model", Kind::Text),
        ("source", Kind::Text),
    ]
}

/// The fields that `add` adds; they come from the fields that decide.
pub fn added_fields(add: &str, read: &[Field]) -> Vec<Field> {
    added(add).into_iter().map(|(name, kind)| derived(name, kind, read)).collect()
}

/// The table of results: the key of the categorized table and the result.
pub fn table_flow(table: &TableFlow, read: &[Field]) -> TableFlow {
    let key = table.key.iter().filter_map(|name| table.field(name).cloned());
    let result = columns().into_iter().map(|(name, kind)| derived(name.to_string(), kind, read));
    // Where the messages bring the key, its columns are not known here.
    let open = table.open || table.key.is_empty();
    TableFlow { fields: key.chain(result).collect(), open, key: table.key.clone() }
}

fn derived(name: String, kind: Kind, read: &[Field]) -> Field {
    let union = |of: fn(&Field) -> &[String]| -> Vec<String> {
        read.iter().flat_map(|f| of(f).iter().cloned()).collect::<BTreeSet<_>>().into_iter().collect()
    };
    Field { name, kind, origin: union(|f| &f.origin), tags: union(|f| &f.tags) }
}

/// The row with its category; unchanged while the text is.
pub fn extended(row: Row, shape: &Shape, verdict: Option<Verdict<'_>>) -> Row {
    let mut values = row.into_values();
    match verdict {
        Some(v) => values.extend([Value::Text(v.category.clone()), confidence(v.confidence), source(v.source)]),
        None => values.extend([Value::Unchanged, Value::Unchanged, Value::Unchanged]),
    }
    Row::new(shape.output.clone(), values)
}

/// Makes the records of results.
pub struct Results {
    table: Arc<str>,
    /// Schema of a key and of the results that go with it.
    schemas: Option<(Arc<TableSchema>, Arc<TableSchema>)>,
    category: ByteString,
    confidence: ByteString,
}

impl Results {
    /// Results for the table called `table`.
    pub fn new(table: &str) -> Self {
        let (category, confidence) = ("category".into(), "confidence".into());
        Results { table: table.into(), schemas: None, category, confidence }
    }

    /// The result of an inserted or changed row.
    pub fn record(&mut self, of: &Record, model: &Categorizer, verdict: &Verdict<'_>) -> Record {
        let schema = self.schema(of.key.schema());
        let mut values = Vec::with_capacity(schema.columns.len());
        values.extend_from_slice(of.key.values());
        values.extend([
            Value::Text(verdict.category.clone()),
            confidence(verdict.confidence),
            verdict.answer.map_or(Value::Null, |answer| self.top3(&answer.top, model)),
            Value::Text(model.id.clone()),
            source(verdict.source),
        ]);
        Record { row: Some(Row::new(schema, values)), ..self.without_row(of) }
    }

    /// What becomes of the result when the row is gone.
    pub fn without_row(&self, of: &Record) -> Record {
        Record {
            table: self.table.clone(),
            op: of.op,
            key: of.key.clone(),
            row: None,
            patch: None,
            before: None,
            position: of.position.clone(),
            version: of.version,
            changed_at: of.changed_at,
            origin: of.origin,
        }
    }

    fn top3(&self, top: &[Candidate], model: &Categorizer) -> Value {
        let candidate = |(class, share): &Candidate| {
            Value::Map(vec![
                (self.category.clone(), Value::Text(model.class(*class).clone())),
                (self.confidence.clone(), confidence(*share)),
            ])
        };
        Value::List(top.iter().filter(|(_, share)| *share > 0.0).map(candidate).collect())
    }

    fn schema(&mut self, key: &Arc<TableSchema>) -> Arc<TableSchema> {
        if let Some((known, schema)) = &self.schemas
            && Arc::ptr_eq(known, key)
        {
            return schema.clone();
        }
        let mut all: Vec<Column> = key.columns.clone();
        all.extend(columns().into_iter().map(|(name, kind)| Column { name: name.into(), kind }));
        let schema = Arc::new(TableSchema { columns: all });
        self.schemas = Some((key.clone(), schema.clone()));
        schema
    }
}

/// Four digits are more than calibration can promise.
fn confidence(share: f32) -> Value {
    Value::Float((f64::from(share) * 10_000.0).round() / 10_000.0)
}

fn source(source: Source) -> Value {
    Value::Text(ByteString::from_static(source.as_str()))
}
