//! Values and rows as exact JSON text: what `raw dump`, the SQLite sink and people read.
//!
//! The mapping stands in the documentation of [`Value`]. A row is an object in column order; JSON inside it loses its
//! insignificant white space, and becomes text when it is not JSON.
//!
//! The output is one line: control characters are escaped. Deliberately absent: reading JSON back, which needs kinds.

use std::fmt::Write as _;

use base64::Engine as _;
use serde::de::IgnoredAny;

use super::{Decimal, Row, Value};

impl Row {
    /// Appends the row as a JSON object.
    pub fn write_json(&self, out: &mut String) {
        write_object(out, self.iter().map(|(name, value)| (&**name, value)));
    }

    /// The row as a JSON object.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(32 * self.values().len());
        self.write_json(&mut out);
        out
    }
}

impl Value {
    /// Appends the value as JSON.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Value::Null | Value::Unchanged => out.push_str("null"),
            Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Value::Int(n) => write_plain(out, n),
            Value::UInt(n) => write_plain(out, n),
            Value::Float(n) => write_float(out, *n),
            Value::Decimal(n @ (Decimal::Small { .. } | Decimal::Number(_))) => write_plain(out, n),
            Value::Decimal(special) => write_quoted(out, special),
            Value::Text(text) => write_json_text(out, text),
            Value::Bytes(bytes) => {
                out.push('"');
                base64::engine::general_purpose::STANDARD.encode_string(bytes, out);
                out.push('"');
            }
            Value::Date(date) => write_quoted(out, date),
            Value::Time(time) => write_quoted(out, time),
            Value::Timestamp(at) => write_quoted(out, at),
            Value::TimestampTz(at) if at.is_finite() => write_quoted(out, format_args!("{at}Z")),
            Value::TimestampTz(at) => write_quoted(out, at),
            Value::Json(text) => write_embedded(out, text),
            Value::List(values) => {
                out.push('[');
                for (i, value) in values.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    value.write_json(out);
                }
                out.push(']');
            }
            Value::Map(entries) => write_object(out, entries.iter().map(|(name, value)| (&**name, value))),
        }
    }

    /// The value as JSON.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }
}

/// Appends `text` as a JSON string.
pub fn write_json_text(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\') {
        let (clean, tail) = rest.split_at(at);
        out.push_str(clean);
        let mut tail = tail.chars();
        match tail.next() {
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(c @ ('"' | '\\')) => out.extend(['\\', c]),
            Some(control) => write_plain(out, format_args!("\\u{:04x}", u32::from(control))),
            None => {}
        }
        rest = tail.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

fn write_object<'a>(out: &mut String, entries: impl Iterator<Item = (&'a str, &'a Value)>) {
    out.push('{');
    let mut first = true;
    for (name, value) in entries.filter(|(_, value)| !matches!(value, Value::Unchanged)) {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        write_json_text(out, name);
        out.push(':');
        value.write_json(out);
    }
    out.push('}');
}

fn write_float(out: &mut String, n: f64) {
    if n.is_finite() {
        // `Debug` is the shortest text that reads back as the same double, with an exponent where digits would run long.
        write_plain(out, format_args!("{n:?}"));
    } else if n.is_nan() {
        out.push_str("\"NaN\"");
    } else {
        out.push_str(if n > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    }
}

/// JSON inside JSON. Numbers keep all digits since the text is copied, not parsed.
fn write_embedded(out: &mut String, text: &str) {
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return write_json_text(out, text);
    }
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if matches!(c, ' ' | '\n' | '\r' | '\t') {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
}

fn write_plain(out: &mut String, shown: impl std::fmt::Display) {
    // Writing into a `String` cannot fail.
    let _ = write!(out, "{shown}");
}

fn write_quoted(out: &mut String, shown: impl std::fmt::Display) {
    let _ = write!(out, "\"{shown}\"");
}

#[cfg(test)]
mod tests {
    use super::super::{Date, Time, Timestamp};
    use super::*;

    fn json(value: Value) -> String {
        value.to_json()
    }

    #[test]
    fn numbers_keep_every_digit() {
        assert_eq!(json(Value::Int(i64::MIN)), "-9223372036854775808");
        assert_eq!(json(Value::UInt(u64::MAX)), "18446744073709551615");
        for text in
            ["1.10", "-0.000000000000000000000000000000000000000001", "123456789012345678901234567890.123456789"]
        {
            assert_eq!(json(Value::Decimal(text.parse().unwrap())), text);
        }
        assert_eq!(json(Value::Decimal(Decimal::NaN)), "\"NaN\"");
        for n in [0.1, -0.0, 1e300, 5e-324, f64::MAX] {
            assert_eq!(json(Value::Float(n)).parse::<f64>().unwrap().to_bits(), n.to_bits());
        }
        assert_eq!(json(Value::Float(f64::NEG_INFINITY)), "\"-Infinity\"");
    }

    #[test]
    fn text_reads_back_whatever_it_holds() {
        let text = "quote \" slash \\ newline \n tab \t bell \u{7} nul \0 ü 漢 \u{1F600} \u{2028}";
        let written = json(Value::from(text));
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        assert!(!written.contains('\n'));
    }

    #[test]
    fn times_are_iso_text() {
        assert_eq!(json(Value::Date(Date { days: 0 })), "\"1970-01-01\"");
        assert_eq!(json(Value::Time(Time { nanos: 1_500_000_000 })), "\"00:00:01.5\"");
        assert_eq!(json(Value::Timestamp(Timestamp::from_millis(1))), "\"1970-01-01T00:00:00.001\"");
        assert_eq!(json(Value::TimestampTz(Timestamp::from_millis(1))), "\"1970-01-01T00:00:00.001Z\"");
        assert_eq!(json(Value::TimestampTz(Timestamp::INFINITY)), "\"infinity\"");
    }

    #[test]
    fn embedded_json_stays_json_on_one_line() {
        let text = "{ \"a b\" : [ 1.00,\n 123456789012345678901234567890 ],\t\"q\": \"x \\\" y\\\\\" }";
        let compact = "{\"a b\":[1.00,123456789012345678901234567890],\"q\":\"x \\\" y\\\\\"}";
        assert_eq!(json(Value::Json(text.into())), compact);
        assert_eq!(json(Value::Json("{broken".into())), "\"{broken\"");
    }

    #[test]
    fn unchanged_fields_are_left_out_and_nulls_are_not() {
        let row = Row::of([("a", Value::Unchanged), ("b", Value::Null), ("c", Value::List(vec![Value::Bool(true)]))]);
        assert_eq!(row.to_json(), "{\"b\":null,\"c\":[true]}");
        let map = Value::Map(vec![("x".into(), Value::Bytes(vec![0, 255].into()))]);
        assert_eq!(json(map), "{\"x\":\"AP8=\"}");
    }
}
