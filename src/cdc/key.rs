//! Which row: the key columns and their values.
//!
//! The message's key says them; where it does not, the pipeline's declaration takes them from the row. What identifies
//! nothing is a fault: a change of an unknown row is never applied and never dropped.

use std::sync::Arc;

use bytes::Bytes;

use super::column::Reader;
use super::decoder::{Config, DeclaredKey};
use super::json::Next;
use super::layout::Layouts;
use super::payload::Payload;
use super::schemas::{Framed, Known, RegistrySchemas};
use super::topic::Schemas;
use super::{Fault, avro};
use crate::record::{Column, Row, TableSchema, Value};

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

impl Keys<'_> {
    /// The key's columns; `None` when the message has no key.
    pub fn read(&mut self, bytes: Option<&Bytes>) -> Result<Option<Row>, Fault> {
        let Some(bytes) = bytes else { return Ok(None) };
        self.parse(bytes).map_err(Fault::in_key)
    }

    fn parse(&mut self, bytes: &Bytes) -> Result<Option<Row>, Fault> {
        let json = match self.registry.frame(bytes)? {
            Some(Framed { schema: Known::Avro(schema), at }) => {
                return avro::key(schema, bytes, at, &self.config.unavailable);
            }
            Some(Framed { at, .. }) => &bytes.slice(at..),
            None => bytes,
        };
        let payload = Payload::find(json, self.schemas, self.config)?;
        let reader = Reader { doc: &payload.doc, unavailable: &self.config.unavailable };
        let mut cursor = payload.cursor();
        let row = match cursor.next()? {
            Next::Null => {
                cursor.null()?;
                None
            }
            Next::Object => {
                let layouts = match payload.schema.and_then(|at| self.schemas.get(at)) {
                    Some(schema) => &mut schema.rows,
                    None => &mut *self.layouts,
                };
                Some(layouts.read(reader, &mut cursor)?)
            }
            other => {
                return Err(Fault::new(
                    "key.shape",
                    format!(
                        "expected an object of key columns, found {}; declare the table's `key:` columns",
                        other.name()
                    ),
                ));
            }
        };
        payload.finish(&mut cursor)?;
        Ok(row.map(without_route))
    }
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

/// The record's key. `row` is the row after the change, or before a delete.
pub fn of(
    keys: &mut Keys<'_>,
    declared: &DeclaredKey,
    declared_schema: &mut Option<Arc<TableSchema>>,
    bytes: Option<&Bytes>,
    row: Option<&Row>,
    keyless: &Row,
) -> Result<Row, Fault> {
    let key = match declared {
        DeclaredKey::None => {
            return match row {
                Some(_) => Ok(keyless.clone()),
                None => Err(missing("the table has no key and the event no row (REPLICA IDENTITY FULL gives it)")),
            };
        }
        DeclaredKey::FromMessage => match keys.read(bytes)? {
            Some(key) if !key.is_empty() => key,
            _ => return Err(missing("the message has no key: declare the table's `key:` columns, or `key: none`")),
        },
        DeclaredKey::Columns(names) => {
            let from_message = keys.read(bytes).ok().flatten();
            let sources = [from_message.as_ref(), row];
            let Some(values) = sources.into_iter().flatten().find_map(|from| pick(from, names)) else {
                return Err(missing("neither the message's key nor the row has the declared key columns"));
            };
            Row::new(schema_of(names, declared_schema, row), values)
        }
    };
    for (name, value) in key.iter() {
        if matches!(value, Value::Null | Value::Unchanged) {
            return Err(Fault::new(
                "key.null",
                format!("key column `{name}` has no value: the row cannot be identified"),
            ));
        }
        if let Some(other) = row.and_then(|row| row.get(name))
            && other != value
            && other.type_name() == value.type_name()
        {
            return Err(Fault::new(
                "key.differs",
                format!("key column `{name}` differs between the message's key and its row"),
            ));
        }
    }
    Ok(key)
}

#[cold]
fn missing(reason: &'static str) -> Fault {
    Fault::new("key.missing", reason)
}

fn pick(row: &Row, names: &[Arc<str>]) -> Option<Vec<Value>> {
    names.iter().map(|name| row.get(name).cloned()).collect()
}

fn schema_of(names: &[Arc<str>], known: &mut Option<Arc<TableSchema>>, row: Option<&Row>) -> Arc<TableSchema> {
    let make = || {
        let kind =
            |name: &str| row.and_then(|row| row.schema().column(name)).map(|c| c.kind.clone()).unwrap_or_default();
        let columns = names.iter().map(|name| Column { name: name.clone(), kind: kind(name) });
        Arc::new(TableSchema { columns: columns.collect() })
    };
    known.get_or_insert_with(make).clone()
}
