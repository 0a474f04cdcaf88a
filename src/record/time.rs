//! Dates, times and timestamps as counts, wide enough for every database: BC and years above 9999, 24:00:00, signed
//! durations, nanoseconds, infinities.
//!
//! Calendar arithmetic follows Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms" (proleptic Gregorian),
//! since calendar libraries stop at year 9999. Deliberately absent: zones. An instant is an instant.

use std::fmt;
use std::str::FromStr;

/// A day, counted from 1970-01-01. `i32::MAX` and `i32::MIN` are SQL's infinite dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// Days since 1970-01-01, negative before.
    pub days: i32,
}

/// A time of day, or a signed duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Nanoseconds since midnight; 24:00:00 and MySQL's ±838:59:59 fit.
    pub nanos: i64,
}

/// A point in time, or a zone-less wall time counted as if it were UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01T00:00:00, rounded down. `i64::MAX`/`i64::MIN` are SQL's infinities.
    pub secs: i64,
    /// Nanoseconds of the second, 0 to 999,999,999.
    pub nanos: u32,
}

const DAY_SECS: i64 = 86_400;
const NANOS: i64 = 1_000_000_000;
/// Beyond it, seconds since 1970 do not fit an `i64`.
const MAX_YEAR: i64 = 292_277_026_596;

impl Date {
    /// SQL `infinity`.
    pub const INFINITY: Date = Date { days: i32::MAX };
    /// SQL `-infinity`.
    pub const NEG_INFINITY: Date = Date { days: i32::MIN };

    /// The day of a proleptic Gregorian date. Year 0 is 1 BC.
    pub fn from_ymd(year: i64, month: u32, day: u32) -> Option<Date> {
        let valid = (1..=12).contains(&month) && (1..=31).contains(&day) && (-6_000_000..=6_000_000).contains(&year);
        let date = valid.then(|| days_from_civil(year, month, day)).and_then(|days| i32::try_from(days).ok())?;
        let date = Date { days: date };
        (date.ymd() == (year, month, day)).then_some(date)
    }

    /// Year, month, day.
    pub fn ymd(self) -> (i64, u32, u32) {
        civil_from_days(i64::from(self.days))
    }
}

impl Time {
    /// From a count of `units_per_second` per second; `None` when it overflows.
    pub fn from_units(count: i64, units_per_second: i64) -> Option<Time> {
        count.checked_mul(NANOS.checked_div(units_per_second)?).map(|nanos| Time { nanos })
    }
}

impl Timestamp {
    /// SQL `infinity`.
    pub const INFINITY: Timestamp = Timestamp { secs: i64::MAX, nanos: 0 };
    /// SQL `-infinity`.
    pub const NEG_INFINITY: Timestamp = Timestamp { secs: i64::MIN, nanos: 0 };

    /// Whether this is a point in time and not one of SQL's infinities.
    pub fn is_finite(self) -> bool {
        self != Timestamp::INFINITY && self != Timestamp::NEG_INFINITY
    }

    /// From a count of `units_per_second` (1, 1,000, 1,000,000 or 1,000,000,000), rounding down below 1970.
    pub fn from_units(count: i64, units_per_second: i64) -> Timestamp {
        let unit_nanos = NANOS / units_per_second.max(1);
        Timestamp {
            secs: count.div_euclid(units_per_second.max(1)),
            nanos: (count.rem_euclid(units_per_second.max(1)) * unit_nanos) as u32,
        }
    }

    /// From milliseconds since 1970.
    pub fn from_millis(millis: i64) -> Timestamp {
        Timestamp::from_units(millis, 1_000)
    }

    /// Milliseconds since 1970, rounded down; saturates.
    pub fn as_millis(self) -> i64 {
        self.secs.saturating_mul(1_000).saturating_add(i64::from(self.nanos) / 1_000_000)
    }

    /// Now, by the system clock.
    pub fn now() -> Timestamp {
        let now = jiff::Timestamp::now();
        Timestamp {
            secs: now.as_second() - i64::from(now.subsec_nanosecond() < 0),
            nanos: now.subsec_nanosecond().rem_euclid(1_000_000_000) as u32,
        }
    }
}

impl fmt::Display for Date {
    /// `YYYY-MM-DD`; years above 9999 as `+YYYYY`, below 0 as `-YYYY` (astronomical).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Date::INFINITY => f.write_str("infinity"),
            Date::NEG_INFINITY => f.write_str("-infinity"),
            _ => write_day(f, i64::from(self.days)),
        }
    }
}

impl fmt::Display for Time {
    /// `[-]HH:MM:SS[.fraction]`, the fraction without trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanos < 0 { "-" } else { "" };
        let total = self.nanos.unsigned_abs();
        let (secs, nanos) = (total / NANOS as u64, (total % NANOS as u64) as u32);
        write!(f, "{sign}{:02}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)?;
        write_fraction(f, nanos)
    }
}

impl fmt::Display for Timestamp {
    /// `YYYY-MM-DDTHH:MM:SS[.fraction]`, without a zone: whoever prints an instant adds the `Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Timestamp::INFINITY => return f.write_str("infinity"),
            Timestamp::NEG_INFINITY => return f.write_str("-infinity"),
            _ => {}
        }
        write_day(f, self.secs.div_euclid(DAY_SECS))?;
        let secs = self.secs.rem_euclid(DAY_SECS);
        write!(f, "T{:02}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)?;
        write_fraction(f, self.nanos)
    }
}

impl FromStr for Date {
    type Err = &'static str;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "infinity" => Ok(Date::INFINITY),
            "-infinity" => Ok(Date::NEG_INFINITY),
            _ => i32::try_from(parse_day(text)?).map(|days| Date { days }).map_err(|_| "the date is out of range"),
        }
    }
}

impl FromStr for Time {
    type Err = &'static str;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let (secs, nanos) = parse_clock(rest)?;
        let nanos = i128::from(secs) * i128::from(NANOS) + i128::from(nanos);
        i64::try_from(sign * nanos).map(|nanos| Time { nanos }).map_err(|_| "the time is out of range")
    }
}

impl FromStr for Timestamp {
    type Err = &'static str;

    /// Reads what `Display` writes; a final `Z` is allowed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "infinity" => return Ok(Timestamp::INFINITY),
            "-infinity" => return Ok(Timestamp::NEG_INFINITY),
            _ => {}
        }
        let text = text.strip_suffix('Z').unwrap_or(text);
        let (day, clock) = text.split_once('T').ok_or("expected a date, T and a time")?;
        let (secs, nanos) = parse_clock(clock)?;
        let days = parse_day(day)?.checked_mul(DAY_SECS);
        let secs = days.and_then(|days| days.checked_add(secs)).ok_or("the timestamp is out of range")?;
        Ok(Timestamp { secs, nanos })
    }
}

/// Days since 1970 of `[+|-]YYYY-MM-DD`; a year may have more digits.
fn parse_day(text: &str) -> Result<i64, &'static str> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = rest.split('-');
    let mut number = || parts.next().filter(|p| p.bytes().all(|b| b.is_ascii_digit()))?.parse::<i64>().ok();
    let (year, month, day) = number()
        .zip(number())
        .zip(number())
        .map(|((year, month), day)| (sign * year, month as u32, day as u32))
        .filter(|(year, ..)| year.abs() <= MAX_YEAR)
        .ok_or("expected YYYY-MM-DD")?;
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err("expected YYYY-MM-DD");
    }
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) == (year, month, day) { Ok(days) } else { Err("the month has no such day") }
}

/// Seconds and nanoseconds of `HH:MM:SS[.fraction]`; hours may have more digits.
fn parse_clock(text: &str) -> Result<(i64, u32), &'static str> {
    const EXPECTED: &str = "expected HH:MM:SS with up to 9 digits of fraction";
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let mut number = || parts.next().filter(|p| p.bytes().all(|b| b.is_ascii_digit()))?.parse::<i64>().ok();
    let ((hours, minutes), secs) = number().zip(number()).zip(number()).ok_or(EXPECTED)?;
    if parts.next().is_some() || hours > 9_999_999 || minutes > 59 || secs > 60 || fraction.len() > 9 {
        return Err(EXPECTED);
    }
    let nanos = fraction.bytes().try_fold(0_u32, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')));
    let scale = 10_u32.pow(9 - fraction.len() as u32);
    Ok((hours * 3_600 + minutes * 60 + secs, nanos.ok_or(EXPECTED)? * scale))
}

fn write_day(f: &mut fmt::Formatter<'_>, days: i64) -> fmt::Result {
    let (year, month, day) = civil_from_days(days);
    match year {
        10_000.. => write!(f, "+{year}-{month:02}-{day:02}"),
        0..=9_999 => write!(f, "{year:04}-{month:02}-{day:02}"),
        _ => write!(f, "-{:04}-{month:02}-{day:02}", -year),
    }
}

fn write_fraction(f: &mut fmt::Formatter<'_>, nanos: u32) -> fmt::Result {
    if nanos == 0 {
        return Ok(());
    }
    let digits = format!("{nanos:09}");
    write!(f, ".{}", digits.trim_end_matches('0'))
}

fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_print_in_every_era() {
        assert_eq!(Date { days: 0 }.to_string(), "1970-01-01");
        assert_eq!(Date { days: -719_528 }.to_string(), "0000-01-01");
        assert_eq!(Date { days: 2_932_897 }.to_string(), "+10000-01-01");
        assert_eq!(Date::from_ymd(-4712, 1, 1).unwrap().to_string(), "-4712-01-01");
        assert_eq!(Date::from_ymd(2023, 2, 29), None);
    }

    #[test]
    fn timestamps_round_down_below_1970() {
        assert_eq!(Timestamp::from_units(-1, 1_000_000).to_string(), "1969-12-31T23:59:59.999999");
        assert_eq!(Timestamp::from_millis(1_500).as_millis(), 1_500);
    }

    #[test]
    fn times_may_be_24_hours_or_negative() {
        assert_eq!(Time::from_units(86_400_000_000, 1_000_000).unwrap().to_string(), "24:00:00");
        assert_eq!(Time { nanos: -3_020_399_000_000_000 }.to_string(), "-838:59:59");
    }

    #[test]
    fn text_reads_back() {
        for text in ["1970-01-01", "-4712-01-01", "+10000-02-29", "infinity", "0000-12-31"] {
            assert_eq!(text.parse::<Date>().unwrap().to_string(), text);
        }
        for text in ["24:00:00", "-838:59:59", "00:00:00.000000001"] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
        for text in ["1969-12-31T23:59:59.999999", "-0044-03-15T12:00:00", "+294276-12-31T23:59:59.5", "-infinity"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        for text in ["", "2023-02-29", "2023-13-01", "x", "2023-1-1-1", "+-1-1-1", "99999999999999999999-01-01"] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
        assert!("12:00".parse::<Time>().is_err());
        assert!("12:00:00.1234567890".parse::<Time>().is_err());
    }
}
