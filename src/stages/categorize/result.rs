//! What a verdict looks like as added columns or as a stored row of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytestring::ByteString;

use super::shape::{Shape, added};
use crate::model::{Candidate, Categorizer, Source, Verdict};
use crate::pipeline::{Field, TableFlow};
use crate::record::{Column, Kind, Op, Position, Record, Row, TableSchema, Value};

/// Column of a result, where rows are corrected by text: the normal form of the row's text.
pub const MERCHANT: &str = "merchant";

/// Columns of a stored result, behind the key's.
fn columns(explains: bool, merchants: bool) -> Vec<(&'static str, Kind)> {
    let mut columns = vec![
        ("category", Kind::Text),
        ("confidence", Kind::Float64),
        ("top3", Kind::List(Box::new(Kind::Map))),
        ("model", Kind::Text),
        ("source", Kind::Text),
    ];
    if explains {
        columns.push(("because", Kind::List(Box::new(Kind::Map))));
    }
    if merchants {
        columns.push((MERCHANT, Kind::Text));
    }
    columns
}

/// The fields that `add` adds; they come from the fields that decide.
pub fn added_fields(add: &str, read: &[Field]) -> Vec<Field> {
    added(add).into_iter().map(|(name, kind)| derived(name, kind, read)).collect()
}

/// The table of results: the key of the categorized table and the result.
pub fn table_flow(table: &TableFlow, read: &[Field], results: &Results) -> TableFlow {
    let key = table.key.iter().filter_map(|name| table.field(name).cloned());
    let result = columns(results.explains, results.merchants)
        .into_iter()
        .map(|(name, kind)| derived(name.to_string(), kind, read));
    // Where the messages bring the key, its columns are not known here.
    let open = table.open || table.key.is_empty();
    TableFlow { fields: key.chain(result).collect(), open, nested: false, key: table.key.clone() }
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

/// The answer to a row.
pub struct Answered<'a> {
    /// Who answered.
    pub model: &'a Categorizer,
    /// The category, corrections included.
    pub verdict: &'a Verdict<'a>,
    /// The normal text by which corrections find the row.
    pub merchant: Option<ByteString>,
    /// What decided, where that was asked for.
    pub because: Vec<(ByteString, f32)>,
}

/// Makes the records of results.
pub struct Results {
    table: Arc<str>,
    /// Whether results say what decided.
    pub explains: bool,
    /// Whether results keep the text by which corrections find them.
    pub merchants: bool,
    /// Schema of a key and of the results that go with it.
    schemas: Option<(Arc<TableSchema>, Arc<TableSchema>)>,
    /// Version and place of the snapshot that results are made from.
    at: (u64, Position),
    category: ByteString,
    confidence: ByteString,
}

impl Results {
    /// Results for the table called `table`.
    pub fn new(table: &str, explains: bool, merchants: bool) -> Self {
        let (category, confidence) = ("category".into(), "confidence".into());
        let at = (0, Position::derived(0));
        Results { table: table.into(), explains, merchants, schemas: None, at, category, confidence }
    }

    /// The results that follow are made from the snapshot with this version.
    pub fn at(&mut self, version: u64) {
        self.at = (version, Position::derived(version));
    }

    /// The result of a row that is there.
    pub fn record(&mut self, cause: &Record, key: Row, op: Op, answered: Answered<'_>) -> Record {
        let Answered { model, verdict, merchant, because } = answered;
        let schema = self.schema(key.schema());
        let mut values = Vec::with_capacity(schema.columns.len());
        values.extend_from_slice(key.values());
        values.extend([
            Value::Text(verdict.category.clone()),
            confidence(verdict.confidence),
            verdict.answer.map_or(Value::Null, |answer| self.top3(&answer.top, model)),
            Value::Text(model.id.clone()),
            source(verdict.source),
        ]);
        if self.explains {
            values.push(Value::List(because.into_iter().map(word).collect()));
        }
        if self.merchants {
            values.push(merchant.map_or(Value::Null, Value::Text));
        }
        Record { op, row: Some(Row::new(schema, values)), ..self.without_row(cause, key) }
    }

    /// What becomes of the result when the row is gone.
    pub fn without_row(&self, cause: &Record, key: Row) -> Record {
        let (version, position) = self.at.clone();
        Record {
            table: self.table.clone(),
            op: Op::Delete,
            key,
            row: None,
            patch: None,
            before: None,
            position,
            version,
            changed_at: cause.changed_at,
            snapshot: Default::default(),
            origin: cause.origin,
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
        all.extend(
            columns(self.explains, self.merchants).into_iter().map(|(name, kind)| Column { name: name.into(), kind }),
        );
        let schema = Arc::new(TableSchema { columns: all });
        self.schemas = Some((key.clone(), schema.clone()));
        schema
    }
}

/// A word and what it added to the category's margin.
fn word((word, weight): (ByteString, f32)) -> Value {
    let [name, of] = ["word", "weight"].map(ByteString::from_static);
    Value::Map(vec![(name, Value::Text(word)), (of, confidence(weight))])
}

/// Four digits are more than calibration can promise.
fn confidence(share: f32) -> Value {
    Value::Float((f64::from(share) * 10_000.0).round() / 10_000.0)
}

fn source(source: Source) -> Value {
    Value::Text(ByteString::from_static(source.as_str()))
}
