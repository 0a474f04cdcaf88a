//! Rows as BSON that reads back exactly: typed where BSON has the type, text or a tag elsewhere.
//!
//! | value | BSON |
//! |---|---|
//! | null, bool, text, bytes, list, map | their own |
//! | int | int64 |
//! | float | double |
//! | decimal | decimal128 up to 34 digits, else text |
//! | date, time, timestamp, JSON | text, as the embedded store writes it |
//! | anything that the column's kind does not tell from its BSON | `{"@type": …}` |
//!
//! Invariant: `read(write(value)) == value` for every value under every kind; a property test holds it.

use std::str::FromStr;
use std::sync::Arc;

use bson::raw::{CStr, CString};
use bson::{Decimal128, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use bytestring::ByteString;
use rustc_hash::FxHashSet;

use crate::record::{Decimal, Kind, Row, TableSchema, Value};
use crate::stores::codec;
use crate::stores::identity::Identity;

/// A row as a document. A column whose name holds a NUL character cannot be stored.
pub fn write_row(row: &Row) -> Result<RawDocumentBuf, String> {
    let mut document = RawDocumentBuf::new();
    for (column, value) in row.schema().columns.iter().zip(row.values()) {
        let name = <&CStr>::try_from(&*column.name).map_err(|_| "a column's name holds a NUL character".to_string())?;
        document.append(name, write_value(&column.kind, value));
    }
    Ok(document)
}

/// Reads what [`write_row`] wrote for a row of `schema`. The error names a column, never a value.
pub fn read_row(document: &RawDocument, schema: &Arc<TableSchema>) -> Result<Row, String> {
    let mut values = Vec::with_capacity(schema.columns.len());
    let mut columns = schema.columns.iter();
    for element in document {
        let (name, value) = element.map_err(|_| "the stored row is not valid BSON".to_string())?;
        let column = columns.next().filter(|c| *c.name == *name.as_str()).ok_or("the stored row has other columns")?;
        values.push(read_value(value, &column.kind).map_err(|e| format!("column {}: {e}", column.name))?);
    }
    if columns.next().is_some() {
        return Err("the stored row lacks columns".to_string());
    }
    Ok(Row::new(schema.clone(), values))
}

/// A key, or a value that joins look up.
pub fn write_identity(identity: &Identity) -> RawBson {
    match identity {
        Identity::Int(n) => RawBson::Int64(*n),
        Identity::Text(text) => RawBson::String(text.to_string()),
        Identity::Canonical(text) => RawBson::Document(single("key", RawBson::String(text.clone()))),
    }
}

/// Reads what [`write_identity`] wrote.
pub fn read_identity(value: RawBsonRef<'_>) -> Option<Identity> {
    match value {
        RawBsonRef::Int64(n) => Some(Identity::Int(n)),
        RawBsonRef::String(text) => Some(Identity::Text(text.into())),
        RawBsonRef::Document(document) => document.get_str("key").ok().map(|text| Identity::Canonical(text.into())),
        _ => None,
    }
}

fn single(name: &str, value: RawBson) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    // Names are our own and hold no NUL.
    if let Ok(name) = CString::try_from(name) {
        document.append(name, value);
    }
    document
}

/// One value, tagged unless `kind` tells how to read it.
pub fn write_value(kind: &Kind, value: &Value) -> RawBson {
    match value {
        Value::Null => RawBson::Null,
        Value::Bool(flag) => RawBson::Boolean(*flag),
        Value::Int(n) => RawBson::Int64(*n),
        Value::Float(n) => RawBson::Double(*n),
        Value::Text(text) if !is_text_form(kind) => RawBson::String(text.to_string()),
        Value::Bytes(bytes) => {
            RawBson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: bytes.to_vec() })
        }
        Value::Decimal(decimal) => match decimal128(decimal) {
            Some(exact) => RawBson::Decimal128(exact),
            None if matches!(kind, Kind::Decimal { .. }) => RawBson::String(decimal.to_string()),
            None => tagged(value),
        },
        Value::List(items) => {
            let of = if let Kind::List(of) = kind { of } else { &Kind::Any };
            let mut list = RawArrayBuf::new();
            items.iter().for_each(|item| list.push(write_value(of, item)));
            RawBson::Array(list)
        }
        Value::Map(entries) => write_map(entries).map_or_else(|| tagged(value), RawBson::Document),
        Value::Date(date) if *kind == Kind::Date => RawBson::String(date.to_string()),
        Value::Time(time) if matches!(kind, Kind::Time(_)) => RawBson::String(time.to_string()),
        Value::Timestamp(at) if matches!(kind, Kind::Timestamp(_)) => RawBson::String(at.to_string()),
        Value::TimestampTz(at) if matches!(kind, Kind::TimestampTz(_)) => {
            RawBson::String(if at.is_finite() { format!("{at}Z") } else { at.to_string() })
        }
        Value::Json(text) if *kind == Kind::Json => RawBson::String(text.to_string()),
        _ => tagged(value),
    }
}

/// A map as a document; `None` where that would not read back as this map.
fn write_map(entries: &[(ByteString, Value)]) -> Option<RawDocumentBuf> {
    let mut document = RawDocumentBuf::new();
    let mut names = FxHashSet::default();
    for (i, (name, value)) in entries.iter().enumerate() {
        if !names.insert(name) || name.starts_with('$') || (i == 0 && name.starts_with('@')) {
            return None;
        }
        document.append(<&CStr>::try_from(&**name).ok()?, write_value(&Kind::Any, value));
    }
    Some(document)
}

/// Kinds whose values stand as text that is not theirs to show.
fn is_text_form(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Decimal { .. } | Kind::Date | Kind::Time(_) | Kind::Timestamp(_) | Kind::TimestampTz(_) | Kind::Json
    )
}

fn tagged(value: &Value) -> RawBson {
    // The embedded store's exact text serves for what BSON has no type for.
    RawBson::Document(single("@value", RawBson::String(codec::value_to_text(value))))
}

fn read_value(value: RawBsonRef<'_>, kind: &Kind) -> Result<Value, String> {
    let wrong = |expected: &str| format!("expected {expected}");
    Ok(match value {
        RawBsonRef::Null => Value::Null,
        RawBsonRef::Boolean(flag) => Value::Bool(flag),
        RawBsonRef::Int64(n) => Value::Int(n),
        RawBsonRef::Int32(n) => Value::Int(n.into()),
        RawBsonRef::Double(n) => Value::Float(n),
        RawBsonRef::Decimal128(n) => Value::Decimal(n.to_string().parse().map_err(wrong)?),
        RawBsonRef::Binary(binary) => Value::Bytes(binary.bytes.to_vec().into()),
        RawBsonRef::String(text) => match kind {
            Kind::Decimal { .. } => Value::Decimal(text.parse().map_err(wrong)?),
            Kind::Date => Value::Date(text.parse().map_err(wrong)?),
            Kind::Time(_) => Value::Time(text.parse().map_err(wrong)?),
            Kind::Timestamp(_) => Value::Timestamp(text.parse().map_err(wrong)?),
            Kind::TimestampTz(_) => Value::TimestampTz(text.parse().map_err(wrong)?),
            Kind::Json => Value::Json(text.into()),
            _ => Value::Text(text.into()),
        },
        RawBsonRef::Array(items) => {
            let of = if let Kind::List(of) = kind { of } else { &Kind::Any };
            let items = items.into_iter().map(|item| read_value(item.map_err(|_| "not valid BSON")?, of));
            Value::List(items.collect::<Result<_, String>>()?)
        }
        RawBsonRef::Document(document) => read_map(document)?,
        _ => return Err(wrong("a type that the store writes")),
    })
}

fn read_map(document: &RawDocument) -> Result<Value, String> {
    let mut entries = Vec::new();
    for element in document {
        let (name, value) = element.map_err(|_| "not valid BSON".to_string())?;
        if let ("@value", RawBsonRef::String(text)) = (name.as_str(), value) {
            return codec::value_from_text(text);
        }
        entries.push((ByteString::from(name.as_str()), read_value(value, &Kind::Any)?));
    }
    Ok(Value::Map(entries))
}

/// The decimal128 with the same digits and the same trailing zeros, if there is one.
fn decimal128(decimal: &Decimal) -> Option<Decimal128> {
    let text = decimal.to_string();
    // Longer texts cannot fit; shorter ones may still round, which the way back shows.
    if text.len() > 40 {
        return None;
    }
    let candidate = Decimal128::from_str(&text).ok()?;
    let back: Decimal = candidate.to_string().parse().ok()?;
    (back == *decimal && back.to_string() == text).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stores::codec::tests::{any_kind, any_value};

    fn shape_of(value: RawBson) -> String {
        format!("{value:?}")
    }

    proptest! {
        #[test]
        fn rows_read_back_exactly(columns in prop::collection::vec((any_kind(), any_value()), 0..6)) {
            let names = columns.iter().enumerate().map(|(i, (kind, _))| (format!("$c.{i}"), kind.clone()));
            let schema = Arc::new(TableSchema::new(names));
            let row = Row::new(schema.clone(), columns.into_iter().map(|(_, value)| value).collect());
            let read = read_row(&write_row(&row).unwrap(), &schema).unwrap();
            for (before, after) in row.values().iter().zip(read.values()) {
                prop_assert_eq!(codec::value_to_text(before), codec::value_to_text(after));
                prop_assert_eq!(before.type_name(), after.type_name());
            }
        }
    }

    #[test]
    fn values_are_typed_where_bson_has_the_type() {
        let decimal = Value::Decimal("1.10".parse().unwrap());
        let kind = Kind::Decimal { precision: None, scale: None };
        assert_eq!(shape_of(write_value(&kind, &decimal)), shape_of(RawBson::Decimal128("1.10".parse().unwrap())));
        let wide = Value::Decimal("12345678901234567890123456789012345.1".parse().unwrap());
        assert!(matches!(write_value(&kind, &wide), RawBson::String(_)));
        assert!(matches!(write_value(&Kind::Any, &wide), RawBson::Document(_)));
        assert!(matches!(write_value(&Kind::Int64, &Value::Int(1)), RawBson::Int64(1)));
    }
}
