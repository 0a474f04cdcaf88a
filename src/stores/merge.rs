//! What both engines decide alike about rows: values that the source did not send, and rows without a key.

use sha2::{Digest as _, Sha256};

use super::codec;
use super::identity::{Identity, identity, values_of};
use crate::record::{Kind, Op, Position, Record, Row, SourcePosition, TableSchema, Value, write_json_text};
use std::sync::Arc;

/// Reason of `row.unchanged_without_base`.
pub const UNCHANGED: &str = "the source did not send a large value that did not change, and no earlier version of the row \
                             is stored: load the row again (an incremental snapshot) or set replica identity full";
/// Reason of `row.patch_without_base`.
pub const PATCH: &str = "the source told only what changed in the document, and no earlier version of it that the change \
                         fits is stored: load the document again (an incremental snapshot), or set the connector's \
                         capture.mode to change_streams_update_full";
/// Reason of `row.missing`.
pub const MISSING: &str = "expected a row in a create, update or read";
/// Reason of `keyless.no_match`.
pub const NO_MATCH: &str = "no stored row equals the one that the source changed (the table has no key): set replica \
                            identity full, or load the table again";

/// Stands for a row's content.
pub type Digest = [u8; 16];

/// Whether the source told only a part of the row.
pub fn is_incomplete(record: &Record) -> bool {
    record.patch.is_some() || record.row.as_ref().is_some_and(Row::is_partial)
}

/// The key under which the row of an incomplete record was before, if it was given another one.
pub fn former_key(record: &Record) -> Option<&Row> {
    record.before.as_ref().filter(|_| record.op == Op::Create && is_incomplete(record) && !record.key.is_empty())
}

/// Whether what is stored under its former key is what a row was when its key changed: the delete of that key, which has the
/// same place in the source's log, is known. Before it, changes may be unread.
pub fn was_moved(former: &Position, is_deleted: bool, record: &Record) -> bool {
    let source = record.position.source;
    is_deleted && source != SourcePosition::Unknown && former.source == source
}

/// The whole row of a record that tells only a part of it; class and reason when `base` does not have the rest.
pub fn completed(record: &Record, base: Option<&Row>) -> Result<Row, (&'static str, &'static str)> {
    if let Some(patch) = &record.patch {
        return base.and_then(|base| patch.apply(base)).ok_or(("row.patch_without_base", PATCH));
    }
    let mut row = record.row.clone();
    match row.as_mut().zip(base).is_some_and(|(row, base)| complete(row, base)) {
        true => row.ok_or(("row.missing", MISSING)),
        false => Err(("row.unchanged_without_base", UNCHANGED)),
    }
}

/// Fills unchanged values in from `base`; false if it lacks one.
pub fn complete(row: &mut Row, base: &Row) -> bool {
    let schema = row.schema().clone();
    for (column, value) in schema.columns.iter().zip(row.values_mut()) {
        if matches!(value, Value::Unchanged) {
            match base.get(&column.name) {
                Some(Value::Unchanged) | None => return false,
                Some(known) => *value = known.clone(),
            }
        }
    }
    true
}

/// The identity by which joins find `row` through `column`; none for null.
pub fn indexed_value(row: &Row, column: &str) -> Option<Identity> {
    let value = row.get(column).filter(|value| !matches!(value, Value::Null | Value::Unchanged))?;
    Some(identity(std::slice::from_ref(value)))
}

/// Equal for rows of equal content. Nulls are left out, so that a column added later does not part a row from itself.
pub fn digest(row: &Row) -> Digest {
    let mut text = String::new();
    for (name, value) in row.iter().filter(|(_, value)| !value.is_null()) {
        write_json_text(&mut text, name);
        codec::write_value(&mut text, &Kind::Any, value);
    }
    let mut short = Digest::default();
    short.iter_mut().zip(Sha256::digest(text.as_bytes())).for_each(|(to, from)| *to = from);
    short
}

/// Whether a key's values may have to come from the row, because their identity may have lost a type or zeros.
pub fn is_vague(key: &TableSchema) -> bool {
    key.columns.iter().any(|c| matches!(c.kind, Kind::Any | Kind::Decimal { .. } | Kind::Float64))
}

/// The key of a stored row as a row.
pub fn key_row(key: &Identity, schema: &Arc<TableSchema>, row: Option<&Row>) -> Result<Row, String> {
    let from_row = || -> Option<Vec<Value>> { schema.columns.iter().map(|c| row?.get(&c.name).cloned()).collect() };
    match from_row().filter(|_| is_vague(schema)) {
        Some(values) => Ok(Row::new(schema.clone(), values)),
        None => Ok(Row::new(schema.clone(), values_of(key, schema)?)),
    }
}
