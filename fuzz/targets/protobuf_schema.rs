#![no_main]

use headwater::cdc::ProtobufSchema;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = ProtobufSchema::parse(text, &[]);
    }
});
