//! Avro behind the registry's frame.
#![no_main]

use std::sync::{Arc, LazyLock};

use headwater_fuzz::cdc::{AvroSchema, Config, Decoder, Known};
use headwater_fuzz::check::Feed;
use libfuzzer_sys::fuzz_target;

/// Every encoding, recursion included.
const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[{"name":"op","type":"string"},{"name":"source","type":["null",{"type":"record","name":"S","fields":[{"name":"table","type":"string"}]}]},{"name":"after","type":["null",{"type":"record","name":"V","fields":[{"name":"a","type":["null","string",{"type":"array","items":"V"}]},{"name":"m","type":{"type":"map","values":"double"}},{"name":"d","type":{"type":"bytes","logicalType":"decimal","scale":2}},{"name":"f","type":{"type":"fixed","name":"F","size":3}},{"name":"e","type":{"type":"enum","name":"E","symbols":["x"]}},{"name":"t","type":{"type":"long","connect.name":"io.debezium.time.NanoTimestamp"}},{"name":"n","type":{"type":"array","items":"null"}},{"name":"b","type":"boolean"},{"name":"g","type":"float"}]}]}]}"#;
static AVRO: LazyLock<Arc<AvroSchema>> = LazyLock::new(|| Arc::new(AvroSchema::parse(SCHEMA, &[]).expect("a schema")));
const LESSON: &[u8] = include_bytes!("../seeds/avro/create");

fuzz_target!(|input: &[u8]| {
    let decoder = || {
        let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
        decoder.schemas().insert(1, Known::Avro(AVRO.clone()));
        decoder
    };
    Feed::framed().decode(decoder, LESSON, input);
});
