//! Debezium 3's structured dates and times: an object with the calendar's parts, so that nothing is cut: years of any
//! size, zero months and days (MySQL's zero dates), special values.
//!
//! A zero date denotes no day: it is a fault, parked with its bytes, and never becomes another day.

use super::Fault;
use super::form::Calendar;
use super::json::{Cursor, Next};
use crate::record::{Date, Time, Timestamp, Value};

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
    let parts = Parts::read(cursor)?;
    let value = match parts.infinite {
        Some(positive) => Some(infinite(calendar, positive)),
        None => match calendar {
            Calendar::Date => parts.date().map(Value::Date),
            Calendar::Time => parts.time().map(|nanos| Value::Time(Time { nanos })),
            Calendar::Timestamp => parts.timestamp().map(Value::Timestamp),
            Calendar::TimestampTz => parts.timestamp().map(Value::TimestampTz),
        },
    };
    value.ok_or_else(|| {
        Fault::new("column.range", "expected a calendar day and time, found parts that denote none (a zero date?)")
    })
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
    fn read(cursor: &mut Cursor<'_>) -> Result<Parts, Fault> {
        let mut parts = Parts::default();
        let mut more = cursor.open_object()?;
        while more {
            let name = cursor.key()?.raw;
            match cursor.next()? {
                Next::Number => {
                    let number = cursor.number()?.text.parse().unwrap_or(i64::MIN);
                    match name {
                        "year" => parts.year = number,
                        "month" => parts.month = number,
                        "day" => parts.day = number,
                        "hour" | "hours" => parts.hour = number,
                        "minute" | "minutes" => parts.minute = number,
                        "second" | "seconds" => parts.second = number,
                        "nanos" | "nano" => parts.nanos = number,
                        "offsetSeconds" | "offset_seconds" => parts.offset_secs = number,
                        _ => {}
                    }
                }
                Next::Text => match cursor.string()?.raw {
                    "POSITIVE_INFINITY" => parts.infinite = Some(true),
                    "NEGATIVE_INFINITY" => parts.infinite = Some(false),
                    _ => {}
                },
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
