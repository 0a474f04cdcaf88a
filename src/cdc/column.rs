//! One JSON value and a [`Form`] make one [`Value`].
//!
//! Invariants: text and JSON without escapes are slices of the message; numbers keep all their digits; what does not
//! fit its form is a fault that names the expectation, never a silent 0 or null.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use bytestring::ByteString;
use rustc_hash::FxHashSet;

use super::form::{Base64, Binary, DecimalForm, Form};
pub use super::json::MAX_DEPTH as DEPTH;
use super::json::{Cursor, MAX_DEPTH, Next, Number, Text, too_deep};
use super::placeholder::from_hex;
use super::{Fault, Unavailable, extjson, structured, temporal};
use crate::record::{Date, Decimal, Time, Timestamp, Value};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Reads values out of one message.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The message's text; values are slices of it.
    pub doc: &'a ByteString,
    /// What stands for values that the source did not send.
    pub unavailable: &'a Unavailable,
}

impl<'a> Reader<'a> {
    /// Takes a column's value.
    pub fn column(&self, cursor: &mut Cursor<'a>, form: &Form) -> Result<Value, Fault> {
        if *form == Form::Extended {
            return extjson::value(self.doc, cursor, 0);
        }
        let next = cursor.next()?;
        match next {
            Next::Text => {
                let text = cursor.string()?;
                return if self.unavailable.is_json(text) { Ok(Value::Unchanged) } else { self.string(text, form) };
            }
            Next::List | Next::Object => {
                let mut probe = *cursor;
                if self.is_unavailable(&mut probe, next)? {
                    *cursor = probe;
                    return Ok(Value::Unchanged);
                }
            }
            _ => {}
        }
        self.value(cursor, form, 0)
    }

    /// Whether a list or an object is one of the placeholder's disguises; taken then.
    fn is_unavailable(&self, cursor: &mut Cursor<'a>, next: Next) -> Result<bool, Fault> {
        if next == Next::List {
            if self.unavailable.may_be_codes(cursor.rest()) {
                return Ok(self.unavailable.is_codes(cursor.skip()?));
            }
            let one = cursor.open_list()? && cursor.next()? == Next::Text && self.is_placeholder(cursor)?;
            return Ok(one && !cursor.more_items()?);
        }
        let one = cursor.open_object()?
            && self.unavailable.is_json(cursor.key()?)
            && cursor.next()? == Next::Text
            && self.is_placeholder(cursor)?;
        Ok(one && !cursor.more_fields()?)
    }

    fn is_placeholder(&self, cursor: &mut Cursor<'a>) -> Result<bool, Fault> {
        Ok(self.unavailable.is_json(cursor.string()?))
    }

    /// Takes a value at nesting `depth` within its column.
    fn value(&self, cursor: &mut Cursor<'a>, form: &Form, depth: u32) -> Result<Value, Fault> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let next = cursor.next()?;
        if next == Next::Null {
            cursor.null()?;
            return Ok(Value::Null);
        }
        match (form, next) {
            (Form::Any, _) => self.any(cursor, next, depth),
            (Form::Bool | Form::Bits, Next::Bool) => cursor.bool().map(Value::Bool),
            (Form::UInt, Next::Number) => unsigned(cursor.number()?),
            (Form::Float, Next::Number) => float(cursor.number()?),
            (Form::Decimal(_), Next::Number) => decimal(cursor.number()?.text),
            (Form::Decimal(_), Next::Object) => variable_scale(cursor),
            (Form::Time { .. } | Form::Interval, Next::Number) => long_value(whole_double(cursor.number()?)?, form),
            (Form::Bool | Form::Int | Form::Date | Form::Timestamp { .. }, Next::Number) => {
                long_value(whole(cursor.number()?)?, form)
            }
            (_, Next::Text) => self.string(cursor.string()?, form),
            (Form::Json, _) => Ok(Value::Json(self.doc.slice_ref(cursor.skip()?))),
            (Form::List(of), Next::List) => self.list(cursor, of, depth),
            (Form::Map(of), Next::Object) => self.map(cursor, of, depth),
            (Form::Pairs(of), Next::List) => self.pairs(cursor, of, depth),
            (Form::Struct(fields), Next::Object) => self.fields(cursor, fields, depth),
            (Form::Structured(calendar), Next::Object) => structured::value(cursor, *calendar),
            _ => Err(mismatch(form, next)),
        }
    }

    fn any(&self, cursor: &mut Cursor<'a>, next: Next, depth: u32) -> Result<Value, Fault> {
        match next {
            Next::Null => cursor.null().map(|_| Value::Null),
            Next::Bool => cursor.bool().map(Value::Bool),
            Next::Number => number(cursor.number()?),
            Next::Text => self.text(cursor.string()?).map(Value::Text),
            Next::List => self.list(cursor, &Form::Any, depth),
            Next::Object => self.map(cursor, &Form::Any, depth),
        }
    }

    /// A string's value.
    fn string(&self, text: Text<'a>, form: &Form) -> Result<Value, Fault> {
        match form {
            Form::Any | Form::Text | Form::Interval => self.text(text).map(Value::Text),
            Form::Json => self.text(text).map(json_text),
            _ => scalar_text(form, &text.resolve()?),
        }
    }

    /// The text as a slice of the message, or a copy with its escapes resolved.
    pub fn text(&self, text: Text<'a>) -> Result<ByteString, Fault> {
        match text.resolve()? {
            Cow::Borrowed(slice) => Ok(self.doc.slice_ref(slice)),
            Cow::Owned(copy) => Ok(copy.into()),
        }
    }

    fn list(&self, cursor: &mut Cursor<'a>, of: &Form, depth: u32) -> Result<Value, Fault> {
        let mut items = Vec::new();
        let mut more = cursor.open_list()?;
        while more {
            items.push(self.value(cursor, of, depth + 1)?);
            more = cursor.more_items()?;
        }
        Ok(Value::List(items))
    }

    fn map(&self, cursor: &mut Cursor<'a>, of: &Form, depth: u32) -> Result<Value, Fault> {
        let mut entries: Vec<(ByteString, Value)> = Vec::new();
        let mut names = Names::default();
        let mut more = cursor.open_object()?;
        while more {
            let name = self.text(cursor.key()?)?;
            names.take(&entries, &name)?;
            entries.push((name, self.value(cursor, of, depth + 1)?));
            more = cursor.more_fields()?;
        }
        Ok(Value::Map(entries))
    }

    fn pairs(&self, cursor: &mut Cursor<'a>, of: &(Form, Form), depth: u32) -> Result<Value, Fault> {
        let shape = || Fault::new("column.type", "expected a map as a list of pairs [key, value]");
        let mut pairs = Vec::new();
        let mut more = cursor.open_list()?;
        while more {
            if cursor.next()? != Next::List || !cursor.open_list()? {
                return Err(shape());
            }
            let key = self.value(cursor, &of.0, depth + 2)?;
            if !cursor.more_items()? {
                return Err(shape());
            }
            pairs.push(Value::List(vec![key, self.value(cursor, &of.1, depth + 2)?]));
            if cursor.more_items()? {
                return Err(shape());
            }
            more = cursor.more_items()?;
        }
        Ok(Value::List(pairs))
    }

    fn fields(
        &self,
        cursor: &mut Cursor<'a>,
        fields: &[(std::sync::Arc<str>, Form)],
        depth: u32,
    ) -> Result<Value, Fault> {
        let mut entries: Vec<(ByteString, Value)> = Vec::with_capacity(fields.len());
        let mut names = Names::default();
        let mut more = cursor.open_object()?;
        while more {
            let name = self.text(cursor.key()?)?;
            names.take(&entries, &name)?;
            let form = fields.iter().find(|(known, _)| **known == *name).map_or(&Form::Any, |(_, form)| form);
            entries.push((name, self.value(cursor, form, depth + 1)?));
            more = cursor.more_fields()?;
        }
        Ok(Value::Map(entries))
    }
}

/// The names of one object, of which none may occur twice. An object may have as many as a message has room for: beyond a
/// few they are hashed.
#[derive(Default)]
pub struct Names(FxHashSet<ByteString>);

/// So many are compared one by one.
const FEW_NAMES: usize = 16;

impl Names {
    /// Learns the name that follows those of `entries`.
    pub fn take(&mut self, entries: &[(ByteString, Value)], name: &ByteString) -> Result<(), Fault> {
        let known = if entries.len() < FEW_NAMES {
            entries.iter().any(|(known, _)| known == name)
        } else {
            if self.0.is_empty() {
                self.0.extend(entries.iter().map(|(known, _)| known.clone()));
            }
            !self.0.insert(name.clone())
        };
        match known {
            true => Err(Fault::new("json.duplicate", "a name occurs twice in one object")),
            false => Ok(()),
        }
    }
}

#[cold]
fn mismatch(form: &Form, next: Next) -> Fault {
    Fault::new("column.type", format!("expected {}, found {}", form.expectation(), next.name()))
}

#[cold]
fn unreadable(form: &Form) -> Fault {
    Fault::new("column.type", format!("expected {}, found another string", form.expectation()))
}

/// A string that holds JSON. One that does not (cut by a size limit, moved to object storage) stays text.
pub fn json_text(text: ByteString) -> Value {
    let mut inner = Cursor::new(&text);
    let valid = inner.skip().is_ok() && inner.end().is_ok();
    if valid { Value::Json(text) } else { Value::Text(text) }
}

/// A string of a binary format.
pub fn text_value(text: ByteString, form: &Form, unavailable: &Unavailable, depth: u32) -> Result<Value, Fault> {
    match form {
        _ if depth == 0 && unavailable.is_text(&text) => Ok(Value::Unchanged),
        Form::Any | Form::Text | Form::Interval => Ok(Value::Text(text)),
        Form::Json => Ok(json_text(text)),
        _ => scalar_text(form, &text),
    }
}

/// Bytes of a binary format.
pub fn binary_value(bytes: Bytes, form: &Form, unavailable: &Unavailable, depth: u32) -> Result<Value, Fault> {
    match form {
        _ if depth == 0 && std::str::from_utf8(&bytes).is_ok_and(|text| unavailable.is_text(text)) => {
            Ok(Value::Unchanged)
        }
        Form::Decimal(DecimalForm { scale: Some(scale), .. }) => {
            let decimal = Decimal::from_be_bytes(&bytes, i64::from(*scale)).map(Value::Decimal);
            decimal.ok_or_else(|| Fault::new("column.type", "expected a decimal, found no bytes"))
        }
        Form::Decimal(_) => Err(Fault::new("schema.decimal", "the schema has a Decimal without a scale")),
        _ => Ok(Value::Bytes(bytes)),
    }
}

/// A value of which its schema told less than the pipeline declares: a count, a text or bytes take the declared form.
pub fn retyped(value: Value, form: &Form, unavailable: &Unavailable) -> Result<Value, Fault> {
    match (value, form) {
        (Value::Int(n), Form::Float) => Ok(Value::Float(n as f64)),
        (Value::Int(n), _) => long_value(n, form),
        (Value::Text(text), _) => text_value(text, form, unavailable, 1),
        (Value::Bytes(bytes), _) => binary_value(bytes, form, unavailable, 1),
        (Value::Float(double), Form::Decimal(_)) => match double.is_finite() {
            true => decimal(&double.to_string()),
            false => decimal(if double.is_nan() {
                "NaN"
            } else if double > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            }),
        },
        (Value::List(items), Form::List(of)) => {
            let items = items.into_iter().map(|item| retyped(item, of, unavailable));
            items.collect::<Result<_, _>>().map(Value::List)
        }
        (value, _) => Ok(value),
    }
}

/// An integer: itself, or what its form counts.
pub fn long_value(n: i64, form: &Form) -> Result<Value, Fault> {
    match (form, n) {
        (Form::Any | Form::Int, _) => Ok(Value::Int(n)),
        (Form::Bool, 0 | 1) => Ok(Value::Bool(n == 1)),
        (Form::Date, _) => date(n).map(Value::Date),
        (Form::Time { .. } | Form::Interval, _) => {
            let per_second = if let Form::Time { per_second } = form { *per_second } else { 1_000_000 };
            let beyond = || Fault::new("column.range", "expected a count of time units, found one beyond 292 years");
            Time::from_units(n, per_second).map(Value::Time).ok_or_else(beyond)
        }
        (Form::Decimal(_), _) => Ok(Value::Decimal(Decimal::Small { unscaled: n, scale: 0 })),
        (Form::Timestamp { per_second }, _) => Ok(Value::Timestamp(timestamp(n, *per_second))),
        (Form::UInt, _) => Ok(Value::uint(n.cast_unsigned())),
        _ => Err(mismatch(form, Next::Number)),
    }
}

/// Strings in columns that are not text.
fn scalar_text(form: &Form, raw: &str) -> Result<Value, Fault> {
    let value = match form {
        Form::Bytes(Binary::Hex) => from_hex(raw).map(|bytes| Value::Bytes(bytes.into())),
        Form::Bytes(Binary::Base64) | Form::Bits => from_base64(raw).map(|bytes| Value::Bytes(bytes.into())),
        Form::Decimal(form) => return decimal_text(raw, *form),
        Form::UInt => from_base64(raw).and_then(|bytes| Decimal::from_be_bytes(&bytes, 0)).and_then(as_unsigned),
        Form::Float => special_float(raw).map(Value::Float),
        Form::Date => temporal::date(raw).map(Value::Date),
        Form::Time { .. } => temporal::time(raw).map(Value::Time),
        Form::Timestamp { .. } => temporal::timestamp(raw).map(|(at, _)| Value::Timestamp(at)),
        Form::TimestampTz => temporal::timestamp(raw).filter(|(_, zoned)| *zoned).map(|(at, _)| Value::TimestampTz(at)),
        _ => return Err(mismatch(form, Next::Text)),
    };
    value.ok_or_else(|| unreadable(form))
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// A number of which nothing is known. It stays a double when that loses nothing, else it becomes a decimal.
fn number(number: Number<'_>) -> Result<Value, Fault> {
    if number.integral {
        if let Ok(int) = number.text.parse::<i64>() {
            return Ok(Value::Int(int));
        }
        if let Ok(unsigned) = number.text.parse::<u64>() {
            return Ok(Value::uint(unsigned));
        }
    } else if let Some(float) = exact_float(number.text) {
        return Ok(Value::Float(float));
    }
    decimal(number.text)
}

/// The double whose shortest decimal form is the same number as `text`. Up to 15 digits every decimal of ordinary size
/// survives the way through a double (`DBL_DIG`).
fn exact_float(text: &str) -> Option<f64> {
    let float: f64 = text.parse().ok()?;
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let ordinary = float == 0.0 || (1e-290..1e290).contains(&float.abs());
    if ordinary && digits <= 15 {
        return Some(float);
    }
    let same = || text.parse::<Decimal>().ok() == float.to_string().parse().ok();
    (ordinary && same()).then_some(float)
}

fn whole(number: Number<'_>) -> Result<i64, Fault> {
    number.text.parse().map_err(|_| Fault::new("column.type", "expected an integer of 64 bits, found another number"))
}

/// `bigint.unsigned.handling.mode=long` lets big values wrap into the negative.
fn unsigned(number: Number<'_>) -> Result<Value, Fault> {
    match number.text.parse::<u64>() {
        Ok(n) => Ok(Value::uint(n)),
        Err(_) => whole(number).map(|n| Value::uint(n.cast_unsigned())),
    }
}

fn as_unsigned(decimal: Decimal) -> Option<Value> {
    decimal.to_string().parse().ok().map(Value::uint)
}

fn float(number: Number<'_>) -> Result<Value, Fault> {
    match number.text.parse::<f64>() {
        Ok(float) if float.is_finite() => Ok(Value::Float(float)),
        _ => Err(Fault::new("column.range", "expected a double, found a number beyond its range")),
    }
}

fn special_float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn decimal(text: &str) -> Result<Value, Fault> {
    text.parse().map(Value::Decimal).map_err(|e| Fault::new("column.type", format!("expected a decimal: {e}")))
}

fn decimal_text(text: &str, form: DecimalForm) -> Result<Value, Fault> {
    let plain = || decimal(text);
    match (form.strings, form.scale) {
        (Base64::Never, _) | (Base64::Unless, None) => return plain(),
        (Base64::Unless, _) if is_plainly_text(text) => return plain(),
        _ => {}
    }
    let Some(scale) = form.scale else {
        return Err(Fault::new("schema.decimal", "the embedded schema has a Decimal without a scale"));
    };
    let mut buffer = [0u8; 64];
    let decoded = match STANDARD.decode_slice(text, &mut buffer) {
        Ok(length) => Decimal::from_be_bytes(buffer.get(..length).unwrap_or_default(), i64::from(scale)),
        Err(_) => from_base64(text).and_then(|bytes| Decimal::from_be_bytes(&bytes, i64::from(scale))),
    };
    let fits = |d: &Decimal| form.precision.is_none_or(|p| d.digits() <= u64::from(p));
    match decoded {
        Some(decimal) if fits(&decimal) => Ok(Value::Decimal(decimal)),
        _ if form.strings == Base64::Unless => match text.parse::<Decimal>() {
            Ok(decimal) if fits(&decimal) => Ok(Value::Decimal(decimal)),
            _ => Err(unreadable(&Form::Decimal(form))),
        },
        _ => Err(unreadable(&Form::Decimal(form))),
    }
}

/// Whether a string can only be a plain number: base64 has neither a point nor a leading minus.
fn is_plainly_text(text: &str) -> bool {
    let special = ["NaN", "NAN", "POSITIVE_INFINITY", "NEGATIVE_INFINITY", "Infinity"];
    text.starts_with('-') || text.contains('.') || special.contains(&text)
}

/// `{"scale": 4, "value": "AYr3"}`
fn variable_scale(cursor: &mut Cursor<'_>) -> Result<Value, Fault> {
    let expected = || Fault::new("column.type", "expected a decimal as {scale, value} with base64 digits");
    let (mut scale, mut digits) = (None, None);
    let mut more = cursor.open_object()?;
    while more {
        match cursor.key()?.raw {
            "scale" => scale = Some(whole(cursor.number()?)?),
            "value" => digits = from_base64(&cursor.string()?.resolve()?),
            _ => return Err(expected()),
        }
        more = cursor.more_fields()?;
    }
    let decimal = scale.zip(digits).and_then(|(scale, digits)| Decimal::from_be_bytes(&digits, scale));
    decimal.map(Value::Decimal).ok_or_else(expected)
}

/// Days; infinite dates leak as days beyond the range. PostgreSQL's driver, once it reads in binary, adds the days from
/// 1970 to 2000 to the extremes of 32 bits, and the positive one wraps around; read as text, in a snapshot, its extremes
/// in milliseconds are cut to 32 bits of days (observed with Debezium 3.6); uncut, they are days beyond 32 bits. No
/// database has days so early or so late. Any other day beyond 32 bits is a mistake somewhere.
fn date(days: i64) -> Result<Date, Fault> {
    const DAYS_TO_2000: i64 = 10_957;
    const WRAPPED_INFINITY: i64 = i32::MIN as i64 + DAYS_TO_2000 - 1;
    const SHIFTED_NEG_INFINITY: i64 = i32::MIN as i64 + DAYS_TO_2000;
    const CUT_INFINITY: i64 = -622_191_234;
    const CUT_NEG_INFINITY: i64 = -625_821_272;
    const UNCUT_INFINITY: i64 = 106_751_991_167;
    match days {
        WRAPPED_INFINITY | CUT_INFINITY | UNCUT_INFINITY => Ok(Date::INFINITY),
        SHIFTED_NEG_INFINITY | CUT_NEG_INFINITY => Ok(Date::NEG_INFINITY),
        _ if days == -UNCUT_INFINITY => Ok(Date::NEG_INFINITY),
        _ => match i32::try_from(days) {
            Ok(days) => Ok(Date { days }),
            Err(_) => Err(Fault::new("column.range", "expected days since 1970, found more than 32 bits hold")),
        },
    }
}

/// An integer, or a double without a fraction: Oracle's intervals arrive so.
fn whole_double(number: Number<'_>) -> Result<i64, Fault> {
    match number.text.parse::<f64>() {
        Ok(double) if !number.integral && double.fract() == 0.0 && double.abs() < 9e15 => Ok(double as i64),
        _ => whole(number),
    }
}

/// PostgreSQL's infinities are the extremes of its driver, in milliseconds, in the unit of the column; in nanoseconds
/// they saturate.
fn timestamp(count: i64, per_second: i64) -> Timestamp {
    const INFINITY_MS: i64 = 9_223_372_036_825_200;
    const NEG_INFINITY_MS: i64 = -9_223_372_036_832_400;
    match (per_second, count) {
        (1_000, INFINITY_MS) | (1_000_000_000, i64::MAX) => Timestamp::INFINITY,
        (1_000, NEG_INFINITY_MS) | (1_000_000_000, i64::MIN) => Timestamp::NEG_INFINITY,
        (1_000_000, us) if us == INFINITY_MS * 1_000 => Timestamp::INFINITY,
        (1_000_000, us) if us == NEG_INFINITY_MS * 1_000 => Timestamp::NEG_INFINITY,
        _ => Timestamp::from_units(count, per_second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinite_dates_are_known_in_each_of_their_disguises() {
        for days in [-2_147_472_692, -622_191_234, 106_751_991_167] {
            assert_eq!(date(days), Ok(Date::INFINITY), "{days}");
        }
        for days in [-2_147_472_691, -625_821_272, -106_751_991_167] {
            assert_eq!(date(days), Ok(Date::NEG_INFINITY), "{days}");
        }
        assert_eq!(date(-2_440_588), Ok(Date { days: -2_440_588 }), "4713 BC is a day like any other");
        assert_eq!(date(1 << 40).unwrap_err().code, "column.range", "what overflows is not infinite");
    }
}
