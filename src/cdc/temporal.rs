//! ISO 8601 texts of dates, times and instants, as databases and Debezium write them: signed years of more than four
//! digits, fractions of any width up to nanoseconds, `Z` or an offset, `infinity`, 24:00:00.
//!
//! Deliberately absent: week dates, zone names, leap seconds. They do not occur in change events.

use crate::record::{Date, Time, Timestamp};

/// Reads `YYYY-MM-DD`, with a trailing `Z` as `IsoDate` writes it.
pub fn date(text: &str) -> Option<Date> {
    match text {
        "infinity" => return Some(Date::INFINITY),
        "-infinity" => return Some(Date::NEG_INFINITY),
        _ => {}
    }
    let (date, rest) = leading_date(text)?;
    matches!(rest, "" | "Z").then_some(date)
}

/// Reads `[-]HH:MM[:SS[.f]]`, hours of any count; a trailing `Z` as `IsoTime` writes it.
pub fn time(text: &str) -> Option<Time> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (nanos, rest) = leading_time(text)?;
    rest.is_empty().then_some(Time { nanos: if negative { -nanos } else { nanos } })
}

/// Reads date and time with `T` or a blank between them, and tells whether a zone was given; the result is in UTC then,
/// a wall time otherwise.
pub fn timestamp(text: &str) -> Option<(Timestamp, bool)> {
    match text {
        "infinity" => return Some((Timestamp::INFINITY, true)),
        "-infinity" => return Some((Timestamp::NEG_INFINITY, true)),
        _ => {}
    }
    let (date, rest) = leading_date(text)?;
    let rest = rest.strip_prefix(['T', ' '])?;
    let (nanos, rest) = leading_time(rest)?;
    let (offset_secs, zoned) = zone(rest)?;
    let secs = i64::from(date.days) * 86_400 + nanos.div_euclid(1_000_000_000) - offset_secs;
    (nanos <= 86_400_000_000_000).then_some((Timestamp { secs, nanos: (nanos % 1_000_000_000) as u32 }, zoned))
}

fn leading_date(text: &str) -> Option<(Date, &str)> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    let (year, rest) = digits.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let day = rest.get(..2)?;
    let year = (4..=7).contains(&year.len()).then(|| number(year))??;
    let month = (month.len() == 2).then(|| number(month))??;
    let date = Date::from_ymd(sign * year, u32::try_from(month).ok()?, u32::try_from(number(day)?).ok()?)?;
    Some((date, rest.get(2..)?))
}

/// Nanoseconds, and what follows.
fn leading_time(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(text.len());
    let (text, rest) = text.split_at(end);
    let mut parts = text.split(':');
    let hours = number(parts.next()?).filter(|h| *h < 1_000_000)?;
    let minutes = number(parts.next()?).filter(|m| *m < 60)?;
    let (secs, fraction) = match parts.next() {
        None => (0, 0),
        Some(secs) => {
            let (secs, fraction) = secs.split_once('.').unwrap_or((secs, "0"));
            (number(secs).filter(|s| *s < 60)?, fraction_nanos(fraction)?)
        }
    };
    parts.next().is_none().then_some((((hours * 60 + minutes) * 60 + secs) * 1_000_000_000 + fraction, rest))
}

fn fraction_nanos(digits: &str) -> Option<i64> {
    let width = u32::try_from(digits.len()).ok().filter(|w| (1..=9).contains(w))?;
    Some(number(digits)? * 10i64.pow(9 - width))
}

/// Seconds east of UTC, and whether a zone was given at all.
fn zone(text: &str) -> Option<(i64, bool)> {
    let sign = match text.as_bytes().first() {
        None => return Some((0, false)),
        Some(b'Z') => return (text.len() == 1).then_some((0, true)),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return None,
    };
    let mut parts = text.get(1..)?.split(':');
    let hours = number(parts.next()?).filter(|h| *h <= 18)?;
    let minutes = parts.next().map_or(Some(0), number).filter(|m| *m < 60)?;
    let secs = parts.next().map_or(Some(0), number).filter(|s| *s < 60)?;
    parts.next().is_none().then_some((sign * (hours * 3_600 + minutes * 60 + secs), true))
}

/// Decimal digits, at least one and at most nine.
fn number(text: &str) -> Option<i64> {
    let valid = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| text.bytes().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_of_every_era_and_zone() {
        let utc = |text| timestamp(text).map(|(t, zoned)| format!("{t}{}", if zoned { "Z" } else { "" }));
        for (text, expected) in [
            ("2020-07-17T18:00:22Z", "2020-07-17T18:00:22Z"),
            ("2011-11-11T03:11:11.123456Z", "2011-11-11T03:11:11.123456Z"),
            ("2011-11-11T03:11:11.10+05:30", "2011-11-10T21:41:11.1Z"),
            ("1969-12-31T23:59:59.5-00:00", "1969-12-31T23:59:59.5Z"),
            ("+21016-11-04T00:00:00Z", "+21016-11-04T00:00:00Z"),
            ("-4713-11-24T00:00:00Z", "-4713-11-24T00:00:00Z"),
            ("1999-12-31 16:00:01", "1999-12-31T16:00:01"),
            ("infinity", "infinityZ"),
        ] {
            assert_eq!(utc(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "2020",
            "2020-13-01T00:00:00Z",
            "2020-01-01",
            "2020-01-01T25:00:00Z",
            "2020-01-01T00:00:00z",
            "2020-01-01T00:00:60Z",
        ] {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date("2017-09-15Z").unwrap().to_string(), "2017-09-15");
        assert_eq!(date("1999-09-09").unwrap().to_string(), "1999-09-09");
        assert_eq!(date("1999-9-9"), None);
        assert_eq!(date("ä999-09-09"), None);
        assert_eq!(time("04:05:11.789Z").unwrap().to_string(), "04:05:11.789");
        assert_eq!(time("24:00:00").unwrap().to_string(), "24:00:00");
        assert_eq!(time("-838:59:59").unwrap().to_string(), "-838:59:59");
        assert_eq!(time("04:05:11.789+02"), None);
    }
}
