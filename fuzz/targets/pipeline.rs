#![no_main]

use headwater::pipeline::load_text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = load_text("fuzz.yaml", text, &headwater::builtin(), &|_: &str| None);
    }
});
