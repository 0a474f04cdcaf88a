//! Values arrive in MongoDB as they were, whichever statement carries them, and are never read as expressions.

use std::sync::Arc;

use headwater::record::{Date, Kind, Op, Row, TableSchema, Time, Timestamp, Value};
use mongodb::bson::{Bson, doc};

use crate::sinks::lab::{Lab, Mongo, TABLE, offer, record, write};

fn everything() -> (Row, mongodb::bson::Document) {
    let at = Timestamp::from_units(1_700_000_000_123_000, 1_000_000);
    let decimal = |text: &str| (Value::Decimal(text.parse().unwrap()), Bson::Decimal128(text.parse().unwrap()));
    let (amount, amount_there) = decimal("12345678901234567890.1200");
    let binary = mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Generic, bytes: vec![0, 255] };
    let inner = vec![("$set".into(), Value::Int(1)), ("a.b".into(), Value::Null), ("".into(), Value::Bool(true))];
    let columns: Vec<(&str, Kind, Value, Bson)> = vec![
        ("null", Kind::Any, Value::Null, Bson::Null),
        ("bool", Kind::Bool, Value::Bool(true), true.into()),
        ("int", Kind::Int64, Value::Int(i64::MIN), i64::MIN.into()),
        ("small", Kind::Int64, Value::Int(1), 1i64.into()),
        ("uint", Kind::UInt64, Value::UInt(u64::MAX), Bson::Decimal128(u64::MAX.to_string().parse().unwrap())),
        ("float", Kind::Float64, Value::Float(0.1), 0.1.into()),
        ("infinite", Kind::Float64, Value::Float(f64::INFINITY), f64::INFINITY.into()),
        ("amount", "decimal(30,4)".parse().unwrap(), amount, amount_there),
        ("text", Kind::Text, Value::from("$text and $$ROOT \u{0} ü"), "$text and $$ROOT \u{0} ü".into()),
        ("field", Kind::Text, Value::from("$_headwater.v"), "$_headwater.v".into()),
        ("json", Kind::Json, Value::Json("{\"a\": 1.10}".into()), "{\"a\": 1.10}".into()),
        ("bytes", Kind::Bytes, Value::Bytes(vec![0, 255].into()), binary.into()),
        ("day", Kind::Date, Value::Date(Date { days: 19_675 }), "2023-11-14".into()),
        ("time", Kind::Time(3), Value::Time(Time { nanos: 1_000_000 }), "00:00:00.001".into()),
        ("wall", Kind::Timestamp(6), Value::Timestamp(at), "2023-11-14T22:13:20.123000".into()),
        (
            "millis",
            Kind::TimestampTz(3),
            Value::TimestampTz(at),
            mongodb::bson::DateTime::from_millis(1_700_000_000_123).into(),
        ),
        ("micros", Kind::TimestampTz(6), Value::TimestampTz(at), "2023-11-14T22:13:20.123000Z".into()),
        (
            "list",
            Kind::List(Box::new(Kind::Int64)),
            Value::List(vec![Value::Int(1), Value::Null]),
            vec![1i64.into(), Bson::Null].into(),
        ),
        ("map", Kind::Map, Value::Map(inner), doc! { "$set": 1i64, "a.b": null, "": true }.into()),
        ("$dollar", Kind::Int64, Value::Int(1), 1i64.into()),
        ("dotted.name", Kind::Int64, Value::Int(2), 2i64.into()),
    ];
    let schema = TableSchema::new(columns.iter().map(|(name, kind, _, _)| (*name, kind.clone())));
    let there = columns.iter().map(|(name, _, _, bson)| (name.to_string(), bson.clone())).collect();
    (Row::new(Arc::new(schema), columns.into_iter().map(|(_, _, value, _)| value).collect()), there)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_arrive_exactly_by_every_statement() {
    for plan in ["auto", "insert", "probe", "guarded"] {
        let Some(lab) = Mongo::new(plan).await else { return };
        let mut sink = lab.sink().await;
        let (row, there) = everything();
        let key = || Row::of([("key", Value::from("$literal"))]);
        for (version, op) in [(1, Op::Create), (2, Op::Update)] {
            write(&mut sink, vec![record(op, key(), Some(row.clone()), version)]).await;
            let mut found = lab.find_all(TABLE).await.remove(0);
            assert_eq!(found.remove("_id").unwrap(), Bson::from("$literal"));
            let as_of = mongodb::bson::DateTime::from_millis(1_700_000_000_000);
            let guard = doc! { "v": version as i64, "as_of": as_of };
            assert_eq!(found.remove("_headwater").unwrap(), guard.into(), "{plan}");
            assert_eq!(found, there, "{plan} {op:?}");
        }
        Box::new(lab).close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_type_find_their_documents_again() {
    for plan in ["auto", "guarded"] {
        let Some(lab) = Mongo::new(plan).await else { return };
        let mut sink = lab.sink().await;
        let at = Timestamp::from_millis(1);
        let keys = [
            vec![Value::Null],
            vec![Value::Bool(false)],
            vec![Value::Int(i64::MAX)],
            vec![Value::Float(-0.5)],
            vec![Value::Decimal("1.10".parse().unwrap())],
            vec![Value::from("")],
            vec![Value::Bytes(vec![1].into())],
            vec![Value::TimestampTz(at)],
            vec![Value::Map(vec![("a".into(), Value::Int(1))])],
            vec![Value::Int(1), Value::from("x")],
            vec![Value::Int(1), Value::List(vec![Value::Null])],
        ];
        let names = ["a", "b"];
        let key = |values: &Vec<Value>| Row::of(names.into_iter().zip(values.clone()));
        for version in 1..=3 {
            let row = Row::of([("version", Value::Int(version))]);
            let put = |values| record(Op::Update, key(values), Some(row.clone()), version as u64);
            write(&mut sink, keys.iter().map(put).collect()).await;
            let found = lab.find_all(TABLE).await;
            assert_eq!(found.len(), keys.len(), "{plan} {version}");
            assert!(found.iter().all(|document| document.get_i64("version").unwrap() == version));
        }
        write(&mut sink, keys.iter().map(|values| record(Op::Delete, key(values), None, 4)).collect()).await;
        assert_eq!(lab.find_all(TABLE).await.len(), 0, "{plan}");
        Box::new(lab).close().await;
    }
}

/// 1.0 and 1.00 are one key for MongoDB and other bytes for us: two writes of one key, in one batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_only_look_different_are_one() {
    for plan in ["auto", "insert", "probe", "guarded"] {
        let Some(lab) = Mongo::new(plan).await else { return };
        let mut sink = lab.sink().await;
        let put = |key: &str, version: i64| {
            let row = Row::of([("version", Value::Int(version))]);
            record(Op::Create, Row::of([("id", Value::Decimal(key.parse().unwrap()))]), Some(row), version as u64)
        };
        let rejects = offer(&mut sink, vec![put("1.00", 2), put("1.0", 1)]).await;
        let found = lab.find_all(TABLE).await;
        assert_eq!((rejects, found.len(), found[0].get_i64("version").unwrap()), (vec![], 1, 2), "{plan}");
        Box::new(lab).close().await;
    }
}
