//! Times as text values with a fixed number of digits, so that texts of one field sort: what a document stores where a
//! BSON date would cut or claim too much.
//!
//! Invariant: all digits of a value are written, even where the column announced fewer.

use super::bson::Writer;
use crate::record::{Date, Time, Timestamp};

/// `YYYY-MM-DDTHH:MM:SS.ffffff` with as many digits as the column has (or as the value needs), then `zone`.
pub(super) fn write_timestamp(w: &mut Writer, at: Timestamp, digits: usize, zone: &str) {
    let days = i32::try_from(at.secs.div_euclid(86_400));
    let Some(days) = days.ok().filter(|_| at.is_finite()) else {
        let zone = if at.is_finite() { zone } else { "" };
        return w.text_value(&format!("{at}{zone}"));
    };
    w.text_value_by(|w| {
        write_day(w, Date { days });
        w.raw(b"T");
        write_clock(w, at.secs.rem_euclid(86_400).unsigned_abs(), at.nanos, digits);
        w.raw(zone.as_bytes());
    });
}

pub(super) fn write_time(w: &mut Writer, time: Time, digits: usize) {
    let total = time.nanos.unsigned_abs();
    w.text_value_by(|w| {
        if time.nanos < 0 {
            w.raw(b"-");
        }
        write_clock(w, total / 1_000_000_000, (total % 1_000_000_000) as u32, digits);
    });
}

pub(super) fn write_date(w: &mut Writer, day: Date) {
    match day {
        Date::INFINITY | Date::NEG_INFINITY => w.text_value(&day.to_string()),
        _ => w.text_value_by(|w| write_day(w, day)),
    }
}

fn write_day(w: &mut Writer, day: Date) {
    let (year, month, day_of_month) = day.ymd();
    match u64::try_from(year) {
        Ok(year @ 0..=9_999) => w.digits(year, 4),
        _ => {
            let text = day.to_string();
            let year = text.get(..text.len().saturating_sub(6)).unwrap_or_default();
            w.raw(year.as_bytes());
        }
    }
    w.raw(b"-");
    w.digits(u64::from(month), 2);
    w.raw(b"-");
    w.digits(u64::from(day_of_month), 2);
}

/// `HH:MM:SS` and the fraction: `digits` of it, all nine when the value has more.
fn write_clock(w: &mut Writer, secs: u64, nanos: u32, digits: usize) {
    w.digits(secs / 3_600, 2);
    w.raw(b":");
    w.digits(secs / 60 % 60, 2);
    w.raw(b":");
    w.digits(secs % 60, 2);
    let unit = 10u32.pow(9 - digits.min(9) as u32);
    let (fraction, width) = if nanos.is_multiple_of(unit) { (nanos / unit, digits.min(9)) } else { (nanos, 9) };
    if width > 0 {
        w.raw(b".");
        w.digits(u64::from(fraction), width);
    }
}
