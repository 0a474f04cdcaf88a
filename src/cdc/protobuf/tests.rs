//! Protobuf events as Confluent's converter writes Debezium's, encoded here by hand.

use std::sync::Arc;

use bytes::Bytes;
use rand::{Rng, SeedableRng};

use super::ProtobufSchema;
use crate::cdc::tests::{declared, varint};
use crate::cdc::{Config, Control, DeclaredKey, Decoder, Event, Fault, Known};
use crate::record::{Message, Op, SourcePosition, Value};

const KEY: &str = r#"syntax = "proto3"; package bank.public.transaction; message Key { int64 id = 1; }"#;

const VALUE: &str = r#"syntax = "proto3";
package bank.public.transaction;
import "confluent/meta.proto";
import "confluent/type/decimal.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/type/date.proto";
import "google/type/timeofday.proto";
import "mood.proto";
message Envelope {
  Value before = 1;
  Value after = 2;
  Source source = 3;
  string op = 4;
  int64 ts_ms = 5;
  LogicalMessage message = 6;
  message Value {
    int64 id = 1;
    .confluent.type.Decimal amount = 2 [(confluent.field_meta) = { params: [ { key: "precision", value: "18" }, { key: "scale", value: "2" } ] }];
    VariableScaleDecimal rate = 3;
    int64 made = 4;
    google.protobuf.StringValue note = 5;
    optional string label = 6;
    repeated string tags = 7;
    float real = 8;
    google.protobuf.Timestamp at = 9;
    google.type.Date day = 10;
    google.type.TimeOfDay clock = 11;
    bytes data = 12;
    repeated PairsEntry pairs = 13;
    mood.Mood mood = 14;
    uint64 big = 15;
    string plain = 16;
  }
  message VariableScaleDecimal { int32 scale = 1; bytes value = 2; }
  message PairsEntry { string key = 1; google.protobuf.StringValue value = 2; }
  message Source { string connector = 1; string name = 2; string db = 3; string sequence = 4; string schema = 5; string table = 6; int64 lsn = 7; int64 ts_ms = 8; string snapshot = 9; }
  message LogicalMessage { string prefix = 1; bytes content = 2; }
}
message Metadata { string status = 1; string id = 2; int64 event_count = 3; }
"#;
const MOOD: &str = r#"syntax = "proto3"; package mood; enum Mood { SAD = 0; OK = 1; }"#;

fn int(field: u64, n: i64) -> Vec<u8> {
    [varint(field << 3), varint(n.cast_unsigned())].concat()
}

fn sized(field: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.as_ref().len() as u64), bytes.as_ref().to_vec()].concat()
}

fn framed(id: u8, indexes: &[u8], body: &[u8]) -> Bytes {
    Bytes::from([&[0, 0, 0, 0, id], indexes, body].concat())
}

fn row() -> Vec<u8> {
    [
        int(1, 7),
        sized(2, [sized(1, [0xff]), int(2, 18), int(3, 2)].concat()),
        sized(3, [int(1, 4), sized(2, [0x01, 0x8a, 0xf7])].concat()),
        int(4, -1),
        sized(5, sized(1, "Ünï")),
        sized(7, "a"),
        sized(7, "b"),
        [varint(8 << 3 | 5), 1.1f32.to_le_bytes().to_vec()].concat(),
        sized(9, [int(1, -1), int(2, 500_000_000)].concat()),
        sized(10, [int(1, 1969), int(2, 12), int(3, 31)].concat()),
        sized(11, [int(1, 23), int(3, 1), int(4, 5)].concat()),
        sized(12, [0, 255]),
        sized(13, [sized(1, "k"), sized(2, sized(1, "v"))].concat()),
        sized(13, [sized(1, "n")].concat()),
        int(14, 1),
        int(15, -1),
    ]
    .concat()
}

fn source() -> Vec<u8> {
    let fields = [
        sized(1, "postgresql"),
        sized(2, "bank"),
        sized(3, "core"),
        sized(4, r#"["100","120"]"#),
        sized(5, "public"),
        sized(6, "transaction"),
        int(7, 120),
        int(8, 1500),
        sized(9, "false"),
    ];
    sized(3, fields.concat())
}

fn decoder(config: Config) -> Decoder {
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..config });
    let references = [("mood.proto".to_string(), MOOD.to_string())];
    for (id, schema) in [(1, KEY), (2, VALUE)] {
        let schema = ProtobufSchema::parse(schema, &references).unwrap();
        decoder.schemas().insert(id, Known::Protobuf(Arc::new(schema)));
    }
    decoder
}

fn decode(config: Config, value: Bytes) -> Result<Event, Fault> {
    let message = crate::cdc::tests::message("bank.public.transaction", 0, None, None);
    let key = Some(framed(1, &[0], &int(1, 7)));
    decoder(config).decode(&Message { key, value: Some(value), ..message }, 0)
}

fn create(config: Config, row: &[u8]) -> Result<Event, Fault> {
    decode(config, framed(2, &[0], &[sized(2, row), source(), sized(4, "c")].concat()))
}

#[test]
fn an_envelope_becomes_a_record() {
    let Event::Change(record) = create(Config::default(), &row()).unwrap() else { panic!() };
    assert_eq!((&*record.table, record.op, record.key.to_json().as_str()), ("transaction", Op::Create, r#"{"id":7}"#));
    assert_eq!(
        record.row.unwrap().to_json(),
        concat!(
            r#"{"id":7,"amount":-0.01,"rate":10.1111,"made":-1,"note":"Ünï","label":null,"tags":["a","b"],"real":1.1,"#,
            r#""at":"1969-12-31T23:59:59.5","day":"1969-12-31","clock":"23:00:01.000000005","data":"AP8=","#,
            r#""pairs":{"k":"v","n":null},"mood":"OK","big":18446744073709551615,"plain":""}"#
        )
    );
    assert!(matches!(record.position.source, SourcePosition::Postgres { commit_lsn: 100, lsn: 120, .. }));
    assert_eq!(record.changed_at.unwrap().as_millis(), 1500);
}

#[test]
fn declared_types_say_what_integers_mean() {
    let config = declared(DeclaredKey::FromMessage, &[("id", "int64"), ("made", "timestamp(6)"), ("label", "text")]);
    let Event::Change(record) = create(config, &row()).unwrap() else { panic!() };
    let row = record.row.unwrap();
    assert!(matches!(row.get("made"), Some(Value::Timestamp(at)) if at.to_string() == "1969-12-31T23:59:59.999999"));
    assert_eq!(row.schema().column("made").unwrap().kind.to_string(), "timestamp(6)");
    assert_eq!(row.schema().column("amount").unwrap().kind.to_string(), "decimal(18,2)");
}

#[test]
fn unchanged_null_and_default_stay_apart() {
    let unchanged = [int(1, 7), sized(5, sized(1, "__debezium_unavailable_value"))].concat();
    let Event::Change(record) = create(Config::default(), &unchanged).unwrap() else { panic!() };
    let row = record.row.unwrap();
    assert_eq!(row.get("note"), Some(&Value::Unchanged));
    assert_eq!(row.get("label"), Some(&Value::Null), "`optional` and absent");
    assert_eq!(row.get("rate"), Some(&Value::Null), "a message that is absent");
    assert_eq!(row.get("plain"), Some(&Value::text("")), "a scalar that cannot be absent");
    assert_eq!(row.get("tags"), Some(&Value::List(Vec::new())));
}

#[test]
fn deletes_messages_and_transactions_are_events_as_in_json() {
    let delete = framed(2, &[0], &[sized(1, row()), source(), sized(4, "d")].concat());
    let Event::Change(record) = decode(Config::default(), delete).unwrap() else { panic!() };
    assert_eq!((record.op, record.row), (Op::Delete, None));
    let message = [source(), sized(4, "m"), sized(6, [sized(1, "p"), sized(2, [0x62, 0xf2])].concat())].concat();
    let Event::Control(control) = decode(Config::default(), framed(2, &[0], &message)).unwrap() else { panic!() };
    assert_eq!(control, Control::Message { prefix: "p".into(), content: Bytes::from_static(&[0x62, 0xf2]) });
    // The second message type of the file: one index, 1.
    let end = framed(2, &[2, 2], &[sized(1, "END"), sized(2, "571:53195829"), int(3, 3)].concat());
    let Event::Control(control) = decode(Config::default(), end).unwrap() else { panic!() };
    let collections = Vec::new();
    assert_eq!(control, Control::Transaction { end: true, id: "571".into(), event_count: Some(3), collections });
}

#[test]
fn a_nested_type_is_found_by_its_indexes() {
    let schema = ProtobufSchema::parse(VALUE, &[("mood.proto".into(), MOOD.into())]).unwrap();
    let name = |indexes: &[u8]| {
        use prost_reflect::ReflectMessage as _;
        schema.message(&framed(2, indexes, &[]), 5).map(|message| message.descriptor().name().to_string())
    };
    assert_eq!(name(&[0]).unwrap(), "Envelope");
    assert_eq!(name(&[2, 2]).unwrap(), "Metadata");
    assert_eq!(name(&[4, 0, 2]).unwrap(), "VariableScaleDecimal");
    for wrong in [&[2, 9][..], &[4, 2, 0], &[1], &[0x80], &[0xfe, 0xff, 0xff, 0xff, 0x0f], &[]] {
        assert_eq!(name(wrong).unwrap_err().code, "protobuf.index", "{wrong:?}");
    }
}

#[test]
fn what_is_cut_or_of_another_schema_is_a_fault() {
    let whole = framed(2, &[0], &[sized(2, row()), source(), sized(4, "c")].concat());
    for length in 5..whole.len() {
        assert!(decode(Config::default(), whole.slice(..length)).is_err(), "{length}");
    }
    let other = framed(2, &[0], &[source(), sized(4, "d"), int(99, 1)].concat());
    assert_eq!(decode(Config::default(), other).unwrap_err().code, "protobuf.unknown");
    let nested = [int(1, 7), int(99, 1)].concat();
    assert_eq!(create(Config::default(), &nested).unwrap_err().code, "protobuf.unknown", "in a row, too");
    let zero_date = [int(1, 7), sized(10, int(1, 2020))].concat();
    let fault = create(Config::default(), &zero_date).unwrap_err();
    assert_eq!(fault.code, "column.range");
    assert!(fault.reason.contains("`after`") && fault.reason.contains("`day`"), "{}", fault.reason);
    let wide = [int(1, 7), sized(11, int(1, i64::MAX))].concat();
    assert!(create(Config::default(), &wide).is_err());
}

#[test]
fn schemas_that_do_not_compile_are_faults() {
    for wrong in ["", "{", "syntax = \"proto9\";", "message A { B b = 1; }", VALUE] {
        let parsed = ProtobufSchema::parse(wrong, &[]);
        assert!(parsed.is_err() || wrong.is_empty(), "{wrong}");
    }
    for deep in ["message A {", "message A { oneof a {", "option (a) = {a: [", "message A { /* } */ // }\n"] {
        let fault = ProtobufSchema::parse(&deep.repeat(10_000), &[]).unwrap_err();
        assert!(fault.reason.contains("too deep"), "{}", fault.reason);
    }
    let brackets = format!("syntax = \"proto3\"; // {}\nmessage A {{}} /* {} */", "{".repeat(99), "<".repeat(99));
    assert!(ProtobufSchema::parse(&brackets, &[]).is_ok(), "brackets in comments nest nothing");
}

/// Whatever becomes of a real event's bytes, there is an answer.
#[test]
fn mutated_events_get_an_answer() {
    let whole = [sized(2, row()), source(), sized(4, "c")].concat();
    let mut decoder = decoder(Config::default());
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let (mut read, mut refused) = (0, 0);
    for offset in 0..4_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.gen_range(1..4) {
            let at = random.gen_range(0..bytes.len());
            match random.gen_range(0..4) {
                0 => bytes[at] = random.r#gen(),
                1 => bytes[at] ^= 1 << random.gen_range(0..8),
                2 => bytes.insert(at, random.r#gen()),
                _ => drop(bytes.remove(at)),
            }
        }
        let message = crate::cdc::tests::message("bank.public.transaction", offset, None, None);
        let (key, value) = (Some(framed(1, &[0], &int(1, 7))), Some(framed(2, &[0], &bytes)));
        match decoder.decode(&Message { key, value, ..message }, 0) {
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 100 && refused > 1_000, "{read} read, {refused} refused");
}

/// A self-referring type could nest for ever: the library bounds it.
#[test]
fn depth_is_bounded() {
    let schema = ProtobufSchema::parse("syntax = \"proto3\"; message L { L l = 1; string op = 2; }", &[]).unwrap();
    let mut body = Vec::new();
    for _ in 0..2_000 {
        body = sized(1, &body);
    }
    assert_eq!(schema.message(&framed(1, &[0], &body), 5).unwrap_err().code, "protobuf.shape");
}

#[test]
fn maps_come_in_the_order_of_their_keys_each_time() {
    let schema = r#"syntax = "proto3"; message Envelope { Value after = 1; Source source = 2; string op = 3; }
        message Value { int64 id = 1; map<string, int64> m = 2; } message Source { string table = 1; }"#;
    let letters: Vec<char> = ('a'..='z').collect();
    let entry = |letter: &char| sized(2, [sized(1, letter.to_string()), int(2, 1)].concat());
    let after = [int(1, 7), letters.iter().rev().flat_map(entry).collect()].concat();
    let body = [sized(1, after), sized(2, sized(1, "t")), sized(3, "c")].concat();
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    decoder.schemas().insert(1, Known::Protobuf(Arc::new(ProtobufSchema::parse(schema, &[]).unwrap())));
    let (key, value) = (Some(Bytes::from_static(br#"{"id":7}"#)), Some(framed(1, &[0], &body)));
    let message = Message { topic: "t".into(), key, value, ..Message::default() };
    let Event::Change(record) = decoder.decode(&message, 0).unwrap() else { panic!() };
    let row = record.row.unwrap();
    let Some(Value::Map(entries)) = row.get("m") else { panic!("{row:?}") };
    assert_eq!(entries.iter().map(|(key, _)| key.to_string()).collect::<String>(), letters.iter().collect::<String>());
}
