//! What is known of a payment besides its texts: amount, direction, merchant category code (ISO 18245), day of the month.
//!
//! Each that a model's [`FeatureSpec`] asks for is one token. A fact that is missing, empty or unreadable is a token of its
//! own: not knowing an amount says something, too.
//!
//! Invariant: tokens are integers, the same on every platform; they are part of the model format.

use super::features::{FeatureSpec, fnv1a};

/// The facts of one row.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Facts {
    /// Negative when money goes out.
    pub amount: Option<f64>,
    /// Hash of what the row calls its direction: [`Facts::direction_of`].
    pub direction: Option<u64>,
    /// Merchant category code.
    pub mcc: Option<u16>,
    /// Day of the month, 1 to 31.
    pub day: Option<u8>,
}

/// One fact as a feature: what is hashed, and the fact's name.
pub(super) type Token = (u64, &'static str);

/// Kinds of tokens, above all that a token can be; see `features` for those of texts.
const AMOUNT: u64 = 0x12 << 56;
const DIRECTION: u64 = 0x13 << 56;
const MCC: u64 = 0x14 << 56;
const DAY: u64 = 0x15 << 56;

impl Facts {
    /// An amount and nothing else.
    pub fn of_amount(amount: Option<f64>) -> Facts {
        Facts { amount, ..Facts::default() }
    }

    /// `debit`, `DEBIT` and ` Debit ` are one direction; an empty text is none.
    pub fn direction_of(text: &str) -> Option<u64> {
        let text = text.trim();
        // Below the kinds' byte.
        (!text.is_empty()).then(|| fnv1a(text.bytes().map(|b| b.to_ascii_uppercase())) >> 8 | 1)
    }

    /// A merchant category code as text: one to four digits.
    pub fn mcc_of(text: &str) -> Option<u16> {
        text.trim().parse().ok().filter(|code| (1..=9_999).contains(code))
    }

    /// The day of a date that begins like `2020-04-17`.
    pub fn day_of(text: &str) -> Option<u8> {
        let (date, rest) = text.trim().split_at_checked(10)?;
        let [_, b'-', _] = [date.as_bytes().get(3)?, date.as_bytes().get(7)?, date.as_bytes().get(8)?] else {
            return None;
        };
        let ends = rest.bytes().next().is_none_or(|b| !b.is_ascii_digit());
        date.get(8..)?.parse().ok().filter(|day| ends && (1..=31).contains(day))
    }

    /// The tokens that `spec` asks for.
    pub(super) fn tokens(&self, spec: &FeatureSpec) -> impl Iterator<Item = Token> {
        [
            spec.amount.then(|| (AMOUNT ^ amount_bucket(self.amount), "amount")),
            spec.direction.then(|| (DIRECTION ^ self.direction.unwrap_or(0), "direction")),
            spec.mcc.then(|| (MCC ^ self.mcc.map_or(0, u64::from), "mcc")),
            spec.day.then(|| (DAY ^ self.day.map_or(0, u64::from), "day")),
        ]
        .into_iter()
        .flatten()
    }

    /// One number for all that `spec` asks for: equal for rows that a model cannot tell apart by their facts.
    pub(super) fn key(&self, spec: &FeatureSpec) -> u64 {
        self.tokens(spec)
            .fold(0, |key: u64, (token, _)| key.rotate_left(17).wrapping_add(token).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// Sign and magnitude in steps of a half; missing and NaN are a bucket of their own.
fn amount_bucket(amount: Option<f64>) -> u64 {
    let Some(amount) = amount.filter(|a| !a.is_nan()) else { return 0 };
    let magnitude = amount.abs();
    // Comparison with a table instead of a logarithm: the same bucket on every platform.
    let mut bucket = 1u64;
    let mut bound = 0.5f64;
    while bucket < 60 && magnitude >= bound {
        bound *= 1.5;
        bucket += 1;
    }
    bucket | u64::from(amount < 0.0) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> FeatureSpec {
        FeatureSpec { amount: true, direction: true, mcc: true, day: true, ..FeatureSpec::default() }
    }

    #[test]
    fn amounts_fall_into_buckets_by_sign_and_magnitude() {
        let bucket = |amount: f64| amount_bucket(Some(amount));
        assert_eq!(bucket(10.0), bucket(10.5));
        assert_ne!(bucket(10.0), bucket(100.0));
        assert_ne!(bucket(10.0), bucket(-10.0));
        assert_eq!(bucket(f64::NAN), amount_bucket(None));
        assert_eq!(bucket(1e300), bucket(f64::INFINITY));
        assert_ne!(bucket(0.0), amount_bucket(None));
    }

    #[test]
    fn facts_are_read_from_text_and_what_is_no_fact_is_missing() {
        assert_eq!(Facts::direction_of(" debit"), Facts::direction_of("DEBIT"));
        assert_ne!(Facts::direction_of("debit"), Facts::direction_of("credit"));
        assert_eq!(Facts::direction_of("  "), None);
        assert_eq!(
            ["5411", " 742", "0", "12345", "x", ""].map(Facts::mcc_of),
            [Some(5_411), Some(742), None, None, None, None]
        );
        let days =
            ["2020-04-17", "2020-04-07T10:00", "2020-04-32", "17.04.2020", "2020-04-1", "2020-04-177", "2020-04-é", ""];
        assert_eq!(days.map(Facts::day_of), [Some(17), Some(7), None, None, None, None, None, None]);
    }

    #[test]
    fn each_fact_is_a_token_of_its_own_and_a_missing_one_too() {
        let full = Facts { amount: Some(3.0), direction: Facts::direction_of("in"), mcc: Some(5_411), day: Some(3) };
        let missing = Facts::default();
        assert_eq!(full.tokens(&FeatureSpec::default()).count(), 0);
        for facts in [full, missing] {
            let tokens: Vec<Token> = facts.tokens(&all()).collect();
            assert_eq!(tokens.iter().map(|t| t.1).collect::<Vec<_>>(), ["amount", "direction", "mcc", "day"]);
            let distinct: std::collections::BTreeSet<u64> = tokens.iter().map(|t| t.0).collect();
            assert_eq!(distinct.len(), 4);
        }
        let tokens = |facts: &Facts| facts.tokens(&all()).map(|t| t.0).collect::<Vec<_>>();
        assert!(tokens(&full).iter().zip(tokens(&missing)).all(|(a, b)| *a != b));
        assert_eq!(full.key(&FeatureSpec::default()), missing.key(&FeatureSpec::default()));
        for other in [
            Facts { amount: Some(-3.0), ..full },
            Facts { direction: None, ..full },
            Facts { mcc: Some(5_412), ..full },
            Facts { day: Some(4), ..full },
        ] {
            assert_ne!(other.key(&all()), full.key(&all()));
        }
    }
}
