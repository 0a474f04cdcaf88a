//! Parts of the hot path that have no bench of their own elsewhere: which position is newer, BSON, and reading a raw store;
//! and the way of a record without a raw store and without I/O in one piece. Of allocations, a record may have two there:
//! its values, and what librdkafka's binding makes for each message that it hands out (which is not seen here).
//!
//! `cargo bench --bench micro`. Where an iteration handles 1,000 records or keys, `µs` are ns a piece.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use headwater::pipeline::{Flow, Section, parse};
use headwater::record::{Batch, Row, supersedes};
use headwater::stage::{Stage, StageFactory};
use headwater::stores::{SharedStore, Snapshot, Stores};
use tokio::runtime::Runtime;

mod support;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const PIECES: usize = 1_000;
/// Rows in the raw store.
const STORED: usize = 100_000;

fn main() {
    divan::main();
}

/// Positions of one partition, then of two (the source's log decides).
#[divan::bench(args = [false, true])]
fn newer_position(bencher: Bencher, moved: bool) {
    let records = support::records(1, PIECES);
    let mut later = records.clone();
    later.iter_mut().for_each(|r| r.position.partition += i32::from(moved));
    bencher.counter(ItemsCount::new(PIECES)).bench_local(|| {
        for (old, new) in records.iter().zip(later.iter().rev()) {
            black_box(supersedes(black_box(&old.position), black_box(&new.position)));
        }
    });
}

/// From records to the bytes of documents, folded by key.
#[divan::bench]
fn encode_bson(bencher: Bencher) {
    let records = support::records(1, PIECES);
    bencher
        .counter(ItemsCount::new(PIECES))
        .bench_local(|| headwater::sinks::mongodb::encoded_bytes(black_box(&records)));
}

/// debezium → categorize → documents as a batch of 1,000 events takes it; rules alone, then the shipped model.
#[divan::bench(args = ["benches/compare/rules", "models/spending"])]
fn decode_categorize_encode(bencher: Bencher, model: &str) {
    let categorize = format!("{{ table: transaction, model: {model}, text: [description], add: category }}");
    let runtime = Runtime::new().unwrap();
    let mut stages = [
        runtime.block_on(opened(headwater::stages::debezium::make, "{}")),
        runtime.block_on(opened(headwater::stages::categorize::make, &categorize)),
    ];
    let messages = support::transactions(false, 1, PIECES);
    let batch = || Batch::from_messages(messages.clone());
    bencher.counter(ItemsCount::new(PIECES)).with_inputs(batch).bench_local_values(|mut batch| {
        for stage in &mut stages {
            batch = runtime.block_on(stage.process(batch)).unwrap();
        }
        assert_eq!(batch.records.len(), PIECES);
        (headwater::sinks::mongodb::encoded_bytes(&batch.records), batch)
    });
}

async fn opened(make: StageFactory, yaml: &str) -> Box<dyn Stage> {
    let node = parse(yaml).unwrap();
    let mut stage = make(&mut Section::new(&node));
    stage.plan(Flow { open: true, ..Flow::default() }).unwrap();
    stage.open(&support::lane()).await.unwrap();
    stage
}

/// Rows by key: neighbours, then strewn over the whole table.
#[divan::bench(args = [1, 97])]
fn raw_get(bencher: Bencher, stride: usize) {
    let stored = Stored::new();
    let keys: Vec<Row> = (0..PIECES).map(|i| stored.keys[i * stride].clone()).collect();
    bencher.counter(ItemsCount::new(PIECES)).bench_local(|| {
        stored.runtime.block_on(async {
            let mut snapshot = stored.snapshot().await;
            assert!(snapshot.get("transaction", &keys).await.unwrap().iter().all(Option::is_some));
        });
    });
}

/// Rows in key order, a page at a time.
#[divan::bench]
fn raw_scan(bencher: Bencher) {
    let stored = Stored::new();
    bencher.counter(ItemsCount::new(PIECES)).bench_local(|| {
        stored.runtime.block_on(async {
            let mut snapshot = stored.snapshot().await;
            let rows = snapshot.scan("transaction", Some(&stored.keys[STORED / 2]), PIECES).await.unwrap();
            assert_eq!(rows.len(), PIECES);
        });
    });
}

/// An embedded store with [`STORED`] transactions.
struct Stored {
    runtime: Runtime,
    store: SharedStore,
    keys: Vec<Row>,
    _directory: tempfile::TempDir,
}

impl Stored {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let records = support::records(1, STORED);
        let keys = records.iter().map(|r| r.key.clone()).collect();
        let store = runtime.block_on(async {
            let store = Arc::new(Stores::new(directory.path())).get("bank").await.unwrap();
            for batch in records.chunks(10_000) {
                store.apply(batch.to_vec()).await.unwrap();
            }
            store
        });
        Stored { runtime, store, keys, _directory: directory }
    }

    async fn snapshot(&self) -> Box<dyn Snapshot> {
        self.store.snapshot().await.unwrap()
    }
}
