//! `consistency: transaction` with real parts: PostgreSQL → Debezium with its transaction topic → Kafka → the binary, which
//! is killed again and again → MongoDB, where a reader looks all the time and never sees a part of a transaction.

mod bank;
mod checks;
mod limits;
mod reader;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::e2e::runner::Runner;
use crate::e2e::services::Services;
use bank::Bank;
use reader::Reader;

/// Rows as the connector tells them, each a document.
pub const DIRECT: &str = "
  - mongodb: { uri: \"${MONGODB_URI}\", database: \"${WORLD}\" }
";

/// Documents that are computed from a raw store.
pub const THROUGH_RAW: &str = "
  - raw: { store: \"${RAW_STORE}\" }
  - document:
      root: account
      with:
        received: { table: payment, on: { receiver: id }, many: true }
        sent: { table: payment, on: { sender: id }, many: true }
      fields:
        balance: .balance
        received: { sum: received.amount }
        sent: { sum: sent.amount }
  - mongodb: { uri: \"${MONGODB_URI}\", database: \"${WORLD}\", collection: account }
";

#[test]
fn a_reader_sees_no_part_of_a_transaction_while_the_runner_is_killed() {
    live("tx_direct", DIRECT, |_| String::new());
}

#[test]
fn nor_of_documents_from_an_embedded_raw_store() {
    live("tx_embedded", THROUGH_RAW, |_| "bank".to_string());
}

#[test]
fn nor_of_documents_from_a_raw_store_on_mongodb() {
    live("tx_raw", THROUGH_RAW, |bank| bank.raw_store());
}

fn seconds(of: &str, otherwise: u64) -> Duration {
    let told = std::env::var(of).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(told.unwrap_or(otherwise))
}

#[test]
fn nor_while_the_connector_is_restarted() {
    run("tx_connector", DIRECT, |_| String::new(), |bank, _| bank.restart_connector());
}

fn live(test: &str, stages: &str, raw_store: impl Fn(&Bank) -> String) {
    run(test, stages, raw_store, |_, runner| {
        runner.kill();
        runner.start();
    });
}

/// Writes, looks, and lets something happen to the parts again and again; at the end all has to be equal.
pub fn run(test: &str, stages: &str, raw_store: impl Fn(&Bank) -> String, happens: impl Fn(&Bank, &mut Runner)) {
    let Some(services) = Services::from_env(test) else { return };
    let bank = Bank::open(services, test);
    let pipeline = bank.pipeline(stages);
    let env = [bank.env(), vec![("RAW_STORE".to_string(), raw_store(&bank))]].concat();
    let mut runner = Runner::new(bank.dir.path(), &pipeline, env);
    runner.start();
    let reader = Reader::open(&bank);
    reader.wait_for_load(&runner);
    let reader = reader.start();
    let mut random = StdRng::seed_from_u64(7);
    let writing = bank.write(seconds("HEADWATER_TEST_TX_SECONDS", 20));
    let mut times = 0;
    while !writing.is_finished() {
        std::thread::sleep(Duration::from_millis(random.gen_range(500..3_000)));
        happens(&bank, &mut runner);
        times += 1;
    }
    let written = writing.join().unwrap();
    let begun = Instant::now();
    let mut last = String::new();
    // The broker may first have to find out that a member is gone.
    while begun.elapsed() < Duration::from_secs(240) {
        last = bank.difference();
        if last.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(last, "", "it does not come to rest:\n{}", runner.log_tail());
    let at_rest = begun.elapsed();
    // A process that was started this moment has not yet said what it does with SIGTERM.
    std::thread::sleep(Duration::from_secs(2));
    let seen = reader.stop(&runner);
    assert_eq!(runner.terminate(Duration::from_secs(40)), Some(0), "{}", runner.log_tail());
    println!(
        "{test}: {written} transactions, {times} interruptions, at rest after {:.1} s; {} looks saw {} states",
        at_rest.as_secs_f64(),
        seen.looks,
        seen.states
    );
    assert!(times >= 2 && written > 200, "{times} interruptions, {written} transactions");
    assert!(seen.states > 20, "the reader saw only {} states in {} looks", seen.states, seen.looks);
    assert_eq!(bank.marked(), Vec::<String>::new(), "nothing was torn");
}
