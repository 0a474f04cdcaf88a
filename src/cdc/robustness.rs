//! Whatever the bytes, a reader answers: mutated events for every format, a fixed number of them with a fixed seed; and
//! values of every kind, encoded here independently, come back as they were.
//!
//! The fuzz targets in `fuzz/` look further with the same entry point.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bigdecimal::num_bigint::BigInt;
use bytes::Bytes;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::tests::{declared, envelope, message};
use super::*;
use crate::record::{Date, Decimal, Message, Op, Time, Timestamp, Value};

/// Pieces that make mutations meaningful: structure, extremes, placeholders, what parsers trip over.
const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ",",
    ":",
    "null",
    "true",
    "-",
    "1e400",
    "NaN",
    "\\ud800",
    "\u{0}",
    "18446744073709551616",
    "\"__debezium_unavailable_value\"",
    "\"schema\":",
    "\"payload\":",
    "\"after\":",
    "\"before\":",
    "\"source\":{",
    "\"op\":\"d\"",
    "{\"$numberLong\":\"1\"}",
    "{\"$date\":",
    "\u{feff}",
    "-9223372036854775808",
    "\"__deleted\":\"true\"",
    "specversion",
];

fn seeds() -> Vec<(Config, &'static str, String)> {
    let row = r#"{"id":7,"amount":"/w==","rate":{"scale":4,"value":"AYr3"},"day":18460,"made":1595008822123,"booked":"2020-07-17T18:00:22+02:00","details":"{\"a\": 1.10}","tags":["a",null],"pairs":{"a":{"b":[1]}}}"#;
    let columns = [
        ("amount", "decimal(18,2)"),
        ("rate", "decimal"),
        ("day", "date"),
        ("made", "timestamp(3)"),
        ("booked", "timestamptz"),
        ("details", "json"),
    ];
    let typed = declared(DeclaredKey::FromMessage, &columns);
    let schema = r#"{"type":"struct","fields":[{"type":"struct","fields":[{"type":"int64","field":"id"},{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"},"field":"amount"}],"field":"after"},{"type":"struct","fields":[],"field":"source"},{"type":"string","field":"op"}]}"#;
    let with_schema =
        format!(r#"{{"schema":{schema},"payload":{}}}"#, envelope("c", "null", r#"{"id":7,"amount":"/w=="}"#));
    let mongo = envelope(
        "c",
        "null",
        r#""{\"_id\": {\"$numberLong\": \"7\"}, \"at\": {\"$date\": 1}, \"b\": {\"$binary\": \"AA==\", \"$type\": \"00\"}}""#,
    );
    let cloud = r#"{"id":"x","specversion":"1.0","type":"t","iodebeziumop":"c","iodebeziumconnector":"postgresql","iodebeziumtable":"t","iodebeziumlsn":"5","data":{"before":null,"after":{"id":7}}}"#;
    let id = r#"{"id":7}"#;
    let mongo_config = Config { format: Format::Mongodb, ..Config::default() };
    let flattened = Config { format: Format::Flattened, ..Config::default() };
    vec![
        (typed.clone(), id, envelope("u", row, row)),
        (Config { keep_before: true, ..typed }, id, envelope("u", row, row)),
        (declared(DeclaredKey::None, &[]), id, envelope("d", row, "null")),
        (Config::default(), r#"{"schema":{"type":"struct","fields":[{"type":"int64","field":"id"}]},"payload":{"id":7}}"#, with_schema),
        (mongo_config, r#"{"id":"{\"$oid\": \"596e275826f08b2730779e1f\"}"}"#, mongo.replace("postgresql", "mongodb")),
        (Config::default(), id, cloud.to_string()),
        (flattened, id, r#"{"id":7,"name":"a","__deleted":"false","__op":"u","__table":"t","__lsn":5}"#.to_string()),
        (Config::default(), id, r#"{"status":"END","id":"1:2","event_count":1,"data_collections":[{"data_collection":"a","event_count":1}]}"#.to_string()),
    ]
}

/// What the real connector wrote: the seeds of the fuzz targets, key and value with a zero byte between.
fn recorded() -> Vec<(Config, String, String)> {
    let mut seeds = Vec::new();
    for (folder, format) in [
        ("json", Format::Debezium),
        ("cloudevents", Format::Debezium),
        ("flattened", Format::Flattened),
        ("mongodb", Format::Mongodb),
    ] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(folder);
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            // Base64 of Avro needs a registry.
            if path.ends_with("cloudevents/avro") {
                continue;
            }
            let (key, value) = text.split_once('\0').unwrap();
            seeds.push((Config { format, ..Config::default() }, key.to_string(), value.to_string()));
        }
    }
    assert!(seeds.len() > 10);
    seeds
}

fn mutate(random: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..random.gen_range(1..=4) {
        let at = random.gen_range(0..=bytes.len());
        match random.gen_range(0..6) {
            0 if at < bytes.len() => bytes[at] = random.r#gen(),
            1 => bytes.truncate(at),
            2 => {
                let token = TOKENS[random.gen_range(0..TOKENS.len())];
                bytes.splice(at..at, token.bytes());
            }
            3 => {
                let end = random.gen_range(at..=bytes.len().min(at + 40));
                bytes.drain(at..end);
            }
            4 => {
                let end = random.gen_range(at..=bytes.len().min(at + 60));
                let copy = bytes[at..end].to_vec();
                let to = random.gen_range(0..=bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => bytes.extend_from_slice(b"}"),
        }
    }
}

#[test]
fn mutated_events_get_an_answer() {
    let mut random = StdRng::seed_from_u64(7);
    let (mut read, mut refused) = (0, 0);
    let made = seeds().into_iter().map(|(config, key, value)| (config, key.to_string(), value));
    for (config, key, value) in made.chain(recorded()) {
        let mut decoder = Decoder::new(config.clone());
        let original = decoder.decode(&message("bank.public.transaction", 0, Some(&key), Some(&value)), 0);
        assert!(original.is_ok(), "{value}: {original:?}");
        for offset in 0..1_500 {
            let (mut new_key, mut new_value) = (key.as_bytes().to_vec(), value.as_bytes().to_vec());
            if random.gen_bool(0.8) {
                mutate(&mut random, &mut new_value);
            } else {
                mutate(&mut random, &mut new_key);
            }
            let message = Message {
                key: Some(Bytes::from(new_key)),
                value: Some(Bytes::from(new_value)),
                ..message("bank.public.transaction", offset, None, None)
            };
            match decoder.decode(&message, 0) {
                Ok(Event::Change(record)) => {
                    read += 1;
                    assert_eq!(record.op.is_upsert(), record.row.is_some() || record.patch.is_some());
                    let keyless = config.tables.values().any(|table| table.key == DeclaredKey::None);
                    assert!(!record.key.is_empty() || keyless || record.op == Op::Truncate);
                }
                Ok(Event::Control(_)) => read += 1,
                Err(fault) => {
                    refused += 1;
                    assert!(!fault.reason.is_empty() && fault.reason.len() < 2_000, "{fault:?}");
                }
            }
        }
    }
    assert!(
        read > 3_000 && refused > 15_000,
        "the mutations are too weak or too strong: {read} read, {refused} refused"
    );
}

/// A value of a declared kind, and how Debezium writes it.
fn encoded() -> impl Strategy<Value = (&'static str, String, Value)> {
    let decimal = |unscaled: i128, scale: i64| Decimal::from_bigint(BigInt::from(unscaled), scale).unwrap();
    let text = "[^_\\\\\"\u{0}-\u{1f}]{0,12}";
    prop_oneof![
        any::<i64>().prop_map(|n| ("int64", n.to_string(), Value::Int(n))),
        any::<u64>().prop_map(|n| ("uint64", n.cast_signed().to_string(), Value::uint(n))),
        any::<bool>().prop_map(|b| ("bool", b.to_string(), Value::Bool(b))),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| (
            "float64",
            format!("{f:?}"),
            Value::Float(f)
        )),
        any::<i128>().prop_map(move |n| {
            let base64 = STANDARD.encode(BigInt::from(n).to_signed_bytes_be());
            ("decimal(,7)", format!("\"{base64}\""), Value::Decimal(decimal(n, 7)))
        }),
        (any::<i64>(), -50i64..50).prop_map(move |(n, scale)| {
            let base64 = STANDARD.encode(BigInt::from(n).to_signed_bytes_be());
            let json = format!(r#"{{"scale":{scale},"value":"{base64}"}}"#);
            ("decimal", json, Value::Decimal(decimal(i128::from(n), scale)))
        }),
        any::<i32>().prop_map(|days| ("date", days.to_string(), Value::Date(Date { days }))),
        (-3_020_399_000_000i64..3_020_399_000_000).prop_map(|us| (
            "time",
            us.to_string(),
            Value::Time(Time { nanos: us * 1_000 })
        )),
        any::<i32>().prop_map(|ms| (
            "timestamp(3)",
            ms.to_string(),
            Value::Timestamp(Timestamp::from_millis(ms.into()))
        )),
        (-100_000_000_000i64..300_000_000_000, 0u32..1_000_000_000).prop_map(|(secs, nanos)| {
            let at = Timestamp { secs, nanos };
            ("timestamptz", format!("\"{at}Z\""), Value::TimestampTz(at))
        }),
        text.prop_map(|t| ("text", format!("\"{t}\""), Value::text(t))),
        proptest::collection::vec(any::<u8>(), 0..40)
            .prop_map(|bytes| { ("bytes", format!("\"{}\"", STANDARD.encode(&bytes)), Value::Bytes(bytes.into())) }),
        Just(("text", "null".to_string(), Value::Null)),
        proptest::collection::vec(any::<Option<i32>>(), 0..5).prop_map(|items| {
            let json: Vec<_> = items.iter().map(|i| i.map_or("null".to_string(), |i| i.to_string())).collect();
            let values = items.into_iter().map(|i| i.map_or(Value::Null, |i| Value::Int(i.into()))).collect();
            ("int64[]", format!("[{}]", json.join(" ,")), Value::List(values))
        }),
    ]
}

proptest! {
    #[test]
    fn values_of_every_kind_come_back(values in proptest::collection::vec(encoded(), 1..8)) {
        let names: Vec<String> = (0..values.len()).map(|i| format!("c{i}")).collect();
        let columns: Vec<_> = names.iter().zip(&values).map(|(name, (kind, ..))| (name.as_str(), *kind)).collect();
        let fields: Vec<_> = names.iter().zip(&values).map(|(name, (_, json, _))| format!("\"{name}\":{json}")).collect();
        let row = format!("{{\"id\":1,{}}}", fields.join(","));
        let mut decoder = Decoder::new(declared(DeclaredKey::FromMessage, &columns));
        let value = envelope("c", "null", &row);
        // Twice: the first row makes the layout, the second is read with it.
        for offset in 0..2 {
            let event = decoder.decode(&message("t", offset, Some("{\"id\":1}"), Some(&value)), 0);
            let Ok(Event::Change(record)) = event else { panic!("{row}: {event:?}") };
            let read = record.row.unwrap();
            for (name, (_, json, value)) in names.iter().zip(&values) {
                prop_assert_eq!(read.get(name), Some(value), "{}", json);
            }
        }
    }

    #[test]
    fn numbers_of_undeclared_columns_keep_their_value(digits in "-?[1-9][0-9]{0,25}(\\.[0-9]{1,25})?(e-?[0-9]{1,2})?") {
        let row = format!("{{\"id\":1,\"n\":{digits}}}");
        let mut decoder = Decoder::new(Config::default());
        let event = decoder.decode(&message("t", 0, Some("{\"id\":1}"), Some(&envelope("c", "null", &row))), 0);
        let Ok(Event::Change(record)) = event else { panic!("{row}: {event:?}") };
        let read = record.row.unwrap().get("n").unwrap().to_json();
        prop_assert_eq!(read.parse::<Decimal>(), digits.parse::<Decimal>());
    }

    #[test]
    fn arbitrary_bytes_get_an_answer(value in proptest::collection::vec(any::<u8>(), 0..200), key: Option<Vec<u8>>) {
        let schema = AvroSchema::parse(r#"{"type":"record","name":"R","fields":[{"name":"a","type":["null","string",{"type":"array","items":"R"}]},{"name":"m","type":{"type":"map","values":"double"}}]}"#, &[]).unwrap();
        let protobuf = ProtobufSchema::parse("message R { optional string a = 1; map<string, double> m = 2; repeated R r = 3; }", &[]);
        let protobuf = Arc::new(protobuf.unwrap());
        for format in [Format::Debezium, Format::Mongodb, Format::Flattened, Format::Outbox] {
            let mut decoder = Decoder::new(Config { format, registry_id_bytes: 4, ..Config::default() });
            decoder.schemas().insert(1, Known::Avro(Arc::new(AvroSchema { nodes: schema.nodes.clone() })));
            decoder.schemas().insert(2, Known::Protobuf(protobuf.clone()));
            for frame in [&[][..], &[0, 0, 0, 0, 1], &[0, 0, 0, 0, 2], &[0, 0, 0, 0, 2, 0]] {
                let value = [frame, &value[..]].concat();
                let message = Message {
                    key: key.clone().map(Bytes::from),
                    value: Some(Bytes::from(value)),
                    ..message("t", 0, None, None)
                };
                let _ = decoder.decode(&message, 0);
            }
        }
    }
}

fn code(event: &str, key: &str) -> Option<&'static str> {
    Decoder::new(Config::default()).decode(&message("t", 0, Some(key), Some(event)), 0).err().map(|fault| fault.code)
}

#[test]
fn what_says_two_things_is_refused() {
    let event = r#"{"specversion":"1.0","iodebeziumop":"c","iodebeziumconnector":"postgresql","iodebeziumtable":"a","data":{"after":{"id":7}}}"#;
    let id = r#"{"id":7}"#;
    assert_eq!(code(event, id), None);
    for (field, more) in [
        (r#""iodebeziumop":"c""#, r#""iodebeziumop":"d""#),
        (r#""iodebeziumtable":"a""#, r#""iodebeziumtable":"b""#),
        (r#""data":"#, r#""data":{"after":{"id":7}}"#),
    ] {
        assert_eq!(code(&event.replace(field, &format!("{more},{field}")), id), Some("json.duplicate"), "{more}");
    }
    let plain = envelope("c", "null", id);
    let mut decoder = Decoder::new(Config::default());
    for field in [r#""lsn":1"#, r#""table":"other""#, r#""schema":"other""#, r#""connector":"mysql""#] {
        let twice = plain.replace(r#""source":{"#, &format!(r#""source":{{{field},"#));
        for (value, read) in [(&plain, true), (&twice, false), (&twice, false), (&plain, true)] {
            assert_eq!(decoder.decode(&message("t", 0, Some(id), Some(value)), 0).is_ok(), read, "{field}");
        }
    }
}

#[test]
fn an_object_of_very_many_names_takes_as_much_longer_as_it_is_longer() {
    let began = std::time::Instant::now();
    let object = |more: &str| {
        let names: Vec<_> = (0..200_000).map(|n| format!("\"a{n}\":1")).collect();
        format!("{{{}{more}}}", names.join(","))
    };
    let document = |object: &str| {
        let document = serde_json::to_string(&format!(r#"{{"_id":1,"o":{object}}}"#)).unwrap();
        envelope("c", "null", &document).replace("postgresql", "mongodb")
    };
    assert_eq!(code(&document(&object("")), r#"{"id":"1"}"#), None);
    for twice in ["a0", "a15", "a16", "a199999"] {
        let object = object(&format!(",\"{twice}\":2"));
        assert_eq!(code(&document(&object), r#"{"id":"1"}"#), Some("json.duplicate"), "{twice}");
    }
    assert_eq!(code(&document(r#"{"a":1,"b":2,"a":1}"#), r#"{"id":"1"}"#), Some("json.duplicate"));
    let geometry = declared(DeclaredKey::FromMessage, &[("g", "geometry")]);
    let event = envelope("c", "null", &format!(r#"{{"id":7,"g":{}}}"#, object("")));
    Decoder::new(geometry).decode(&message("transaction", 0, Some(r#"{"id":7}"#), Some(&event)), 0).unwrap();
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
}
