//! Values, exact: decimals of any width, 64-bit integers, and three kinds of nothing kept apart (a column that is
//! absent from the schema, [`Value::Null`], and [`Value::Unchanged`]).
//!
//! Deliberately absent: arithmetic and implicit conversions. What cannot be represented is rejected by whoever reads it.

use bytes::Bytes;
use bytestring::ByteString;

use super::{Date, Decimal, Time, Timestamp};

/// One value. Text and bytes are shared slices of the batch they were read from: cloning them copies nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// SQL null.
    #[default]
    Null,
    /// The source did not send it (PostgreSQL's unchanged TOAST, Oracle's LOB): keep what is stored.
    Unchanged,
    /// true or false.
    Bool(bool),
    /// Signed integer.
    Int(i64),
    /// An integer above `i64::MAX`. Smaller ones are [`Value::Int`], so that equal numbers are equal values.
    UInt(u64),
    /// IEEE 754 double, NaN and infinities included.
    Float(f64),
    /// Exact decimal.
    Decimal(Decimal),
    /// Text.
    Text(ByteString),
    /// Bytes.
    Bytes(Bytes),
    /// Calendar day.
    Date(Date),
    /// Time of day, or a signed duration.
    Time(Time),
    /// Zone-less date and time, counted as if it were UTC.
    Timestamp(Timestamp),
    /// An instant.
    TimestampTz(Timestamp),
    /// A JSON document as the source's text.
    Json(ByteString),
    /// Values in order.
    List(Vec<Value>),
    /// Names to values, in order.
    Map(Vec<(ByteString, Value)>),
}

impl Value {
    /// Text from anything stringly.
    pub fn text(text: impl Into<ByteString>) -> Self {
        Value::Text(text.into())
    }

    /// The canonical integer value of `n`.
    pub fn uint(n: u64) -> Self {
        i64::try_from(n).map_or(Value::UInt(n), Value::Int)
    }

    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The text, if this is text or JSON.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(t) | Value::Json(t) => Some(t),
            _ => None,
        }
    }

    /// What this is, for error texts: a type's name, never the value.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Unchanged => "unchanged",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int64",
            Value::UInt(_) => "uint64",
            Value::Float(_) => "float64",
            Value::Decimal(_) => "decimal",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Date(_) => "date",
            Value::Time(_) => "time",
            Value::Timestamp(_) => "timestamp",
            Value::TimestampTz(_) => "timestamptz",
            Value::Json(_) => "json",
            Value::List(_) => "list",
            Value::Map(_) => "map",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Value::Int(n)
    }
}
