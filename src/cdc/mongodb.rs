//! Events of Debezium's MongoDB connector: documents and ids are extended JSON inside JSON text.
//!
//! Deliberately absent: guessing. An update without `after` (`capture.mode=change_streams`) tells only what changed; it
//! is refused with the setting that sends whole documents.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::column::Reader;
use super::decoder::Config;
use super::json::{Cursor, Next};
use super::layout::Layouts;
use super::payload::Payload;
use super::topic::Schemas;
use super::{Fault, extjson};
use crate::record::{Column, Kind, Row, TableSchema, Value};

/// Takes a document: extended JSON in a string, its top-level fields the columns.
pub fn document(reader: Reader<'_>, cursor: &mut Cursor<'_>, layouts: &mut Layouts) -> Result<Row, Fault> {
    if cursor.next()? != Next::Text {
        return Err(Fault::new("extjson.shape", "expected a document as a string of extended JSON"));
    }
    let doc = inner(reader.doc, cursor)?;
    let reader = Reader { doc: &doc, ..reader };
    let mut cursor = Cursor::new(&doc).lenient();
    let row = layouts.read(reader, &mut cursor)?;
    cursor.end()?;
    Ok(row)
}

fn inner(outer: &ByteString, cursor: &mut Cursor<'_>) -> Result<ByteString, Fault> {
    Ok(match cursor.string()?.resolve()? {
        Cow::Borrowed(slice) => outer.slice_ref(slice),
        Cow::Owned(text) => text.into(),
    })
}

/// The key's `_id`: `{"id": "<extended JSON>"}`, where `1234`, `"1234"` and `{"$oid": …}` are three ids.
pub fn key(bytes: Option<&Bytes>, schemas: &mut Schemas, config: &Config) -> Result<Row, Fault> {
    let missing = || Fault::new("key.missing", "the message has no key: expected {\"id\": extended JSON}");
    read_key(bytes.ok_or_else(missing)?, schemas, config).map_err(Fault::in_key)
}

fn read_key(bytes: &Bytes, schemas: &mut Schemas, config: &Config) -> Result<Row, Fault> {
    let payload = Payload::find(bytes, schemas, config)?;
    let reader = Reader { doc: &payload.doc, unavailable: &config.unavailable };
    let mut cursor = payload.cursor();
    let shape = || Fault::new("key.shape", "expected {\"id\": extended JSON}");
    if cursor.next()? != Next::Object || !cursor.open_object()? || !cursor.try_key("id") {
        return Err(shape());
    }
    let doc = inner(reader.doc, &mut cursor)?;
    if cursor.more_fields()? {
        return Err(shape());
    }
    payload.finish(&mut cursor)?;
    let mut inside = Cursor::new(&doc).lenient();
    let id = extjson::value(&doc, &mut inside, 0)?;
    inside.end()?;
    if id == Value::Null {
        return Err(Fault::new("key.null", "`_id` is null: the document cannot be identified"));
    }
    Ok(Row::new(Arc::new(TableSchema { columns: vec![Column { name: "_id".into(), kind: Kind::Any }] }), vec![id]))
}
