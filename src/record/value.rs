//! Values, exact: decimals of any width, 64-bit integers, and three kinds of nothing kept apart (a column that is
//! absent from the schema, [`Value::Null`], and [`Value::Unchanged`]).
//!
//! Deliberately absent: arithmetic and implicit conversions. What cannot be represented is rejected by whoever reads it.

use bytes::Bytes;
use bytestring::ByteString;

use super::{Date, Decimal, Time, Timestamp};

/// One value. Text and bytes are shared slices of the batch they were read from: cloning them copies nothing.
///
/// # From the source's types to the targets'
///
/// The one table of this mapping. *JSON* is what `raw dump`, the SQLite sink and people read; *BSON* what the `mongodb`
/// sink writes. A raw store keeps every value so that it reads back as itself, tagged where its column does not tell.
///
/// | value | what becomes it | JSON | BSON | what the target cannot hold |
/// |---|---|---|---|---|
/// | null | SQL null; MySQL's zero dates in nullable columns | `null` | null | |
/// | unchanged | the placeholder of TOAST and LOB values, in every disguise | left out; `null` in a list | – | a sink without `raw` before it rejects: `value.unchanged` |
/// | bool | boolean, `BIT(1)`, `TINYINT(1)` declared `bool` | `true`, `false` | bool | |
/// | int64 | integers, years | all digits | int64, never int32: a field has one type | |
/// | uint64 | MySQL's `BIGINT UNSIGNED`, also where it wrapped below zero | all digits | int64; decimal128 above 2^63-1 | |
/// | float64 | single (by its shortest text) and double precision | shortest text that reads back; `"NaN"`, `"Infinity"`, `"-Infinity"` | double, NaN and infinities too | |
/// | decimal | Connect's `Decimal`, `VariableScaleDecimal`, money, unlimited `numeric`; text or double by handling mode | number with all digits and trailing zeros; specials as text | decimal128 with its trailing zeros | wider than 34 digits: rejected `value.decimal_too_wide`; `decimals: text` stores all |
/// | text | text, enums, sets, XML, `ltree`, UUIDs, intervals, `timetz`, JSON that is none any more (cut, moved away) | text | text | NUL in a *name*: BSON has none, rejected |
/// | bytes | binary (base64 or hexadecimal text), bit strings (least significant byte first), WKB | base64 | binary, subtype 0 | |
/// | date | days since 1970, ISO text, structured dates | `YYYY-MM-DD`, years beyond 9999 as `+YYYYY` and before 1 as `-YYYY`; `infinity` | the same text | |
/// | time | milli-, micro- or nanoseconds of the day, 24:00:00, MySQL's ±838:59:59; numeric intervals | `[-]HH:MM:SS[.f]` | the same text with the column's digits | |
/// | timestamp | counts since 1970 of wall time, by the unit of the column's digits | `YYYY-MM-DDTHH:MM:SS[.f]`, no zone | the same text: a BSON date would claim to be UTC | |
/// | timestamptz | ISO text with a zone, normalized to UTC | the same with `Z` | date for up to 3 digits; else text, which a date would cut (`timestamps: date` cuts, `text` makes all text) | SQL's infinities as dates: rejected `value.not_a_date`; as text they are `infinity` |
/// | JSON | `json`, `jsonb`, `hstore` as text | itself, numbers with all digits | text | |
/// | list | arrays of any depth, nulls in them; maps with keys that are not text: pairs | array | array | deeper than 150: rejected `document.too_deep` |
/// | map | structs, `hstore` as a map, points and geometry, nested documents | object | document | the same |
///
/// What denotes no value at all (a structured zero date, a Decimal without a scale, days beyond 32 bits) is a fault where
/// it is read, and its message is parked.
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
