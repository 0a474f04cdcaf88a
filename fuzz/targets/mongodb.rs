#![no_main]

use headwater::cdc::{Config, Decoder, Format};
use libfuzzer_sys::fuzz_target;

mod common;

fuzz_target!(|input: &[u8]| {
    common::decode(Decoder::new(Config { format: Format::Mongodb, keep_before: true, ..Config::default() }), input);
});
