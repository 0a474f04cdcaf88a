//! The hot paths as work to be counted in instructions: `check` beside this file runs them under valgrind and compares
//! with `baseline.tsv`.
//!
//! `instructions CASE ROUNDS` prepares all rounds, then works through the first ROUNDS of them; what a round costs is the
//! difference between two runs of different ROUNDS, so that preparation, start and the first round's caches do not count.
//! Instructions of one binary hardly vary from run to run, whatever else the machine does: that is why they are counted
//! and not the time.
//!
//! Lacks: caches and branches. Time is measured by the other benches and by `benches/compare`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use headwater::cdc::{Config, Decoder};
use headwater::pipeline::{Flow, Section, parse};
use headwater::record::{Batch, Message, Record};
use headwater::stage::Stage;
use headwater::stores::{RawStore, Stores};

#[path = "../support/mod.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As `check` knows them.
const EVENTS: usize = 500;
const ROUNDS: usize = 12;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [case, rounds] = arguments.as_slice() else {
        println!("run benches/instructions/check");
        return;
    };
    let rounds: usize = rounds.parse().unwrap();
    assert!(rounds <= ROUNDS);
    match case.as_str() {
        "decode" => decode(false, rounds),
        "decode-with-schema" => decode(true, rounds),
        "categorize-rules" => categorize("benches/compare/rules", rounds),
        "categorize-model" => categorize("models/spending", rounds),
        "encode-bson" => encode(rounds),
        "raw-put" => raw_put(rounds),
        _ => panic!("there is no case {case}"),
    }
}

/// Something made for each round, with ids of its own.
fn of_each_round<T>(make: impl Fn(usize) -> T) -> Vec<T> {
    (0..ROUNDS).map(|round| make(round * EVENTS)).collect()
}

fn decode(with_schema: bool, rounds: usize) {
    let messages: Vec<Vec<Message>> = of_each_round(|from| support::transactions(with_schema, from, EVENTS));
    let mut decoder = Decoder::new(Config::default());
    let mut records = Vec::with_capacity(EVENTS);
    for messages in messages.iter().take(rounds) {
        records.clear();
        support::decode(&mut decoder, messages, &mut records);
    }
}

fn categorize(model: &str, rounds: usize) {
    let text = match model {
        "models/spending" => "[counterparty, description]",
        _ => "[description]",
    };
    let yaml = format!("{{ table: transaction, model: {model}, text: {text}, add: category }}");
    let node = parse(&yaml).unwrap();
    let mut stage = headwater::stages::categorize::make(&mut Section::new(&node));
    stage.plan(Flow { open: true, ..Flow::default() }).unwrap();
    let batches: Vec<Batch> =
        of_each_round(|from| Batch { records: support::records(from, EVENTS), ..Batch::default() });
    runtime().block_on(async {
        stage.open(&support::lane()).await.unwrap();
        for batch in batches.into_iter().take(rounds) {
            assert_eq!(work(&mut stage, batch).await.records.len(), EVENTS);
        }
    });
}

async fn work(stage: &mut Box<dyn Stage>, batch: Batch) -> Batch {
    stage.process(batch).await.unwrap()
}

fn encode(rounds: usize) {
    let batches: Vec<Vec<Record>> = of_each_round(|from| support::records(from, EVENTS));
    for records in batches.iter().take(rounds) {
        assert!(headwater::sinks::mongodb::encoded_bytes(records) > EVENTS * 100);
    }
}

fn raw_put(rounds: usize) {
    let directory = tempfile::tempdir().unwrap();
    let batches: Vec<Vec<Record>> = of_each_round(|from| support::records(from, EVENTS));
    runtime().block_on(async {
        let store = Stores::new(directory.path()).get("bank").await.unwrap();
        for records in batches.into_iter().take(rounds) {
            assert_eq!(put(&*store, records).await, EVENTS);
        }
    });
}

async fn put(store: &dyn RawStore, records: Vec<Record>) -> usize {
    store.apply(records).await.unwrap().records.len()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
