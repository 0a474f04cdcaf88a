//! Avro that a schema allows and no table of a bank has, and Avro that is not what its schema says.

use std::sync::Arc;

use bytes::Bytes;

use super::AvroSchema;
use crate::cdc::tests::{declared, varint};
use crate::cdc::{Config, DeclaredKey, Decoder, Event, Fault, Known, RegistrySchemas};
use crate::record::{Message, Row};

fn long(n: i64) -> Vec<u8> {
    varint(((n << 1) ^ (n >> 63)).cast_unsigned())
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [long(bytes.len() as i64), bytes.to_vec()].concat()
}

fn parse(schema: &str) -> Result<AvroSchema, Fault> {
    AvroSchema::parse(schema, &[])
}

/// An event whose row has one column `c` of the type, behind schema `id`.
fn event(decoder: &mut Decoder, id: u8, ty: &str) {
    let schema = format!(
        r#"{{"type":"record","name":"E","fields":[{{"name":"after","type":{{"type":"record","name":"V","fields":[{{"name":"c","type":{ty}}}]}}}},{{"name":"source","type":{{"type":"record","name":"S","fields":[{{"name":"table","type":"string"}}]}}}},{{"name":"op","type":"string"}}]}}"#
    );
    decoder.schemas().insert(id.into(), Known::Avro(Arc::new(parse(&schema).unwrap())));
}

fn decode(decoder: &mut Decoder, id: u8, column: &[u8]) -> Result<Row, Fault> {
    let value = [&[0, 0, 0, 0, id], column, &[2, b't', 2, b'c']].concat();
    let message = Message {
        topic: "t".into(),
        key: Some(Bytes::from_static(br#"{"id":7}"#)),
        value: Some(value.into()),
        ..Message::default()
    };
    match decoder.decode(&message, 0)? {
        Event::Change(record) => Ok(record.row.unwrap()),
        other => panic!("{other:?}"),
    }
}

fn column(ty: &str, bytes: &[u8]) -> Result<String, &'static str> {
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    event(&mut decoder, 1, ty);
    let row = decode(&mut decoder, 1, bytes).map_err(|fault| fault.code)?;
    let json = row.to_json();
    Ok(json[r#"{"c":"#.len()..json.len() - 1].to_string())
}

fn logical(ty: &str, logical: &str) -> String {
    format!(r#"{{"type":"{ty}","logicalType":"{logical}"}}"#)
}

#[test]
fn every_logical_type_is_what_the_specification_says() {
    let uuid = "60f14fe2-f857-404a-b586-3b5375b3259f";
    let uuid_bytes = 0x60f1_4fe2_f857_404a_b586_3b53_75b3_259f_u128.to_be_bytes();
    for (ty, name, bytes, expected) in [
        ("int", "date", long(-1), "\"1969-12-31\""),
        ("int", "time-millis", long(86_400_000), "\"24:00:00\""),
        ("long", "time-micros", long(1), "\"00:00:00.000001\""),
        ("long", "timestamp-millis", long(-1), "\"1969-12-31T23:59:59.999\""),
        ("long", "timestamp-micros", long(-1), "\"1969-12-31T23:59:59.999999\""),
        ("long", "timestamp-nanos", long(-1), "\"1969-12-31T23:59:59.999999999\""),
        ("long", "local-timestamp-millis", long(1), "\"1970-01-01T00:00:00.001\""),
        ("long", "local-timestamp-micros", long(1), "\"1970-01-01T00:00:00.000001\""),
        ("long", "local-timestamp-nanos", long(1), "\"1970-01-01T00:00:00.000000001\""),
        ("string", "uuid", sized(uuid.as_bytes()), &format!("\"{uuid}\"")),
        // Of another type than they are defined for, and unknown ones, they say nothing.
        ("string", "decimal", sized(b"1.10"), "\"1.10\""),
        ("double", "timestamp-millis", 1.5f64.to_le_bytes().to_vec(), "1.5"),
        ("int", "uuid", long(7), "7"),
        ("long", "timestamp-picos", long(7), "7"),
        ("bytes", "date", sized(&[1]), "\"AQ==\""),
    ] {
        assert_eq!(column(&logical(ty, name), &bytes).as_deref(), Ok(expected), "{ty} {name}");
    }
    let fixed = |size, more: &str| format!(r#"{{"type":"fixed","name":"F","size":{size},{more}}}"#);
    let decimal = r#""logicalType":"decimal","precision":20,"scale":2"#;
    assert_eq!(column(&fixed(9, decimal), &[0xff; 9]).as_deref(), Ok("-0.01"));
    assert_eq!(column(&format!(r#"{{"type":"bytes",{decimal}}}"#), &sized(&[1, 0x2c])).as_deref(), Ok("3.00"));
    assert_eq!(column(&format!(r#"{{"type":"bytes",{decimal}}}"#), &sized(&[])), Err("column.type"), "no digits");
    assert_eq!(column(&fixed(16, r#""logicalType":"uuid""#), &uuid_bytes).unwrap(), format!("\"{uuid}\""));
    assert_eq!(column(&fixed(3, r#""logicalType":"uuid""#), &[1, 2, 3]).as_deref(), Ok("\"AQID\""));
}

#[test]
fn numbers_keep_all_their_bits_or_are_refused() {
    for n in [i64::MIN, i64::MAX, 0, -1] {
        assert_eq!(column("\"long\"", &long(n)).unwrap(), n.to_string());
    }
    let ten = |last: u8| [vec![0xff; 9], vec![last]].concat();
    assert_eq!(column("\"long\"", &ten(1)).unwrap(), i64::MIN.to_string());
    for last in [2, 3, 0x7f, 0x81, 0xff] {
        assert_eq!(column("\"long\"", &ten(last)), Err("avro.varint"), "{last}");
    }
    assert_eq!(column("\"boolean\"", &[2]), Err("avro.boolean"));
    for (bytes, expected) in [(f32::NAN, "\"NaN\""), (f32::NEG_INFINITY, "\"-Infinity\""), (-0.0, "-0.0")] {
        assert_eq!(column("\"float\"", &bytes.to_le_bytes()).unwrap(), expected);
    }
}

#[test]
fn unions_enums_and_lengths_name_only_what_is_there() {
    let union = r#"["null","string","long",{"type":"array","items":"int"}]"#;
    assert_eq!(column(union, &[0]).as_deref(), Ok("null"));
    assert_eq!(column(union, &[2, 2, b'a']).as_deref(), Ok("\"a\""));
    assert_eq!(column(union, &[4, 3]).as_deref(), Ok("-2"));
    // A block of two, whose size in bytes stands before it.
    assert_eq!(column(union, &[6, 3, 4, 2, 4, 0]).as_deref(), Ok("[1,2]"));
    for branch in [8, 1, 0x7f] {
        assert_eq!(column(union, &[branch]), Err("avro.union"));
    }
    assert_eq!(column(r#"[["null"],"long"]"#, &[0, 0]), Err("avro.union"), "a union in a union");
    let letters = r#"{"type":"enum","name":"L","symbols":["a","b"]}"#;
    assert_eq!(column(letters, &[2]).as_deref(), Ok("\"b\""));
    assert_eq!((column(letters, &[4]), column(letters, &[1])), (Err("avro.enum"), Err("avro.enum")));
    for ty in ["\"string\"", "\"bytes\"", r#"{"type":"array","items":"int"}"#, r#"{"type":"map","values":"int"}"#] {
        for length in [i64::MAX, i64::MIN, 1 << 40, 1 << 31, 1_000] {
            assert_eq!(column(ty, &long(length)), Err("avro.short"), "{ty} {length}");
        }
    }
    assert_eq!(column("\"string\"", &[2, 0xff]), Err("text.utf8"));
    let map = |names: [&[u8]; 2]| [vec![4], sized(names[0]), vec![2], sized(names[1]), vec![4, 0]].concat();
    assert_eq!(column(r#"{"type":"map","values":"int"}"#, &map([b"b", b"a"])).as_deref(), Ok(r#"{"b":1,"a":2}"#));
    assert_eq!(column(r#"{"type":"map","values":"int"}"#, &map([b"a", b"a"])), Err("json.duplicate"));
}

/// What takes no bytes can be told any number of times by a few.
#[test]
fn a_few_bytes_do_not_become_much_memory() {
    let of = |items: &str| format!(r#"{{"type":"array","items":{items}}}"#);
    let nulls = [long(3_000), [long(4_000), vec![0]].concat().repeat(3_000), vec![0]].concat();
    assert_eq!(column(&of(&of("\"null\"")), &nulls), Err("value.count"));
    let empty = r#"{"type":"record","name":"N","fields":[]}"#;
    assert_eq!(column(&of(&of(empty)), &nulls), Err("value.count"));
    // Each record has two of the one before: 2 to the 60 of them from no byte at all.
    let twice = |n: usize| {
        let two = format!(r#"[{{"name":"a","type":"N{0}"}},{{"name":"b","type":"N{0}"}}]"#, n.saturating_sub(1));
        let fields = if n == 0 { "[]" } else { &two };
        format!(r#"{{"name":"f{n}","type":{{"type":"record","name":"N{n}","fields":{fields}}}}}"#)
    };
    let fields: Vec<String> = (0..60).map(twice).collect();
    let laughs = format!(r#"{{"type":"record","name":"All","fields":[{}]}}"#, fields.join(","));
    assert_eq!(column(&laughs, &[]), Err("value.count"));
    assert_eq!(
        column(&of("\"null\""), &[long(1_000), vec![0]].concat()),
        Err("avro.short"),
        "more than there are bytes"
    );
}

#[test]
fn schemas_that_say_two_things_or_nothing_are_refused() {
    for wrong in [
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"long"}]}"#,
        r#"{"type":"enum","name":"E","symbols":["a",7]}"#,
        r#"{"type":"enum","name":"E"}"#,
        r#"{"type":"array"}"#,
        r#"{"type":"fixed","name":"F","size":-1}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"Unknown"}]}"#,
        r#"{"type":"record","name":"R","fields":[{"type":"int"}]}"#,
        r#"{"type":7}"#,
    ] {
        assert_eq!(parse(wrong).map(|_| ()).map_err(|fault| fault.code), Err("schema.syntax"), "{wrong}");
    }
    // A record that needs itself has no end.
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    event(
        &mut decoder,
        1,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"R"},{"name":"b","type":"R"}]}"#,
    );
    assert_eq!(decode(&mut decoder, 1, &[]).unwrap_err().code, "json.depth");
}

#[test]
fn rows_of_evolved_schemas_lie_side_by_side_in_the_declared_types() {
    let mut decoder =
        Decoder::new(Config { registry_id_bytes: 4, ..declared(DeclaredKey::FromMessage, &[("c", "timestamp(6)")]) });
    let table = |id: u8, ty: &str, decoder: &mut Decoder| event(decoder, id, ty);
    table(1, "\"long\"", &mut decoder);
    table(2, r#"["null","long"]"#, &mut decoder);
    table(3, "\"string\"", &mut decoder);
    let mut row = |id, bytes: &[u8]| {
        let value = [&[0, 0, 0, 0, id], bytes, &sized(b"transaction"), &[2, b'c']].concat();
        let key = Some(Bytes::from_static(br#"{"id":7}"#));
        let message = Message { topic: "t".into(), key, value: Some(value.into()), ..Message::default() };
        match decoder.decode(&message, 0).unwrap() {
            Event::Change(record) => record.row.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..3 {
        assert_eq!(row(1, &[2]).to_json(), r#"{"c":"1970-01-01T00:00:00.000001"}"#);
        assert_eq!(row(2, &[2, 2]).to_json(), r#"{"c":"1970-01-01T00:00:00.000001"}"#);
        assert_eq!(row(2, &[0]).to_json(), r#"{"c":null}"#);
        assert_eq!(row(3, &sized(b"1970-01-01T00:00:01")).to_json(), r#"{"c":"1970-01-01T00:00:01"}"#);
    }
}

#[test]
fn frames_that_are_cut_or_of_another_length_are_told_as_that() {
    let frame = |id_bytes, bytes: &'static [u8]| {
        RegistrySchemas::new(id_bytes)
            .frame(&Bytes::from_static(bytes))
            .map(|framed| framed.is_some())
            .map_err(|f| f.code)
    };
    for cut in [&[0][..], &[0, 0], &[0, 0, 0, 1]] {
        assert_eq!(frame(4, cut), Err("registry.short"), "{cut:?}");
    }
    assert_eq!(frame(8, &[0, 0, 0, 0, 1, 2, 3, 4]), Err("registry.short"));
    assert_eq!(frame(0, &[0, 0, 0, 0, 1]), Err("registry.missing"));
    assert_eq!(frame(4, b"{}"), Ok(false));
    assert_eq!(frame(4, &[1, 0, 0, 0, 1]), Ok(false), "another magic byte is no frame");
    // An id that nobody has is asked for once, and the message waits for the answer.
    let schemas = RegistrySchemas::new(4);
    assert!(schemas.frame(&Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1])).is_err());
    assert_eq!((schemas.take_wanted(), schemas.take_wanted()), (Some(u64::from(u32::MAX)), None));
}
