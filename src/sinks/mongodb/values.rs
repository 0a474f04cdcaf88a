//! Values of records as BSON values: the table in the documentation of [`Value`] in code.
//!
//! Invariant: a value is written exactly or not at all; what does not fit is an [`Unfit`] and the record is rejected.

use super::bson::{Writer, is_name, kind};
use super::decimal128::{decimal_bits, decimal128};
use super::times::{write_date, write_time, write_timestamp};
use crate::record::{Decimal, Kind, Row, Timestamp, Value};

/// How deep a document may be nested: the server's limit is 200, and commands put documents a few levels down.
const DEPTH_MAX: usize = 150;

/// Why a record cannot become a document: a stable code and what was expected. Never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfit {
    pub code: &'static str,
    pub reason: String,
}

impl Unfit {
    pub fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Unfit { code, reason: reason.into() }
    }
}

/// How instants are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Instants {
    /// By the column's precision: up to milliseconds as BSON dates, finer ones as text.
    #[default]
    Auto,
    /// Always text.
    Text,
    /// Always BSON dates, cut to milliseconds: the one choice that loses digits, and only when a pipeline asks for it.
    Date,
}

/// The choices that a pipeline has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Style {
    pub instants: Instants,
    /// Decimals as text instead of decimal128: for columns wider than 34 digits.
    pub decimals_as_text: bool,
}

/// The field that guards a document: `{v: version, as_of: …}`.
pub(super) const GUARD: &str = "_headwater";

/// The guard's version, as a path.
pub(super) const GUARD_VERSION: &str = "_headwater.v";

pub(super) type Fit = Result<(), Unfit>;

/// Writes the fields of `row`. A column called `_id` is left out when it is the key, and unfit when it is not.
pub(super) fn write_fields(w: &mut Writer, row: &Row, key: &Row, style: Style) -> Fit {
    let id_is_key = matches!(key.schema().columns.as_slice(), [only] if &*only.name == "_id");
    for (column, value) in row.schema().columns.iter().zip(row.values()) {
        let name = &*column.name;
        if name == "_id" && id_is_key {
            continue;
        }
        if !is_name(name) || name == GUARD || name == "_id" {
            return Err(Unfit::new(
                "field.name",
                format!("column {name:?} cannot be a field of a document: rename it"),
            ));
        }
        write_value(w, Name::Field(name), &column.kind, value, style, 1).map_err(|unfit| in_column(unfit, name))?;
    }
    Ok(())
}

/// Writes a key's type and value without a name.
pub(super) fn write_key(w: &mut Writer, key: &Row, style: Style) -> Fit {
    let single = || key.schema().columns.first().zip(key.values().first());
    if let (1, Some((column, value))) = (key.values().len(), single()) {
        if matches!(value, Value::List(_)) {
            let reason = format!("key column `{}`: a list cannot be an _id", column.name);
            return Err(Unfit::new("key.unsupported", reason));
        }
        return write_value(w, Name::None, &column.kind, value, style, 1).map_err(|u| in_column(u, &column.name));
    }
    w.raw(&[kind::DOCUMENT]);
    let id = w.open();
    for (column, value) in key.schema().columns.iter().zip(key.values()) {
        let name = &*column.name;
        if !is_name(name) || name.starts_with('$') {
            return Err(Unfit::new("key.unsupported", format!("key column {name:?} cannot be a field of an _id")));
        }
        write_value(w, Name::Field(name), &column.kind, value, style, 2).map_err(|unfit| in_column(unfit, name))?;
    }
    w.close(id);
    Ok(())
}

fn in_column(unfit: Unfit, column: &str) -> Unfit {
    Unfit { reason: format!("column `{column}`: {}", unfit.reason), ..unfit }
}

/// A BSON date cut to milliseconds, or null: for our own bookkeeping, not for values.
pub(super) fn write_date_or_null(w: &mut Writer, name: &str, at: Option<Timestamp>) {
    match at.filter(|at| at.is_finite()) {
        Some(at) => {
            w.name(kind::DATE, name);
            w.raw(&at.as_millis().to_le_bytes());
        }
        None => w.name(kind::NULL, name),
    }
}

/// Where a value stands.
#[derive(Clone, Copy)]
enum Name<'a> {
    Field(&'a str),
    Index(usize),
    None,
}

fn head(w: &mut Writer, kind: u8, name: Name<'_>) {
    match name {
        Name::Field(name) => w.name(kind, name),
        Name::Index(index) => w.index(kind, index),
        Name::None => w.raw(&[kind]),
    }
}

fn write_value(w: &mut Writer, name: Name<'_>, of: &Kind, value: &Value, style: Style, depth: usize) -> Fit {
    match value {
        Value::Null => head(w, kind::NULL, name),
        Value::Unchanged => {
            let reason = "the source left this value out; put a `raw` stage before this sink, which fills it in";
            return Err(Unfit::new("value.unchanged", reason));
        }
        Value::Bool(flag) => {
            head(w, kind::BOOL, name);
            w.raw(&[u8::from(*flag)]);
        }
        Value::Int(n) => {
            head(w, kind::INT64, name);
            w.raw(&n.to_le_bytes());
        }
        Value::UInt(n) => {
            head(w, kind::DECIMAL128, name);
            w.raw(&decimal_bits(u128::from(*n), 0, false));
        }
        Value::Float(n) => {
            head(w, kind::DOUBLE, name);
            w.raw(&n.to_le_bytes());
        }
        Value::Text(text) | Value::Json(text) => {
            head(w, kind::TEXT, name);
            w.text_value(text);
        }
        Value::Bytes(bytes) => {
            head(w, kind::BINARY, name);
            w.binary_value(bytes);
        }
        Value::Decimal(n) => return write_decimal(w, name, n, style),
        Value::Date(day) => {
            head(w, kind::TEXT, name);
            write_date(w, *day);
        }
        Value::Time(time) => {
            head(w, kind::TEXT, name);
            write_time(w, *time, fraction_digits(of));
        }
        Value::Timestamp(at) => {
            head(w, kind::TEXT, name);
            write_timestamp(w, *at, fraction_digits(of), "");
        }
        Value::TimestampTz(at) => return write_instant(w, name, *at, of, style),
        Value::List(_) | Value::Map(_) if depth >= DEPTH_MAX => {
            return Err(Unfit::new("document.too_deep", format!("nested deeper than {DEPTH_MAX} levels")));
        }
        Value::List(values) => {
            let of = if let Kind::List(of) = of { of } else { &Kind::Any };
            head(w, kind::ARRAY, name);
            let list = w.open();
            for (index, value) in values.iter().enumerate() {
                write_value(w, Name::Index(index), of, value, style, depth + 1)?;
            }
            w.close(list);
        }
        Value::Map(entries) => {
            head(w, kind::DOCUMENT, name);
            let map = w.open();
            for (name, value) in entries {
                if !is_name(name) {
                    return Err(Unfit::new("field.name", "a field name inside holds a NUL character"));
                }
                write_value(w, Name::Field(name), &Kind::Any, value, style, depth + 1)?;
            }
            w.close(map);
        }
    }
    Ok(())
}

/// Fraction digits of the column; 9 where nothing was declared, so that texts of one field sort.
fn fraction_digits(of: &Kind) -> usize {
    match of {
        Kind::Time(digits) | Kind::Timestamp(digits) | Kind::TimestampTz(digits) => usize::from(*digits),
        _ => 9,
    }
}

fn write_instant(w: &mut Writer, name: Name<'_>, at: Timestamp, of: &Kind, style: Style) -> Fit {
    let digits = fraction_digits(of);
    let as_date = match style.instants {
        Instants::Auto => digits <= 3,
        Instants::Text => false,
        Instants::Date => true,
    };
    if !as_date {
        head(w, kind::TEXT, name);
        write_timestamp(w, at, digits, "Z");
        return Ok(());
    }
    let millis = at.secs.checked_mul(1_000).and_then(|ms| ms.checked_add(i64::from(at.nanos / 1_000_000)));
    let cut = !at.nanos.is_multiple_of(1_000_000) && style.instants == Instants::Auto;
    let Some(millis) = millis.filter(|_| !cut) else {
        let expected = "an instant that a BSON date holds: finite, whole milliseconds (`timestamps: text` stores any)";
        return Err(Unfit::new("value.not_a_date", expected));
    };
    head(w, kind::DATE, name);
    w.raw(&millis.to_le_bytes());
    Ok(())
}

fn write_decimal(w: &mut Writer, name: Name<'_>, n: &Decimal, style: Style) -> Fit {
    if style.decimals_as_text {
        head(w, kind::TEXT, name);
        w.text_value(&n.to_string());
        return Ok(());
    }
    let bits = decimal128(n).ok_or_else(|| {
        Unfit::new("value.decimal_too_wide", "a decimal of at most 34 digits (`decimals: text` stores any)")
    })?;
    head(w, kind::DECIMAL128, name);
    w.raw(&bits);
    Ok(())
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
