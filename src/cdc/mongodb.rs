//! Events of Debezium's MongoDB connector: documents and ids are extended JSON inside text.
//!
//! An update without `after` (`capture.mode=change_streams`, or a document that was gone when the connector looked) tells
//! only what changed: it becomes a [`Patch`], which the raw store applies. Connectors before 2.0 tell the same in `patch`.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::column::Reader;
use super::json::{Cursor, Next};
use super::key::{Found, Keys};
use super::layout::Layouts;
use super::{Fault, Unavailable, extjson};
use crate::record::{Column, Kind, Patch, Row, TableSchema, Value};

/// Takes a document: extended JSON in a string, its top-level fields the columns.
pub fn document(reader: Reader<'_>, cursor: &mut Cursor<'_>, layouts: &mut Layouts) -> Result<Row, Fault> {
    if cursor.next()? != Next::Text {
        return Err(Fault::new("extjson.shape", "expected a document as a string of extended JSON"));
    }
    document_of(&reader.text(cursor.string()?)?, reader.unavailable, layouts)
}

/// The document that a text is.
pub fn document_of(doc: &ByteString, unavailable: &Unavailable, layouts: &mut Layouts) -> Result<Row, Fault> {
    let reader = Reader { doc, unavailable };
    let mut cursor = Cursor::new(doc).lenient();
    let row = layouts.read(reader, &mut cursor)?;
    cursor.end()?;
    Ok(row)
}

/// The key's `_id`: `{"id": "<extended JSON>"}`, where `1234`, `"1234"` and `{"$oid": …}` are three ids. It is that of the
/// `document`, if there is one.
pub fn key(
    keys: &mut Keys<'_>,
    schema: &mut Option<Arc<TableSchema>>,
    bytes: Option<&Bytes>,
    document: Option<&Row>,
) -> Result<Row, Fault> {
    let shape = || Fault::new("key.shape", "expected {\"id\": extended JSON}").in_key();
    let id = match keys.read(bytes)? {
        Found::Nothing => {
            return Err(Fault::new("key.missing", "the message has no key: expected {\"id\": extended JSON}"));
        }
        Found::Columns(row) => match (row.values(), row.get("id")) {
            ([_], Some(Value::Text(id))) => id.clone(),
            _ => return Err(shape()),
        },
        Found::Value(_) => return Err(shape()),
    };
    let id = extended(&id).map_err(Fault::in_key)?;
    if id == Value::Null {
        return Err(Fault::new("key.null", "`_id` is null: the document cannot be identified"));
    }
    if let Some(other) = document.and_then(|document| document.get("_id"))
        && *other != id
        && other.type_name() == id.type_name()
    {
        return Err(Fault::new("key.differs", "`_id` differs between the message's key and its document"));
    }
    let make = || Arc::new(TableSchema { columns: vec![Column { name: "_id".into(), kind: Kind::Any }] });
    Ok(Row::new(schema.get_or_insert_with(make).clone(), vec![id]))
}

/// A text of extended JSON as a value.
fn extended(text: &ByteString) -> Result<Value, Fault> {
    let mut cursor = Cursor::new(text).lenient();
    let value = extjson::value(text, &mut cursor, 0)?;
    cursor.end()?;
    Ok(value)
}

/// Fields of a text of extended JSON.
fn fields(text: &ByteString) -> Result<Vec<(ByteString, Value)>, Fault> {
    match extended(text)? {
        Value::Map(fields) => Ok(fields),
        _ => Err(Fault::new("extjson.shape", "expected an object of extended JSON")),
    }
}

/// `updateDescription`: `{updatedFields: "<extended JSON>", removedFields: […], truncatedArrays: [{field, size}]}`.
pub fn update(description: &[(ByteString, Value)]) -> Result<Patch, Fault> {
    let shape = |field: &str| Fault::new("envelope.update", format!("`updateDescription.{field}` has another shape"));
    let mut patch = Patch::default();
    for (name, value) in description {
        match (&**name, value) {
            (_, Value::Null) => {}
            ("updatedFields", Value::Text(text) | Value::Json(text)) => patch.updated = fields(text)?,
            ("removedFields", Value::List(names)) => {
                let names = names.iter().map(|name| name.as_str().map(ByteString::from));
                patch.removed = names.collect::<Option<_>>().ok_or_else(|| shape("removedFields"))?;
            }
            ("truncatedArrays", Value::List(arrays)) => {
                let arrays: Option<Vec<_>> = arrays.iter().map(truncated).collect();
                patch.truncated = arrays.ok_or_else(|| shape("truncatedArrays"))?;
            }
            ("updatedFields" | "removedFields" | "truncatedArrays", _) => return Err(shape(name)),
            _ => {}
        }
    }
    Ok(patch)
}

/// `{field, size}`; MongoDB itself says `newSize`.
fn truncated(array: &Value) -> Option<(ByteString, usize)> {
    let Value::Map(parts) = array else { return None };
    let part = |names: &[&str]| parts.iter().find(|(name, _)| names.contains(&&**name)).map(|(_, value)| value);
    match (part(&["field"])?, part(&["size", "newSize"])?) {
        (Value::Text(field), Value::Int(size)) => Some((field.clone(), usize::try_from(*size).ok()?)),
        _ => None,
    }
}

/// What connectors before 2.0 tell of an update.
pub enum Legacy {
    /// `{$set: …, $unset: …}`
    Patch(Patch),
    /// The whole document: it was replaced.
    Document(ByteString),
}

/// `patch`: an entry of the log.
pub fn legacy(patch: ByteString) -> Result<Legacy, Fault> {
    let fields = fields(&patch)?;
    if !fields.iter().any(|(name, _)| name.starts_with('$')) {
        return Ok(Legacy::Document(patch));
    }
    let mut made = Patch::default();
    for (name, value) in fields {
        match (&*name, value) {
            ("$v", Value::Int(1)) => {}
            ("$set", Value::Map(fields)) => made.updated = fields,
            ("$unset", Value::Map(fields)) => made.removed = fields.into_iter().map(|(name, _)| name).collect(),
            _ => {
                return Err(Fault::new(
                    "envelope.update",
                    "`patch` is in a form of the log that is not read: expected `$set`, `$unset` or the document",
                ));
            }
        }
    }
    Ok(Legacy::Patch(made))
}
