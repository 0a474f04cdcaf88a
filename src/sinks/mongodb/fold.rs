//! A batch folded by key: of several records of one key only the one with the highest version is written (the later one
//! among equals), so that every document is touched once and commands may run unordered.
//!
//! Invariant: ids are BSON (a type byte and a value), kept in one arena; two entries never have the same id.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::bson::Writer;
use super::values::{Fit, GUARD, Style, Unfit, write_date_or_null, write_fields, write_key};
use crate::record::{Op, Record, Torn};

/// The largest document that MongoDB stores.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The ids of some records of a batch.
#[derive(Default)]
pub(super) struct Ids {
    arena: Writer,
    ids: Vec<(usize, Range<usize>)>,
    /// Records (by index) that cannot be written.
    pub unfit: Vec<(usize, Unfit)>,
}

impl Ids {
    /// Encodes the key of the record at `index`.
    pub fn add(&mut self, index: usize, record: &Record, style: Style) {
        let start = self.arena.len();
        match check(record).and_then(|()| write_key(&mut self.arena, &record.key, style)) {
            Ok(()) => self.ids.push((index, start..self.arena.len())),
            Err(unfit) => {
                self.arena.truncate(start);
                self.unfit.push((index, unfit));
            }
        }
    }
}

fn check(record: &Record) -> Fit {
    let unfit = |code, reason: &str| Err(Unfit::new(code, reason));
    if record.op == Op::Truncate {
        return unfit("op.truncate", "a truncate cannot be guarded by version; empty the collection by hand");
    }
    if record.key.is_empty() {
        return unfit("key.missing", "expected a key: rows of a table without one cannot be documents");
    }
    if record.op.is_upsert() && record.row.is_none() {
        return unfit("row.missing", "expected the row after the change");
    }
    if i64::try_from(record.version).is_err() {
        return unfit("version.too_large", "expected a version below 2^63");
    }
    Ok(())
}

/// What shall become of one document.
pub(super) struct Entry<'a> {
    /// The `_id`: type byte and value.
    pub id: &'a [u8],
    /// Index of the record in the batch.
    pub index: usize,
    /// The record that won.
    pub record: &'a Record,
    /// Guards the write.
    pub version: i64,
    /// Whether the batch says that the row was created (or read in a snapshot): probably no document is there.
    pub created: bool,
    /// Why readers may see it without the rest of its transaction.
    pub torn: Option<Torn>,
}

impl Entry<'_> {
    pub fn is_delete(&self) -> bool {
        !self.record.op.is_upsert()
    }

    /// Writes the whole document.
    pub fn write_document(&self, w: &mut Writer, style: Style) -> Fit {
        let start = w.len();
        let document = w.open();
        w.element("_id", self.id);
        if let Some(row) = &self.record.row {
            write_fields(w, row, &self.record.key, style)?;
        }
        let guard = w.open_document(GUARD);
        w.int64("v", self.version);
        write_date_or_null(w, "as_of", self.record.changed_at);
        if let Some(torn) = self.torn {
            w.text("torn", torn.as_str());
        }
        w.close(guard);
        w.close(document);
        if w.len() - start > DOCUMENT_BYTES_MAX {
            let reason =
                format!("the document has {} bytes, MongoDB stores up to {DOCUMENT_BYTES_MAX}", w.len() - start);
            return Err(Unfit::new("document.too_large", reason));
        }
        Ok(())
    }
}

/// One entry per document.
pub(super) struct Fold<'a> {
    pub entries: Vec<Entry<'a>>,
    by_id: FxHashMap<&'a [u8], usize>,
}

impl<'a> Fold<'a> {
    pub fn new(ids: &'a Ids, records: &'a [Record]) -> Self {
        let mut fold = Fold { entries: Vec::with_capacity(ids.ids.len()), by_id: FxHashMap::default() };
        fold.by_id.reserve(ids.ids.len());
        for (index, range) in &ids.ids {
            let (Some(record), Some(id)) = (records.get(*index), ids.arena.bytes().get(range.clone())) else {
                continue;
            };
            let created = matches!(record.op, Op::Create | Op::Read);
            let version = i64::try_from(record.version).unwrap_or(i64::MAX);
            let entry = Entry { id, index: *index, record, version, created, torn: None };
            let at = *fold.by_id.entry(id).or_insert(fold.entries.len());
            match fold.entries.get_mut(at) {
                None => fold.entries.push(entry),
                Some(old) if old.version <= version => *old = Entry { created: created || old.created, ..entry },
                Some(old) => old.created |= created,
            }
        }
        fold
    }

    /// The same documents, which say that they may be seen without the rest of their transaction.
    pub fn mark(&mut self, torn: Option<Torn>) {
        self.entries.iter_mut().for_each(|entry| entry.torn = torn);
    }

    /// The place of the document with this `_id`.
    pub fn place_of(&self, id: &[u8]) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    pub fn get(&self, place: usize) -> Option<&Entry<'a>> {
        self.entries.get(place)
    }
}
