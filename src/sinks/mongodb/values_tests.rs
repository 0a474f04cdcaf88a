//! Every kind of value in BSON, at its borders.

use super::*;
use crate::record::{Date, TableSchema, Time};
use std::sync::Arc;

fn write(kind: Kind, value: Value, style: Style) -> Result<bson::Bson, Unfit> {
    let row = Row::new(Arc::new(TableSchema::new([("f", kind)])), vec![value]);
    let mut w = Writer::default();
    let document = w.open();
    write_fields(&mut w, &row, &Row::empty(), style)?;
    w.close(document);
    let raw = bson::RawDocumentBuf::from_bytes(w.into_bytes()).unwrap();
    Ok(bson::Document::try_from(raw).unwrap().remove("f").unwrap())
}

fn shown(kind: &str, value: Value) -> String {
    write(kind.parse().unwrap(), value, Style::default()).unwrap().to_string()
}

#[test]
fn decimals_are_what_the_bson_crate_reads() {
    let tiny = format!("0.{}1", "0".repeat(6_174));
    for text in ["0", "0.00", "1.10", "-12345678901234567.89", "9999999999999999999999999999999999", "-0.5", &tiny] {
        let decimal: Decimal = text.parse().unwrap();
        let Ok(bson::Bson::Decimal128(read)) = write(Kind::Any, Value::Decimal(decimal), Style::default()) else {
            panic!("no decimal128 for {text}");
        };
        assert_eq!(read.bytes(), text.parse::<bson::Decimal128>().unwrap().bytes(), "{text}");
    }
    let special = |d| write(Kind::Any, Value::Decimal(d), Style::default()).unwrap().to_string();
    assert_eq!(special(Decimal::NaN), "NaN");
    assert_eq!(special(Decimal::NegInfinity), "-Infinity");
    assert_eq!(shown("uint64", Value::UInt(u64::MAX)), "18446744073709551615");
}

#[test]
fn decimals_that_do_not_fit_are_refused_or_text() {
    let wide: Decimal = "1.0000000000000000000000000000000001".parse().unwrap();
    let refused = write(Kind::Any, Value::Decimal(wide.clone()), Style::default()).unwrap_err();
    assert_eq!(refused.code, "value.decimal_too_wide");
    assert!(refused.reason.contains("column `f`") && !refused.reason.contains("0000"));
    let style = Style { decimals_as_text: true, ..Style::default() };
    assert_eq!(write(Kind::Any, Value::Decimal(wide.clone()), style).unwrap(), wide.to_string().into());
    // 35 digits, but the last is a zero: the number is exact without it.
    assert_eq!(shown("decimal", Value::Decimal("1.0000000000000000000000000000000010".parse().unwrap())).len(), 35);
}

#[test]
fn instants_follow_the_precision_of_the_column() {
    let at = Timestamp::from_units(1_700_000_000_123_000, 1_000_000);
    let millis = bson::DateTime::from_millis(1_700_000_000_123);
    let of = |kind: &str, at, instants| {
        write(kind.parse().unwrap(), Value::TimestampTz(at), Style { instants, ..Style::default() })
    };
    assert_eq!(of("timestamptz(3)", at, Instants::Auto).unwrap(), millis.into());
    assert_eq!(of("timestamptz(6)", at, Instants::Auto).unwrap(), "2023-11-14T22:13:20.123000Z".into());
    assert_eq!(of("any", at, Instants::Auto).unwrap(), "2023-11-14T22:13:20.123000000Z".into());
    assert_eq!(of("timestamptz(0)", at, Instants::Text).unwrap(), "2023-11-14T22:13:20.123000000Z".into());
    let fine = Timestamp { nanos: 123_456_789, ..at };
    assert_eq!(of("timestamptz(6)", fine, Instants::Date).unwrap(), millis.into());
    assert_eq!(of("timestamptz(3)", fine, Instants::Auto).unwrap_err().code, "value.not_a_date");
    assert_eq!(of("timestamptz(3)", Timestamp::INFINITY, Instants::Auto).unwrap_err().code, "value.not_a_date");
    assert_eq!(of("timestamptz(6)", Timestamp::INFINITY, Instants::Auto).unwrap(), "infinity".into());
    let extreme = Timestamp { secs: i64::MAX - 1, nanos: 0 };
    assert!(of("timestamptz(6)", extreme, Instants::Auto).is_ok());
}

#[test]
fn times_have_the_digits_of_their_column() {
    let at = Timestamp::from_units(-1, 1_000);
    assert_eq!(shown("timestamp(3)", Value::Timestamp(at)), "\"1969-12-31T23:59:59.999\"");
    assert_eq!(shown("timestamp(0)", Value::Timestamp(Timestamp::from_millis(0))), "\"1970-01-01T00:00:00\"");
    assert_eq!(shown("time(6)", Value::Time(Time { nanos: -1_000 })), "\"-00:00:00.000001\"");
    assert_eq!(shown("time(0)", Value::Time(Time { nanos: 86_400_000_000_000 })), "\"24:00:00\"");
    for (days, text) in [(0, "1970-01-01"), (-719_529, "-0001-12-31"), (2_932_897, "+10000-01-01")] {
        assert_eq!(shown("date", Value::Date(Date { days })), format!("\"{text}\""));
        assert_eq!(Date { days }.to_string(), text);
    }
    assert_eq!(shown("date", Value::Date(Date::NEG_INFINITY)), "\"-infinity\"");
}

#[test]
fn what_cannot_be_a_document_is_named() {
    let refused = |value| write(Kind::Any, value, Style::default()).unwrap_err().code;
    assert_eq!(refused(Value::Unchanged), "value.unchanged");
    let deep = (0..DEPTH_MAX).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    assert_eq!(refused(deep), "document.too_deep");
    assert_eq!(refused(Value::Map(vec![("a\0b".into(), Value::Null)])), "field.name");
    for name in ["a\0", "_headwater", "_id"] {
        let row = Row::of([(name, Value::Null)]);
        let unfit = write_fields(&mut Writer::default(), &row, &Row::empty(), Style::default()).unwrap_err();
        assert_eq!(unfit.code, "field.name");
    }
}

#[test]
fn keys_are_values_or_documents() {
    let key = |row: Row| {
        let mut w = Writer::default();
        write_key(&mut w, &row, Style::default()).map(|()| w.into_bytes())
    };
    assert_eq!(key(Row::of([("id", Value::Int(7))])).unwrap(), [&[0x12][..], &7i64.to_le_bytes()].concat());
    let composite = key(Row::of([("a", Value::Int(1)), ("b", Value::from("x"))])).unwrap();
    let read = bson::RawDocument::from_bytes(&composite[1..]).unwrap();
    assert_eq!(bson::Document::try_from(read).unwrap(), bson::doc! {"a": 1i64, "b": "x"});
    assert_eq!(key(Row::of([("id", Value::List(vec![]))])).unwrap_err().code, "key.unsupported");
    assert_eq!(key(Row::of([("$a", Value::Null), ("b", Value::Null)])).unwrap_err().code, "key.unsupported");
}
