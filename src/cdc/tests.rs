//! Messages of PostgreSQL's connector, byte by byte, and what the decoder makes of them.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::record::{Epoch, Message, Op, Record, SourcePosition, Value};

pub(super) const SOURCE: &str = r#"{"version":"3.6.0.Final","connector":"postgresql","name":"bank","ts_ms":1767225600123,"snapshot":"false","db":"core","sequence":"[\"100\",\"120\"]","ts_us":1767225600123456,"ts_ns":1767225600123456000,"schema":"public","table":"transaction","txId":7,"lsn":120,"xmin":null,"origin":null,"origin_lsn":null}"#;

pub(super) fn message(topic: &str, offset: i64, key: Option<&str>, value: Option<&str>) -> Message {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Message {
        topic: topic.into(),
        epoch: Epoch::default(),
        partition: 0,
        offset,
        timestamp_ms: None,
        key: key.map(bytes),
        value: value.map(bytes),
        headers: Vec::new(),
    }
}

/// Seven bits a byte, the lowest first: as Avro and Protobuf write integers.
pub(super) fn varint(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

pub(super) fn envelope(op: &str, before: &str, after: &str) -> String {
    format!(
        r#"{{"before":{before},"after":{after},"source":{SOURCE},"transaction":null,"op":"{op}","ts_ms":1767225600500}}"#
    )
}

fn decode_one(config: Config, key: Option<&str>, value: Option<&str>) -> Result<Event, Fault> {
    Decoder::new(config).decode(&message("bank.public.transaction", 41, key, value), 3)
}

fn change(config: Config, key: Option<&str>, value: &str) -> Record {
    match decode_one(config, key, Some(value)).unwrap() {
        Event::Change(record) => record,
        other => panic!("expected a change, found {other:?}"),
    }
}

fn fault(key: Option<&str>, value: &str) -> Fault {
    decode_one(Config::default(), key, Some(value)).unwrap_err()
}

pub(super) fn declared(key: DeclaredKey, columns: &[(&str, &str)]) -> Config {
    let columns = columns.iter().map(|(name, kind)| DeclaredColumn::new(name, kind).unwrap()).collect();
    let table = DeclaredTable { name: "transaction".into(), key, columns };
    Config { tables: [("transaction".to_string(), Arc::new(table))].into(), ..Config::default() }
}

fn row(record: &Record) -> String {
    record.row.as_ref().unwrap().to_json()
}

#[test]
fn a_bare_envelope_becomes_a_record() {
    let record = change(
        Config::default(),
        Some(r#"{"id":7}"#),
        &envelope(
            "c",
            "null",
            r#"{"id":7,"iban":null,"note":"M\u00fcller \"x\"","big":9223372036854775807,"ok":true}"#,
        ),
    );
    assert_eq!((&*record.table, record.op, record.origin, record.version), ("transaction", Op::Create, 3, 84));
    assert_eq!(record.key.get("id"), Some(&Value::Int(7)));
    assert_eq!(row(&record), r#"{"id":7,"iban":null,"note":"Müller \"x\"","big":9223372036854775807,"ok":true}"#);
    assert!(matches!(record.position.source, SourcePosition::Postgres { commit_lsn: 100, lsn: 120, .. }));
    assert_eq!(record.changed_at.unwrap().to_string(), "2026-01-01T00:00:00.123456");
    assert_eq!(record.before, None);
}

#[test]
fn text_is_a_slice_of_the_message() {
    let value = envelope("r", "null", r#"{"id":7,"name":"a name of some length"}"#);
    let message = message("t", 0, Some(r#"{"id":7}"#), Some(&value));
    let Event::Change(record) = Decoder::new(Config::default()).decode(&message, 0).unwrap() else { panic!() };
    let bytes = message.value.unwrap();
    let name = record.row.unwrap().get("name").and_then(Value::as_str).map(|t| t.as_ptr() as usize).unwrap();
    assert!((bytes.as_ptr() as usize..bytes.as_ptr() as usize + bytes.len()).contains(&name));
}

#[test]
fn an_embedded_schema_types_the_columns_and_is_learned_once() {
    let schema = r#"{"type":"struct","fields":[{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"},{"type":"bytes","optional":true,"name":"org.apache.kafka.connect.data.Decimal","version":1,"parameters":{"scale":"2","connect.decimal.precision":"18"},"field":"amount"},{"type":"int32","optional":true,"name":"io.debezium.time.Date","version":1,"field":"day"},{"type":"array","items":{"type":"string","optional":true},"optional":true,"field":"tags"}],"optional":true,"name":"bank.public.transaction.Value","field":"after"},{"type":"struct","fields":[],"field":"source"},{"type":"string","field":"op"}],"name":"bank.public.transaction.Envelope"}"#;
    let wrap = |after: &str| format!(r#"{{"schema":{schema},"payload":{}}}"#, envelope("c", "null", after));
    let mut decoder = Decoder::new(Config::default());
    for (after, expected) in [
        (
            r#"{"id":1,"amount":"/w==","day":-1,"tags":["a",null]}"#,
            r#"{"id":1,"amount":-0.01,"day":"1969-12-31","tags":["a",null]}"#,
        ),
        (
            r#"{"id":1,"amount":"ANbYLg==","day":null,"tags":null}"#,
            r#"{"id":1,"amount":140800.46,"day":null,"tags":null}"#,
        ),
        (r#"{"id":1,"amount":12345.110,"day":0}"#, r#"{"id":1,"amount":12345.110,"day":"1970-01-01"}"#),
    ] {
        let key = r#"{"schema":{"type":"struct","fields":[{"type":"int64","field":"id"}]},"payload":{"id":1}}"#;
        let Event::Change(record) = decoder.decode(&message("t", 0, Some(key), Some(&wrap(after))), 0).unwrap() else {
            panic!()
        };
        assert_eq!(row(&record), expected);
    }
    let broken = wrap("{\"id\":1}").replace("}}", "}");
    assert_eq!(decoder.decode(&message("t", 0, None, Some(&broken)), 0).unwrap_err().code, "json.syntax");
    // A fault stands where it stands in the message, whether its schema was known or not.
    let at = broken.find(r#""id":1"#).unwrap() + 6;
    let broken = broken.replace(r#""id":1"#, r#""id":1;"#);
    for mut decoder in [decoder, Decoder::new(Config::default())] {
        let fault = decoder.decode(&message("t", 0, None, Some(&broken)), 0).unwrap_err();
        assert!(fault.reason.contains(&format!("at byte {at}:")), "{at}: {fault:?}");
    }
}

#[test]
fn where_no_table_is_named_the_topic_names_it_and_not_an_earlier_event() {
    let mut decoder = Decoder::new(Config::default());
    let named = envelope("c", "null", r#"{"id":7}"#);
    let nameless = named.replace(r#""table":"transaction","#, "");
    assert_ne!(named, nameless);
    for (value, table) in [(&named, "transaction"), (&nameless, "routed"), (&named, "transaction")] {
        let event = decoder.decode(&message("bank.routed", 0, Some(r#"{"id":7}"#), Some(value)), 0).unwrap();
        let Event::Change(record) = event else { panic!("{event:?}") };
        assert_eq!(&*record.table, table);
    }
}

#[test]
fn a_tombstone_in_a_topic_of_several_tables_is_of_the_one_that_its_key_names() {
    let mut decoder = Decoder::new(Config::default());
    let key = |table: &str| format!(r#"{{"id":7,"__dbz__physicalTableIdentifier":"bank.public.{table}"}}"#);
    let mut decode = |key: &str, value: Option<&str>| decoder.decode(&message("bank.routed", 0, Some(key), value), 0);
    let event = envelope("c", "null", r#"{"id":7}"#);
    for table in ["account", "transaction"] {
        let event = event.replace(r#""table":"transaction""#, &format!(r#""table":"{table}""#));
        decode(&key(table), Some(&event)).unwrap();
    }
    for table in ["account", "transaction"] {
        let schema = r#"{"type":"struct","fields":[{"type":"int64","field":"id"}]}"#;
        for key in [key(table), format!(r#"{{"schema":{schema},"payload":{}}}"#, key(table))] {
            let Event::Change(record) = decode(&key, None).unwrap() else { panic!() };
            assert_eq!((&*record.table, record.op, record.key.to_json()), (table, Op::Delete, r#"{"id":7}"#.into()));
        }
    }
    assert_eq!(decode(r#"{"id":7}"#, None).unwrap_err().code, "tombstone.table");
    assert_eq!(decode(&key("customer"), None).unwrap_err().code, "tombstone.table");
}

#[test]
fn a_declaration_tells_what_an_embedded_primitive_means() {
    let schema = r#"{"type":"struct","fields":[{"type":"struct","fields":[{"type":"int64","field":"id"},{"type":"string","field":"amount"},{"type":"int64","field":"big"},{"type":"int64","parameters":{"__debezium.source.column.type":"BIGINT UNSIGNED"},"field":"hinted"},{"type":"int32","name":"io.debezium.time.Date","field":"day"}],"field":"after"},{"type":"struct","fields":[],"field":"source"},{"type":"string","field":"op"}],"name":"bank.public.transaction.Envelope"}"#;
    let after = r#"{"id":7,"amount":"1000","big":-1,"hinted":-1,"day":1}"#;
    let value = format!(r#"{{"schema":{schema},"payload":{}}}"#, envelope("c", "null", after));
    let config =
        declared(DeclaredKey::FromMessage, &[("amount", "decimal(18,2)"), ("big", "uint64"), ("day", "int64")]);
    let record = change(config, Some(r#"{"id":7}"#), &value);
    let read = r#"{"id":7,"amount":1000,"big":18446744073709551615,"hinted":18446744073709551615,"day":"1970-01-02"}"#;
    assert_eq!(row(&record), read);
}

#[test]
fn declared_columns_type_json_without_a_schema() {
    let config = declared(
        DeclaredKey::FromMessage,
        &[
            ("amount", "decimal(18,2)"),
            ("rate", "decimal"),
            ("day", "date"),
            ("at", "time(6)"),
            ("made", "timestamp(3)"),
            ("made6", "timestamp"),
            ("booked", "timestamptz"),
            ("data", "bytes"),
            ("details", "json"),
            ("flags", "bool[]"),
        ],
    );
    let after = r#"{"id":7,"amount":"/w==","rate":{"scale":4,"value":"AYr3"},"day":18460,"at":86400000000,"made":1595008822123,"made6":-1,"booked":"2020-07-17T18:00:22+02:00","data":"ASNFZ4mrze8=","details":"{\"a\": 1.10}","flags":[true,null]}"#;
    assert_eq!(
        row(&change(config, Some(r#"{"id":7}"#), &envelope("u", "null", after))),
        r#"{"id":7,"amount":-0.01,"rate":10.1111,"day":"2020-07-17","at":"24:00:00","made":"2020-07-17T18:00:22.123","made6":"1969-12-31T23:59:59.999999","booked":"2020-07-17T16:00:22Z","data":"ASNFZ4mrze8=","details":{"a":1.10},"flags":[true,null]}"#
    );
}

#[test]
fn decimals_of_every_handling_mode() {
    let config = declared(DeclaredKey::FromMessage, &[("a", "decimal(18,2)"), ("b", "decimal"), ("c", "decimal(4,0)")]);
    for (after, expected) in [
        (r#"{"a":"1.10","b":"1E+3","c":"1234"}"#, r#"{"a":1.10,"b":1000,"c":1234}"#),
        (r#"{"a":1.1,"b":1.1,"c":7}"#, r#"{"a":1.1,"b":1.1,"c":7}"#),
        (r#"{"a":"NaN","b":"POSITIVE_INFINITY","c":"BNI="}"#, r#"{"a":"NaN","b":"Infinity","c":1234}"#),
    ] {
        let record = change(config.clone(), Some(r#"{"id":7}"#), &envelope("c", "null", after));
        assert_eq!(row(&record), expected);
    }
    let text = Config { handling: Handling { decimals: Base64::Never, ..Handling::default() }, ..config };
    let record = change(text, Some(r#"{"id":7}"#), &envelope("c", "null", r#"{"a":"1000"}"#));
    assert_eq!(row(&record), r#"{"a":1000}"#);
}

#[test]
fn unchanged_values_are_neither_null_nor_absent() {
    let codes =
        "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]";
    let placeholder = "\"__debezium_unavailable_value\"";
    let config = declared(DeclaredKey::FromMessage, &[("j", "json"), ("b", "bytes"), ("d", "date[]"), ("h", "map")]);
    let after = format!(
        r#"{{"id":7,"t":{placeholder},"j":{placeholder},"b":"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==","a":[{placeholder}],"n":{codes},"d":{codes},"h":{{{placeholder}:{placeholder}}},"u":["b68a35a7-17ad-35b3-af2a-ae46edb4545a"],"two":[{placeholder},{placeholder}],"null":null}}"#
    );
    let record = change(config, Some(r#"{"id":7}"#), &envelope("u", "null", &after));
    let row = record.row.unwrap();
    for name in ["t", "j", "b", "a", "n", "d", "h", "u"] {
        assert_eq!(row.get(name), Some(&Value::Unchanged), "{name}");
    }
    assert!(matches!(row.get("two"), Some(Value::List(items)) if items.len() == 2));
    assert_eq!(row.get("null"), Some(&Value::Null));
    assert_eq!(row.get("absent"), None);
}

#[test]
fn all_forms_of_tombstone_are_deletes() {
    let schema_and_null = r#"{"schema":{"type":"struct","fields":[]},"payload":null}"#;
    for value in [None, Some("null"), Some(r#"{"schema":null,"payload":null}"#), Some(schema_and_null)] {
        let Event::Change(record) = decode_one(Config::default(), Some(r#"{"id":7}"#), value).unwrap() else {
            panic!()
        };
        assert_eq!((&*record.table, record.op, record.row), ("transaction", Op::Delete, None));
        assert_eq!(record.key.to_json(), r#"{"id":7}"#);
    }
}

#[test]
fn a_tombstone_right_after_its_delete_says_nothing_new() {
    let mut decoder = Decoder::new(Config::default());
    let delete = envelope("d", r#"{"id":7}"#, "null");
    let mut decode = |offset, value| {
        decoder.decode(&message("bank.public.transaction", offset, Some(r#"{"id":7}"#), value), 0).unwrap()
    };
    assert!(matches!(decode(5, Some(&delete)), Event::Change(r) if r.op == Op::Delete));
    assert_eq!(decode(6, None), Event::Control(Control::Tombstone));
    assert!(matches!(decode(7, None), Event::Change(r) if r.op == Op::Delete));
}

/// Partitions arrive in another order when they are read again. A tombstone that counted as a delete the first time would
/// be what is stored, and the delete itself stale the second time: nothing would be derived from it.
#[test]
fn a_tombstone_is_known_whatever_arrives_between() {
    let delete = envelope("d", r#"{"id":7}"#, "null");
    let of = |partition, offset, value| Message {
        partition,
        ..message("bank.public.transaction", offset, Some(r#"{"id":7}"#), value)
    };
    let mut decoder = Decoder::new(Config::default());
    let mut decode = |message| decoder.decode(&message, 0).unwrap();
    decode(of(0, 42, Some(&delete)));
    decode(of(1, 7, Some(&delete)));
    for (partition, offset) in [(0, 43), (1, 8), (0, 43)] {
        assert_eq!(decode(of(partition, offset, None)), Event::Control(Control::Tombstone), "{partition} {offset}");
    }
    assert!(matches!(decode(of(2, 43, None)), Event::Change(r) if r.op == Op::Delete));
}

#[test]
fn keys_come_from_the_message_or_the_declared_columns() {
    let after = r#"{"id":7,"no":2,"v":1}"#;
    let by_two = declared(DeclaredKey::Columns(vec!["no".into(), "id".into()]), &[]);
    for key in [None, Some("****"), Some(r#"{"other":1}"#), Some(r#"{"id":7,"no":2}"#)] {
        let record = change(by_two.clone(), key, &envelope("c", "null", after));
        assert_eq!(record.key.to_json(), r#"{"no":2,"id":7}"#, "{key:?}");
    }
    let keyless = declared(DeclaredKey::None, &[]);
    let record = change(keyless.clone(), None, &envelope("d", after, "null"));
    assert!(record.key.is_empty());
    assert_eq!(record.before.unwrap().to_json(), after);
    let no_identity = decode_one(keyless, None, Some(&envelope("d", "null", "null")));
    assert_eq!(no_identity.unwrap_err().code, "key.missing");
}

#[test]
fn what_identifies_nothing_or_contradicts_itself_is_refused() {
    let create = |after: &str| envelope("c", "null", after);
    let id = Some(r#"{"id":7}"#);
    for (key, value, code) in [
        (None, create(r#"{"id":7}"#), "key.missing"),
        (None, envelope("d", "null", "null"), "key.missing"),
        (Some("7"), create(r#"{"id":7}"#), "key.shape"),
        (Some(r#"{"id":null}"#), create(r#"{"id":null}"#), "key.null"),
        (id, create(r#"{"id":8}"#), "key.differs"),
        (id, create(r#"{"id":7,"id":8}"#), "json.duplicate"),
        (id, create("null"), "envelope.after"),
        (id, envelope("u", "null", "null"), "envelope.after"),
        (id, envelope("x", "null", "{}"), "envelope.op"),
        (id, create("[]"), "json.syntax"),
        (id, create(r#"{"id":7}"#).replace("\"op\":\"c\"", "\"op\":\"c\",\"op\":\"d\""), "json.duplicate"),
        (id, create(r#"{"id":7}"#).replace("\"op\":\"c\"", "\"op\":\"c\",\"\\u006fp\":\"d\""), "json.duplicate"),
        (id, create(r#"{"id":7}"#).replace("\"op\":\"c\"", "\"op\":1"), "envelope.op"),
        (id, create(r#"{"id":7}"#) + "{}", "json.syntax"),
        (id, create(r#"{"id":7,"x":NaN}"#), "json.syntax"),
        (id, "\"{}\"".into(), "json.double_encoded"),
        (id, "[]".into(), "envelope.shape"),
        (id, r#"{"id":7,"name":"flat"}"#.into(), "envelope.shape"),
        (id, "{".repeat(100_000), "json.syntax"),
        (id, create(&format!("{{\"id\":7,\"x\":{}", "[".repeat(100_000))), "json.depth"),
        (id, "\u{feff}{}".into(), "json.syntax"),
    ] {
        assert_eq!(fault(key, &value).code, code, "{}", value.get(..200).unwrap_or(&value));
    }
}

#[test]
fn faults_name_the_column_and_never_the_value() {
    let config = declared(DeclaredKey::FromMessage, &[("amount", "decimal(18,2)")]);
    let value = envelope("c", "null", r#"{"id":7,"amount":"s3cret!"}"#);
    let fault = decode_one(config, Some(r#"{"id":7}"#), Some(&value)).unwrap_err();
    assert_eq!(fault.code, "column.type");
    assert!(
        fault.reason.contains("column `amount`") && fault.reason.contains("expected a decimal"),
        "{}",
        fault.reason
    );
    assert!(!fault.reason.contains("s3cret"), "{}", fault.reason);
}

#[test]
fn tables_that_share_a_topic_keep_their_shapes() {
    let mut decoder = Decoder::new(declared(DeclaredKey::FromMessage, &[("v", "date")]));
    for (table, expected) in [("transaction", r#"{"id":7,"v":"1970-01-02"}"#), ("other", r#"{"id":7,"v":1}"#)].repeat(3)
    {
        let value = envelope("c", "null", r#"{"id":7,"v":1}"#)
            .replace("\"transaction\",\"txId\"", &format!("\"{table}\",\"txId\""));
        let Event::Change(record) = decoder.decode(&message("all", 0, Some(r#"{"id":7}"#), Some(&value)), 0).unwrap()
        else {
            panic!()
        };
        assert_eq!((&*record.table, row(&record).as_str()), (table, expected));
    }
}

#[test]
fn events_that_are_not_data_are_recognized() {
    let control = |topic: &str, value: &str| match Decoder::new(Config::default())
        .decode(&message(topic, 0, Some("{}"), Some(value)), 0)
        .unwrap()
    {
        Event::Control(control) => control,
        other => panic!("{other:?}"),
    };
    let begin = control(
        "bank.transaction",
        r#"{"status":"BEGIN","id":"35352:396","ts_ms":1,"event_count":null,"data_collections":null}"#,
    );
    assert_eq!(begin, Control::Transaction { end: false, id: "35352".into(), event_count: None, collections: vec![] });
    let end = control(
        "bank.transaction",
        r#"{"schema":null,"payload":{"status":"END","id":"5.6.641","event_count":2,"data_collections":[{"data_collection":"public.a","event_count":2}]}}"#,
    );
    let collections = vec![("public.a".to_string(), 2)];
    assert_eq!(end, Control::Transaction { end: true, id: "5.6.641".into(), event_count: Some(2), collections });
    assert_eq!(control("__debezium-heartbeat.bank", r#"{"ts_ms":5}"#), Control::Heartbeat { ts_ms: Some(5) });
    assert_eq!(control("any", r#"{"schema":null,"payload":{"ts_ms":5}}"#), Control::Heartbeat { ts_ms: Some(5) });
    let ddl = format!(r#"{{"source":{SOURCE},"ts_ms":1,"databaseName":"core","ddl":null,"tableChanges":[]}}"#);
    assert_eq!(control("bank", &ddl), Control::SchemaChange);
    let text = format!(r#"{{"source":{SOURCE},"op":"m","ts_ms":1,"message":{{"prefix":"p","content":"Ymfy"}}}}"#);
    let content = Bytes::from_static(&[0x62, 0x67, 0xf2]);
    assert_eq!(control("bank.message", &text), Control::Message { prefix: "p".into(), content });
    let signal = envelope("c", "null", r#"{"id":"x","type":"snapshot-window-open","data":null}"#);
    let key = r#"{"id":"x"}"#;
    assert_eq!(decode_one(Config::default(), Some(key), Some(&signal)).unwrap(), Event::Control(Control::Signal));
    let config = Config { signal_table: Some("transaction".into()), ..Config::default() };
    assert_eq!(decode_one(config, Some(key), None).unwrap(), Event::Control(Control::Signal), "its tombstone");
}

#[test]
fn cells_of_cassandra_are_not_taken_for_rows() {
    let cell = |value: &str| format!(r#"{{"value":{value},"deletion_ts":null,"set":true}}"#);
    let row = format!(r#"{{"id":{},"name":null}}"#, cell("7"));
    for op in ["i", "u", "d", "r"] {
        let value = envelope(op, "null", &row).replace("postgresql", "cassandra");
        assert_eq!(fault(Some(r#"{"id":7}"#), &value).code, "envelope.cells", "{op}");
    }
}

#[test]
fn the_tombstone_of_a_table_without_a_key_follows_its_delete_and_names_nothing() {
    let keyless = declared(DeclaredKey::None, &[]);
    let tombstones = [None, Some("null"), Some(r#"{"schema":null,"payload":null}"#)];
    for value in tombstones {
        assert_eq!(decode_one(keyless.clone(), None, value), Ok(Event::Control(Control::Tombstone)), "{value:?}");
    }
    // Alone it would be the delete of a row that nothing names.
    let flattened = Config { format: Format::Flattened, ..keyless };
    assert_eq!(decode_one(flattened, None, None).unwrap_err().code, "key.missing");
}
