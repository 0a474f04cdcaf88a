//! Rows alone: what Debezium's transformation `ExtractNewRecordState` leaves of an event.
//!
//! Deletes come in one of its modes: as tombstones (the default; here the tombstone *is* the delete), rewritten with
//! `__deleted: "true"`, both, or not at all. Metadata that was kept (`add.fields`, `add.headers`) stands in columns or
//! headers with a prefix; it names table, operation and position, and is no column of the row. Debezium's own events
//! pass the transformation as they are and are told apart by their schema or by exactly their fields.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::change::{Context, Rows, parse_op};
use super::column::Reader;
use super::decoder::{Config, Event, Format};
use super::json::{Cursor, Next, Text};
use super::layout::Layouts;
use super::parts::{self, scalar};
use super::payload::Payload;
use super::source::Source;
use super::{Fault, parts::Part};
use crate::record::{Message, Op, Row, Value};

/// Which columns and headers are metadata (`add.fields`, `add.headers`, `add.fields.prefix`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What their names begin with; empty: only `names` are metadata.
    pub prefix: String,
    /// Names of their own (`add.fields=op:change`) and what they tell: `op`, `deleted`, `table`, `lsn`, …
    pub names: BTreeMap<String, String>,
}

impl Default for Metadata {
    fn default() -> Self {
        Metadata { prefix: "__".into(), names: BTreeMap::new() }
    }
}

impl Metadata {
    /// What a column or header tells: `op`, `deleted`, `table` or a field of `source`; empty where nothing needs it.
    /// `None` when it is no metadata.
    fn meaning<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        let told = match self.names.get(name) {
            Some(told) => told.as_str(),
            None => name.strip_prefix(self.prefix.as_str()).filter(|_| !self.prefix.is_empty())?,
        };
        if let Some(field) = told.strip_prefix("source_").or_else(|| told.strip_prefix("source.")) {
            return Some(field);
        }
        match told {
            "op" | "deleted" | "table" | "collection" => Some(told),
            // The connector's clock: not when the source committed.
            "ts_ms" | "ts_us" | "ts_ns" => Some(""),
            _ if told.starts_with("transaction_") || told.starts_with("transaction.") => Some(""),
            _ => Source::default().place(told).map(|_| told),
        }
    }
}

/// What a column tells, unless the pipeline declares it as a column of some table.
fn meaning<'n>(config: &'n Config, name: &'n str) -> Option<&'n str> {
    let told = config.metadata.meaning(name)?;
    let declared = || config.tables.values().any(|table| table.columns.iter().any(|column| *column.name == *name));
    (!declared()).then_some(told)
}

/// Decodes a flattened message.
pub fn decode(context: Context<'_>, value: &Bytes) -> Result<Event, Fault> {
    let payload = Payload::find(value, &mut context.topic.values, context.config)?.check(context.config)?;
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
    let topic = &mut *context.topic;
    let (layouts, is_control) = match payload.schema.and_then(|schema| topic.values.get(schema)) {
        Some(schema) => (&mut schema.rows, schema.is_control),
        None => match topic.expected(context.config, &context.message.topic)? {
            Some(table) => (&mut table.rows, false),
            None => return Err(Fault::new("flattened.shape", "the row's table is not known")),
        },
    };
    let at = cursor;
    let (row, fault) = match layouts.read(reader, &mut cursor) {
        Ok(row) => (row, None),
        // The types may be those of another table: its metadata tells.
        Err(fault) if payload.schema.is_none() => {
            cursor = at;
            let row = Layouts::default().read(reader, &mut cursor).map_err(|_| fault.clone())?;
            (row, Some(fault))
        }
        Err(fault) => return Err(fault),
    };
    payload.finish(&mut cursor)?;
    if is_control {
        return parts::other(context, row);
    }
    let again = |_, layouts: &mut Layouts| layouts.read(reader, &mut at.clone());
    judge_again(context, row, payload.schema, fault, again)
}

/// Judges a row of a binary encoding with its metadata.
pub fn judge(context: Context<'_>, row: Row) -> Result<Event, Fault> {
    judge_again(context, row, None, None, |row, _| Ok(row))
}

/// Judges a row that was read as one of the table that is expected, or not at all as one of it, for which `fault` is the
/// reason; `again` reads it as one of another table, if its metadata says that it is.
fn judge_again(
    context: Context<'_>,
    row: Row,
    schema: Option<usize>,
    fault: Option<Fault>,
    again: impl FnOnce(Row, &mut Layouts) -> Result<Row, Fault>,
) -> Result<Event, Fault> {
    if is_control(&row) {
        return parts::other(context, row);
    }
    if is_envelope(&row) {
        return Err(Fault::new(
            "flattened.envelope",
            "expected a row alone, found Debezium's envelope: does the transformation run on this topic? (`format: debezium`)",
        ));
    }
    let config = context.config;
    let mut metadata = Told::default();
    let headers = headers(config, context.message);
    let schema_of_row = row.schema().clone();
    let columns = schema_of_row.columns.iter().zip(row.values());
    let columns: Vec<(&str, String)> =
        columns.filter_map(|(column, value)| Some((meaning(config, &column.name)?, scalar(value)))).collect();
    headers.iter().for_each(|(told, text)| metadata.take(told, text));
    columns.iter().for_each(|(told, text)| metadata.take(told, text));
    let Told { mut source, op, deleted } = metadata;
    source.infer_connector();
    let op = match (deleted, op) {
        ("true", _) => Op::Delete,
        (_, "") => Op::Create,
        (_, op) => parse_op(op, &source)?,
    };
    context.change(op, &source, schema, |mut plan| {
        let row = match (plan.as_guessed, fault) {
            (false, _) => again(row, plan.layouts)?,
            (true, None) => row,
            (true, Some(fault)) => return Err(fault),
        };
        let row = plan.without.row(row, |name| meaning(config, name).is_some());
        let row = plan.row_of(Part::Row(row))?;
        Ok(match op {
            Op::Truncate => Rows::default(),
            Op::Delete => Rows { before: row, ..Rows::default() },
            _ => Rows { row, ..Rows::default() },
        })
    })
}

/// Whether a row is an event of Debezium's own: it has exactly the fields of one.
fn is_control(row: &Row) -> bool {
    let names = || row.schema().columns.iter().map(|column| &*column.name);
    let is = |required: &[&str], optional: &[&str]| {
        names().all(|name| required.contains(&name) || optional.contains(&name))
            && required.iter().all(|name| row.schema().index_of(name).is_some())
    };
    match row.values().len() {
        1 => is(&["ts_ms"], &[]),
        4..=7 => {
            is(&["status", "id", "event_count", "data_collections"], &["ts_ms"])
                || is(&["id", "aggregate_type", "type", "additional_data"], &["timestamp"])
                || (is(&["source", "databaseName", "ddl", "tableChanges"], &["ts_ms", "schemaName", "position"])
                    && matches!(row.get("source"), Some(Value::Map(_))))
        }
        _ => false,
    }
}

/// Whether a row is an envelope that was not unwrapped.
fn is_envelope(row: &Row) -> bool {
    let source =
        || matches!(row.get("source"), Some(Value::Map(parts)) if parts.iter().any(|(name, _)| *name == "connector"));
    row.get("op").is_some() && source()
}

/// What the message's headers tell.
fn headers<'m>(config: &'m Config, message: &'m Message) -> Vec<(&'m str, &'m str)> {
    let told = |(name, value): &'m (std::sync::Arc<str>, Option<Bytes>)| {
        let told = config.metadata.meaning(name)?;
        Some((told, header_text(std::str::from_utf8(value.as_deref()?).ok()?)))
    };
    message.headers.iter().filter_map(told).collect()
}

/// The table that the headers of a flattened message name: those of a tombstone that was a delete are all it has.
pub fn table_in_headers<'m>(config: &'m Config, message: &'m Message) -> Option<&'m str> {
    if config.format != Format::Flattened || message.headers.is_empty() {
        return None;
    }
    let named =
        |(told, table): &(&str, &str)| matches!(*told, "table" | "collection") && !matches!(*table, "" | "null");
    headers(config, message).into_iter().find(named).map(|(_, table)| table)
}

/// A header's text: as `SimpleHeaderConverter` or `JsonConverter` writes it, bare or beside its schema.
fn header_text(text: &str) -> &str {
    let payload = || {
        let mut cursor = Cursor::new(text);
        let mut more = cursor.next().ok()? == Next::Object && cursor.open_object().ok()?;
        while more {
            if cursor.try_key("payload") {
                return super::source::scalar(&mut cursor).ok();
            }
            cursor.key().and_then(|_| cursor.skip()).ok()?;
            more = cursor.more_fields().ok()?;
        }
        None
    };
    payload().unwrap_or_else(|| text.trim_matches('"'))
}

/// What the metadata of a row tells.
#[derive(Default)]
struct Told<'a> {
    source: Source<'a>,
    op: &'a str,
    deleted: &'a str,
}

impl<'a> Told<'a> {
    fn take(&mut self, told: &str, text: &'a str) {
        let text = if text == "null" { "" } else { text };
        match told {
            "op" => self.op = text,
            "deleted" => self.deleted = text,
            "table" | "collection" => {
                if !text.is_empty() {
                    self.source.table = Some(Text::plain(text));
                }
            }
            told => {
                if let Some(place) = self.source.place(told) {
                    *place = text;
                }
            }
        }
    }
}
