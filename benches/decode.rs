//! Decoding change events: time, throughput and allocations, by format.
//!
//! `cargo bench --bench decode`. An iteration decodes 1,000 events: so `µs` are ns an event, and the allocation counts
//! divided by 1,000 are allocations an event. Keys and tombstone-free envelopes of a bank's transactions (8 columns) in
//! JSON, Avro and Protobuf, of the shipped recording (21 columns, one of them JSON), and of the same events with an
//! embedded schema.

// A benchmark that cannot read its input shall fail loudly.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher};
use headwater::cdc::{AvroSchema, Config, Decoder, Known, ProtobufSchema};
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

#[divan::bench]
fn avro(bencher: Bencher) {
    let schema = |text: &str| Known::Avro(AvroSchema::parse(text, &[]).unwrap().into());
    decode_with(bencher, &binary(&Avro), [schema(AVRO_KEY), schema(AVRO)]);
}

#[divan::bench]
fn protobuf(bencher: Bencher) {
    let schema = |text: &str| Known::Protobuf(ProtobufSchema::parse(text, &[]).unwrap().into());
    decode_with(bencher, &binary(&Protobuf), [schema(PROTOBUF_KEY), schema(PROTOBUF)]);
}

/// Decodes 1,000 events per iteration with a decoder that has seen them before.
fn decode(bencher: Bencher, messages: &[Message]) {
    measure(bencher, messages, Decoder::new(Config::default()));
}

/// The same behind a schema registry: schemas 1, of keys, and 2, of values.
fn decode_with(bencher: Bencher, messages: &[Message], schemas: [Known; 2]) {
    let mut decoder = Decoder::new(Config { registry_id_bytes: 4, ..Config::default() });
    for (id, schema) in (1..).zip(schemas) {
        decoder.schemas().insert(id, schema);
    }
    measure(bencher, messages, decoder);
}

fn measure(bencher: Bencher, messages: &[Message], mut decoder: Decoder) {
    let bytes: usize = messages.iter().map(Message::size_bytes).sum();
    let mut records = Vec::with_capacity(messages.len());
    bencher.counter(ItemsCount::new(messages.len())).counter(BytesCount::new(bytes)).bench_local(|| {
        records.clear();
        support::decode(&mut decoder, messages, &mut records);
        records.len()
    });
}

const AVRO_KEY: &str = r#"{"type":"record","name":"Key","fields":[{"name":"id","type":"long"}]}"#;
const AVRO: &str = r#"{"type":"record","name":"Envelope","namespace":"bank.public.transaction","fields":[{"name":"before","type":["null",{"type":"record","name":"Value","fields":[{"name":"id","type":"long"},{"name":"account_id","type":["null","long"]},{"name":"booked_at","type":{"type":"string","connect.name":"io.debezium.time.ZonedTimestamp"}},{"name":"amount","type":"string"},{"name":"currency","type":"string"},{"name":"counterparty","type":["null","string"]},{"name":"description","type":["null","string"]},{"name":"mcc","type":["null","int"]}]}]},{"name":"after","type":["null","Value"]},{"name":"source","type":{"type":"record","name":"Source","fields":[{"name":"connector","type":"string"},{"name":"name","type":"string"},{"name":"ts_ms","type":"long"},{"name":"snapshot","type":["null","string"]},{"name":"db","type":"string"},{"name":"sequence","type":["null","string"]},{"name":"schema","type":"string"},{"name":"table","type":"string"},{"name":"lsn","type":["null","long"]}]}},{"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"]}]}"#;
const PROTOBUF_KEY: &str = r#"syntax = "proto3"; message Key { int64 id = 1; }"#;
const PROTOBUF: &str = r#"syntax = "proto3"; package bank.public.transaction;
message Envelope { Value before = 1; Value after = 2; Source source = 3; string op = 4; optional int64 ts_ms = 5;
  message Value { int64 id = 1; optional int64 account_id = 2; string booked_at = 3; string amount = 4; string currency = 5; optional string counterparty = 6; optional string description = 7; optional int32 mcc = 8; }
  message Source { string connector = 1; string name = 2; int64 ts_ms = 3; optional string snapshot = 4; string db = 5; optional string sequence = 6; string schema = 7; string table = 8; optional int64 lsn = 9; } }"#;

/// How a binary encoding writes a struct's fields, in order.
trait Encoding {
    fn int(&self, field: u8, n: i64, nullable: bool) -> Vec<u8>;
    fn text(&self, field: u8, text: &str, nullable: bool) -> Vec<u8>;
    fn null(&self) -> Vec<u8>;
    fn inner(&self, field: u8, parts: &[Vec<u8>], nullable: bool) -> Vec<u8>;
    /// What stands between the schema's id and the value.
    fn indexes(&self) -> &'static [u8];
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

struct Avro;

impl Avro {
    fn long(n: i64) -> Vec<u8> {
        varint(((n << 1) ^ (n >> 63)) as u64)
    }

    fn branch(nullable: bool, value: Vec<u8>) -> Vec<u8> {
        if nullable { [vec![2], value].concat() } else { value }
    }
}

impl Encoding for Avro {
    fn int(&self, _: u8, n: i64, nullable: bool) -> Vec<u8> {
        Avro::branch(nullable, Avro::long(n))
    }

    fn text(&self, _: u8, text: &str, nullable: bool) -> Vec<u8> {
        Avro::branch(nullable, [Avro::long(text.len() as i64), text.as_bytes().to_vec()].concat())
    }

    fn null(&self) -> Vec<u8> {
        vec![0]
    }

    fn inner(&self, _: u8, parts: &[Vec<u8>], nullable: bool) -> Vec<u8> {
        Avro::branch(nullable, parts.concat())
    }

    fn indexes(&self) -> &'static [u8] {
        &[]
    }
}

struct Protobuf;

impl Protobuf {
    fn sized(field: u8, bytes: &[u8]) -> Vec<u8> {
        [vec![field << 3 | 2], varint(bytes.len() as u64), bytes.to_vec()].concat()
    }
}

impl Encoding for Protobuf {
    fn int(&self, field: u8, n: i64, _: bool) -> Vec<u8> {
        [vec![field << 3], varint(n as u64)].concat()
    }

    fn text(&self, field: u8, text: &str, _: bool) -> Vec<u8> {
        Protobuf::sized(field, text.as_bytes())
    }

    fn null(&self) -> Vec<u8> {
        Vec::new()
    }

    fn inner(&self, field: u8, parts: &[Vec<u8>], _: bool) -> Vec<u8> {
        Protobuf::sized(field, &parts.concat())
    }

    fn indexes(&self) -> &'static [u8] {
        &[0]
    }
}

/// The transactions of [`support::transactions`] in a binary encoding.
fn binary(encoding: &dyn Encoding) -> Vec<Message> {
    let e = encoding;
    let frame =
        |id: u8, parts: &[Vec<u8>]| Some(Bytes::from([&[0, 0, 0, 0, id], e.indexes(), &parts.concat()].concat()));
    let row = |id: usize| {
        vec![
            e.int(1, id as i64, false),
            e.int(2, (id % 997) as i64, true),
            e.text(3, &format!("2026-01-01T00:{:02}:{:02}.123456Z", id / 60 % 60, id % 60), false),
            e.text(4, &format!("-{}.{:02}", id % 900, id % 100), false),
            e.text(5, "EUR", false),
            e.text(6, "REWE", true),
            e.text(7, &format!("REWE MARKT 1042 MÜNCHEN {id}"), true),
            e.int(8, 5411, true),
        ]
    };
    let source = |lsn: usize| {
        vec![
            e.text(1, "postgresql", false),
            e.text(2, "bank", false),
            e.int(3, 1_795_405_830_648, false),
            e.text(4, "false", true),
            e.text(5, "core", false),
            e.text(6, &format!("[\"{}\",\"{lsn}\"]", lsn - 56), true),
            e.text(7, "public", false),
            e.text(8, "transaction", false),
            e.int(9, lsn as i64, true),
        ]
    };
    let message = |mut message: Message, id: usize| {
        let (row, source) = (row(id), source(68_133_464 + id * 56));
        message.key = frame(1, &[e.int(1, id as i64, false)]);
        let (op, at) = (e.text(4, "c", false), e.int(5, 1_795_405_830_901, true));
        message.value = frame(2, &[e.null(), e.inner(2, &row, true), e.inner(3, &source, false), op, at]);
        message
    };
    support::transactions(false, 1, EVENTS).into_iter().zip(1..).map(|(plain, id)| message(plain, id)).collect()
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
