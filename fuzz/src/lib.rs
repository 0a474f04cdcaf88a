//! The rooms that read foreign bytes, compiled by themselves: they use nothing else of the crate (`tests/it/house.rs`), so
//! that a fuzzer's build needs neither Kafka nor stores nor VRL. And what the targets share.

#[path = "../../src/cdc/mod.rs"]
pub mod cdc;
#[path = "../../src/record/mod.rs"]
pub mod record;

pub mod check;
