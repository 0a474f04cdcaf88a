//! A stored row as its document has it, and as the document will have it.
//!
//! `{_id: key, v: revision, s: shape, row: {…}, at: {t, p, o, s}, dead, ix: {n: value, …}, was: {n: [text, …]}, digest, born, again}`
//!
//! Invariant: every write raises the revision by one and names the one that it replaces.

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::raw::{CString, cstr};
use bson::{RawArrayBuf, RawBson, RawDocument, RawDocumentBuf, rawdoc};

use super::catalog::{Shapes, Table, broken};
use super::rows;
use super::server::integer;
use crate::error::Result;
use crate::record::{Epoch, Position, Row, SourcePosition, Value};
use crate::stores::codec;
use crate::stores::identity::Identity;
use crate::stores::merge::{Digest, indexed_value};

/// A server's limit for a document, with room for what surrounds it in a command.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024 - 16 * 1024;

/// One row, stored or about to be.
#[derive(Debug)]
pub struct State {
    /// Revision that is stored; 0 when nothing is.
    pub revision: i64,
    /// Where the stored version came from.
    pub position: Position,
    /// Whether it is a tombstone.
    pub dead: bool,
    /// The stored shape.
    pub shape: Arc<str>,
    /// The stored row; the last one known for a tombstone.
    pub stored: Option<Row>,
    /// The record of the batch whose row replaces the stored one.
    pub latest: Option<usize>,
    /// Content of a row without a key.
    pub digest: Option<Digest>,
    /// The place in the source's log that brought a row without a key, also once it is gone.
    pub born: Option<String>,
    /// The offset under which such a row was sent last, if more than once.
    pub again: Option<i64>,
    /// Former values by number of the indexed column.
    pub was: BTreeMap<usize, Vec<Value>>,
    /// Whether there is something to write.
    pub dirty: bool,
}

impl State {
    /// What is stored when nothing is.
    pub fn new(position: Position) -> Self {
        State {
            revision: 0,
            position,
            dead: true,
            shape: "".into(),
            stored: None,
            latest: None,
            digest: None,
            born: None,
            again: None,
            was: BTreeMap::new(),
            dirty: false,
        }
    }

    /// Reads a document whose shape is loaded.
    pub fn read(document: &RawDocument, table: &Table, shapes: &Shapes) -> Result<(Identity, State)> {
        let wrong = |what: &str| broken(format!("table {}: {what} of a row does not read", table.name));
        let id = document.get("_id").ok().flatten().and_then(rows::read_identity).ok_or_else(|| wrong("the key"))?;
        let shape: Arc<str> = document.get_str("s").map_err(|_| wrong("the shape"))?.into();
        let stored = match document.get_document("row") {
            Ok(row) => Some(
                rows::read_row(row, &shapes.get(&shape)?.row)
                    .map_err(|e| broken(format!("table {}: {e}", table.name)))?,
            ),
            Err(_) => None,
        };
        let position = document.get_document("at").ok().and_then(read_position).ok_or_else(|| wrong("the position"))?;
        let revision = integer(document.get("v").ok().flatten()).ok_or_else(|| wrong("the revision"))?;
        let digest = document.get_binary("digest").ok().and_then(|binary| binary.bytes.try_into().ok());
        Ok((
            id,
            State {
                revision,
                position,
                dead: document.get_bool("dead").map_err(|_| wrong("the state"))?,
                shape,
                stored,
                latest: None,
                digest,
                born: document.get_str("born").ok().map(str::to_string),
                again: document.get_i64("again").ok(),
                was: read_former(document).ok_or_else(|| wrong("a former value"))?,
                dirty: false,
            },
        ))
    }

    /// The document that shall be stored; a row that MongoDB cannot hold is refused with code and reason.
    pub fn write(
        &self,
        id: &Identity,
        row: Option<&Row>,
        shape: &str,
        table: &Table,
    ) -> Result<RawDocumentBuf, (&'static str, String)> {
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("_id"), rows::write_identity(id));
        document.append(cstr!("v"), self.revision + 1);
        document.append(cstr!("s"), shape);
        if let Some(row) = row {
            document.append(cstr!("row"), rows::write_row(row).map_err(|reason| ("row.column_name", reason))?);
        }
        document.append(cstr!("at"), write_position(&self.position));
        document.append(cstr!("dead"), self.dead);
        let mut indexed = RawDocumentBuf::new();
        for (n, column) in table.indexes.iter().enumerate() {
            let value = row.and_then(|row| indexed_value(row, column));
            append(&mut indexed, &n.to_string(), value.as_ref().map_or(RawBson::Null, rows::write_identity));
        }
        if !table.indexes.is_empty() {
            document.append(cstr!("ix"), indexed);
        }
        if !self.was.is_empty() {
            let mut was = RawDocumentBuf::new();
            for (n, values) in &self.was {
                let texts: RawArrayBuf = values.iter().map(codec::value_to_text).collect();
                append(&mut was, &n.to_string(), RawBson::Array(texts));
            }
            document.append(cstr!("was"), was);
        }
        if let Some(digest) = self.digest {
            let bytes = digest.to_vec();
            document.append(cstr!("digest"), bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes });
        }
        if let Some(born) = &self.born {
            document.append(cstr!("born"), born.as_str());
        }
        if let Some(again) = self.again {
            document.append(cstr!("again"), again);
        }
        if document.as_bytes().len() > DOCUMENT_BYTES_MAX {
            let reason =
                "the row is larger than a MongoDB document can be (16 MB): use an embedded store for this table";
            return Err(("row.too_large", reason.to_string()));
        }
        Ok(document)
    }
}

fn append(document: &mut RawDocumentBuf, name: &str, value: RawBson) {
    // Names are numbers in text and hold no NUL.
    if let Ok(name) = CString::try_from(name) {
        document.append(name, value);
    }
}

/// A position as a document.
pub fn write_position(position: &Position) -> RawDocumentBuf {
    let mut document =
        rawdoc! { "t": &*position.epoch.name(&position.topic), "p": position.partition, "o": position.offset };
    if position.source != SourcePosition::Unknown {
        document.append(cstr!("s"), source_text(&position.source));
    }
    document
}

/// A place in the source's log as text.
pub fn source_text(source: &SourcePosition) -> String {
    serde_json::to_string(source).unwrap_or_default()
}

fn read_position(document: &RawDocument) -> Option<Position> {
    let source = match document.get_str("s") {
        Ok(text) => serde_json::from_str(text).ok()?,
        Err(_) => SourcePosition::Unknown,
    };
    let (topic, epoch) = Epoch::of_name(document.get_str("t").ok()?);
    Some(Position {
        topic: topic.into(),
        epoch,
        partition: document.get_i32("p").ok()?,
        offset: document.get_i64("o").ok()?,
        source,
    })
}

fn read_former(document: &RawDocument) -> Option<BTreeMap<usize, Vec<Value>>> {
    let Ok(was) = document.get_document("was") else { return Some(BTreeMap::new()) };
    was.into_iter()
        .map(|entry| {
            let (name, values) = entry.ok()?;
            let texts = values.as_array()?.into_iter();
            let values = texts.map(|text| codec::value_from_text(text.ok()?.as_str()?).ok()).collect::<Option<_>>()?;
            Some((name.as_str().parse().ok()?, values))
        })
        .collect()
}
