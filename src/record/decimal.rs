//! Decimals of any width, exact: a mantissa and a scale, never a float.
//!
//! Invariants
//! - what fits [`Decimal::Small`] is `Small`, so that the usual amounts cost no allocation;
//! - trailing zeros are kept: `1.10` prints as `1.10`, though it equals `1.1`;
//! - the scale stays within ±10,000 digits beyond the mantissa's own, so that printing is bounded.
//!
//! Deliberately absent: arithmetic. Whoever computes converts with [`Decimal::to_big`].

use std::fmt;
use std::str::FromStr;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, ToPrimitive};

/// The largest scale, in either direction, that is accepted: expanding it costs memory.
const SCALE_LIMIT: i64 = 10_000;

/// A decimal of any width, or one of SQL's three special values.
#[derive(Debug, Clone)]
pub enum Decimal {
    /// `unscaled × 10^-scale`.
    Small {
        /// The digits without the point.
        unscaled: i64,
        /// Digits after the point; negative for trailing zeros before it.
        scale: i32,
    },
    /// A number whose digits do not fit [`Decimal::Small`].
    Number(Box<BigDecimal>),
    /// Not a number.
    NaN,
    /// Positive infinity.
    Infinity,
    /// Negative infinity.
    NegInfinity,
}

impl Decimal {
    /// `unscaled × 10^-scale`; `None` when the scale is beyond what is accepted.
    pub fn new(unscaled: i64, scale: i64) -> Option<Decimal> {
        (scale.abs() <= SCALE_LIMIT).then_some(())?;
        i32::try_from(scale).ok().map(|scale| Decimal::Small { unscaled, scale })
    }

    /// `unscaled × 10^-scale` from big-endian two's complement bytes, as Kafka Connect's `Decimal` carries it; `None`
    /// for no bytes at all or a scale beyond what is accepted.
    pub fn from_be_bytes(bytes: &[u8], scale: i64) -> Option<Decimal> {
        let first = *bytes.first()?;
        if bytes.len() > 8 {
            return Decimal::from_bigint(BigInt::from_signed_bytes_be(bytes), scale);
        }
        let sign = if first & 0x80 == 0 { 0 } else { -1 };
        Decimal::new(bytes.iter().fold(sign, |n: i64, b| n << 8 | i64::from(*b)), scale)
    }

    /// `unscaled × 10^-scale` of any width; `None` when the scale is beyond what is accepted.
    pub fn from_bigint(unscaled: BigInt, scale: i64) -> Option<Decimal> {
        match unscaled.to_i64() {
            Some(small) => Decimal::new(small, scale),
            None if scale.abs() > SCALE_LIMIT => None,
            None => Some(Decimal::Number(Box::new(BigDecimal::new(unscaled, scale)))),
        }
    }

    /// The number, to compute with; `None` for the special values.
    pub fn to_big(&self) -> Option<BigDecimal> {
        match self {
            Decimal::Small { unscaled, scale } => Some(BigDecimal::new((*unscaled).into(), i64::from(*scale))),
            Decimal::Number(number) => Some((**number).clone()),
            Decimal::NaN | Decimal::Infinity | Decimal::NegInfinity => None,
        }
    }

    /// How many digits the number has without sign, point and leading zeros: SQL's precision. 0 for special values.
    pub fn digits(&self) -> u64 {
        match self {
            Decimal::Small { unscaled, .. } => unscaled.unsigned_abs().checked_ilog10().map_or(1, |d| u64::from(d) + 1),
            Decimal::Number(number) => number.digits(),
            Decimal::NaN | Decimal::Infinity | Decimal::NegInfinity => 0,
        }
    }
}

impl PartialEq for Decimal {
    /// By value: `1.10` equals `1.1`, and every special value itself.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Decimal::NaN, Decimal::NaN)
            | (Decimal::Infinity, Decimal::Infinity)
            | (Decimal::NegInfinity, Decimal::NegInfinity) => true,
            (Decimal::Small { unscaled: a, scale: s }, Decimal::Small { unscaled: b, scale: t }) if s == t => a == b,
            _ => self.to_big().zip(other.to_big()).is_some_and(|(a, b)| a == b),
        }
    }
}

impl From<BigDecimal> for Decimal {
    fn from(number: BigDecimal) -> Self {
        let small = |n: &BigDecimal| {
            let (unscaled, scale) = n.as_bigint_and_exponent();
            Decimal::new(unscaled.to_i64()?, scale)
        };
        small(&number).unwrap_or_else(|| Decimal::Number(Box::new(number)))
    }
}

impl fmt::Display for Decimal {
    /// Plain notation, all digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decimal::Small { unscaled, scale } => write_small(f, *unscaled, *scale),
            Decimal::Number(n) => f.write_str(&n.to_plain_string()),
            Decimal::NaN => f.write_str("NaN"),
            Decimal::Infinity => f.write_str("Infinity"),
            Decimal::NegInfinity => f.write_str("-Infinity"),
        }
    }
}

fn write_small(f: &mut fmt::Formatter<'_>, unscaled: i64, scale: i32) -> fmt::Result {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = unscaled.unsigned_abs();
    let Ok(scale) = usize::try_from(scale) else {
        let zeros = if digits == 0 { 0 } else { scale.unsigned_abs() as usize };
        return write!(f, "{sign}{digits}{:0<zeros$}", "");
    };
    // Below 10^19 a u64 splits by division; above, all its digits stand after the point.
    match 10u64.checked_pow(u32::try_from(scale).unwrap_or(u32::MAX)) {
        Some(1) => write!(f, "{sign}{digits}"),
        Some(unit) => write!(f, "{sign}{}.{:0scale$}", digits / unit, digits % unit),
        None => write!(f, "{sign}0.{digits:0scale$}"),
    }
}

impl FromStr for Decimal {
    type Err = &'static str;

    /// Reads plain or scientific notation. Exponents beyond ±10,000 are refused: expanding them would cost memory
    /// without bound.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        if let Some(small) = parse_small(text) {
            return Ok(small);
        }
        match text {
            "NaN" | "NAN" => return Ok(Decimal::NaN),
            "Infinity" | "POSITIVE_INFINITY" => return Ok(Decimal::Infinity),
            "-Infinity" | "NEGATIVE_INFINITY" => return Ok(Decimal::NegInfinity),
            _ => {}
        }
        let number = BigDecimal::from_str(text).map_err(|_| "not a decimal number")?;
        if number.fractional_digit_count().unsigned_abs() > SCALE_LIMIT.unsigned_abs() + text.len() as u64 {
            return Err("the decimal's exponent is beyond 10,000");
        }
        Ok(number.into())
    }
}

/// Plain notation of up to 18 digits, without an allocation.
fn parse_small(text: &str) -> Option<Decimal> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() + fraction.len() > 18 || !plain(whole) || !plain(fraction) {
        return None;
    }
    let unscaled = whole.bytes().chain(fraction.bytes()).fold(0i64, |n, b| n * 10 + i64::from(b - b'0'));
    Decimal::new(if negative { -unscaled } else { unscaled }, fraction.len() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip_with_their_zeros() {
        for text in [
            "0",
            "-0.01",
            "1.10",
            "12345.110",
            "123456789876543212345678987654321.110",
            "0.000000000000000000000001",
            "NaN",
        ] {
            assert_eq!(text.parse::<Decimal>().unwrap().to_string(), text);
        }
        assert_eq!("1.10".parse::<Decimal>(), "1.1".parse());
        assert_ne!("1.10".parse::<Decimal>(), "1.11".parse());
        assert_eq!("1e3".parse::<Decimal>().unwrap().to_string(), "1000");
        assert!("1e100000".parse::<Decimal>().is_err());
        assert!("".parse::<Decimal>().is_err());
        assert!("1.2.3".parse::<Decimal>().is_err());
    }

    #[test]
    fn twos_complement_is_sign_extended() {
        let text = |bytes: &[u8], scale| Decimal::from_be_bytes(bytes, scale).unwrap().to_string();
        assert_eq!(text(&[0xff], 2), "-0.01");
        assert_eq!(text(&[0x12, 0xd6, 0x87], 4), "123.4567");
        assert_eq!(text(&[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 0), "18446744073709551615");
        assert_eq!(text(&[0x80, 0, 0, 0, 0, 0, 0, 0], 0), i64::MIN.to_string());
        assert_eq!(text(&[0x7b], -3), "123000");
        assert_eq!(Decimal::from_be_bytes(&[], 2), None);
        assert_eq!(Decimal::from_be_bytes(&[1], 1 << 40), None);
    }

    #[test]
    fn small_and_big_agree() {
        let big = BigDecimal::from_str("92233720368547758.07").unwrap();
        assert!(matches!(Decimal::from(big.clone()), Decimal::Small { unscaled: i64::MAX, scale: 2 }));
        assert_eq!(Decimal::Number(Box::new(big)), Decimal::new(i64::MAX, 2).unwrap());
        assert_eq!(Decimal::new(0, 0).unwrap().digits(), 1);
        assert_eq!(Decimal::new(-100, 2).unwrap().digits(), 3);
    }
}
