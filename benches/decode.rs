//! Decoding change events: time, throughput and allocations, by format.
//!
//! `cargo bench --bench decode`. An iteration decodes 1,000 events: so `µs` are ns an event, and the allocation counts
//! divided by 1,000 are allocations an event. Keys and tombstone-free envelopes of a bank's transactions (8 columns), of
//! the shipped recording (21 columns, one of them JSON), and of the same events with an embedded schema.

// A benchmark that cannot read its input shall fail loudly.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher};
use headwater::cdc::{Config, Decoder};
use headwater::record::{Epoch, Message};

#[path = "support/mod.rs"]
mod support;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const EVENTS: usize = 1_000;

fn main() {
    divan::main();
}

#[divan::bench]
fn json_without_schema(bencher: Bencher) {
    decode(bencher, &support::transactions(false, 1, EVENTS));
}

#[divan::bench]
fn json_with_schema(bencher: Bencher) {
    decode(bencher, &support::transactions(true, 1, EVENTS));
}

#[divan::bench]
fn recording_of_a_bank(bencher: Bencher) {
    decode(bencher, &recording("pipelines/bank/recording.jsonl.zst"));
}

#[divan::bench]
fn recording_with_schema(bencher: Bencher) {
    decode(bencher, &recording("tests/it/fixtures/with-schema.jsonl.zst"));
}

/// Decodes 1,000 events per iteration with a decoder that has seen them before.
fn decode(bencher: Bencher, messages: &[Message]) {
    let bytes: usize = messages.iter().map(Message::size_bytes).sum();
    let mut decoder = Decoder::new(Config::default());
    let mut records = Vec::with_capacity(messages.len());
    bencher.counter(ItemsCount::new(messages.len())).counter(BytesCount::new(bytes)).bench_local(|| {
        records.clear();
        support::decode(&mut decoder, messages, &mut records);
        records.len()
    });
}

/// The first 1,000 events of a recording, repeated if there are fewer.
fn recording(path: &str) -> Vec<Message> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    let text = String::from_utf8(text).unwrap();
    let parse = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let bytes = |name: &str| line[name].as_str().map(|text| Bytes::copy_from_slice(text.as_bytes()));
        Message {
            topic: line["topic"].as_str().unwrap().into(),
            epoch: Epoch::default(),
            partition: line["partition"].as_i64().unwrap() as i32,
            offset: line["offset"].as_i64().unwrap(),
            timestamp_ms: line["ts"].as_i64(),
            key: bytes("key"),
            value: bytes("payload"),
            headers: Vec::new(),
        }
    };
    let transactions = text.lines().filter(|line| line.contains(".transaction\""));
    transactions.take(EVENTS).map(parse).collect::<Vec<_>>().into_iter().cycle().take(EVENTS).collect()
}
