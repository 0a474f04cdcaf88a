//! Values and kinds, ours ↔ VRL's. What VRL cannot hold exactly goes in as text or is refused; see the module's page.

use bytestring::ByteString;
use chrono::DateTime;
use vrl::prelude::NotNan;
use vrl::value::kind::Collection;
use vrl::value::{Kind as VrlKind, Value as VrlValue};

use crate::record::{Kind, Timestamp, Value};

/// `value` as expressions see it; an error (what it is, not its content) when VRL has nothing that holds it.
pub fn to_vrl(value: &Value) -> Result<VrlValue, &'static str> {
    Ok(match value {
        Value::Null | Value::Unchanged => VrlValue::Null,
        Value::Bool(b) => VrlValue::Boolean(*b),
        Value::Int(n) => VrlValue::Integer(*n),
        Value::UInt(n) => text(n),
        Value::Float(n) => VrlValue::Float(NotNan::new(*n).map_err(|_| "NaN, which expressions cannot hold")?),
        Value::Decimal(d) => text(d),
        Value::Text(t) | Value::Json(t) => VrlValue::String(t.clone()),
        Value::Bytes(b) => VrlValue::Bytes(b.clone()),
        Value::Date(d) => text(d),
        Value::Time(t) => text(t),
        Value::Timestamp(t) | Value::TimestampTz(t) => VrlValue::Timestamp(
            DateTime::from_timestamp(t.secs, t.nanos).ok_or("a timestamp beyond what expressions can hold")?,
        ),
        Value::List(items) => VrlValue::Array(items.iter().map(to_vrl).collect::<Result<_, _>>()?),
        Value::Map(entries) => VrlValue::Object(
            entries
                .iter()
                .map(|(name, value)| Ok(((&**name).into(), to_vrl(value)?)))
                .collect::<Result<_, &'static str>>()?,
        ),
    })
}

/// A result of VRL as a value. Its bytes are text when they are UTF-8, since most of its functions give bytes for text.
pub fn from_vrl(value: VrlValue) -> Value {
    match value {
        VrlValue::Null => Value::Null,
        VrlValue::Boolean(b) => Value::Bool(b),
        VrlValue::Integer(n) => Value::Int(n),
        VrlValue::Float(n) => Value::Float(n.into_inner()),
        VrlValue::String(t) => Value::Text(t),
        VrlValue::Bytes(bytes) => ByteString::try_from(bytes.clone()).map_or(Value::Bytes(bytes), Value::Text),
        VrlValue::Regex(regex) => Value::text(regex.as_str()),
        VrlValue::Timestamp(t) => {
            // chrono counts leap seconds as nanoseconds beyond a full second.
            let nanos = t.timestamp_subsec_nanos();
            Value::TimestampTz(Timestamp {
                secs: t.timestamp() + i64::from(nanos / 1_000_000_000),
                nanos: nanos % 1_000_000_000,
            })
        }
        VrlValue::Array(items) => Value::List(items.into_iter().map(from_vrl).collect()),
        VrlValue::Object(fields) => {
            Value::Map(fields.into_iter().map(|(name, value)| (String::from(name).into(), from_vrl(value))).collect())
        }
    }
}

fn text(value: &impl ToString) -> VrlValue {
    VrlValue::String(value.to_string().into())
}

/// The type that values of `kind` have in an expression: always nullable.
pub(super) fn kind_to_vrl(kind: &Kind) -> VrlKind {
    let kind = match kind {
        Kind::Any => return VrlKind::any(),
        Kind::Bool => VrlKind::boolean(),
        Kind::Int64 => VrlKind::integer(),
        Kind::UInt64 => VrlKind::integer().or_bytes(),
        Kind::Float64 => VrlKind::float(),
        Kind::Timestamp(_) | Kind::TimestampTz(_) => VrlKind::timestamp(),
        Kind::List(of) => VrlKind::array(Collection::from_unknown(kind_to_vrl(of))),
        Kind::Map => VrlKind::any_object(),
        Kind::Decimal { .. }
        | Kind::Text
        | Kind::Bytes
        | Kind::Date
        | Kind::Time(_)
        | Kind::Json
        | Kind::Uuid
        | Kind::Interval
        | Kind::Bits => VrlKind::bytes(),
    };
    kind.or_null()
}

/// What a result of type `kind` becomes; null does not count.
pub(super) fn kind_from_vrl(kind: &VrlKind) -> Kind {
    let mut kind = kind.clone();
    kind.remove_null();
    kind.remove_undefined();
    if !kind.is_exact() {
        return Kind::Any;
    }
    if kind.contains_boolean() {
        Kind::Bool
    } else if kind.contains_integer() {
        Kind::Int64
    } else if kind.contains_float() {
        Kind::Float64
    } else if kind.contains_bytes() || kind.contains_regex() {
        Kind::Text
    } else if kind.contains_timestamp() {
        Kind::TimestampTz(9)
    } else if kind.contains_array() {
        Kind::List(Box::new(Kind::Any))
    } else if kind.contains_object() {
        Kind::Map
    } else {
        Kind::Any
    }
}

/// The fields that a value of `kind` under `name` consists of, by dotted names; `name` alone where it is no object of
/// known fields.
pub(super) fn leaves(name: String, kind: &VrlKind, into: &mut Vec<(String, Kind)>) {
    if kind.is_undefined() {
        return;
    }
    let mut defined = kind.clone();
    defined.remove_null();
    defined.remove_undefined();
    let fields = defined.as_object().filter(|fields| defined.is_exact() && !fields.known().is_empty());
    match fields.filter(|fields| !fields.unknown_kind().contains_any_defined()) {
        Some(fields) => {
            for (below, kind) in fields.known() {
                leaves(format!("{name}.{below}"), kind, into);
            }
        }
        None => into.push((name, kind_from_vrl(kind))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Date;

    #[test]
    fn natural_values_survive_a_round_trip() {
        let instant = Value::TimestampTz(Timestamp { secs: -1, nanos: 999_999_999 });
        for value in [
            Value::Null,
            Value::Bool(true),
            Value::Int(i64::MIN),
            Value::Float(1.5),
            "é".into(),
            Value::Bytes(vec![0xff].into()),
            instant,
            Value::List(vec![Value::Int(1), Value::Null]),
            Value::Map(vec![("a".into(), Value::Int(1)), ("b".into(), "x".into())]),
        ] {
            assert_eq!(from_vrl(to_vrl(&value).unwrap()), value);
        }
    }

    #[test]
    fn what_vrl_cannot_hold_goes_in_as_text_or_not_at_all() {
        let text = |value| from_vrl(to_vrl(&value).unwrap());
        assert_eq!(text(Value::Decimal("1.10".parse().unwrap())), "1.10".into());
        assert_eq!(text(Value::UInt(u64::MAX)), "18446744073709551615".into());
        assert_eq!(text(Value::Date(Date { days: 0 })), "1970-01-01".into());
        assert!(to_vrl(&Value::Float(f64::NAN)).is_err());
        assert!(to_vrl(&Value::TimestampTz(Timestamp::INFINITY)).is_err());
    }
}
