//! A table's shape: column names and kinds, shared by all its rows.
//!
//! Deliberately absent: constraints, defaults, foreign keys. The golden source enforces them; copies do not.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The columns of a table (or fields of a document) in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableSchema {
    /// Columns in the order in which rows carry their values.
    pub columns: Vec<Column>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// The name as the source spells it.
    pub name: Arc<str>,
    /// What its values are.
    pub kind: Kind,
}

impl TableSchema {
    /// A schema from names and kinds.
    pub fn new<N: Into<Arc<str>>>(columns: impl IntoIterator<Item = (N, Kind)>) -> Self {
        TableSchema { columns: columns.into_iter().map(|(name, kind)| Column { name: name.into(), kind }).collect() }
    }

    /// Index of the column called `name`.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| &*c.name == name)
    }

    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| &*c.name == name)
    }
}

/// What the values of a column are. Written in YAML as `int64`, `decimal(18,2)`, `timestamp(3)`, `text[]`, …
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Kind {
    /// Not known before the value is seen (JSON without a schema and without a declaration).
    #[default]
    Any,
    /// true or false.
    Bool,
    /// Signed integer of up to 64 bits.
    Int64,
    /// Unsigned 64-bit integer.
    UInt64,
    /// IEEE 754 double (or single, widened exactly).
    Float64,
    /// Exact decimal; the scale where the source fixes it.
    Decimal {
        /// Digits in all, if declared.
        precision: Option<u32>,
        /// Digits after the point, if fixed. May be negative (Oracle).
        scale: Option<i32>,
    },
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// Calendar day.
    Date,
    /// Time of day or a signed duration of the day's scale; digits of the fraction at the source.
    Time(u8),
    /// Zone-less date and time; digits of the fraction at the source.
    Timestamp(u8),
    /// An instant; digits of the fraction at the source.
    TimestampTz(u8),
    /// A JSON document, kept as the source's text.
    Json,
    /// UUID in its text form.
    Uuid,
    /// ISO 8601 interval text.
    Interval,
    /// Bit string: the bytes in the source's order (Debezium sends the least significant first).
    Bits,
    /// Array of one kind.
    List(Box<Kind>),
    /// Text keys to values.
    Map,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Any => f.write_str("any"),
            Kind::Bool => f.write_str("bool"),
            Kind::Int64 => f.write_str("int64"),
            Kind::UInt64 => f.write_str("uint64"),
            Kind::Float64 => f.write_str("float64"),
            Kind::Decimal { precision: Some(p), scale: Some(s) } => write!(f, "decimal({p},{s})"),
            Kind::Decimal { precision: None, scale: Some(s) } => write!(f, "decimal(,{s})"),
            Kind::Decimal { .. } => f.write_str("decimal"),
            Kind::Text => f.write_str("text"),
            Kind::Bytes => f.write_str("bytes"),
            Kind::Date => f.write_str("date"),
            Kind::Time(p) => write!(f, "time({p})"),
            Kind::Timestamp(p) => write!(f, "timestamp({p})"),
            Kind::TimestampTz(p) => write!(f, "timestamptz({p})"),
            Kind::Json => f.write_str("json"),
            Kind::Uuid => f.write_str("uuid"),
            Kind::Interval => f.write_str("interval"),
            Kind::Bits => f.write_str("bits"),
            Kind::List(of) => write!(f, "{of}[]"),
            Kind::Map => f.write_str("map"),
        }
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> String {
        kind.to_string()
    }
}

impl TryFrom<String> for Kind {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Every name that [`Kind`] understands, for suggestions.
pub const KIND_NAMES: &[&str] = &[
    "any",
    "bool",
    "boolean",
    "int16",
    "int32",
    "int64",
    "smallint",
    "integer",
    "int",
    "bigint",
    "uint64",
    "float32",
    "float64",
    "real",
    "double",
    "decimal",
    "numeric",
    "text",
    "varchar",
    "char",
    "bytes",
    "bytea",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "json",
    "jsonb",
    "uuid",
    "interval",
    "bits",
    "map",
];

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(of) = text.strip_suffix("[]") {
            return Ok(Kind::List(Box::new(of.parse()?)));
        }
        let (name, args) = match text.split_once('(') {
            Some((name, rest)) => {
                let args = rest.strip_suffix(')').ok_or_else(|| "`)` is missing in the type".to_string())?;
                (name.trim(), Some(args))
            }
            None => (text, None),
        };
        let digits = |default: u8| match args.map(str::trim) {
            None => Ok(default),
            Some(a) => {
                a.parse::<u8>().ok().filter(|p| *p <= 9).ok_or_else(|| "expected 0 to 9 fraction digits".to_string())
            }
        };
        Ok(match name.to_ascii_lowercase().as_str() {
            "any" => Kind::Any,
            "bool" | "boolean" => Kind::Bool,
            "int16" | "int32" | "int64" | "smallint" | "integer" | "int" | "bigint" => Kind::Int64,
            "uint64" => Kind::UInt64,
            "float32" | "float64" | "real" | "double" => Kind::Float64,
            "decimal" | "numeric" => decimal(args)?,
            "text" | "varchar" | "char" => Kind::Text,
            "bytes" | "bytea" => Kind::Bytes,
            "date" => Kind::Date,
            "time" => Kind::Time(digits(6)?),
            "timestamp" => Kind::Timestamp(digits(6)?),
            "timestamptz" => Kind::TimestampTz(digits(6)?),
            "json" | "jsonb" => Kind::Json,
            "uuid" => Kind::Uuid,
            "interval" => Kind::Interval,
            "bits" => Kind::Bits,
            "map" => Kind::Map,
            _ => return Err("unknown type".to_string()),
        })
    }
}

fn decimal(args: Option<&str>) -> Result<Kind, String> {
    let wrong = || "expected decimal, decimal(precision,scale) or decimal(,scale)".to_string();
    let Some(args) = args else { return Ok(Kind::Decimal { precision: None, scale: None }) };
    let (precision, scale) = args.split_once(',').unwrap_or((args, "0"));
    let precision = match precision.trim() {
        "" => None,
        p => Some(p.parse().map_err(|_| wrong())?),
    };
    Ok(Kind::Decimal { precision, scale: Some(scale.trim().parse().map_err(|_| wrong())?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_round_trip_through_their_text() {
        for text in
            ["any", "decimal(18,2)", "decimal(,-3)", "decimal", "timestamp(3)", "text[]", "decimal(5,1)[][]", "uint64"]
        {
            let kind: Kind = text.parse().unwrap();
            assert_eq!(kind.to_string(), text);
        }
        assert!("timestamp(12)".parse::<Kind>().is_err());
        assert!("decimal(x)".parse::<Kind>().is_err());
    }
}
