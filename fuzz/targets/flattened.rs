//! Flattened rows, metadata in columns.
#![no_main]

use headwater_fuzz::cdc::{Config, Decoder, Format};
use headwater_fuzz::check::Feed;
use libfuzzer_sys::fuzz_target;

const LESSON: &[u8] = include_bytes!("../seeds/flattened/bare-transaction-u");

fuzz_target!(|input: &[u8]| {
    let decoder = || Decoder::new(Config { format: Format::Flattened, keep_before: true, ..Config::default() });
    Feed::default().decode(decoder, LESSON, input);
});
