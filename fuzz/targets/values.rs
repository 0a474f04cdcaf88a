//! Values of declared columns: every kind, in every way that connectors write it.
#![no_main]

use std::sync::{Arc, LazyLock};

use headwater_fuzz::cdc::{Config, DeclaredColumn, DeclaredKey, DeclaredTable, Decoder};
use headwater_fuzz::check::Feed;
use libfuzzer_sys::fuzz_target;

const LESSON: &[u8] = include_bytes!("../seeds/values/all");
const KINDS: &[&str] = &[
    "bool",
    "int64",
    "uint64",
    "float64",
    "decimal",
    "decimal(18,2)",
    "text",
    "uuid",
    "interval",
    "bytes",
    "bits",
    "json",
    "date",
    "time",
    "time(3)",
    "timestamp(3)",
    "timestamp(6)",
    "timestamp(9)",
    "timestamptz",
    "int64[]",
    "text[]",
    "bytes[]",
    "date[][]",
    "map",
    "geometry",
];

/// Columns are called by their place: `c0`, `c1`, …
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let column = |(at, kind): (usize, &&str)| DeclaredColumn::new(&format!("c{at}"), kind).expect("a kind");
    let columns = KINDS.iter().enumerate().map(column).collect();
    let table = DeclaredTable { name: "t".into(), key: DeclaredKey::None, columns };
    Config { tables: [("t".to_string(), Arc::new(table))].into(), keep_before: true, ..Config::default() }
});

fuzz_target!(|input: &[u8]| Feed::default().decode(|| Decoder::new(CONFIG.clone()), LESSON, input));
