//! Decimals in IEEE 754-2008 decimal128, as BSON encodes it (binary integer decimal).
//!
//! Invariant: the number has exactly the decimal's value, or there is none.

use bigdecimal::ToPrimitive;

use crate::record::Decimal;

/// The bits of a number as IEEE 754-2008 decimal128 in BSON's encoding (binary integer decimal), if it has them exactly.
/// Trailing zeros are kept unless only dropping them makes the number fit.
pub(super) fn decimal128(n: &Decimal) -> Option<[u8; 16]> {
    const NAN: u128 = 0x7c << 120;
    const INFINITY: u128 = 0x78 << 120;
    const NEG_INFINITY: u128 = 0xf8 << 120;
    let finite = |unscaled: i128, scale: i64| {
        let exponent = scale.checked_neg().filter(|e| (-6_176..=6_111).contains(e))?;
        let coefficient = Some(unscaled.unsigned_abs()).filter(|c| *c < 10u128.pow(34))?;
        Some(decimal_bits(coefficient, exponent, unscaled < 0))
    };
    match n {
        Decimal::Small { unscaled, scale } => finite(i128::from(*unscaled), i64::from(*scale)),
        Decimal::Number(big) => {
            let (unscaled, scale) = big.as_bigint_and_scale();
            unscaled.to_i128().and_then(|unscaled| finite(unscaled, scale)).or_else(|| {
                let (unscaled, scale) = big.normalized().into_bigint_and_scale();
                unscaled.to_i128().and_then(|unscaled| finite(unscaled, scale))
            })
        }
        Decimal::NaN => Some(NAN.to_le_bytes()),
        Decimal::Infinity => Some(INFINITY.to_le_bytes()),
        Decimal::NegInfinity => Some(NEG_INFINITY.to_le_bytes()),
    }
}

/// `±coefficient × 10^exponent`; the coefficient is below 10^34 and so never needs the format's large form.
pub(super) fn decimal_bits(coefficient: u128, exponent: i64, negative: bool) -> [u8; 16] {
    let biased = (exponent + 6_176).unsigned_abs();
    (u128::from(negative) << 127 | u128::from(biased) << 113 | coefficient).to_le_bytes()
}
