//! Which row: the key columns and their values.
//!
//! The message's key says them, in JSON, behind a schema registry, or as one value in plain text; where it does not, the
//! pipeline's declaration takes them from the row. What identifies nothing is a fault: a change of an unknown row is
//! never applied and never dropped.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::column::{Reader, retyped, text_value};
use super::decoder::{Config, DeclaredKey, DeclaredTable, KeyFormat};
use super::fault::short;
use super::form::Form;
use super::json::{Cursor, Next};
use super::layout::Layouts;
use super::payload::Payload;
use super::schemas::{Framed, Known, RegistrySchemas};
use super::topic::Schemas;
use super::{Fault, avro, protobuf};
use crate::record::{Column, Message, Row, TableSchema, Value};

/// A column that Debezium's topic routing adds to keep keys of several tables apart. It is no column of the table.
const ROUTED: &str = "__dbz__physicalTableIdentifier";

/// How to read keys of one table.
pub struct Keys<'k> {
    /// The registry's schemas.
    pub registry: &'k RegistrySchemas,
    /// Schemas embedded in keys.
    pub schemas: &'k mut Schemas,
    /// Keys without one.
    pub layouts: &'k mut Layouts,
    /// What the pipeline says.
    pub config: &'k Config,
}

/// What a message's key is.
#[derive(Debug)]
pub enum Found {
    /// Nothing, or null.
    Nothing,
    /// Key columns.
    Columns(Row),
    /// One value without a name (`ValueToKey`, `ExtractField`, a text key).
    Value(Value),
}

impl Keys<'_> {
    /// The message's key.
    pub fn read(&mut self, bytes: Option<&Bytes>) -> Result<Found, Fault> {
        let Some(bytes) = bytes else { return Ok(Found::Nothing) };
        self.parse(bytes).map_err(Fault::in_key)
    }

    fn parse(&mut self, bytes: &Bytes) -> Result<Found, Fault> {
        match self.config.key_format {
            KeyFormat::Auto => {}
            KeyFormat::Text => return plain_text(bytes).map(|text| Found::Value(Value::Text(text))),
            KeyFormat::Integer => return integer(bytes).map(|n| Found::Value(Value::Int(n))),
        }
        match self.registry.frame(bytes)? {
            Some(Framed { schema: Known::Avro(schema), at }) => {
                return avro::key(schema, bytes, at, &self.config.unavailable);
            }
            Some(Framed { schema: Known::Protobuf(schema), at }) => {
                return protobuf::key(schema, bytes, at, &self.config.unavailable);
            }
            Some(Framed { schema: Known::Json(schema), at }) => {
                self.schemas.framed(self.config, bytes, at, &schema.0);
            }
            _ => {}
        }
        match self.json(bytes) {
            // What is no JSON at all is plain text.
            Err(fault) if matches!(fault.code, "json.syntax" | "text.utf8") && !looks_like_json(bytes) => {
                plain_text(bytes).map(|text| Found::Value(Value::Text(text)))
            }
            found => found,
        }
    }

    fn json(&mut self, bytes: &Bytes) -> Result<Found, Fault> {
        let payload = Payload::find(bytes, self.schemas, self.config)?;
        let reader = Reader { doc: &payload.doc, unavailable: &self.config.unavailable };
        let mut cursor = payload.cursor();
        let found = match cursor.next()? {
            Next::Null => {
                cursor.null()?;
                Found::Nothing
            }
            Next::Object => {
                let layouts = match payload.schema.and_then(|at| self.schemas.get(at)) {
                    Some(schema) => &mut schema.rows,
                    None => &mut *self.layouts,
                };
                Found::Columns(layouts.read(reader, &mut cursor)?)
            }
            Next::List => return Err(Fault::new("key.shape", "expected an object of key columns, found a list")),
            _ => Found::Value(reader.column(&mut cursor, &Form::Any)?),
        };
        payload.finish(&mut cursor)?;
        Ok(match found {
            Found::Columns(row) => Found::Columns(without_route(row)),
            found => found,
        })
    }
}

/// Whether the bytes begin like JSON of key columns: then their faults are JSON's.
fn looks_like_json(bytes: &[u8]) -> bool {
    matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'[' | b'"'))
}

fn plain_text(bytes: &Bytes) -> Result<ByteString, Fault> {
    ByteString::try_from(bytes.clone()).map_err(|_| {
        Fault::new(
            "key.text",
            "expected text, found bytes that are not UTF-8; is it an integer? (`key_format: integer`)",
        )
    })
}

fn integer(bytes: &[u8]) -> Result<i64, Fault> {
    let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
    match bytes.len() {
        1 | 2 | 4 | 8 => Ok(bytes.iter().fold(sign, |n: i64, byte| n << 8 | i64::from(*byte))),
        _ => Err(Fault::new("key.integer", "expected an integer of 1, 2, 4 or 8 bytes (`key_format: integer`)")),
    }
}

/// The topic that an event had before topic routing, where that wrote it into a key of JSON.
pub fn route(bytes: &[u8]) -> Option<String> {
    // Most keys have none.
    let at = bytes.windows(ROUTED.len()).any(|window| window == ROUTED.as_bytes());
    let text = at.then(|| std::str::from_utf8(bytes).ok()).flatten()?;
    let mut cursor = Payload::beside_schema(text).unwrap_or_else(|| Cursor::new(text));
    let mut more = cursor.open_object().ok()?;
    while more {
        if cursor.key().ok()?.raw == ROUTED {
            return cursor.string().ok()?.resolve().ok().map(Cow::into_owned);
        }
        cursor.skip().ok()?;
        more = cursor.more_fields().ok()?;
    }
    None
}

/// The header in which the connector tells which key a new row had before, where a change of its key was split in two.
const OLD_KEY: &str = "__debezium.oldkey";

/// The key that the row under `key` had before, if the message tells it in a way that can be read.
pub fn former(keys: &mut Keys<'_>, key: &Row, message: &Message) -> Option<Row> {
    let (_, told) = message.headers.iter().find(|(name, _)| **name == *OLD_KEY)?;
    let Ok(Found::Columns(told)) = keys.read(told.as_ref()) else { return None };
    let columns = key.schema().columns.iter();
    let values: Option<Vec<Value>> = columns.map(|column| told.get(&column.name).cloned()).collect();
    Some(Row::new(key.schema().clone(), values?))
}

fn without_route(row: Row) -> Row {
    if row.schema().index_of(ROUTED).is_none() {
        return row;
    }
    let schema = row.schema().clone();
    let kept = schema.columns.iter().zip(row.into_values()).filter(|(c, _)| &*c.name != ROUTED);
    let (columns, values) = kept.map(|(column, value)| (column.clone(), value)).unzip();
    Row::new(Arc::new(TableSchema { columns }), values)
}

/// The key that is declared for a table.
pub fn declared(table: Option<&DeclaredTable>) -> &DeclaredKey {
    table.map_or(&DeclaredKey::FromMessage, |table| &table.key)
}

/// The record's key. `row` is the row after the change, or before a delete.
pub fn of(
    keys: &mut Keys<'_>,
    table: Option<&DeclaredTable>,
    declared_schema: &mut Option<Arc<TableSchema>>,
    bytes: Option<&Bytes>,
    row: Option<&Row>,
    keyless: &Row,
) -> Result<Row, Fault> {
    let key = match declared(table) {
        DeclaredKey::None => {
            return match row {
                Some(_) => Ok(keyless.clone()),
                None => Err(missing("the table has no key and the event no row (REPLICA IDENTITY FULL gives it)")),
            };
        }
        DeclaredKey::FromMessage => match keys.read(bytes)? {
            Found::Columns(key) if !key.is_empty() => key,
            Found::Value(_) => {
                return Err(Fault::new(
                    "key.shape",
                    "the message's key is one value without a name: declare the table's `key:` column",
                ));
            }
            _ => return Err(missing("the message has no key: declare the table's `key:` columns, or `key: none`")),
        },
        DeclaredKey::Columns(names) => {
            let values = columns(keys, table, names, bytes, row)?;
            Row::new(schema_of(names, declared_schema, table, row), values)
        }
    };
    for (name, value) in key.iter() {
        if matches!(value, Value::Null | Value::Unchanged) {
            return Err(Fault::new(
                "key.null",
                format!("key column `{}` has no value: the row cannot be identified", short(name)),
            ));
        }
        if let Some(other) = row.and_then(|row| row.get(name))
            && other != value
            && other.type_name() == value.type_name()
        {
            return Err(Fault::new(
                "key.differs",
                format!("key column `{}` differs between the message's key and its row", short(name)),
            ));
        }
    }
    Ok(key)
}

/// The declared key columns: of the message's key, of the row, or the key's only value.
fn columns(
    keys: &mut Keys<'_>,
    table: Option<&DeclaredTable>,
    names: &[Arc<str>],
    bytes: Option<&Bytes>,
    row: Option<&Row>,
) -> Result<Vec<Value>, Fault> {
    let found = keys.read(bytes);
    if let Ok(Found::Columns(key)) = &found
        && let Some(values) = pick(key, names)
    {
        return Ok(values);
    }
    if let Some(values) = row.and_then(|row| pick(row, names)) {
        return Ok(values);
    }
    let form = |name: &str| {
        let column = table?.columns.iter().find(|column| *column.name == *name)?;
        Some(column.form(keys.config.handling))
    };
    match (found?, names) {
        (Found::Value(Value::Text(text)), names) if text.starts_with("Struct{") => {
            let texts = struct_fields(&text, names).ok_or_else(|| missing(NOT_THERE))?;
            let values = texts.into_iter().zip(names).map(|(text, name)| {
                named(form(name), text.into(), keys.config).map_err(|fault| fault.in_column(name).in_key())
            });
            values.collect()
        }
        (Found::Value(value), [name]) => {
            let typed = match (value, form(name)) {
                (Value::Text(text), form) => named(form, text, keys.config),
                // A number in plain text is valid JSON, too.
                (value, Some(Form::Text)) => Ok(Value::text(value.to_json())),
                (value, form) => retyped(value, &form.unwrap_or_default(), &keys.config.unavailable),
            };
            typed.map(|value| vec![value]).map_err(|fault| fault.in_column(name).in_key())
        }
        _ => Err(missing(NOT_THERE)),
    }
}

const NOT_THERE: &str = "neither the message's key nor the row has the declared key columns";

/// A key's text as a value of its column's form; without one a number is a number.
fn named(form: Option<Form>, text: ByteString, config: &Config) -> Result<Value, Fault> {
    let form = form.unwrap_or_default();
    if matches!(
        form,
        Form::Any | Form::Int | Form::UInt | Form::Bool | Form::Date | Form::Time { .. } | Form::Timestamp { .. }
    ) {
        let reader = Reader { doc: &text, unavailable: &config.unavailable };
        let mut cursor = Cursor::new(&text);
        if let Ok(Next::Number | Next::Bool) = cursor.next() {
            let value = reader.column(&mut cursor, &form)?;
            if cursor.end().is_ok() {
                return Ok(value);
            }
        }
    }
    text_value(text, &form, &config.unavailable, 1)
}

/// `Struct{id=7,no=2}`: what `StringConverter` makes of key columns. `None` unless it has exactly these.
fn struct_fields<'t>(text: &'t str, names: &[Arc<str>]) -> Option<Vec<&'t str>> {
    let inside = text.strip_prefix("Struct{")?.strip_suffix('}')?;
    let fields: Vec<(&str, &str)> = inside.split(',').map(|field| field.split_once('=')).collect::<Option<_>>()?;
    let value = |name: &Arc<str>| fields.iter().find(|(known, _)| *known == &**name).map(|(_, value)| *value);
    (fields.len() == names.len()).then(|| names.iter().map(value).collect())?
}

#[cold]
fn missing(reason: &'static str) -> Fault {
    Fault::new("key.missing", reason)
}

fn pick(row: &Row, names: &[Arc<str>]) -> Option<Vec<Value>> {
    names.iter().map(|name| row.get(name).cloned()).collect()
}

fn schema_of(
    names: &[Arc<str>],
    known: &mut Option<Arc<TableSchema>>,
    table: Option<&DeclaredTable>,
    row: Option<&Row>,
) -> Arc<TableSchema> {
    let make = || {
        let kind = |name: &str| {
            let in_row = row.and_then(|row| row.schema().column(name)).map(|column| &column.kind);
            let declared = || table?.columns.iter().find(|column| *column.name == *name).map(|column| &column.kind);
            in_row.or_else(declared).cloned().unwrap_or_default()
        };
        let columns = names.iter().map(|name| Column { name: name.clone(), kind: kind(name) });
        Arc::new(TableSchema { columns: columns.collect() })
    };
    known.get_or_insert_with(make).clone()
}
