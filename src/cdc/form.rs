//! How a column's values look in JSON, and what they mean: one [`Form`] for each of Debezium's and Kafka Connect's
//! semantic types, and the [`Kind`] that it gives.
//!
//! A form comes from the schema inside the message, or from the declaration in the pipeline when there is none. Declared
//! forms accept every handling mode of the connector, as far as they can be told apart.

use std::sync::Arc;

use crate::record::Kind;

/// How to read a JSON value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Form {
    /// Nothing is known: the value stays what JSON says.
    #[default]
    Any,
    /// MongoDB's extended JSON.
    Extended,
    /// `true`, or 1 as MySQL's snapshot sends it.
    Bool,
    /// A signed integer.
    Int,
    /// An unsigned integer: a number, a negative one that wrapped, or base64 of scale 0.
    UInt,
    /// A number, or `"NaN"`, `"Infinity"`, `"-Infinity"`.
    Float,
    /// A decimal; see [`DecimalForm`].
    Decimal(DecimalForm),
    /// A string.
    Text,
    /// A string that holds JSON.
    Json,
    /// Bytes as text.
    Bytes(Binary),
    /// Base64, or a boolean for one bit.
    Bits,
    /// Days since 1970, or ISO text.
    Date,
    /// A count of units since midnight, or ISO text.
    Time {
        /// Units per second.
        per_second: i64,
    },
    /// A count of units since 1970 of wall time, or ISO text.
    Timestamp {
        /// Units per second.
        per_second: i64,
    },
    /// ISO text with a zone.
    TimestampTz,
    /// ISO 8601 text of an interval, or microseconds (`interval.handling.mode=numeric`: 30.4375 days a month).
    Interval,
    /// Debezium 3's structured date or time: year, month, …, nanos, specialValue.
    Structured(Calendar),
    /// A list.
    List(Box<Form>),
    /// Text keys to values of one form.
    Map(Box<Form>),
    /// A map whose keys are not text: a list of pairs.
    Pairs(Box<(Form, Form)>),
    /// A nested struct with its fields.
    Struct(Arc<[(Arc<str>, Form)]>),
}

/// What is known about a decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecimalForm {
    /// Digits after the point in the base64 form.
    pub scale: Option<i32>,
    /// The most digits it may have.
    pub precision: Option<u32>,
    /// What strings are.
    pub strings: Base64,
}

/// Whether a decimal's string is base64 or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Base64 {
    /// Base64: an embedded schema says so.
    Always,
    /// Base64 (`decimal.handling.mode=precise`, the default), unless it cannot be or does not fit the precision.
    #[default]
    Unless,
    /// A plain number (`decimal.handling.mode=string`).
    Never,
}

/// How bytes are written in JSON (`binary.handling.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Binary {
    /// Base64, of either alphabet (`bytes`, `base64`, `base64-url-safe`).
    #[default]
    Base64,
    /// Hexadecimal digits (`hex`). Such text would be valid base64 of other bytes: it has to be declared.
    Hex,
}

/// What the connector was told about values that JSON alone cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Handling {
    /// What strings in decimal columns are (`decimal.handling.mode`).
    pub decimals: Base64,
    /// What strings in binary columns are (`binary.handling.mode`).
    pub binary: Binary,
}

/// Which calendar value a structured type holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calendar {
    /// A day.
    Date,
    /// A time of day.
    Time,
    /// A wall time.
    Timestamp,
    /// An instant.
    TimestampTz,
}

/// A column that the pipeline declares.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredColumn {
    /// Its name.
    pub name: Arc<str>,
    /// What its values are.
    pub kind: Kind,
    form: Option<Form>,
}

impl DeclaredColumn {
    /// A column of a type as pipelines write it: what [`Kind`] reads, and `geometry` (`point`, `geography`), which is a
    /// map whose `wkb` is bytes.
    pub fn new(name: &str, kind: &str) -> Result<Self, String> {
        let (form, kind) = match kind.trim() {
            "geometry" | "point" | "geography" => {
                (Some(Form::Struct(Arc::new([("wkb".into(), Form::Bytes(Binary::Base64))]))), Kind::Map)
            }
            kind => (None, kind.parse()?),
        };
        Ok(DeclaredColumn { name: name.into(), kind, form })
    }

    /// How its values look.
    pub fn form(&self, handling: Handling) -> Form {
        self.form.clone().unwrap_or_else(|| Form::declared(&self.kind, handling))
    }
}

impl Form {
    /// The form of a column that the pipeline declares.
    pub fn declared(kind: &Kind, handling: Handling) -> Form {
        match kind {
            Kind::Any => Form::Any,
            Kind::Bool => Form::Bool,
            Kind::Int64 => Form::Int,
            Kind::UInt64 => Form::UInt,
            Kind::Float64 => Form::Float,
            Kind::Decimal { precision, scale } => {
                Form::Decimal(DecimalForm { scale: *scale, precision: *precision, strings: handling.decimals })
            }
            Kind::Text | Kind::Uuid => Form::Text,
            Kind::Interval => Form::Interval,
            Kind::Bytes => Form::Bytes(handling.binary),
            Kind::Bits => Form::Bits,
            Kind::Json => Form::Json,
            Kind::Date => Form::Date,
            Kind::Time(digits) => Form::Time { per_second: units(*digits) },
            Kind::Timestamp(digits) => Form::Timestamp { per_second: units(*digits) },
            Kind::TimestampTz(_) => Form::TimestampTz,
            Kind::List(of) => Form::List(Box::new(Form::declared(of, handling))),
            Kind::Map => Form::Map(Box::new(Form::Any)),
        }
    }

    /// What it takes, for error texts.
    pub fn expectation(&self) -> &'static str {
        match self {
            Form::Any | Form::Extended => "a value",
            Form::Bool => "a boolean",
            Form::Int => "an integer",
            Form::UInt => "an unsigned integer",
            Form::Float => "a number, \"NaN\" or \"Infinity\"",
            Form::Decimal(_) => "a decimal (base64 digits with a declared scale, a number, or {scale, value})",
            Form::Text => "text",
            Form::Json => "JSON",
            Form::Bytes(Binary::Hex) => "bytes as hexadecimal digits",
            Form::Bytes(Binary::Base64) | Form::Bits => "base64 bytes",
            Form::Date => "a date (days since 1970 or ISO text)",
            Form::Time { .. } => "a time (a count of units or ISO text)",
            Form::Timestamp { .. } => "a timestamp (a count of units or ISO text)",
            Form::TimestampTz => "an ISO 8601 timestamp with a zone",
            Form::Interval => "an ISO 8601 interval or a count of microseconds",
            Form::Structured(_) => "a structured date or time",
            Form::List(_) => "a list",
            Form::Map(_) => "a map",
            Form::Pairs(_) => "a list of pairs",
            Form::Struct(_) => "a struct",
        }
    }
}

/// Debezium counts milliseconds up to three fraction digits, microseconds up to six, nanoseconds beyond.
fn units(digits: u8) -> i64 {
    match digits {
        0..=3 => 1_000,
        4..=6 => 1_000_000,
        _ => 1_000_000_000,
    }
}
