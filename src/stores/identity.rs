//! What makes two keys the same row, in a form that databases can index: integers and text stay themselves, so that a
//! person can query them; everything else becomes canonical text.
//!
//! Invariant: keys that are equal in SQL have one identity. An integral decimal is the integer, `1.50` is `1.5`, and
//! `-0.0` is `0.0`, so that a join from a `numeric` column finds a `bigint` key.

use bigdecimal::ToPrimitive;
use bytestring::ByteString;

use super::codec;
use crate::record::{Decimal, Kind, Position, Row, TableSchema, Value};

/// A key as databases hold it. Ordered as SQLite orders it: integers, text, canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A single integer.
    Int(i64),
    /// A single text.
    Text(ByteString),
    /// Anything else: the values as a JSON array, tagged where needed.
    Canonical(String),
}

/// The identity of a key, or of a value that joins look up.
pub fn identity(values: &[Value]) -> Identity {
    match values {
        [Value::Int(n)] => Identity::Int(*n),
        [Value::Text(text)] => Identity::Text(text.clone()),
        [Value::Decimal(decimal)] if as_integer(decimal).is_some() => Identity::Int(as_integer(decimal).unwrap_or(0)),
        _ => {
            let canonical: Vec<Value> = values.iter().map(canonical).collect();
            Identity::Canonical(codec::values_to_text(&canonical))
        }
    }
}

/// The values that `identity` stands for, in the kinds of `schema`; equal to the original ones, though a decimal may
/// have lost trailing zeros.
pub fn values_of(identity: &Identity, schema: &TableSchema) -> Result<Vec<Value>, String> {
    let values = match identity {
        Identity::Int(n) => vec![Value::Int(*n)],
        Identity::Text(text) => vec![Value::Text(text.clone())],
        Identity::Canonical(text) => codec::values_from_text(text)?,
    };
    Ok(values.into_iter().zip(&schema.columns).map(|(value, column)| typed(value, &column.kind)).collect())
}

/// The key of a row in a table without one: where the row came from.
pub fn instance_key(position: &Position) -> Row {
    Row::of([
        ("topic", Value::text(position.epoch.name(&position.topic).into_owned())),
        ("partition", Value::Int(i64::from(position.partition))),
        ("offset", Value::Int(position.offset)),
    ])
}

/// Where the row of a table without a key came from, by its identity: topic, partition, offset.
pub fn instance_place(id: &Identity) -> Option<(ByteString, i64, i64)> {
    let Identity::Canonical(text) = id else { return None };
    match codec::values_from_text(text).ok()?.as_slice() {
        [Value::Text(topic), Value::Int(partition), Value::Int(offset)] => Some((topic.clone(), *partition, *offset)),
        _ => None,
    }
}

fn as_integer(decimal: &Decimal) -> Option<i64> {
    if let Decimal::Small { unscaled, scale: 0 } = decimal {
        return Some(*unscaled);
    }
    let number = decimal.to_big().filter(bigdecimal::BigDecimal::is_integer)?;
    number.with_scale(0).as_bigint_and_exponent().0.to_i64()
}

fn canonical(value: &Value) -> Value {
    match value {
        Value::Decimal(decimal) => match (as_integer(decimal), decimal.to_big()) {
            (Some(n), _) => Value::Int(n),
            (None, Some(n)) => Value::Decimal(n.normalized().into()),
            (None, None) => value.clone(),
        },
        Value::Float(n) => Value::Float(n + 0.0),
        _ => value.clone(),
    }
}

fn typed(value: Value, kind: &Kind) -> Value {
    match (value, kind) {
        (Value::Int(unscaled), Kind::Decimal { .. }) => Value::Decimal(Decimal::Small { unscaled, scale: 0 }),
        (value, _) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Value {
        Value::Decimal(text.parse().unwrap())
    }

    #[test]
    fn equal_numbers_are_one_identity() {
        assert_eq!(identity(&[decimal("5.00")]), Identity::Int(5));
        assert_eq!(identity(&[decimal("5E3")]), identity(&[Value::Int(5_000)]));
        assert_eq!(identity(&[decimal("1.50")]), identity(&[decimal("1.5")]));
        assert_eq!(identity(&[Value::Float(-0.0)]), identity(&[Value::Float(0.0)]));
        assert_eq!(identity(&[Value::from("a"), decimal("7.0")]), identity(&[Value::from("a"), Value::Int(7)]));
    }

    #[test]
    fn different_keys_stay_apart() {
        let keys = [
            vec![Value::Int(1)],
            vec![Value::from("1")],
            vec![Value::from("[1]")],
            vec![Value::Null],
            vec![Value::from("a"), Value::from("b")],
            vec![Value::from("a,b"), Value::Null],
            vec![Value::Bytes("a".into())],
            vec![Value::Float(1.0)],
        ];
        let identities: std::collections::BTreeSet<_> = keys.iter().map(|k| identity(k)).collect();
        assert_eq!(identities.len(), keys.len());
    }

    #[test]
    fn values_come_back() {
        let schema = TableSchema::new([
            ("a", Kind::Decimal { precision: None, scale: Some(0) }),
            ("b", Kind::Bytes),
            ("c", Kind::Uuid),
        ]);
        let values = vec![decimal("12"), Value::Bytes("x".into()), Value::from("y")];
        assert_eq!(values_of(&identity(&values), &schema).unwrap(), values);
    }
}
