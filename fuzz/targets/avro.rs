#![no_main]

use std::sync::Arc;

use headwater::cdc::{AvroSchema, Config, Decoder, Known};
use libfuzzer_sys::fuzz_target;

mod common;

/// Every encoding, recursion included.
const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[{"name":"op","type":"string"},{"name":"source","type":["null",{"type":"record","name":"S","fields":[{"name":"table","type":"string"}]}]},{"name":"after","type":["null",{"type":"record","name":"V","fields":[{"name":"a","type":["null","string",{"type":"array","items":"V"}]},{"name":"m","type":{"type":"map","values":"double"}},{"name":"d","type":{"type":"bytes","logicalType":"decimal","scale":2}},{"name":"f","type":{"type":"fixed","name":"F","size":3}},{"name":"e","type":{"type":"enum","name":"E","symbols":["x"]}},{"name":"t","type":{"type":"long","connect.name":"io.debezium.time.NanoTimestamp"}}]}]}]}"#;

fuzz_target!(|input: &[u8]| {
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    let schema = AvroSchema::parse(SCHEMA, &[]).expect("the schema is valid");
    decoder.schemas().insert(1, Known::Avro(Arc::new(schema)));
    // Behind the key's separator: the frame of schema 1.
    common::decode(decoder, &[&[0, 0, 0, 0, 0, 1], input].concat());
});
