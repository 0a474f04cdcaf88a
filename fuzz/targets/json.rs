//! Debezium's JSON: bare, beside its schema, tombstones, and what is told apart by shape.
#![no_main]

use headwater_fuzz::cdc::{Config, Decoder};
use headwater_fuzz::check::Feed;
use libfuzzer_sys::fuzz_target;

const LESSON: &[u8] = include_bytes!("../seeds/json/bare-transaction-u");

fuzz_target!(|input: &[u8]| {
    let decoder = || Decoder::new(Config { keep_before: true, ..Config::default() });
    Feed::default().decode(decoder, LESSON, input);
});
