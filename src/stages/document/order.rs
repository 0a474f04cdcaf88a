//! Order and sums of values, for child lists and aggregates: total, exact, the same on every machine.
//!
//! Numbers of all kinds compare by value (NaN last, as in PostgreSQL); different types by type; null is left to callers.

use std::cmp::Ordering;

use bigdecimal::BigDecimal;

use crate::record::{Decimal, Value};

/// The order of two values that are not null.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (
            Value::Decimal(Decimal::Small { unscaled: a, scale: s }),
            Value::Decimal(Decimal::Small { unscaled: b, scale: t }),
        ) if s == t => a.cmp(b),
        (Value::Text(a) | Value::Json(a), Value::Text(b) | Value::Json(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) | (Value::TimestampTz(a), Value::TimestampTz(b)) => a.cmp(b),
        (Value::List(a), Value::List(b)) => {
            let first = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
            first.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => compare_numbers(&a, &b),
            _ => rank(a).cmp(&rank(b)),
        },
    }
}

fn compare_numbers(a: &Decimal, b: &Decimal) -> Ordering {
    let place = |d: &Decimal| match d {
        Decimal::NegInfinity => 0,
        Decimal::Small { .. } | Decimal::Number(_) => 1,
        Decimal::Infinity => 2,
        Decimal::NaN => 3,
    };
    match (a.to_big(), b.to_big()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => place(a).cmp(&place(b)),
    }
}

/// A number of any kind as a decimal; exact, since every double is a decimal.
fn number(value: &Value) -> Option<Decimal> {
    match value {
        Value::Int(n) => Decimal::new(*n, 0),
        Value::UInt(n) => Some(BigDecimal::from(*n).into()),
        Value::Decimal(d) => Some(d.clone()),
        Value::Float(n) if n.is_nan() => Some(Decimal::NaN),
        Value::Float(n) if n.is_infinite() => {
            Some(if n.is_sign_positive() { Decimal::Infinity } else { Decimal::NegInfinity })
        }
        Value::Float(n) => BigDecimal::try_from(*n).ok().map(Decimal::from),
        _ => None,
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Bool(_) => 0,
        Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Decimal(_) => 1,
        Value::Text(_) | Value::Json(_) => 2,
        Value::Bytes(_) => 3,
        Value::Date(_) => 4,
        Value::Time(_) => 5,
        Value::Timestamp(_) => 6,
        Value::TimestampTz(_) => 7,
        Value::List(_) => 8,
        Value::Map(_) => 9,
        Value::Unchanged | Value::Null => 10,
    }
}

/// A running sum: exact for integers and decimals (the result is a decimal with the largest scale seen), IEEE 754 in
/// the order of addition for floats.
#[derive(Debug, Default)]
pub struct Sum {
    /// Small decimals of one scale, the usual case.
    unscaled: i128,
    scale: i32,
    big: Option<BigDecimal>,
    special: Option<Decimal>,
    float: Option<f64>,
}

impl Sum {
    /// Zero, with the scale of the summed column where it is known.
    pub fn zero(scale: i32) -> Self {
        Sum { scale, ..Sum::default() }
    }

    /// Adds a value; an error names a type that has no sum.
    pub fn add(&mut self, value: &Value) -> Result<(), &'static str> {
        match value {
            Value::Float(n) => self.float = Some(self.float.unwrap_or_default() + n),
            Value::Decimal(Decimal::Small { unscaled, scale }) if *scale == self.scale => {
                self.unscaled = self.unscaled.saturating_add(i128::from(*unscaled));
            }
            _ => match number(value).ok_or_else(|| value.type_name())? {
                special @ (Decimal::NaN | Decimal::Infinity | Decimal::NegInfinity) => self.add_special(special),
                number => {
                    let number = number.to_big().unwrap_or_default();
                    self.big = Some(self.big.take().map_or(number.clone(), |big| big + &number));
                }
            },
        }
        Ok(())
    }

    fn add_special(&mut self, special: Decimal) {
        self.special = match self.special.take() {
            Some(known) if known != special => Some(Decimal::NaN),
            _ => Some(special),
        };
    }

    /// The sum; an error when floats and exact numbers were mixed.
    pub fn finish(self) -> Result<Value, &'static str> {
        let exact = self.unscaled != 0 || self.big.is_some() || self.special.is_some();
        match self.float {
            Some(_) if exact => return Err("floats among exact numbers"),
            Some(float) => return Ok(Value::Float(float)),
            None => {}
        }
        if let Some(special) = self.special {
            return Ok(Value::Decimal(special));
        }
        let small = BigDecimal::new(self.unscaled.into(), i64::from(self.scale));
        Ok(Value::Decimal(self.big.map_or(small.clone(), |big| big + small).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Timestamp;

    fn decimal(text: &str) -> Value {
        Value::Decimal(text.parse().unwrap())
    }

    fn sum(scale: i32, values: &[Value]) -> Result<String, &'static str> {
        let mut sum = Sum::zero(scale);
        values.iter().try_for_each(|value| sum.add(value))?;
        Ok(match sum.finish()? {
            Value::Decimal(d) => d.to_string(),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn numbers_of_all_kinds_compare_by_value() {
        let ascending = [
            Value::Float(f64::NEG_INFINITY),
            decimal("-123456789012345678901234567890.5"),
            Value::Int(-1),
            Value::Float(-0.5),
            decimal("0.10"),
            Value::Float(0.1),
            Value::Int(i64::MAX),
            Value::UInt(u64::MAX),
            decimal("Infinity"),
            decimal("NaN"),
            "a".into(),
            "b".into(),
            Value::Timestamp(Timestamp { secs: 0, nanos: 0 }),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn sums_are_exact_at_any_width_and_scale() {
        assert_eq!(sum(2, &[]).unwrap(), "0.00");
        assert_eq!(sum(2, &[decimal("0.10"), decimal("0.20"), decimal("-0.30")]).unwrap(), "0.00");
        assert_eq!(sum(2, &[decimal("1.10"), decimal("0.005"), Value::Int(2)]).unwrap(), "3.105");
        assert_eq!(sum(0, &[Value::Int(i64::MAX), Value::Int(i64::MAX)]).unwrap(), "18446744073709551614");
        assert_eq!(
            sum(0, &[decimal("123456789012345678901234567890"), decimal("0.1")]).unwrap(),
            "123456789012345678901234567890.1"
        );
        assert_eq!(sum(0, &[decimal("Infinity"), decimal("-Infinity")]).unwrap(), "NaN");
        assert_eq!(sum(0, &[Value::Float(0.5), Value::Float(0.25)]).unwrap(), "Float(0.75)");
        assert_eq!(sum(0, &["x".into()]), Err("text"));
        assert!(sum(0, &[Value::Float(0.5), Value::Int(1)]).is_err());
    }
}
