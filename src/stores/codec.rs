//! Rows as JSON text that reads back exactly: what the embedded store keeps.
//!
//! A row is a JSON object in column order, readable by people and by SQL's JSON functions. Most values are plain: their
//! column's [`Kind`] says how to read them back. A value that its kind does not expect (a double under `any`, text in an
//! integer column after the source changed its type) carries a tag, an object with one key: `{"$float64":1.5}`.
//!
//! Invariant: `read(write(value)) == value` for every value under every kind, `1.10` keeping its zero; a property test
//! holds it. Nesting is bounded on both sides, whatever stands in the file: readers of JSON need stack for each level.
//! Deliberately absent: schema evolution. Each row is read with the columns that it was written with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytestring::ByteString;
use sonic_rs::{JsonValueTrait, LazyValue};
use std::sync::Arc;

use crate::record::{Decimal, Kind, Row, TableSchema, Value, write_json_text};

/// The deepest nesting of values that is stored; decoders let in less.
pub const VALUE_DEPTH_MAX: usize = 125;
/// The deepest nesting of JSON that is read: each value may carry a tag, and the row is an object itself.
const JSON_DEPTH_MAX: usize = 2 * VALUE_DEPTH_MAX + 6;

/// Whether `row` is nested deeper than [`VALUE_DEPTH_MAX`].
pub fn is_too_deep(row: &Row) -> bool {
    fn reaches(value: &Value, levels: usize) -> bool {
        match value {
            Value::List(items) => levels == 0 || items.iter().any(|item| reaches(item, levels - 1)),
            Value::Map(entries) => levels == 0 || entries.iter().any(|(_, item)| reaches(item, levels - 1)),
            _ => false,
        }
    }
    row.values().iter().any(|value| reaches(value, VALUE_DEPTH_MAX))
}

/// Refuses what would take too much stack, before a parser sees it.
fn check_depth(text: &str) -> Result<(), String> {
    let opening = |byte: &u8| matches!(byte, b'[' | b'{');
    // Nearly every row has fewer brackets in all; counting them is much cheaper than following them.
    if text.as_bytes().iter().filter(|byte| opening(byte)).count() <= JSON_DEPTH_MAX {
        return Ok(());
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return Err(format!("nested deeper than {JSON_DEPTH_MAX} levels"));
        }
    }
    Ok(())
}

/// Appends `row` as a JSON object.
pub fn write_row(out: &mut String, row: &Row) {
    out.push('{');
    for (i, (column, value)) in row.schema().columns.iter().zip(row.values()).enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_json_text(out, &column.name);
        out.push(':');
        write_value(out, &column.kind, value);
    }
    out.push('}');
}

/// Reads what [`write_row`] wrote for a row of `schema`. The error names a column, never a value.
pub fn read_row(text: &str, schema: &Arc<TableSchema>) -> Result<Row, String> {
    check_depth(text)?;
    let whole = ByteString::from(text);
    let mut values = Vec::with_capacity(schema.columns.len());
    let mut columns = schema.columns.iter();
    for entry in sonic_rs::to_object_iter(&*whole) {
        let (name, value) = entry.map_err(|_| "the stored row is not a JSON object".to_string())?;
        let column = columns.next().filter(|c| *c.name == *name).ok_or("the stored row has other columns")?;
        values.push(read_value(&whole, &value, &column.kind).map_err(|e| format!("column {}: {e}", column.name))?);
    }
    if columns.next().is_some() {
        return Err("the stored row lacks columns".to_string());
    }
    Ok(Row::new(schema.clone(), values))
}

/// One value as text of its own.
pub fn value_to_text(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, &Kind::Any, value);
    out
}

/// Reads what [`value_to_text`] wrote.
pub fn value_from_text(text: &str) -> Result<Value, String> {
    // An array around it, because JSON iterators are made for objects and arrays.
    values_from_text(&format!("[{text}]"))?.pop().ok_or_else(|| "no value".to_string())
}

/// Values as a JSON array.
pub fn values_to_text(values: &[Value]) -> String {
    let mut out = String::from("[");
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_value(&mut out, &Kind::Any, value);
    }
    out.push(']');
    out
}

/// Reads a JSON array of values.
pub fn values_from_text(text: &str) -> Result<Vec<Value>, String> {
    check_depth(text)?;
    let whole = ByteString::from(text);
    sonic_rs::to_array_iter(&*whole)
        .map(|item| read_value(&whole, &item.map_err(|_| "not a JSON array")?, &Kind::Any))
        .collect()
}

/// Appends `value`, tagged unless `kind` tells how to read it.
pub fn write_value(out: &mut String, kind: &Kind, value: &Value) {
    if !is_plain(kind, value) {
        out.push_str("{\"$");
        out.push_str(value.type_name());
        out.push_str("\":");
        write_untagged(out, &Kind::Any, value);
        out.push('}');
    } else {
        write_untagged(out, kind, value);
    }
}

fn write_untagged(out: &mut String, kind: &Kind, value: &Value) {
    match value {
        // The source's own text, spaces included; embedded it would be parsed with the row.
        Value::Json(text) => write_json_text(out, text),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(out, item_kind(kind), item);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (i, (name, item)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json_text(out, name);
                out.push(':');
                write_value(out, &Kind::Any, item);
            }
            out.push('}');
        }
        _ => value.write_json(out),
    }
}

fn item_kind(kind: &Kind) -> &Kind {
    if let Kind::List(of) = kind { of } else { &Kind::Any }
}

/// Whether `value`, written without a tag, is read back as itself under `kind`.
fn is_plain(kind: &Kind, value: &Value) -> bool {
    match (kind, value) {
        (_, Value::Null) => true,
        (Kind::Any | Kind::Map, Value::Map(entries)) => !looks_tagged(entries),
        (Kind::Any, Value::Bool(_) | Value::Int(_) | Value::UInt(_) | Value::Text(_) | Value::List(_)) => true,
        // Under `any` a number with a point is a decimal, one without is an integer.
        (Kind::Any, Value::Decimal(Decimal::Small { scale, .. })) => *scale > 0,
        (Kind::Any, Value::Decimal(Decimal::Number(n))) => n.fractional_digit_count() > 0,
        (Kind::Bool, Value::Bool(_))
        | (Kind::Int64 | Kind::UInt64, Value::Int(_) | Value::UInt(_))
        | (Kind::Float64, Value::Float(_))
        | (Kind::Decimal { .. }, Value::Decimal(_))
        | (Kind::Text | Kind::Uuid | Kind::Interval, Value::Text(_))
        | (Kind::Bytes | Kind::Bits, Value::Bytes(_))
        | (Kind::Date, Value::Date(_))
        | (Kind::Time(_), Value::Time(_))
        | (Kind::Timestamp(_), Value::Timestamp(_))
        | (Kind::TimestampTz(_), Value::TimestampTz(_))
        | (Kind::Json, Value::Json(_))
        | (Kind::List(_), Value::List(_)) => true,
        _ => false,
    }
}

fn looks_tagged(entries: &[(ByteString, Value)]) -> bool {
    entries.first().is_some_and(|(name, _)| name.starts_with('$'))
}

fn read_value(whole: &ByteString, value: &LazyValue<'_>, kind: &Kind) -> Result<Value, String> {
    let raw = value.as_raw_cow();
    Ok(match raw.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'"') => read_text(text_of(whole, value, &raw)?, kind)?,
        Some(b'[') => Value::List(
            value
                .clone()
                .into_array_iter()
                .ok_or("not a list")?
                .map(|item| read_value(whole, &item.map_err(|_| "not a list")?, item_kind(kind)))
                .collect::<Result<_, String>>()?,
        ),
        Some(b'{') => read_map(whole, value, true)?,
        _ => read_number(&raw, kind)?,
    })
}

/// A JSON string's text: a slice of the row where nothing is escaped.
fn text_of(whole: &ByteString, value: &LazyValue<'_>, raw: &str) -> Result<ByteString, String> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    let shared = whole.as_bytes().as_ptr_range().contains(&inner.as_ptr());
    if shared && !inner.contains('\\') {
        return Ok(whole.slice_ref(inner));
    }
    value.as_str().map(ByteString::from).ok_or_else(|| "not text".to_string())
}

fn read_text(text: ByteString, kind: &Kind) -> Result<Value, String> {
    let wrong = |expected: &str| format!("expected {expected}");
    Ok(match kind {
        Kind::Bytes | Kind::Bits => Value::Bytes(BASE64.decode(&*text).map_err(|_| wrong("base64"))?.into()),
        Kind::Date => Value::Date(text.parse().map_err(wrong)?),
        Kind::Time(_) => Value::Time(text.parse().map_err(wrong)?),
        Kind::Timestamp(_) => Value::Timestamp(text.parse().map_err(wrong)?),
        Kind::TimestampTz(_) => Value::TimestampTz(text.parse().map_err(wrong)?),
        Kind::Decimal { .. } => Value::Decimal(text.parse().map_err(wrong)?),
        Kind::Float64 => Value::Float(match &*text {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => return Err(wrong("a double")),
        }),
        Kind::Json => Value::Json(text),
        _ => Value::Text(text),
    })
}

fn read_number(raw: &str, kind: &Kind) -> Result<Value, String> {
    let decimal = |raw: &str| raw.parse().map(Value::Decimal).map_err(str::to_string);
    match kind {
        Kind::Float64 => raw.parse().map(Value::Float).map_err(|_| "expected a number".to_string()),
        Kind::Decimal { .. } => decimal(raw),
        _ => match raw.parse::<i64>() {
            Ok(n) => Ok(Value::Int(n)),
            Err(_) => raw.parse::<u64>().map(Value::UInt).or_else(|_| decimal(raw)),
        },
    }
}

fn read_map(whole: &ByteString, value: &LazyValue<'_>, may_be_tagged: bool) -> Result<Value, String> {
    let mut entries = Vec::new();
    let iter = value.clone().into_object_iter().ok_or("not a map")?;
    for (i, entry) in iter.enumerate() {
        let (name, value) = entry.map_err(|_| "not a map")?;
        let tag = name.strip_prefix('$').filter(|_| may_be_tagged && i == 0);
        if let Some(tagged) = tag.and_then(|tag| read_tagged(whole, tag, &value)) {
            return tagged;
        }
        entries.push((ByteString::from(&*name), read_value(whole, &value, &Kind::Any)?));
    }
    Ok(Value::Map(entries))
}

/// The value under a tag; `None` for names that are no tags.
fn read_tagged(whole: &ByteString, tag: &str, value: &LazyValue<'_>) -> Option<Result<Value, String>> {
    let kind = match tag {
        "unchanged" => return Some(Ok(Value::Unchanged)),
        "map" => return Some(read_map(whole, value, false)),
        "bool" | "list" => Kind::Any,
        "int64" | "uint64" | "float64" | "decimal" | "text" | "bytes" | "date" | "time" | "timestamp"
        | "timestamptz" | "json" => tag.parse().ok()?,
        _ => return None,
    };
    Some(read_value(whole, value, &kind))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Date, Time, Timestamp};

    /// Any value that a row may hold.
    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        let digits = "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?(E-?[0-9]{1,2})?";
        let timestamp = (-9_000_000_000_000_000i64..9_000_000_000_000_000, 0u32..1_000_000_000)
            .prop_map(|(secs, nanos)| Timestamp { secs, nanos });
        let timestamp = prop_oneof![9 => timestamp, 1 => Just(Timestamp::INFINITY), 1 => Just(Timestamp::NEG_INFINITY)];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<u64>().prop_map(Value::uint),
            any::<f64>().prop_map(Value::Float),
            prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0)].prop_map(Value::Float),
            digits.prop_map(|text| Value::Decimal(text.parse().unwrap())),
            prop_oneof![Just(Decimal::NaN), Just(Decimal::Infinity), Just(Decimal::NegInfinity)]
                .prop_map(Value::Decimal),
            ".{0,12}".prop_map(Value::text),
            "[\"\\\\\u{0}\u{1f}\n$]{0,4}".prop_map(Value::text),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(|b| Value::Bytes(b.into())),
            any::<i32>().prop_map(|days| Value::Date(Date { days })),
            any::<i64>().prop_map(|nanos| Value::Time(Time { nanos })),
            timestamp.clone().prop_map(Value::Timestamp),
            timestamp.prop_map(Value::TimestampTz),
            "[{}\\[\\]\":, a-z0-9]{0,12}".prop_map(|text| Value::Json(text.into())),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let name = prop_oneof![Just("$map".to_string()), Just("$decimal".to_string()), "[$a-c]{0,3}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::vec((name.prop_map(ByteString::from), inner), 0..4).prop_map(Value::Map),
            ]
        })
    }

    pub(crate) fn any_kind() -> impl Strategy<Value = Kind> {
        const TEXTS: &[&str] = &[
            "any",
            "bool",
            "int64",
            "uint64",
            "float64",
            "decimal(18,2)",
            "decimal",
            "text",
            "bytes",
            "date",
            "time(6)",
            "timestamp(3)",
            "timestamptz(6)",
            "json",
            "uuid",
            "interval",
            "bits",
            "map",
            "text[]",
            "any[]",
            "json[][]",
        ];
        prop::sample::select(TEXTS).prop_map(|text| text.parse().unwrap())
    }

    /// Equal to the last digit: `Debug` tells `1.10` from `1.1`, `-0.0` from `0.0`, and NaN is itself.
    fn exact(value: &Value) -> String {
        let mut out = String::new();
        write_value(&mut out, &Kind::Any, value);
        out
    }

    proptest! {
        #[test]
        fn rows_read_back_exactly(columns in prop::collection::vec((any_kind(), any_value()), 0..6)) {
            let names = columns.iter().enumerate().map(|(i, (kind, _))| (format!("c\"{i}"), kind.clone()));
            let schema = Arc::new(TableSchema::new(names));
            let row = Row::new(schema.clone(), columns.into_iter().map(|(_, value)| value).collect());
            let mut text = String::new();
            write_row(&mut text, &row);
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "not JSON: {}", text);
            let read = read_row(&text, &schema).unwrap();
            for (before, after) in row.values().iter().zip(read.values()) {
                prop_assert_eq!(exact(before), exact(after));
                prop_assert_eq!(before.type_name(), after.type_name());
            }
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,40}", kind in any_kind()) {
            let schema = Arc::new(TableSchema::new([("a", kind)]));
            let _ = read_row(&text, &schema);
            let _ = read_row(&format!("{{\"a\":{text}}}"), &schema);
            let _ = value_from_text(&text);
        }
    }

    #[test]
    fn plain_where_the_kind_tells_and_tagged_elsewhere() {
        let row = Row::new(
            Arc::new(TableSchema::new([
                ("amount", Kind::Decimal { precision: Some(10), scale: Some(2) }),
                ("any", Kind::Any),
                ("rate", Kind::Any),
                ("id", Kind::Int64),
            ])),
            vec![
                Value::Decimal("1.10".parse().unwrap()),
                Value::Decimal("2.50".parse().unwrap()),
                Value::Float(0.5),
                Value::from("x"),
            ],
        );
        let mut text = String::new();
        write_row(&mut text, &row);
        assert_eq!(text, r#"{"amount":1.10,"any":2.50,"rate":{"$float64":0.5},"id":{"$text":"x"}}"#);
    }

    /// Runs `work` with as little stack as the threads have that read stores.
    fn with_little_stack(work: impl FnOnce() + Send + 'static) {
        std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(work).unwrap().join().unwrap();
    }

    fn nested(levels: usize) -> Value {
        // Each looks like a tag, so that it needs one itself: two levels of JSON.
        (0..levels).fold(Value::Int(1), |inner, _| Value::Map(vec![("$x".into(), inner)]))
    }

    #[test]
    fn the_deepest_row_that_is_written_is_read_back() {
        with_little_stack(|| {
            let schema = Arc::new(TableSchema::new([("a", Kind::Text)]));
            let row = Row::new(schema.clone(), vec![nested(VALUE_DEPTH_MAX)]);
            assert!(!is_too_deep(&row));
            let mut text = String::new();
            write_row(&mut text, &row);
            assert_eq!(read_row(&text, &schema), Ok(row));
            assert!(is_too_deep(&Row::new(schema, vec![nested(VALUE_DEPTH_MAX + 1)])));
        });
    }

    #[test]
    fn a_hostile_row_is_refused_before_it_costs_stack() {
        with_little_stack(|| {
            let schema = Arc::new(TableSchema::new([("a", Kind::Any)]));
            for (open, close) in [("[", "]"), ("{\"b\":", "}"), ("{\"$list\":[", "]}"), ("[\"]\\\"]\",", "]")] {
                for closed in [true, false] {
                    let close = if closed { close.repeat(200_000) } else { String::new() };
                    let text = format!("{}1{close}", open.repeat(200_000));
                    let expected = Err(format!("nested deeper than {JSON_DEPTH_MAX} levels"));
                    assert_eq!(read_row(&format!("{{\"a\":{text}}}"), &schema).map(|_| ()), expected, "{open}");
                    assert_eq!(value_from_text(&text).map(|_| ()), expected, "{open}");
                }
            }
            let flat = format!("{{\"a\":[{}\"{}\"]}}", "[],".repeat(1_000), "[".repeat(1_000));
            assert!(read_row(&flat, &schema).is_ok(), "many brackets, but not one in another");
        });
    }

    #[test]
    fn a_row_of_another_shape_is_refused() {
        let schema = Arc::new(TableSchema::new([("a", Kind::Int64), ("b", Kind::Text)]));
        for text in [r#"{"a":1}"#, r#"{"a":1,"c":"x"}"#, r#"{"a":1,"b":"x","c":1}"#, "[1]", "", r#"{"a":1,"b":"x""#] {
            assert!(read_row(text, &schema).is_err(), "{text}");
        }
    }
}
