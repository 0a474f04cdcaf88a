//! Rows alone: what Debezium's transformation `ExtractNewRecordState` leaves of an event.
//!
//! Deletes come in one of its modes: as tombstones (the default; here the tombstone *is* the delete), rewritten with
//! `__deleted: "true"`, both, or not at all. Metadata that was kept (`add.fields`, `add.headers`) stands in columns or
//! headers with the prefix `__`; it names table, operation and position, and is no column of the row.

use std::sync::Arc;

use bytes::Bytes;

use super::Fault;
use super::change::{Context, parse_op};
use super::column::Reader;
use super::decoder::Event;
use super::json::{Next, Text};
use super::payload::Payload;
use super::source::Source;
use crate::record::{Message, Op, Row, TableSchema, Value};

const PREFIX: &str = "__";

/// Decodes a flattened message.
pub fn decode(context: Context<'_>, value: &Bytes) -> Result<Event, Fault> {
    let payload = Payload::find(value, &mut context.topic.values, context.config)?;
    let reader = Reader { doc: &payload.doc, unavailable: &context.config.unavailable };
    let mut cursor = payload.cursor();
    match cursor.next()? {
        Next::Object => {}
        Next::Null => {
            cursor.null()?;
            payload.finish(&mut cursor)?;
            return context.tombstone();
        }
        other => return Err(Fault::new("flattened.shape", format!("expected a row, found {}", other.name()))),
    }
    let table = &mut *context.topic;
    let layouts = match payload.schema {
        Some(schema) => table.values.get(schema).map(|schema| &mut schema.rows),
        None => {
            let index = table.table_of(context.config, &context.message.topic);
            table.tables.get_mut(index).map(|table| &mut table.rows)
        }
    };
    let row = match layouts {
        Some(layouts) => layouts.read(reader, &mut cursor)?,
        None => return Err(Fault::new("flattened.shape", "the row's table is not known")),
    };
    payload.finish(&mut cursor)?;
    judge(context, row)
}

/// Judges a row with its metadata.
pub fn judge(context: Context<'_>, row: Row) -> Result<Event, Fault> {
    let texts: Vec<String> = row.values().iter().map(scalar).collect();
    let mut metadata = Metadata::default();
    metadata.read_headers(context.message);
    for ((name, _), text) in row.iter().zip(&texts) {
        metadata.take(name, text);
    }
    let Metadata { mut source, op, deleted } = metadata;
    source.infer_connector();
    let op = match (deleted, op) {
        ("true", _) => Op::Delete,
        (_, "") => Op::Create,
        (_, op) => parse_op(op, &source)?,
    };
    let row = without_metadata(row);
    context.change(op, &source, None, |_| {
        Ok(match op {
            Op::Truncate => (None, None),
            Op::Delete => (None, Some(row)),
            _ => (Some(row), None),
        })
    })
}

/// A scalar as its text; nothing for null.
fn scalar(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}

#[derive(Default)]
struct Metadata<'a> {
    source: Source<'a>,
    op: &'a str,
    deleted: &'a str,
}

impl<'a> Metadata<'a> {
    fn read_headers(&mut self, message: &'a Message) {
        for (name, value) in &message.headers {
            let text = value.as_deref().and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
            self.take(name, text.trim_matches('"'));
        }
    }

    fn take(&mut self, name: &str, text: &'a str) {
        let text = if text == "null" { "" } else { text };
        match name.strip_prefix(PREFIX).map(|name| name.strip_prefix("source_").unwrap_or(name)) {
            Some("op") => self.op = text,
            Some("deleted") => self.deleted = text,
            Some("table" | "collection") if !text.is_empty() => {
                self.source.table = Some(Text::plain(text));
            }
            Some(name) => {
                if let Some(place) = self.source.place(name) {
                    *place = text;
                }
            }
            None => {}
        }
    }
}

fn is_metadata(name: &str) -> bool {
    let Some(name) = name.strip_prefix(PREFIX) else { return false };
    let name = name.strip_prefix("source_").unwrap_or(name);
    matches!(name, "op" | "deleted" | "table" | "collection") || Source::default().place(name).is_some()
}

fn without_metadata(row: Row) -> Row {
    let schema = row.schema().clone();
    if !schema.columns.iter().any(|column| is_metadata(&column.name)) {
        return row;
    }
    let kept = schema.columns.iter().zip(row.into_values()).filter(|(column, _)| !is_metadata(&column.name));
    let (columns, values): (Vec<_>, Vec<Value>) = kept.map(|(column, value)| (column.clone(), value)).unzip();
    Row::new(Arc::new(TableSchema { columns }), values)
}
