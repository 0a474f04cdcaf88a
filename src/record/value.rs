//! Values, exact: decimals of any width, 64-bit integers, and three kinds of nothing kept apart (a column that is
//! absent from the schema, [`Value::Null`], and [`Value::Unchanged`]).
//!
//! Deliberately absent: arithmetic and implicit conversions. What cannot be represented is rejected by whoever reads it.

use std::fmt;
use std::str::FromStr;

use bigdecimal::BigDecimal;
use bytes::Bytes;
use bytestring::ByteString;

use super::{Date, Time, Timestamp};

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

/// A decimal of any width, or one of SQL's three special values. Trailing zeros are kept: `1.10` is not `1.1` in text,
/// though the two are equal in value.
#[derive(Debug, Clone, PartialEq)]
pub enum Decimal {
    /// A number.
    Number(Box<BigDecimal>),
    /// Not a number.
    NaN,
    /// Positive infinity.
    Infinity,
    /// Negative infinity.
    NegInfinity,
}

impl From<BigDecimal> for Decimal {
    fn from(number: BigDecimal) -> Self {
        Decimal::Number(Box::new(number))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decimal::Number(n) => f.write_str(&n.to_plain_string()),
            Decimal::NaN => f.write_str("NaN"),
            Decimal::Infinity => f.write_str("Infinity"),
            Decimal::NegInfinity => f.write_str("-Infinity"),
        }
    }
}

impl FromStr for Decimal {
    type Err = &'static str;

    /// Reads plain or scientific notation. Exponents beyond ±10,000 are refused: expanding them would cost memory
    /// without bound.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "NaN" | "NAN" => return Ok(Decimal::NaN),
            "Infinity" | "POSITIVE_INFINITY" => return Ok(Decimal::Infinity),
            "-Infinity" | "NEGATIVE_INFINITY" => return Ok(Decimal::NegInfinity),
            _ => {}
        }
        let number = BigDecimal::from_str(text).map_err(|_| "not a decimal number")?;
        if number.fractional_digit_count().unsigned_abs() > 10_000 + text.len() as u64 {
            return Err("the decimal's exponent is beyond 10,000");
        }
        Ok(number.into())
    }
}
