//! Protobuf behind the registry's frame, message index included.
#![no_main]

use std::sync::{Arc, LazyLock};

use headwater_fuzz::cdc::{Config, Decoder, Known, ProtobufSchema};
use headwater_fuzz::check::Feed;
use libfuzzer_sys::fuzz_target;

/// Every kind of field, recursion included.
const SCHEMA: &str = r#"syntax = "proto3"; package b;
import "confluent/type/decimal.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
import "google/type/date.proto"; import "google/type/timeofday.proto";
message Envelope { V before = 1; V after = 2; S source = 3; string op = 4; M message = 5; }
message S { string connector = 1; string table = 2; int64 lsn = 3; }
message M { string prefix = 1; bytes content = 2; }
message V { int64 id = 1; V child = 2; repeated V children = 3; map<string, double> m = 4; confluent.type.Decimal d = 5;
  google.protobuf.Timestamp t = 6; google.type.Date day = 7; google.type.TimeOfDay time = 8; google.protobuf.StringValue s = 9;
  repeated PairEntry pairs = 10; E e = 11; VariableScaleDecimal v = 12; bytes b = 13; optional float f = 14; uint64 u = 15; }
message PairEntry { V key = 1; V value = 2; }
message VariableScaleDecimal { int32 scale = 1; bytes value = 2; }
enum E { A = 0; }"#;
static PROTOBUF: LazyLock<Arc<ProtobufSchema>> =
    LazyLock::new(|| Arc::new(ProtobufSchema::parse(SCHEMA, &[]).expect("a schema")));
const LESSON: &[u8] = include_bytes!("../seeds/protobuf/create");

fuzz_target!(|input: &[u8]| {
    let decoder = || {
        let mut decoder = Decoder::new(Config { registry_id_bytes: 4, keep_before: true, ..Config::default() });
        decoder.schemas().insert(1, Known::Protobuf(PROTOBUF.clone()));
        decoder
    };
    Feed::framed().decode(decoder, LESSON, input);
});
