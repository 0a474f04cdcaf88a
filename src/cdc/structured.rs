//! Debezium 3's structured dates and times: an object with the calendar's parts, so that nothing is cut: years of any
//! size, zero months and days (MySQL's zero dates), special values.
//!
//! A zero date denotes no day: it is a fault, parked with its bytes, and never becomes another day.

use bytestring::ByteString;

use super::Fault;
use super::form::Calendar;
use super::json::{Cursor, Next};
use crate::record::{Date, Decimal, Time, Timestamp, Value};

#[derive(Default)]
struct Parts {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: i64,
    offset_secs: i64,
    infinite: Option<bool>,
}

/// Takes a structured value.
pub fn value(cursor: &mut Cursor<'_>, calendar: Calendar) -> Result<Value, Fault> {
    Parts::read(cursor)?.value(calendar)
}

/// A structured value of a binary format.
pub fn from_fields(fields: &[(ByteString, Value)], calendar: Calendar) -> Result<Value, Fault> {
    let mut parts = Parts::default();
    for (name, value) in fields {
        match value {
            Value::Int(number) => parts.set(name, *number),
            Value::Text(special) => parts.set_special(special),
            _ => {}
        }
    }
    parts.value(calendar)
}

/// `VariableScaleDecimal` of a binary format.
pub fn variable_scale(fields: &[(ByteString, Value)]) -> Result<Value, Fault> {
    let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
    let decimal = match (field("scale"), field("value")) {
        (Some(Value::Int(scale)), Some(Value::Bytes(digits))) => Decimal::from_be_bytes(digits, *scale),
        _ => None,
    };
    decimal.map(Value::Decimal).ok_or_else(|| Fault::new("column.type", "expected a decimal as {scale, value}"))
}

fn infinite(calendar: Calendar, positive: bool) -> Value {
    let at = if positive { Timestamp::INFINITY } else { Timestamp::NEG_INFINITY };
    match calendar {
        Calendar::Date => Value::Date(if positive { Date::INFINITY } else { Date::NEG_INFINITY }),
        Calendar::Timestamp | Calendar::Time => Value::Timestamp(at),
        Calendar::TimestampTz => Value::TimestampTz(at),
    }
}

impl Parts {
    fn set(&mut self, name: &str, number: i64) {
        match name {
            "year" => self.year = number,
            "month" => self.month = number,
            "day" => self.day = number,
            "hour" | "hours" => self.hour = number,
            "minute" | "minutes" => self.minute = number,
            "second" | "seconds" => self.second = number,
            "nanos" | "nano" => self.nanos = number,
            "offsetSeconds" | "offset_seconds" => self.offset_secs = number,
            _ => {}
        }
    }

    fn set_special(&mut self, special: &str) {
        match special {
            "POSITIVE_INFINITY" => self.infinite = Some(true),
            "NEGATIVE_INFINITY" => self.infinite = Some(false),
            _ => {}
        }
    }

    fn value(&self, calendar: Calendar) -> Result<Value, Fault> {
        let value = match self.infinite {
            Some(positive) => Some(infinite(calendar, positive)),
            None => match calendar {
                Calendar::Date => self.date().map(Value::Date),
                Calendar::Time => self.time().map(|nanos| Value::Time(Time { nanos })),
                Calendar::Timestamp => self.timestamp().map(Value::Timestamp),
                Calendar::TimestampTz => self.timestamp().map(Value::TimestampTz),
            },
        };
        value.ok_or_else(|| {
            Fault::new("column.range", "expected a calendar day and time, found parts that denote none (a zero date?)")
        })
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Parts, Fault> {
        let mut parts = Parts::default();
        let mut more = cursor.open_object()?;
        while more {
            let name = cursor.key()?.raw;
            match cursor.next()? {
                Next::Number => parts.set(name, cursor.number()?.text.parse().unwrap_or(i64::MIN)),
                Next::Text => parts.set_special(cursor.string()?.raw),
                _ => cursor.skip().map(|_| ())?,
            }
            more = cursor.more_fields()?;
        }
        Ok(parts)
    }

    fn date(&self) -> Option<Date> {
        Date::from_ymd(self.year, u32::try_from(self.month).ok()?, u32::try_from(self.day).ok()?)
    }

    fn time(&self) -> Option<i64> {
        let valid = (0..=838).contains(&self.hour)
            && (0..60).contains(&self.minute)
            && (0..60).contains(&self.second)
            && (0..1_000_000_000).contains(&self.nanos);
        valid.then(|| ((self.hour * 60 + self.minute) * 60 + self.second) * 1_000_000_000 + self.nanos)
    }

    fn timestamp(&self) -> Option<Timestamp> {
        let days = i64::from(self.date()?.days);
        let nanos = self.time()?;
        let secs = (days * 86_400 + nanos / 1_000_000_000).checked_sub(self.offset_secs)?;
        Some(Timestamp { secs, nanos: (nanos % 1_000_000_000) as u32 })
    }
}
