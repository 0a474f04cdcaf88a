//! MongoDB's extended JSON, versions 1 and 2, canonical and relaxed, as Debezium's MongoDB connector writes documents.
//!
//! | extended JSON | value |
//! |---|---|
//! | `$numberInt`, `$numberLong`, integers | integer (32 and 64 bits are one) |
//! | `$numberDouble`, numbers with a fraction, bare `NaN` and `Infinity` | double |
//! | `$numberDecimal` | decimal |
//! | `$date` as milliseconds, `$numberLong` or ISO text | instant |
//! | `$binary` of subtype 0 | bytes |
//! | `$oid`, `$timestamp`, `$regularExpression`, `$code`, `$symbol`, `$minKey`, `$maxKey`, `$undefined`, `$binary` of other subtypes | a map that is its canonical version 2 form |
//!
//! Specification: “MongoDB Extended JSON (v2)” and “… v1”.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytestring::ByteString;

use super::column::Names;
use super::json::{Cursor, MAX_DEPTH, Next, Text, too_deep};
use super::{Fault, temporal};
use crate::record::{Timestamp, Value};

/// Takes a value at nesting `depth`. `doc` is the text that `cursor` reads: values are slices of it.
pub fn value<'a>(doc: &'a ByteString, cursor: &mut Cursor<'a>, depth: u32) -> Result<Value, Fault> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    match cursor.next()? {
        Next::Null => cursor.null().map(|_| Value::Null),
        Next::Bool => cursor.bool().map(Value::Bool),
        Next::Number => {
            let number = cursor.number()?;
            let text = number.text;
            let int = || text.parse().map(Value::Int).ok();
            let value = if number.integral { int() } else { None };
            value.or_else(|| text.parse().ok().map(Value::Float)).ok_or_else(|| wrong("a number"))
        }
        Next::Text => resolved(doc, cursor.string()?).map(Value::Text),
        Next::List => {
            let mut items = Vec::new();
            let mut more = cursor.open_list()?;
            while more {
                items.push(value(doc, cursor, depth + 1)?);
                more = cursor.more_items()?;
            }
            Ok(Value::List(items))
        }
        Next::Object => object(doc, cursor, depth),
    }
}

fn resolved(doc: &ByteString, text: Text<'_>) -> Result<ByteString, Fault> {
    match text.resolve()? {
        Cow::Borrowed(slice) => Ok(doc.slice_ref(slice)),
        Cow::Owned(copy) => Ok(copy.into()),
    }
}

fn object<'a>(doc: &'a ByteString, cursor: &mut Cursor<'a>, depth: u32) -> Result<Value, Fault> {
    let mut entries: Vec<(ByteString, Value)> = Vec::new();
    let mut names = Names::default();
    let mut more = cursor.open_object()?;
    while more {
        let name = resolved(doc, cursor.key()?)?;
        names.take(&entries, &name)?;
        entries.push((name, value(doc, cursor, depth + 1)?));
        more = cursor.more_fields()?;
    }
    special(entries)
}

/// What a document with `$` names means; any other document stays what it is.
fn special(mut entries: Vec<(ByteString, Value)>) -> Result<Value, Fault> {
    let Some((name, first)) = entries.first().filter(|(name, _)| name.starts_with('$')) else {
        return Ok(Value::Map(entries));
    };
    let alone = entries.len() == 1;
    let as_text = first.as_str();
    let value = match &**name {
        "$numberInt" | "$numberLong" if alone => as_text.and_then(|t| t.parse().ok()).map(Value::Int),
        "$numberDouble" if alone => as_text.and_then(|t| t.parse().ok()).map(Value::Float),
        "$numberDecimal" if alone => as_text.and_then(|t| t.parse().ok()).map(Value::Decimal),
        "$date" if alone => date(first).map(Value::TimestampTz),
        "$uuid" if alone => as_text.and_then(uuid),
        "$binary" => binary(&entries),
        "$regex" => {
            let options = entries.iter().find(|(name, _)| *name == "$options").map(|(_, v)| v.clone());
            let parts = vec![("pattern".into(), first.clone()), ("options".into(), options.unwrap_or("".into()))];
            Some(Value::Map(vec![("$regularExpression".into(), Value::Map(parts))]))
        }
        _ => return Ok(Value::Map(std::mem::take(&mut entries))),
    };
    value.ok_or_else(|| wrong(name))
}

#[cold]
fn wrong(name: &str) -> Fault {
    Fault::new(
        "extjson.value",
        format!("expected MongoDB extended JSON, found `{name}` with a value that it cannot have"),
    )
}

fn date(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Int(millis) => Some(Timestamp::from_millis(*millis)),
        Value::Text(text) => temporal::timestamp(text).map(|(at, _)| at),
        _ => None,
    }
}

fn uuid(text: &str) -> Option<Value> {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 32)?;
    Some(typed_binary(&STANDARD.encode(number.to_be_bytes()), 4))
}

/// Version 1: `{$binary: base64, $type: hex}`; version 2: `{$binary: {base64, subType: hex}}`.
fn binary(entries: &[(ByteString, Value)]) -> Option<Value> {
    let field = |entries: &[(ByteString, Value)], name: &str| {
        entries.iter().find(|(n, _)| *n == name).and_then(|(_, v)| v.as_str().map(str::to_string))
    };
    let (base64, subtype) = match &entries.first()?.1 {
        Value::Map(inner) => (field(inner, "base64")?, field(inner, "subType")?),
        _ => (field(entries, "$binary")?, field(entries, "$type")?),
    };
    match u8::from_str_radix(&subtype, 16).ok()? {
        0 => STANDARD.decode(&base64).ok().map(|bytes| Value::Bytes(bytes.into())),
        subtype => Some(typed_binary(&base64, subtype)),
    }
}

fn typed_binary(base64: &str, subtype: u8) -> Value {
    let parts = vec![("base64".into(), base64.into()), ("subType".into(), Value::text(format!("{subtype:02x}")))];
    Value::Map(vec![("$binary".into(), Value::Map(parts))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Value, Fault> {
        let doc = ByteString::from(json);
        let mut cursor = Cursor::new(&doc).lenient();
        let value = value(&doc, &mut cursor, 0)?;
        cursor.end()?;
        Ok(value)
    }

    #[test]
    fn both_versions_mean_the_same() {
        for (json, expected) in [
            (r#"{"$numberLong": "1004"}"#, "1004"),
            (r#"{"$numberInt": "-5"}"#, "-5"),
            (r#"{"$numberDouble": "NaN"}"#, "\"NaN\""),
            ("-Infinity", "\"-Infinity\""),
            ("10.0", "10.0"),
            (r#"{"$numberDecimal": "3.140"}"#, "3.140"),
            (r#"{"$date": 1739455397970}"#, "\"2025-02-13T14:03:17.97Z\""),
            (r#"{"$date": {"$numberLong": "1739455397970"}}"#, "\"2025-02-13T14:03:17.97Z\""),
            (r#"{"$date": "2025-02-13T14:03:17.970Z"}"#, "\"2025-02-13T14:03:17.97Z\""),
            (r#"{"$binary": "a2Fma2E=", "$type": "00"}"#, "\"a2Fma2E=\""),
            (r#"{"$binary": {"base64": "a2Fma2E=", "subType": "0"}}"#, "\"a2Fma2E=\""),
            (r#"{"$binary": "a2Fma2E=", "$type": "5"}"#, r#"{"$binary":{"base64":"a2Fma2E=","subType":"05"}}"#),
            (r#"{"$regex": "^a", "$options": "i"}"#, r#"{"$regularExpression":{"pattern":"^a","options":"i"}}"#),
            (r#"{"$oid": "596e275826f08b2730779e1f"}"#, r#"{"$oid":"596e275826f08b2730779e1f"}"#),
            (r#"{"a": [{"$numberLong": "1"}, {"b": null}]}"#, r#"{"a":[1,{"b":null}]}"#),
        ] {
            assert_eq!(read(json).unwrap().to_json(), expected, "{json}");
        }
        for json in [
            r#"{"$numberLong": "x"}"#,
            r#"{"$date": true}"#,
            r#"{"$binary": "?", "$type": "00"}"#,
            "nan",
            "{\"a\":1,\"a\":2}",
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
