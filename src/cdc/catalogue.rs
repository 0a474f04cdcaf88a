//! Situations of the field, one test each: what a connector, a converter or a transformation makes of a change, and
//! what it has to become here.

use std::sync::Arc;

use bytes::Bytes;

use super::tests::{SOURCE, declared, envelope, message};
use super::*;
use crate::record::{Message, Op, Record, SourcePosition, Value};

fn decode(config: Config, topic: &str, key: Option<&str>, value: Option<&str>) -> Result<Event, Fault> {
    Decoder::new(config).decode(&message(topic, 7, key, value), 0)
}

fn change(config: Config, key: Option<&str>, value: &str) -> Record {
    match decode(config, "bank.public.transaction", key, Some(value)).unwrap() {
        Event::Change(record) => record,
        other => panic!("expected a change, found {other:?}"),
    }
}

fn row(record: &Record) -> String {
    record.row.as_ref().unwrap().to_json()
}

fn flattened() -> Config {
    Config { format: Format::Flattened, ..Config::default() }
}

const ID: Option<&str> = Some(r#"{"id":7}"#);

// Envelopes

#[test]
fn cloud_events_are_typed_by_the_schema_in_their_data() {
    let schema = r#"{"type":"struct","fields":[{"type":"struct","fields":[{"type":"int64","field":"id"},{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"},"field":"amount"}],"field":"after","name":"bank.public.transaction.Value"}]}"#;
    let event = |id: i64| {
        format!(
            r#"{{"id":"x","source":"/debezium/postgresql/bank","specversion":"1.0","type":"t","iodebeziumop":"c","iodebeziumconnector":"postgresql","iodebeziumtable":"transaction","iodebeziumlsn":"5","data":{{"schema":{schema},"payload":{{"before":null,"after":{{"id":{id},"amount":"/w=="}}}}}}}}"#
        )
    };
    let mut decoder = Decoder::new(Config::default());
    for id in [7, 8] {
        let key = format!(r#"{{"id":{id}}}"#);
        let event = decoder.decode(&message("t", id, Some(&key), Some(&event(id))), 0).unwrap();
        let Event::Change(record) = event else { panic!() };
        assert_eq!(row(&record), format!(r#"{{"id":{id},"amount":-0.01}}"#));
        assert!(matches!(record.position.source, SourcePosition::Postgres { lsn: 5, .. }));
    }
}

#[test]
fn cloud_events_hold_base64_of_avro_behind_the_registry() {
    let schema = r#"{"type":"record","name":"E","fields":[{"name":"before","type":["null",{"type":"record","name":"V","fields":[{"name":"pk","type":"int"},{"name":"name","type":"string"}]}]},{"name":"after","type":["null","V"]}]}"#;
    // Schema 1; before null; after: 1, "Bob".
    let data = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        [0, 0, 0, 0, 1, 0, 2, 2, 6, b'B', b'o', b'b'],
    );
    let event = format!(
        r#"{{"specversion":"1.0","datacontenttype":"application/avro","iodebeziumop":"r","iodebeziumconnector":"postgresql","iodebeziumtable":"a","data":"{data}"}}"#
    );
    let message = message("t", 0, Some(r#"{"pk":1}"#), Some(&event));
    let without = Decoder::new(Config::default()).decode(&message, 0).unwrap_err();
    assert!(without.code == "cloudevents.data" && without.reason.contains("registry:"), "{}", without.reason);
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    assert!(decoder.decode(&message, 0).is_err());
    assert_eq!(decoder.schemas().take_wanted(), Some(1), "the schema has to be fetched");
    decoder.schemas().insert(1, Known::Avro(Arc::new(AvroSchema::parse(schema, &[]).unwrap())));
    let Event::Change(record) = decoder.decode(&message, 0).unwrap() else { panic!() };
    assert_eq!((record.op, row(&record).as_str()), (Op::Read, r#"{"pk":1,"name":"Bob"}"#));
}

#[test]
fn cloud_events_in_avro_with_a_record_as_data() {
    let schema = r#"{"type":"record","name":"CE","fields":[{"name":"specversion","type":"string"},{"name":"iodebeziumop","type":"string"},{"name":"iodebeziumtable","type":"string"},{"name":"data","type":{"type":"record","name":"D","fields":[{"name":"after","type":["null",{"type":"record","name":"V","fields":[{"name":"id","type":"long"},{"name":"amount","type":{"type":"bytes","logicalType":"decimal","scale":2,"precision":9}}]}]}]}}]}"#;
    let text = |text: &str| [&[text.len() as u8 * 2], text.as_bytes()].concat();
    let value = [&[0, 0, 0, 0, 1][..], &text("1.0"), &text("u"), &text("a"), &[2, 14, 2, 0xff]].concat();
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    decoder.schemas().insert(1, Known::Avro(Arc::new(AvroSchema::parse(schema, &[]).unwrap())));
    let message = Message { value: Some(Bytes::from(value)), ..message("t", 0, ID, None) };
    let Event::Change(record) = decoder.decode(&message, 0).unwrap() else { panic!() };
    assert_eq!((&*record.table, record.op, row(&record).as_str()), ("a", Op::Update, r#"{"id":7,"amount":-0.01}"#));
}

#[test]
fn documents_of_mongodb_in_avro() {
    let schema = r#"{"type":"record","name":"E","fields":[{"name":"after","type":["null","string"]},{"name":"updateDescription","type":["null",{"type":"record","name":"U","fields":[{"name":"removedFields","type":["null",{"type":"array","items":"string"}]},{"name":"updatedFields","type":["null","string"]}]}]},{"name":"source","type":{"type":"record","name":"S","fields":[{"name":"connector","type":"string"},{"name":"collection","type":"string"}]}},{"name":"op","type":"string"}]}"#;
    let key = r#"{"type":"record","name":"K","fields":[{"name":"id","type":"string"}]}"#;
    let text = |text: &str| [&[text.len() as u8 * 2], text.as_bytes()].concat();
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    for (id, schema) in [(1, schema), (2, key)] {
        decoder.schemas().insert(id, Known::Avro(Arc::new(AvroSchema::parse(schema, &[]).unwrap())));
    }
    let mut decode = |after: &[u8], update: &[u8], op: &str| {
        let value = [&[0, 0, 0, 0, 1][..], after, update, &text("mongodb"), &text("c"), &text(op)].concat();
        let key = [&[0, 0, 0, 0, 2][..], &text(r#"{"$oid":"596e"}"#)].concat();
        let message = Message { key: Some(key.into()), value: Some(value.into()), ..message("t", 0, None, None) };
        match decoder.decode(&message, 0).unwrap() {
            Event::Change(record) => record,
            other => panic!("{other:?}"),
        }
    };
    let whole = decode(&[&[2][..], &text(r#"{"_id":{"$numberLong":"7"}}"#)].concat(), &[0], "c");
    assert_eq!((row(&whole).as_str(), whole.key.to_json().as_str()), (r#"{"_id":7}"#, r#"{"_id":{"$oid":"596e"}}"#));
    let patch = decode(&[0], &[&[2, 2, 2][..], &text("a"), &[0, 2], &text(r#"{"b":1}"#)].concat(), "u").patch.unwrap();
    assert_eq!((patch.removed, patch.updated), (vec!["a".into()], vec![("b".into(), Value::Int(1))]));
}

#[test]
fn json_behind_the_registry_is_typed_by_its_schema() {
    let schema = r#"{"type":"object","title":"bank.public.transaction.Envelope","properties":{"after":{"oneOf":[{"type":"null"},{"type":"object","title":"bank.public.transaction.Value","properties":{"id":{"type":"integer","connect.type":"int64"},"amount":{"type":"number","title":"org.apache.kafka.connect.data.Decimal","connect.type":"bytes","connect.parameters":{"scale":"2"}}}}]}}}"#;
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    decoder.schemas().insert(1, Known::Json(Arc::new(JsonSchema::parse(schema).unwrap())));
    for amount in [r#""/w==""#, "-0.01"] {
        let value = envelope("c", "null", &format!(r#"{{"id":7,"amount":{amount}}}"#));
        let value = Some(Bytes::from([&[0, 0, 0, 0, 1], value.as_bytes()].concat()));
        let message = Message { value, ..message("t", 0, ID, None) };
        let Event::Change(record) = decoder.decode(&message, 0).unwrap() else { panic!() };
        assert_eq!(row(&record), r#"{"id":7,"amount":-0.01}"#);
    }
}

#[test]
fn rows_of_flattened_topics_may_have_columns_named_like_envelopes() {
    for value in [
        r#"{"id":7,"op":"c","source":"web","before":1,"after":2}"#,
        r#"{"id":7,"schema":"public","payload":"{}"}"#,
        r#"{"payload":"{}","schema":"public","id":7}"#,
        r#"{"schema":"public","payload":{"a":1},"id":7}"#,
    ] {
        let record = change(flattened(), ID, value);
        assert_eq!(row(&record), value);
    }
    let envelope = envelope("c", "null", r#"{"id":7}"#);
    let fault = decode(flattened(), "t", ID, Some(&envelope)).unwrap_err();
    assert_eq!(fault.code, "flattened.envelope", "an envelope is no row, even if it looks like one");
}

#[test]
fn metadata_of_flattened_rows_has_the_prefix_and_names_of_the_transformation() {
    let mut names = std::collections::BTreeMap::new();
    names.insert("change".to_string(), "op".to_string());
    names.insert("gone".to_string(), "deleted".to_string());
    let config = |prefix: &str| Config {
        metadata: Metadata { prefix: prefix.to_string(), names: names.clone() },
        ..flattened()
    };
    let record = change(
        config("cdc."),
        ID,
        r#"{"id":7,"__op":"mine","change":"u","cdc.lsn":120,"cdc.source_connector":"postgresql"}"#,
    );
    assert_eq!((record.op, row(&record).as_str()), (Op::Update, r#"{"id":7,"__op":"mine"}"#));
    assert!(matches!(record.position.source, SourcePosition::Postgres { lsn: 120, .. }));
    let record = change(config(""), ID, r#"{"id":7,"op":"mine","gone":"true"}"#);
    assert_eq!(record.op, Op::Delete);
    // A declared column is a column, whatever it is called.
    let mut config = declared(DeclaredKey::FromMessage, &[("id", "int64"), ("__row", "text")]);
    config.format = Format::Flattened;
    let record = change(config, ID, r#"{"id":7,"__row":"3","__op":"c","__transaction_id":"5"}"#);
    assert_eq!((record.op, row(&record).as_str()), (Op::Create, r#"{"id":7,"__row":"3"}"#));
}

#[test]
fn flattened_rows_that_name_their_table_have_its_types_whatever_came_before() {
    let table = |name: &str, kind: &str| {
        let columns = vec![DeclaredColumn::new("v", kind).unwrap()];
        let key = DeclaredKey::Columns(vec!["id".into()]);
        (name.to_string(), Arc::new(DeclaredTable { name: name.into(), key, columns }))
    };
    let tables = [table("day", "date"), table("amount", "decimal(18,2)"), table("flag", "bool")].into();
    let mut decoder = Decoder::new(Config { tables, ..flattened() });
    let row = |table: &str, v: &str| format!(r#"{{"id":7,"v":{v},"__op":"c","__table":"{table}"}}"#);
    let told = [("day", "18460", r#""2020-07-17""#), ("amount", "\"/w==\"", "-0.01"), ("flag", "1", "true")];
    for (name, v, expected) in told.into_iter().chain(told.into_iter().rev()).chain(told) {
        let Event::Change(record) = decoder.decode(&message("all", 0, ID, Some(&row(name, v))), 0).unwrap() else {
            panic!()
        };
        let expected = format!(r#"{{"id":7,"v":{expected}}}"#);
        assert_eq!((&*record.table, self::row(&record), record.key.to_json()), (name, expected, r#"{"id":7}"#.into()));
    }
    // What fits no table is told of the one that the row names.
    let fault = decoder.decode(&message("all", 0, ID, Some(&row("day", "\"x\""))), 0).unwrap_err();
    assert!(fault.reason.contains("column `v`: expected a date"), "{fault:?}");
    let fault = decoder.decode(&message("all", 0, ID, Some(&row("day", "true"))), 0).unwrap_err();
    assert!(fault.reason.contains("column `v`: expected a date"), "{fault:?}");
}

#[test]
fn tombstones_of_flattened_rows_are_of_the_table_that_headers_or_the_rows_before_name() {
    let mut decoder = Decoder::new(flattened());
    let mut decode = |header: Option<&str>, value: Option<&str>| {
        let mut message = message("routed", 0, ID, value);
        message.headers.extend(header.map(|table| ("__table".into(), Some(Bytes::copy_from_slice(table.as_bytes())))));
        let Event::Change(record) = decoder.decode(&message, 0).unwrap() else { panic!() };
        (record.table.to_string(), record.op)
    };
    let deleted = |table: &str| (table.to_string(), Op::Delete);
    assert_eq!(decode(Some("account"), None), deleted("account"), "the first message that is read");
    // Of rows of an incremental snapshot no place is told, so no connector: the table is the same.
    for lsn in ["5", "null"] {
        decode(None, Some(&format!(r#"{{"id":7,"__table":"account","__lsn":{lsn}}}"#)));
        assert_eq!(decode(None, Some("null")), deleted("account"));
    }
    decode(None, Some(r#"{"id":7,"__table":"card"}"#));
    assert_eq!(decode(Some("\"account\""), None), deleted("account"));
    assert_eq!(decode(Some("card"), Some("null")), deleted("card"));
}

#[test]
fn a_tombstone_before_any_change_of_its_topic_is_a_guess_until_the_topics_tables_are_learned() {
    let decoded = |decoder: &mut Decoder, value: Option<&str>| {
        let event = decoder.decode(&message("bank.routed", 0, ID, value), 0);
        let table = event.map(|event| match event {
            Event::Change(record) => record.table.to_string(),
            other => panic!("{other:?}"),
        });
        (table.map_err(|fault| fault.code), decoder.is_guess())
    };
    let topic = "bank.routed".into();
    for value in [None, Some("null"), Some(r#"{"schema":{"type":"struct","fields":[]},"payload":null}"#)] {
        let mut decoder = Decoder::new(flattened());
        assert_eq!(decoded(&mut decoder, value), (Ok("routed".into()), true));
        decoder.learn(&topic, ["account"]).unwrap();
        assert_eq!(decoded(&mut decoder, value), (Ok("account".into()), false));
        assert!(decoder.take_named().is_empty(), "it was known before");
        let row = r#"{"id":7,"__table":"card","__lsn":5}"#;
        assert_eq!(decoded(&mut decoder, Some(row)), (Ok("card".into()), false));
        assert_eq!(decoder.take_named(), [("bank.routed".to_string(), "card".into())]);
        assert_eq!(decoded(&mut decoder, value), (Err("tombstone.table"), false), "it may be of either");
    }
    // What was guessed before a change came is forgotten.
    let mut decoder = Decoder::new(flattened());
    assert_eq!(decoded(&mut decoder, None), (Ok("routed".into()), true));
    assert_eq!(decoded(&mut decoder, Some(r#"{"id":7,"__table":"card"}"#)), (Ok("card".into()), false));
    assert_eq!(decoded(&mut decoder, None), (Ok("card".into()), false));
}

#[test]
fn headers_tell_the_operation_in_every_header_converters_form() {
    for op in ["d", "\"d\"", r#"{"schema":{"type":"string","optional":false},"payload":"d"}"#] {
        let headers = vec![(Arc::from("__op"), Some(Bytes::copy_from_slice(op.as_bytes())))];
        let message = Message { headers, ..message("t", 0, ID, Some(r#"{"id":7,"name":null}"#)) };
        let Event::Change(record) = Decoder::new(flattened()).decode(&message, 0).unwrap() else { panic!() };
        assert_eq!((record.op, record.row), (Op::Delete, None), "{op}");
    }
}

#[test]
fn deletes_are_seen_in_every_mode_of_the_transformation() {
    for value in [
        None,
        Some("null"),
        Some(r#"{"schema":{"type":"struct","fields":[]},"payload":null}"#),
        Some(r#"{"id":7,"name":"a","__deleted":"true"}"#),
        Some(r#"{"id":7,"name":"a","__deleted":true}"#),
        Some(r#"{"id":7,"name":"a","__op":"d"}"#),
    ] {
        let Event::Change(record) = decode(flattened(), "t", ID, value).unwrap() else { panic!() };
        assert_eq!(
            (record.op, record.row, record.key.to_json().as_str()),
            (Op::Delete, None, r#"{"id":7}"#),
            "{value:?}"
        );
    }
    for value in [r#"{"id":7,"__deleted":"false"}"#, r#"{"id":7,"__deleted":false}"#] {
        assert_eq!(row(&change(flattened(), ID, value)), r#"{"id":7}"#);
    }
}

#[test]
fn debeziums_own_events_are_no_rows_of_flattened_topics() {
    let schema_change = format!(
        r#"{{"source":{SOURCE},"ts_ms":1,"databaseName":"core","schemaName":"public","ddl":null,"tableChanges":[]}}"#
    );
    let named = r#"{"schema":{"type":"struct","fields":[{"type":"int64","field":"ts_ms"}],"name":"io.debezium.connector.common.Heartbeat"},"payload":{"ts_ms":5}}"#;
    for value in [
        r#"{"status":"BEGIN","id":"1:2","ts_ms":1,"event_count":null,"data_collections":null}"#,
        r#"{"id":"x","aggregate_type":"Initial Snapshot","type":"COMPLETED","additional_data":{},"timestamp":1}"#,
        r#"{"ts_ms":5}"#,
        schema_change.as_str(),
        named,
    ] {
        assert!(matches!(decode(flattened(), "bank", Some("{}"), Some(value)), Ok(Event::Control(_))), "{value}");
    }
    // A row that has a column more is a row.
    let value = r#"{"status":"BEGIN","id":7,"event_count":1,"data_collections":"x","note":"y"}"#;
    assert_eq!(row(&change(flattened(), ID, value)), value);
}

// Keys

#[test]
fn keys_in_another_converter_than_values() {
    let by_id = |kind: &str| declared(DeclaredKey::Columns(vec!["id".into()]), &[("id", kind)]);
    let uuid = "0b5f1c2e-3d4a-4b6c-8d7e-9f0a1b2c3d4e";
    for (kind, key, expected) in [
        ("int64", "7", r#"{"id":7}"#),
        ("int64", "\"7\"", r#"{"id":7}"#),
        ("text", "7", r#"{"id":"7"}"#),
        ("text", "\"7\"", r#"{"id":"7"}"#),
        ("uuid", uuid, r#"{"id":"0b5f1c2e-3d4a-4b6c-8d7e-9f0a1b2c3d4e"}"#),
        ("date", "18460", r#"{"id":"2020-07-17"}"#),
        ("int64", "Struct{id=7}", r#"{"id":7}"#),
        ("text", "Struct{id=7}", r#"{"id":"7"}"#),
        ("int64", r#"{"schema":{"type":"int64","optional":false},"payload":7}"#, r#"{"id":7}"#),
    ] {
        // A tombstone has no row: only the message's key can tell.
        let Event::Change(record) = decode(by_id(kind), "transaction", Some(key), None).unwrap() else { panic!() };
        assert_eq!((record.op, record.key.to_json().as_str()), (Op::Delete, expected), "{kind} {key}");
    }
    let two = declared(DeclaredKey::Columns(vec!["no".into(), "id".into()]), &[("id", "int64"), ("no", "text")]);
    let Event::Change(record) = decode(two.clone(), "transaction", Some("Struct{id=7,no=a b}"), None).unwrap() else {
        panic!()
    };
    assert_eq!(record.key.to_json(), r#"{"no":"a b","id":7}"#);
    assert_eq!(decode(two, "transaction", Some("7"), None).unwrap_err().code, "key.missing");
    assert_eq!(decode(by_id("int64"), "transaction", Some("****"), None).unwrap_err().code, "column.type");
}

#[test]
fn plain_text_and_integer_keys_by_declaration() {
    let by_id = |key_format, kind: &str| Config {
        key_format,
        ..declared(DeclaredKey::Columns(vec!["id".into()]), &[("id", kind)])
    };
    let tombstone = |config: Config, key: &[u8]| {
        let message = Message { key: Some(Bytes::copy_from_slice(key)), ..message("transaction", 0, None, None) };
        Decoder::new(config).decode(&message, 0).map(|event| match event {
            Event::Change(record) => record.key.to_json(),
            other => panic!("{other:?}"),
        })
    };
    let integer = |key: &[u8]| tombstone(by_id(KeyFormat::Integer, "int64"), key);
    assert_eq!(integer(&[0, 0, 0, 0, 0, 0, 0, 7]).unwrap(), r#"{"id":7}"#);
    assert_eq!(integer(&[255, 255, 255, 254]).unwrap(), r#"{"id":-2}"#);
    assert_eq!(integer(b"abc").unwrap_err().code, "key.integer");
    assert_eq!(tombstone(by_id(KeyFormat::Text, "text"), b"{x").unwrap(), r#"{"id":"{x"}"#);
    let fault = tombstone(by_id(KeyFormat::Auto, "int64"), &[1, 0, 0, 0, 0, 0, 0, 200]).unwrap_err();
    assert!(fault.reason.contains("key_format"), "{}", fault.reason);
}

#[test]
fn a_new_row_that_is_not_told_whole_names_the_key_that_it_had_before() {
    let old = r#"{"schema":{"type":"struct","fields":[{"type":"int64","field":"id"}]},"payload":{"id":3}}"#;
    let of = |name: &str, header: &str, op: &str, text: &str| {
        let header = (Arc::from(name), Some(Bytes::copy_from_slice(header.as_bytes())));
        let value = envelope(op, "null", &format!(r#"{{"id":7,"t":"{text}"}}"#));
        let message = Message { headers: vec![header], ..message("t", 0, ID, Some(&value)) };
        let Event::Change(record) = Decoder::new(Config::default()).decode(&message, 0).unwrap() else { panic!() };
        record.before.map(|before| before.to_json())
    };
    let unchanged = "__debezium_unavailable_value";
    for header in [r#"{"id":3}"#, old] {
        assert_eq!(of("__debezium.oldkey", header, "c", unchanged).as_deref(), Some(r#"{"id":3}"#));
    }
    for (name, header, op, text) in [
        ("__debezium.newkey", r#"{"id":3}"#, "c", unchanged),
        ("__debezium.oldkey", r#"{"no":3}"#, "c", unchanged),
        ("__debezium.oldkey", "{", "c", unchanged),
        ("__debezium.oldkey", r#"{"id":3}"#, "u", unchanged),
        ("__debezium.oldkey", r#"{"id":3}"#, "c", "whole"),
    ] {
        assert_eq!(of(name, header, op, text), None, "{name} {header} {op} {text}");
    }
}

#[test]
fn an_avro_key_beside_a_json_value() {
    let key = |schema: &str, key: &[u8], config: Config| {
        let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..config });
        decoder.schemas().insert(1, Known::Avro(Arc::new(AvroSchema::parse(schema, &[]).unwrap())));
        let key = Some(Bytes::from([&[0, 0, 0, 0, 1], key].concat()));
        let value = envelope("c", "null", r#"{"id":7,"name":"a"}"#);
        match decoder.decode(&Message { key, ..message("t", 0, None, Some(&value)) }, 0).unwrap() {
            Event::Change(record) => record.key.to_json(),
            other => panic!("{other:?}"),
        }
    };
    let record = r#"{"type":"record","name":"Key","fields":[{"name":"id","type":"long"}]}"#;
    assert_eq!(key(record, &[14], Config::default()), r#"{"id":7}"#);
    let by_id = declared(DeclaredKey::Columns(vec!["id".into()]), &[]);
    assert_eq!(key("\"long\"", &[14], by_id), r#"{"id":7}"#, "a primitive after ValueToKey");
}

// MongoDB

fn mongo(op: &str, rest: &str) -> Result<Event, Fault> {
    let value = format!(
        r#"{{"op":"{op}",{rest},"source":{{"connector":"mongodb","name":"m","ts_ms":1000,"db":"bank","collection":"c","ord":1}}}}"#
    );
    decode(Config::default(), "m.bank.c", Some(r#"{"id":"7"}"#), Some(&value))
}

#[test]
fn updates_of_change_streams_are_patches() {
    let description = r#""before":null,"after":null,"updateDescription":{"removedFields":["old","a.b"],"updatedFields":"{\"at\": {\"$date\": \"2025-02-13T14:03:17.970Z\"}, \"n.0\": {\"$numberLong\": \"5\"}, \"bad\": -Infinity}","truncatedArrays":[{"field":"n","size":2}]}"#;
    for rest in [description, description.replace("\"after\":null,", "").as_str()] {
        let Event::Change(record) = mongo("u", rest).unwrap() else { panic!() };
        assert_eq!((record.op, &record.row, record.key.to_json().as_str()), (Op::Update, &None, r#"{"_id":7}"#));
        let patch = record.patch.unwrap();
        assert_eq!(patch.removed, ["old", "a.b"]);
        assert_eq!(patch.truncated, [("n".into(), 2)]);
        assert_eq!(patch.updated.len(), 3);
        assert!(matches!(&patch.updated[0].1, Value::TimestampTz(at) if at.as_millis() == 1_739_455_397_970));
        assert_eq!(patch.updated[1], ("n.0".into(), Value::Int(5)));
    }
    let nulls =
        r#""after":null,"updateDescription":{"removedFields":null,"updatedFields":null,"truncatedArrays":null}"#;
    assert!(matches!(mongo("u", nulls), Ok(Event::Change(record)) if record.patch.is_some()));
    let full = r#""after":"{\"_id\": 7, \"a\": 1}","updateDescription":{"updatedFields":"{\"a\": 0}"}"#;
    let Event::Change(record) = mongo("u", full).unwrap() else { panic!() };
    assert_eq!((row(&record).as_str(), record.patch), (r#"{"_id":7,"a":1}"#, None), "the document says more");
}

#[test]
fn patches_of_old_mongodb_connectors() {
    let patch = |patch: &str| mongo("u", &format!(r#""after":null,"filter":"{{\"_id\": 7}}","patch":{patch:?}"#));
    let Event::Change(record) = patch(r#"{"$v": 1, "$set": {"a.b": 1}, "$unset": {"c": true}}"#).unwrap() else {
        panic!()
    };
    let made = record.patch.unwrap();
    assert_eq!((made.updated, made.removed), (vec![("a.b".into(), Value::Int(1))], vec!["c".into()]));
    let Event::Change(record) = patch(r#"{"_id": 7, "a": 2}"#).unwrap() else { panic!() };
    assert_eq!(row(&record), r#"{"_id":7,"a":2}"#, "a replaced document");
    assert_eq!(patch(r#"{"$v": 2, "diff": {"u": {"a": 1}}}"#).unwrap_err().code, "envelope.update");
}

#[test]
fn a_document_of_mongodb_has_the_id_that_its_key_names() {
    let created = |id: &str| mongo("c", &format!(r#""after":"{{\"_id\": {id}}}""#)).map(|_| ());
    assert_eq!(created(r#"{\"$numberLong\": \"7\"}"#), Ok(()), "in the other version of extended JSON");
    assert_eq!(created("8").unwrap_err().code, "key.differs");
}

#[test]
fn an_update_of_mongodb_that_tells_nothing_is_refused() {
    assert_eq!(mongo("u", r#""after":null"#).unwrap_err().code, "envelope.after");
    assert_eq!(
        mongo("c", r#""after":null,"updateDescription":{"updatedFields":"{}"}"#).unwrap_err().code,
        "envelope.after"
    );
    for wrong in [r#""[]""#, "7", r#""{""#] {
        let rest = format!(r#""after":null,"updateDescription":{{"updatedFields":{wrong}}}"#);
        assert!(mongo("u", &rest).is_err(), "{wrong}");
    }
    let wrong = r#""after":null,"updateDescription":{"truncatedArrays":[{"field":"a","size":-1}]}"#;
    assert_eq!(mongo("u", wrong).unwrap_err().code, "envelope.update");
}

// Types

#[test]
fn intervals_as_text_and_as_microseconds() {
    let config = declared(DeclaredKey::FromMessage, &[("i", "interval"), ("j", "interval")]);
    let record = change(config, ID, &envelope("c", "null", r#"{"id":7,"i":"P1Y2M3DT4H5M6.78S","j":37091106780000}"#));
    assert_eq!(row(&record), r#"{"id":7,"i":"P1Y2M3DT4H5M6.78S","j":"10303:05:06.78"}"#);
}

#[test]
fn hexadecimal_bytes_are_declared_and_never_taken_for_base64() {
    let mut config = declared(DeclaredKey::FromMessage, &[("b", "bytes"), ("c", "bytes"), ("p", "bytes")]);
    config.handling.binary = Binary::Hex;
    let placeholder = "5f5f646562657a69756d5f756e617661696c61626c655f76616c7565";
    let value = envelope("u", "null", &format!(r#"{{"id":7,"b":"deadBEEF","c":"","p":"{placeholder}"}}"#));
    let record = change(config.clone(), ID, &value);
    let read = record.row.unwrap();
    assert_eq!(read.get("b"), Some(&Value::Bytes(Bytes::from_static(&[0xde, 0xad, 0xbe, 0xef]))));
    assert_eq!(read.get("c"), Some(&Value::Bytes(Bytes::new())));
    assert_eq!(read.get("p"), Some(&Value::Unchanged));
    let fault = decode(config, "transaction", ID, Some(&envelope("c", "null", r#"{"id":7,"b":"xyz"}"#))).unwrap_err();
    assert!(fault.reason.contains("hexadecimal"), "{}", fault.reason);
}

#[test]
fn maps_with_keys_that_are_not_text_are_typed_pairs() {
    let schema = r#"{"type":"struct","fields":[{"type":"struct","fields":[{"type":"int64","field":"id"},{"type":"map","keys":{"type":"int16"},"values":{"type":"double"},"field":"v"}],"field":"after","name":"t.Value"},{"type":"struct","fields":[],"field":"source"},{"type":"string","field":"op"}]}"#;
    let value = |v: &str| {
        format!(r#"{{"schema":{schema},"payload":{}}}"#, envelope("c", "null", &format!(r#"{{"id":7,"v":{v}}}"#)))
    };
    assert_eq!(
        row(&change(Config::default(), ID, &value("[[1,5],[3,\"NaN\"]]"))),
        r#"{"id":7,"v":[[1,5.0],[3,"NaN"]]}"#
    );
    for wrong in ["[[1]]", "[[]]", "[1]", "[[1,2,3]]", "{\"1\":2}"] {
        assert!(decode(Config::default(), "t", ID, Some(&value(wrong))).is_err(), "{wrong}");
    }
}

#[test]
fn days_that_overflow_are_refused_and_not_infinite() {
    let config = declared(DeclaredKey::FromMessage, &[("d", "date")]);
    let fault =
        decode(config, "transaction", ID, Some(&envelope("c", "null", r#"{"id":7,"d":99999999999}"#))).unwrap_err();
    assert_eq!(fault.code, "column.range");
}

#[test]
fn placeholders_of_their_own_in_every_disguise() {
    let unavailable = Unavailable::new("n/a");
    let config = Config { unavailable, ..declared(DeclaredKey::FromMessage, &[("b", "bytes"), ("h", "map")]) };
    // In `u`: the UUID of version 3 that MD5 of the text gives.
    let after = r#"{"id":7,"t":"n/a","b":"bi9h","l":["n/a"],"n":[110,47,97],"h":{"n/a":"n/a"},"u":["274b6819-2b05-3e26-8f12-8ff63bfcd4a4"],"x":"__debezium_unavailable_value"}"#;
    let read = change(config, ID, &envelope("u", "null", after)).row.unwrap();
    for name in ["t", "b", "l", "n", "h", "u"] {
        assert_eq!(read.get(name), Some(&Value::Unchanged), "{name}");
    }
    assert_eq!(read.get("x"), Some(&Value::text("__debezium_unavailable_value")));
    // One that JSON has to escape.
    let config = Config { unavailable: Unavailable::new(r#"<"\>"#), ..Config::default() };
    let after = r#"{"id":7,"t":"<\"\\>","l":["<\"\\>"],"h":{"<\"\\>":"<\"\\>"},"x":"<\\>"}"#;
    let read = change(config, ID, &envelope("u", "null", after)).row.unwrap();
    for name in ["t", "l", "h"] {
        assert_eq!(read.get(name), Some(&Value::Unchanged), "{name}");
    }
    assert_eq!(read.get("x"), Some(&Value::text(r"<\>")));
}

// Control

#[test]
fn transaction_ids_lose_only_postgresqls_lsn() {
    for (told, id) in [
        ("35352:3962948040", "35352"),
        ("00000027:00000ac8:0002", "00000027:00000ac8:0002"),
        ("5.6.641", "5.6.641"),
        ("3e11fa47-71ca-11e1-9e33-c80aa9429562:23", "3e11fa47-71ca-11e1-9e33-c80aa9429562:23"),
        ("file=mysql-bin.000003,pos=1442", "file=mysql-bin.000003,pos=1442"),
    ] {
        let value = format!(r#"{{"status":"END","id":"{told}","event_count":0,"data_collections":[]}}"#);
        let event = decode(Config::default(), "bank.transaction", None, Some(&value)).unwrap();
        let end = Control::Transaction { end: true, id: id.into(), event_count: Some(0), collections: Vec::new() };
        assert_eq!(event, Event::Control(end));
    }
}

#[test]
fn a_source_that_names_its_table_twice_is_refused() {
    let value = envelope("c", "null", r#"{"id":7}"#).replace("\"table\":", "\"table\":\"other\",\"table\":");
    assert_eq!(decode(Config::default(), "t", ID, Some(&value)).unwrap_err().code, "json.duplicate");
}
