//! CloudEvents, whose `data` may be base64 of Avro.
#![no_main]

use std::sync::{Arc, LazyLock};

use headwater_fuzz::cdc::{AvroSchema, Config, Decoder, Known};
use headwater_fuzz::check::Feed;
use libfuzzer_sys::fuzz_target;

/// What `data` may hold as base64.
const SCHEMA: &str = r#"{"type":"record","name":"E","fields":[{"name":"before","type":["null",{"type":"record","name":"V","fields":[{"name":"id","type":"long"},{"name":"n","type":["null","string"]}]}]},{"name":"after","type":["null","V"]}]}"#;
static AVRO: LazyLock<Arc<AvroSchema>> = LazyLock::new(|| Arc::new(AvroSchema::parse(SCHEMA, &[]).expect("a schema")));
const LESSON: &[u8] = include_bytes!("../seeds/cloudevents/bare");

fuzz_target!(|input: &[u8]| {
    let decoder = || {
        let mut decoder = Decoder::new(Config { registry_id_bytes: 4, keep_before: true, ..Config::default() });
        decoder.schemas().insert(1, Known::Avro(AVRO.clone()));
        decoder
    };
    Feed::default().decode(decoder, LESSON, input);
});
