//! JSON Schemas as a registry may give them, and a value behind each that is one.
#![no_main]

use std::sync::Arc;

use headwater_fuzz::cdc::{JsonSchema, Known};
use headwater_fuzz::check::schema_and_value;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    schema_and_value(input, |text| JsonSchema::parse(text).ok().map(|schema| Known::Json(Arc::new(schema))));
});
