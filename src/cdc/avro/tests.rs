//! Avro events as Confluent's converter writes Debezium's, encoded here by hand.

use std::sync::Arc;

use bytes::Bytes;

use super::AvroSchema;
use crate::cdc::tests::varint;
use crate::cdc::{Config, Control, Decoder, Event, Fault, Known};
use crate::record::{Epoch, Message, Op, SourcePosition, Value};

const KEY: &str =
    r#"{"type":"record","name":"Key","namespace":"bank.public.t","fields":[{"name":"id","type":"long"}]}"#;

const VALUE: &str = r#"{"type":"record","name":"Envelope","namespace":"bank.public.t","fields":[
 {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
  {"name":"id","type":"long"},
  {"name":"amount","type":["null",{"type":"bytes","scale":2,"precision":18,"connect.version":1,"connect.parameters":{"scale":"2"},"connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}]},
  {"name":"rate","type":["null",{"type":"record","name":"VariableScaleDecimal","namespace":"io.debezium.data","fields":[{"name":"scale","type":"int"},{"name":"value","type":"bytes"}],"connect.name":"io.debezium.data.VariableScaleDecimal"}]},
  {"name":"made","type":{"type":"long","connect.version":1,"connect.name":"io.debezium.time.MicroTimestamp"}},
  {"name":"note","type":["null","string"]},
  {"name":"tags","type":["null",{"type":"array","items":["null","string"]}]},
  {"name":"real","type":"float"}],
  "connect.name":"bank.public.t.Value"}],"default":null},
 {"name":"after","type":["null","Value"],"default":null},
 {"name":"source","type":{"type":"record","name":"Source","namespace":"io.debezium.connector.postgresql","fields":[
  {"name":"connector","type":"string"},{"name":"name","type":"string"},{"name":"ts_ms","type":"long"},
  {"name":"snapshot","type":[{"type":"string","connect.default":"false"},"null"],"default":"false"},{"name":"db","type":"string"},
  {"name":"sequence","type":["null","string"]},{"name":"schema","type":"string"},{"name":"table","type":"string"},{"name":"lsn","type":["null","long"]}]}},
 {"name":"op","type":"string"},
 {"name":"ts_ms","type":["null","long"]}]}"#;

fn long(n: i64) -> Vec<u8> {
    varint(((n << 1) ^ (n >> 63)).cast_unsigned())
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [long(bytes.len() as i64), bytes.to_vec()].concat()
}

fn framed(id: u8, parts: &[Vec<u8>]) -> Bytes {
    Bytes::from([vec![0, 0, 0, 0, id], parts.concat()].concat())
}

fn row(note: Option<&str>) -> Vec<u8> {
    let note = note.map_or_else(|| long(0), |text| [long(1), sized(text.as_bytes())].concat());
    [
        long(7),
        [long(1), sized(&[0xff])].concat(),
        [long(1), long(4), sized(&[0x01, 0x8a, 0xf7])].concat(),
        long(-1),
        note,
        [long(1), long(2), long(1), sized(b"a"), long(0), long(0)].concat(),
        1.1f32.to_le_bytes().to_vec(),
    ]
    .concat()
}

fn envelope(op: &str, before: Option<Vec<u8>>, after: Option<Vec<u8>>) -> Bytes {
    let branch = |row: Option<Vec<u8>>| row.map_or_else(|| long(0), |row| [long(1), row].concat());
    let source = [
        sized(b"postgresql"),
        sized(b"bank"),
        long(1500),
        [long(0), sized(b"false")].concat(),
        sized(b"core"),
        [long(1), sized(br#"["100","120"]"#)].concat(),
        sized(b"public"),
        sized(b"t"),
        [long(1), long(120)].concat(),
    ];
    framed(2, &[branch(before), branch(after), source.concat(), sized(op.as_bytes()), [long(1), long(2)].concat()])
}

fn decode(value: Bytes) -> Result<Event, Fault> {
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    let key = framed(1, &[long(7)]);
    let message = Message {
        topic: "bank.public.t".into(),
        epoch: Epoch::default(),
        partition: 0,
        offset: 1,
        timestamp_ms: None,
        key: Some(key),
        value: Some(value),
        headers: Vec::new(),
    };
    loop {
        let decoded = decoder.decode(&message, 0);
        let schema = match decoder.schemas().take_wanted() {
            Some(1) => KEY,
            Some(2) => VALUE,
            _ => return decoded,
        };
        let id = if schema == KEY { 1 } else { 2 };
        decoder.schemas().insert(id, Known::Avro(Arc::new(AvroSchema::parse(schema, &[]).unwrap())));
    }
}

#[test]
fn an_envelope_becomes_a_record() {
    let Event::Change(record) = decode(envelope("c", None, Some(row(Some("Ünï"))))).unwrap() else { panic!() };
    assert_eq!((&*record.table, record.op, record.key.to_json().as_str()), ("t", Op::Create, r#"{"id":7}"#));
    assert_eq!(
        record.row.unwrap().to_json(),
        r#"{"id":7,"amount":-0.01,"rate":10.1111,"made":"1969-12-31T23:59:59.999999","note":"Ünï","tags":["a",null],"real":1.1}"#
    );
    assert!(matches!(record.position.source, SourcePosition::Postgres { commit_lsn: 100, lsn: 120, .. }));
    assert_eq!(record.changed_at.unwrap().as_millis(), 1500);
}

#[test]
fn unchanged_and_null_stay_apart() {
    let Event::Change(record) = decode(envelope("u", None, Some(row(Some("__debezium_unavailable_value"))))).unwrap()
    else {
        panic!()
    };
    assert_eq!(record.row.unwrap().get("note"), Some(&Value::Unchanged));
    let Event::Change(record) = decode(envelope("u", None, Some(row(None)))).unwrap() else { panic!() };
    assert_eq!(record.row.unwrap().get("note"), Some(&Value::Null));
}

#[test]
fn what_is_cut_or_of_another_schema_is_a_fault() {
    let whole = envelope("c", None, Some(row(None)));
    for length in 5..whole.len() {
        assert!(decode(whole.slice(..length)).is_err(), "{length}");
    }
    let longer = Bytes::from([&whole[..], &[0]].concat());
    assert_eq!(decode(longer).unwrap_err().code, "avro.long");
    let endless = framed(2, &[vec![0xff; 40]]);
    assert_eq!(decode(endless).unwrap_err().code, "avro.varint");
    assert_eq!(decode(framed(9, &[])).unwrap_err().code, "registry.missing");
    assert_eq!(
        decode(envelope("d", None, None)).map(|e| matches!(e, Event::Change(r) if r.op == Op::Delete)),
        Ok(true)
    );
}

#[test]
fn events_without_an_operation_are_judged_by_their_fields() {
    let schema = r#"{"type":"record","name":"T","fields":[{"name":"status","type":"string"},{"name":"id","type":"string"},{"name":"event_count","type":["null","long"]}]}"#;
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    decoder.schemas().insert(5, Known::Avro(Arc::new(AvroSchema::parse(schema, &[]).unwrap())));
    let value = framed(5, &[sized(b"END"), sized(b"571:53195829"), [long(1), long(3)].concat()]);
    let message = crate::cdc::tests::message("bank.transaction", 0, None, None);
    let event = decoder.decode(&Message { value: Some(value), ..message }, 0).unwrap();
    let end = Control::Transaction { end: true, id: "571".into(), event_count: Some(3), collections: Vec::new() };
    assert_eq!(event, Event::Control(end));
}

#[test]
fn schemas_refer_to_others_and_to_themselves() {
    let other = r#"{"type":"enum","name":"Mood","namespace":"n","symbols":["sad","ok"]}"#.to_string();
    let tree = r#"{"type":"record","name":"Tree","namespace":"n","fields":[{"name":"mood","type":"Mood"},{"name":"child","type":["null","Tree"]}]}"#;
    assert!(AvroSchema::parse(tree, &[other]).is_ok());
    assert!(AvroSchema::parse(tree, &[]).is_err());
    for wrong in ["", "{}", "[]", "7", r#"{"type":"record"}"#, r#"{"type":"fixed","name":"f"}"#] {
        assert!(AvroSchema::parse(wrong, &[]).is_err() || wrong == "[]", "{wrong}");
    }
}

/// A self-referring schema could nest for ever: the message's bytes do not bound it, depth does.
#[test]
fn depth_is_bounded() {
    let schema = r#"{"type":"record","name":"L","fields":[{"name":"l","type":["null","L"]}]}"#;
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    decoder.schemas().insert(5, Known::Avro(Arc::new(AvroSchema::parse(schema, &[]).unwrap())));
    let value = framed(5, &[vec![2; 100_000]]);
    let message = crate::cdc::tests::message("t", 0, None, None);
    assert_eq!(decoder.decode(&Message { value: Some(value), ..message }, 0).unwrap_err().code, "json.depth");
}
