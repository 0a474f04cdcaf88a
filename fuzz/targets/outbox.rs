//! Events of the outbox router.
#![no_main]

use headwater_fuzz::cdc::{Config, Decoder, Format};
use headwater_fuzz::check::Feed;
use libfuzzer_sys::fuzz_target;

const HEADERS: &[(&str, &str)] = &[("id", "4d47e190-0402-4048-bd2c-89dd54343cdc"), ("type", "booked")];
const LESSON: &[u8] = include_bytes!("../seeds/outbox/expanded");

fuzz_target!(|input: &[u8]| {
    let decoder = || Decoder::new(Config { format: Format::Outbox, ..Config::default() });
    Feed { headers: HEADERS, ..Feed::default() }.decode(decoder, LESSON, input);
});
