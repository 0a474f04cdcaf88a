//! Keys in every converter, for tables with and without a declared key. An input is a key alone.
#![no_main]

use std::sync::{Arc, LazyLock};

use headwater_fuzz::cdc::{AvroSchema, Config, DeclaredColumn, DeclaredKey, DeclaredTable, Decoder, KeyFormat, Known};
use headwater_fuzz::check::Feed;
use libfuzzer_sys::fuzz_target;

const SCHEMA: &str =
    r#"{"type":"record","name":"K","fields":[{"name":"id","type":"long"},{"name":"no","type":["null","string"]}]}"#;
static AVRO: LazyLock<Arc<AvroSchema>> = LazyLock::new(|| Arc::new(AvroSchema::parse(SCHEMA, &[]).expect("a schema")));

/// A delete whose row does not help: the key has to.
const VALUE: &str = r#"{"before":null,"after":null,"source":{"connector":"postgresql","table":"t"},"op":"d"}"#;
const LESSON: &[u8] = b"{\"id\":7,\"no\":\"a\"}";

static TABLES: LazyLock<Vec<Option<Arc<DeclaredTable>>>> = LazyLock::new(|| {
    let columns = vec![DeclaredColumn::new("id", "decimal(9,2)").expect("a kind")];
    let table = |names: &[&str]| {
        let key = DeclaredKey::Columns(names.iter().map(|name| (*name).into()).collect());
        Some(Arc::new(DeclaredTable { name: "t".into(), key, columns: columns.clone() }))
    };
    vec![None, table(&["id"]), table(&["id", "no"])]
});

fuzz_target!(|input: &[u8]| {
    for table in &*TABLES {
        for key_format in [KeyFormat::Auto, KeyFormat::Text, KeyFormat::Integer] {
            let tables = table.iter().map(|table| ("t".to_string(), table.clone())).collect();
            let config = Config { key_format, tables, registry_id_bytes: 4, ..Config::default() };
            let decoder = || {
                let mut decoder = Decoder::new(config.clone());
                decoder.schemas().insert(1, Known::Avro(AVRO.clone()));
                decoder
            };
            Feed::default().keys(decoder, VALUE.as_bytes(), LESSON, input);
        }
    }
});
