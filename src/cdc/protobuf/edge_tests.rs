//! Protobuf that a schema allows and no table of a bank has, and Protobuf that is not what its schema says.

use std::sync::Arc;

use bytes::Bytes;

use super::ProtobufSchema;
use crate::cdc::tests::varint;
use crate::cdc::{Config, Decoder, Event, Fault, Known};
use crate::record::{Message, Row};

const PROTO3: &str = "syntax = \"proto3\"; import \"google/protobuf/wrappers.proto\";";
const PROTO2: &str = "syntax = \"proto2\";";

fn int(field: u64, n: u64) -> Vec<u8> {
    [varint(field << 3), varint(n)].concat()
}

fn sized(field: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.as_ref().len() as u64), bytes.as_ref().to_vec()].concat()
}

/// The row of an event whose type `V` is declared by `types`, behind imports and in the syntax of `head`.
fn row_in(head: &str, types: &str, row: &[u8]) -> Result<Row, Fault> {
    let optional = if head.contains("proto2") { "optional " } else { "" };
    let schema = format!(
        "{head} message E {{ {optional}V after = 1; {optional}S source = 2; {optional}string op = 3; }}
         message S {{ {optional}string table = 1; }} {types}"
    );
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    decoder.schemas().insert(1, Known::Protobuf(Arc::new(ProtobufSchema::parse(&schema, &[]).unwrap())));
    let body = [sized(1, row), sized(2, sized(1, "t")), sized(3, "c")].concat();
    let value = Some(Bytes::from([&[0, 0, 0, 0, 1, 0], &body[..]].concat()));
    let key = Some(Bytes::from_static(br#"{"id":7}"#));
    match decoder.decode(&Message { topic: "t".into(), key, value, ..Message::default() }, 0)? {
        Event::Change(record) => Ok(record.row.unwrap()),
        other => panic!("{other:?}"),
    }
}

fn json(types: &str, row: &[u8]) -> Result<String, &'static str> {
    row_in(PROTO3, types, row).map(|row| row.to_json()).map_err(|fault| fault.code)
}

#[test]
fn integers_of_every_encoding_keep_their_value_and_their_sign() {
    let schema = "message V { int32 a = 1; sint64 b = 2; fixed64 c = 3; sfixed32 d = 4; uint64 e = 5; bool f = 6;
        google.protobuf.UInt64Value g = 7; int64 h = 8; }";
    let fixed = |field: u64, wire: u64, bytes: &[u8]| [varint(field << 3 | wire), bytes.to_vec()].concat();
    let row = [
        int(1, (-1i64).cast_unsigned()),
        int(2, u64::MAX),
        fixed(3, 1, &[0xff; 8]),
        fixed(4, 5, &[0xff; 4]),
        int(5, u64::MAX),
        int(6, 1),
        sized(7, int(1, u64::MAX)),
        int(8, i64::MIN.cast_unsigned()),
    ];
    let expected = concat!(
        r#"{"a":-1,"b":-9223372036854775808,"c":18446744073709551615,"d":-1,"e":18446744073709551615,"f":true,"#,
        r#""g":18446744073709551615,"h":-9223372036854775808}"#
    );
    assert_eq!(json(schema, &row.concat()).as_deref(), Ok(expected));
}

#[test]
fn one_of_several_fields_leaves_the_others_null() {
    let schema = "message V { oneof o { int64 a = 1; string b = 2; } optional int64 c = 3; int64 d = 4; }";
    assert_eq!(json(schema, &int(1, 0)).as_deref(), Ok(r#"{"a":0,"b":null,"c":null,"d":0}"#));
    // Told twice, the last one holds: that is the encoding's own rule.
    assert_eq!(
        json(schema, &[int(1, 5), sized(2, "x"), int(4, 1), int(4, 2)].concat()).as_deref(),
        Ok(r#"{"a":null,"b":"x","c":null,"d":2}"#)
    );
}

#[test]
fn nothing_of_a_message_is_dropped() {
    let schema = "message V { optional int64 id = 1; extensions 100 to 200; } extend V { optional string more = 100; }";
    let row = |bytes: &[u8]| row_in(PROTO2, schema, bytes).map(|row| row.to_json()).map_err(|fault| fault.code);
    assert_eq!(row(&int(1, 7)).as_deref(), Ok(r#"{"id":7}"#));
    assert_eq!(row(&[int(1, 7), sized(100, "x")].concat()), Err("protobuf.unknown"), "an extension is no column");
    assert_eq!(row(&[int(1, 7), sized(101, "x")].concat()), Err("protobuf.unknown"));
    let entries = "message V { repeated PairsEntry m = 1; } message PairsEntry { string key = 1; int64 value = 2; }";
    let entry = |key: &str| sized(1, [sized(1, key), int(2, 1)].concat());
    assert_eq!(json(entries, &[entry("a"), entry("b")].concat()).as_deref(), Ok(r#"{"m":{"a":1,"b":1}}"#));
    assert_eq!(json(entries, &[entry("a"), entry("a")].concat()), Err("json.duplicate"), "which of them holds?");
}

#[test]
fn symbols_without_a_name_are_numbers() {
    let schema = "message V { Mood one = 1; repeated Mood more = 2; } enum Mood { SAD = 0; OK = 1; }";
    assert_eq!(json(schema, &int(1, 1)).as_deref(), Ok(r#"{"one":"OK","more":[]}"#));
    assert_eq!(
        json(schema, &[int(1, 9), sized(2, [0, 1, 7])].concat()).as_deref(),
        Ok(r#"{"one":9,"more":["SAD","OK",7]}"#)
    );
}

/// Fields that are left out take no bytes.
#[test]
fn a_few_bytes_do_not_become_much_memory() {
    let fields: String = (1..=400).map(|n| format!("optional int64 f{n} = {n};")).collect();
    let schema = format!("message V {{ repeated Wide w = 1; }} message Wide {{ {fields} }}");
    assert!(json(&schema, &sized(1, []).repeat(10)).is_ok());
    assert_eq!(json(&schema, &sized(1, []).repeat(3_000)), Err("value.count"));
}

#[test]
fn lengths_and_numbers_beyond_the_message_are_refused() {
    let schema = "message V { string a = 1; repeated int64 b = 2; V c = 3; bytes d = 4; }";
    for field in 1..=4u64 {
        for length in [u64::MAX, 1 << 62, 1 << 32, 100] {
            let cut = [varint(field << 3 | 2), varint(length)].concat();
            assert_eq!(json(schema, &cut), Err("protobuf.shape"), "{field} {length}");
        }
    }
    let eleven = [varint(1 << 3), vec![0xff; 11]].concat();
    assert_eq!(json("message V { int64 a = 1; }", &eleven), Err("protobuf.shape"));
    assert_eq!(json(schema, &sized(1, [0xff])), Err("protobuf.shape"), "not UTF-8");
    assert_eq!(json(schema, &int(1, 7)), Err("protobuf.shape"), "a number where a text is expected");
    assert_eq!(json(schema, &[varint(0)].concat()), Err("protobuf.shape"), "no field has the number 0");
    for group in [3u8, 4, 6, 7] {
        assert_eq!(json(schema, &[1 << 3 | group, 0]), Err("protobuf.shape"), "wire type {group}");
    }
}
