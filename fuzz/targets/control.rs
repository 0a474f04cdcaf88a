//! Topics that carry no rows: transactions, notifications, schema changes, signals, messages; and heartbeats, whose topic
//! alone says so.
#![no_main]

use headwater_fuzz::cdc::{Config, Decoder};
use headwater_fuzz::check::Feed;
use libfuzzer_sys::fuzz_target;

const LESSON: &[u8] = include_bytes!("../seeds/control/transaction-end");

fuzz_target!(|input: &[u8]| {
    let decoder = || Decoder::new(Config { signal_table: Some("signal".into()), ..Config::default() });
    for topic in ["bank.transaction", "__debezium-heartbeat.bank"] {
        Feed { topic, ..Feed::default() }.decode(decoder, LESSON, input);
    }
});
