#![no_main]

use std::sync::Arc;

use headwater::cdc::{AvroSchema, Config, Decoder, Known};
use libfuzzer_sys::fuzz_target;

mod common;

/// What `data` may hold as base64.
const SCHEMA: &str = r#"{"type":"record","name":"E","fields":[{"name":"before","type":["null",{"type":"record","name":"V","fields":[{"name":"id","type":"long"},{"name":"n","type":["null","string"]}]}]},{"name":"after","type":["null","V"]}]}"#;

fuzz_target!(|input: &[u8]| {
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, keep_before: true, ..Config::default() });
    let schema = AvroSchema::parse(SCHEMA, &[]).expect("the schema is valid");
    decoder.schemas().insert(1, Known::Avro(Arc::new(schema)));
    common::decode(decoder, input);
});
