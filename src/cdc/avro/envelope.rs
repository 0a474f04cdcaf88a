//! Debezium's envelope in Avro: its fields are known by name in the writer's schema, and read in its order.

use bytes::Bytes;

use super::binary::Binary;
use super::schema::{AvroSchema, Record};
use crate::cdc::change::{Context, parse_op};
use crate::cdc::decoder::{Event, Format};
use crate::cdc::json::Text;
use crate::cdc::source::Source;
use crate::cdc::{Fault, Unavailable, envelope, flattened};
use crate::record::{Row, Value};

/// Decodes the Avro value that begins at byte `at` of the message's value.
pub fn decode(context: Context<'_>, schema: &AvroSchema, bytes: &Bytes, at: usize) -> Result<Event, Fault> {
    let mut binary = Binary::new(bytes, at, schema, &context.config.unavailable);
    let root = schema.record(0).ok_or_else(|| Fault::new("avro.shape", "expected a record as the message's value"))?;
    if context.config.format == Format::Flattened {
        let row = binary.row(0)?;
        binary.end()?;
        return match row {
            Some(row) => flattened::judge(context, row),
            None => context.tombstone(),
        };
    }
    match (root.index_of("op"), root.index_of("source")) {
        (Some(_), Some(_)) => change(context, schema, root, binary),
        _ => {
            // Transaction metadata, heartbeats and the like are rare: their fields are judged as JSON.
            let row = binary.row(0)?;
            binary.end()?;
            row.map_or_else(|| Err(Fault::new("avro.shape", "the event is null")), |row| envelope::judge_other(&row))
        }
    }
}

/// What was found in an envelope.
#[derive(Default)]
struct Parts {
    before: Option<Row>,
    after: Option<Row>,
    documents: [Option<String>; 2],
    source: Option<Row>,
    op: String,
}

fn change(context: Context<'_>, schema: &AvroSchema, root: &Record, mut binary: Binary<'_>) -> Result<Event, Fault> {
    let mut parts = Parts::default();
    binary.branch(0)?;
    for (field, column) in root.fields.iter().zip(&root.schema.columns) {
        match &*column.name {
            name @ ("before" | "after") if schema.record(*field).is_some() => {
                let row = binary.row(*field).map_err(|fault| fault.in_part(name))?;
                if name == "before" { parts.before = row } else { parts.after = row }
            }
            "source" => parts.source = binary.row(*field).map_err(|fault| fault.in_part("source"))?,
            name => match (name, binary.value(*field, 0).map_err(|fault| fault.in_part(name))?) {
                ("op", Value::Text(op)) => parts.op = op.to_string(),
                ("before", Value::Text(text) | Value::Json(text)) => parts.documents[0] = Some(text.to_string()),
                ("after", Value::Text(text) | Value::Json(text)) => parts.documents[1] = Some(text.to_string()),
                _ => {}
            },
        }
    }
    binary.end()?;
    finish(context, parts)
}

fn finish(context: Context<'_>, parts: Parts) -> Result<Event, Fault> {
    let Some(row) = &parts.source else {
        return Err(Fault::new("envelope.source", "the envelope has no `source`: the table is not known"));
    };
    if parts.documents.iter().any(Option::is_some) {
        return Err(Fault::new(
            "avro.documents",
            "MongoDB's documents inside Avro are not read: use JSON for this topic",
        ));
    }
    let texts: Vec<String> = row.values().iter().map(scalar).collect();
    let mut source = Source::default();
    for ((name, _), text) in row.iter().zip(&texts) {
        match &**name {
            "table" | "collection" if !text.is_empty() => source.table = Some(Text::plain(text)),
            name => {
                if let Some(place) = source.place(name) {
                    *place = text;
                }
            }
        }
    }
    let op = parse_op(&parts.op, &source)?;
    if op.is_upsert() && parts.after.is_none() {
        return Err(envelope::missing_after(op, false));
    }
    let Parts { before, after, .. } = parts;
    context.change(op, &source, None, |plan| {
        let before = before.filter(|_| plan.before);
        Ok((after.filter(|_| op.is_upsert()), before))
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

/// A key: a record of key columns.
pub fn key(schema: &AvroSchema, bytes: &Bytes, at: usize, unavailable: &Unavailable) -> Result<Option<Row>, Fault> {
    let mut binary = Binary::new(bytes, at, schema, unavailable);
    if schema.record(0).is_none() {
        return Err(Fault::new("key.shape", "expected a record of key columns; declare the table's `key:` columns"));
    }
    let row = binary.row(0)?;
    binary.end()?;
    Ok(row)
}
