//! Input for the benches: change events of a bank's transactions as Debezium's JSON converter writes them, eight columns
//! each, without or with the schema embedded, and the records that they become.
//!
//! Invariant: the same arguments give the same bytes.

// Each bench uses its part.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use bytes::Bytes;
use headwater::cdc::{Config, Decoder, Event};
use headwater::record::{Epoch, Message, Record};
use headwater::stage::LaneContext;
use headwater::stores::Stores;

/// Counterparties and what stands on the statement before a number.
const MERCHANTS: [(&str, &str); 6] = [
    ("REWE", "REWE SAGT DANKE MÜNCHEN"),
    ("Shell Deutschland", "SHELL HAMBURG"),
    ("Deutsche Bahn", "DB VERTRIEB GMBH"),
    ("Apotheke am Markt", "APOTHEKE AM MARKT LEIPZIG"),
    ("Spotify", "SPOTIFY P"),
    ("Stadtwerke", "ABSCHLAG STROM KUNDE"),
];

/// Creations of the rows `from` to `from + count - 1`.
pub fn transactions(with_schema: bool, from: usize, count: usize) -> Vec<Message> {
    let topic: Arc<str> = "bank.public.transaction".into();
    let wrap = |schema: &str, payload: String| match with_schema {
        true => Some(Bytes::from(format!(r#"{{"schema":{schema},"payload":{payload}}}"#))),
        false => Some(Bytes::from(payload)),
    };
    let message = |id: usize| Message {
        topic: topic.clone(),
        epoch: Epoch::default(),
        partition: 0,
        offset: id as i64,
        timestamp_ms: None,
        key: wrap(KEY_SCHEMA, format!(r#"{{"id":{id}}}"#)),
        value: wrap(SCHEMA, envelope(id)),
        headers: Vec::new(),
    };
    (from..from + count).map(message).collect()
}

fn envelope(id: usize) -> String {
    let (lsn, before) = (68_133_464 + id * 56, 68_133_408 + id * 56);
    let (account, minute, second, cents) = (id % 997, id / 60 % 60, id % 60, id % 100);
    let (euros, txid) = (id % 900, id + 700);
    let (counterparty, text) = MERCHANTS.get(id % MERCHANTS.len()).unwrap();
    format!(
        r#"{{"before":null,"after":{{"id":{id},"account_id":{account},"booked_at":"2026-01-01T00:{minute:02}:{second:02}.123456Z","amount":"-{euros}.{cents:02}","currency":"EUR","counterparty":"{counterparty}","description":"{text} {id}","mcc":5411}},"source":{{"version":"3.6.0.Final","connector":"postgresql","name":"bank","ts_ms":1795405830648,"snapshot":"false","db":"core","sequence":"[\"{before}\",\"{lsn}\"]","ts_us":1795405830648123,"ts_ns":1795405830648123000,"schema":"public","table":"transaction","txId":{txid},"lsn":{lsn},"xmin":null,"origin":null,"origin_lsn":null}},"transaction":null,"op":"c","ts_ms":1795405830901,"ts_us":1795405830901552,"ts_ns":1795405830901552000}}"#
    )
}

/// A lane of a pipeline that reads nothing.
pub fn lane() -> LaneContext {
    LaneContext {
        pipeline: "bench".into(),
        lane: 0,
        lanes: 1,
        batch: Default::default(),
        data_dir: ".".into(),
        stores: Arc::new(Stores::new(".")),
        shutdown: Default::default(),
        until_end: true,
        state: "state".into(),
        accepted: Default::default(),
    }
}

/// Decodes all of them into `records`; a benchmark that cannot read its input shall fail loudly.
pub fn decode(decoder: &mut Decoder, messages: &[Message], records: &mut Vec<Record>) {
    for (origin, message) in messages.iter().enumerate() {
        match decoder.decode(message, u32::try_from(origin).unwrap()) {
            Ok(Event::Change(record)) => records.push(record),
            Ok(Event::Control(_)) => {}
            Err(fault) => panic!("{fault:?}"),
        }
    }
}

/// The records of creations.
pub fn records(from: usize, count: usize) -> Vec<Record> {
    let mut records = Vec::with_capacity(count);
    decode(&mut Decoder::new(Config::default()), &transactions(false, from, count), &mut records);
    records
}

const KEY_SCHEMA: &str = r#"{"type":"struct","fields":[{"type":"int64","optional":false,"default":0,"field":"id"}],"optional":false,"name":"bank.public.transaction.Key"}"#;

const SCHEMA: &str = r#"{"type":"struct","fields":[{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"},{"type":"int64","optional":true,"field":"account_id"},{"type":"string","optional":false,"name":"io.debezium.time.ZonedTimestamp","version":1,"field":"booked_at"},{"type":"string","optional":false,"field":"amount"},{"type":"string","optional":false,"field":"currency"},{"type":"string","optional":true,"field":"counterparty"},{"type":"string","optional":true,"field":"description"},{"type":"int32","optional":true,"field":"mcc"}],"optional":true,"name":"bank.public.transaction.Value","field":"before"},{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"},{"type":"int64","optional":true,"field":"account_id"},{"type":"string","optional":false,"name":"io.debezium.time.ZonedTimestamp","version":1,"field":"booked_at"},{"type":"string","optional":false,"field":"amount"},{"type":"string","optional":false,"field":"currency"},{"type":"string","optional":true,"field":"counterparty"},{"type":"string","optional":true,"field":"description"},{"type":"int32","optional":true,"field":"mcc"}],"optional":true,"name":"bank.public.transaction.Value","field":"after"},{"type":"struct","fields":[{"type":"string","optional":false,"field":"version"},{"type":"string","optional":false,"field":"connector"},{"type":"string","optional":false,"field":"name"},{"type":"int64","optional":false,"field":"ts_ms"},{"type":"string","optional":true,"name":"io.debezium.data.Enum","version":1,"parameters":{"allowed":"true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},"default":"false","field":"snapshot"},{"type":"string","optional":false,"field":"db"},{"type":"string","optional":true,"field":"sequence"},{"type":"int64","optional":true,"field":"ts_us"},{"type":"int64","optional":true,"field":"ts_ns"},{"type":"string","optional":false,"field":"schema"},{"type":"string","optional":false,"field":"table"},{"type":"int64","optional":true,"field":"txId"},{"type":"int64","optional":true,"field":"lsn"},{"type":"int64","optional":true,"field":"xmin"}],"optional":false,"name":"io.debezium.connector.postgresql.Source","version":1,"field":"source"},{"type":"string","optional":false,"field":"op"},{"type":"int64","optional":true,"field":"ts_ms"}],"optional":false,"name":"bank.public.transaction.Envelope","version":2}"#;
