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
use headwater::cdc::{Config, Decoder, Event};
use headwater::record::{Epoch, Message};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const EVENTS: usize = 1_000;

fn main() {
    divan::main();
}

#[divan::bench]
fn json_without_schema(bencher: Bencher) {
    decode(bencher, &transactions(""));
}

#[divan::bench]
fn json_with_schema(bencher: Bencher) {
    decode(bencher, &transactions(SCHEMA));
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
        for (origin, message) in messages.iter().enumerate() {
            match decoder.decode(message, origin as u32) {
                Ok(Event::Change(record)) => records.push(record),
                Ok(Event::Control(_)) => {}
                Err(fault) => panic!("{fault:?}"),
            }
        }
        records.len()
    });
}

const SCHEMA: &str = r#"{"type":"struct","fields":[{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"},{"type":"int64","optional":true,"field":"account_id"},{"type":"string","optional":false,"name":"io.debezium.time.ZonedTimestamp","version":1,"field":"booked_at"},{"type":"string","optional":false,"field":"amount"},{"type":"string","optional":false,"field":"currency"},{"type":"string","optional":true,"field":"counterparty"},{"type":"string","optional":true,"field":"description"},{"type":"int32","optional":true,"field":"mcc"}],"optional":true,"name":"bank.public.transaction.Value","field":"before"},{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"},{"type":"int64","optional":true,"field":"account_id"},{"type":"string","optional":false,"name":"io.debezium.time.ZonedTimestamp","version":1,"field":"booked_at"},{"type":"string","optional":false,"field":"amount"},{"type":"string","optional":false,"field":"currency"},{"type":"string","optional":true,"field":"counterparty"},{"type":"string","optional":true,"field":"description"},{"type":"int32","optional":true,"field":"mcc"}],"optional":true,"name":"bank.public.transaction.Value","field":"after"},{"type":"struct","fields":[{"type":"string","optional":false,"field":"version"},{"type":"string","optional":false,"field":"connector"},{"type":"string","optional":false,"field":"name"},{"type":"int64","optional":false,"field":"ts_ms"},{"type":"string","optional":true,"name":"io.debezium.data.Enum","version":1,"parameters":{"allowed":"true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},"default":"false","field":"snapshot"},{"type":"string","optional":false,"field":"db"},{"type":"string","optional":true,"field":"sequence"},{"type":"int64","optional":true,"field":"ts_us"},{"type":"int64","optional":true,"field":"ts_ns"},{"type":"string","optional":false,"field":"schema"},{"type":"string","optional":false,"field":"table"},{"type":"int64","optional":true,"field":"txId"},{"type":"int64","optional":true,"field":"lsn"},{"type":"int64","optional":true,"field":"xmin"}],"optional":false,"name":"io.debezium.connector.postgresql.Source","version":1,"field":"source"},{"type":"string","optional":false,"field":"op"},{"type":"int64","optional":true,"field":"ts_ms"}],"optional":false,"name":"bank.public.transaction.Envelope","version":2}"#;

const KEY_SCHEMA: &str = r#"{"type":"struct","fields":[{"type":"int64","optional":false,"default":0,"field":"id"}],"optional":false,"name":"bank.public.transaction.Key"}"#;

fn transactions(schema: &str) -> Vec<Message> {
    let wrap = |schema: &str, payload: String| match schema {
        "" => payload,
        schema => format!(r#"{{"schema":{schema},"payload":{payload}}}"#),
    };
    let topic = "bank.public.transaction".into();
    let message = |id: usize| {
        let lsn = 68_133_464 + id * 56;
        let value = format!(
            r#"{{"before":null,"after":{{"id":{id},"account_id":{},"booked_at":"2026-01-01T00:{:02}:{:02}.123456Z","amount":"-{}.{:02}","currency":"EUR","counterparty":"REWE","description":"REWE MARKT 1042 MÜNCHEN {id}","mcc":5411}},"source":{{"version":"3.6.0.Final","connector":"postgresql","name":"bank","ts_ms":1795405830648,"snapshot":"false","db":"core","sequence":"[\"{}\",\"{lsn}\"]","ts_us":1795405830648123,"ts_ns":1795405830648123000,"schema":"public","table":"transaction","txId":{},"lsn":{lsn},"xmin":null,"origin":null,"origin_lsn":null}},"transaction":null,"op":"c","ts_ms":1795405830901,"ts_us":1795405830901552,"ts_ns":1795405830901552000}}"#,
            id % 997,
            id / 60 % 60,
            id % 60,
            id % 900,
            id % 100,
            lsn - 56,
            id + 700,
        );
        let key_schema = if schema.is_empty() { "" } else { KEY_SCHEMA };
        Message {
            topic: std::sync::Arc::clone(&topic),
            epoch: Epoch::default(),
            partition: 0,
            offset: id as i64,
            timestamp_ms: None,
            key: Some(Bytes::from(wrap(key_schema, format!(r#"{{"id":{id}}}"#)))),
            value: Some(Bytes::from(wrap(schema, value))),
            headers: Vec::new(),
        }
    };
    (1..=EVENTS).map(message).collect()
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
