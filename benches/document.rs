//! Documents per second and CPU-seconds per million of the `document` stage over the embedded raw store.
//!
//! `cargo bench --bench document` loads a seeded bank (2,000 customers, 10,000 accounts, 100,000 transactions, 5 % of them
//! refunds) into a store in a temporary folder and takes the transactions through the stage in batches of 2,000, as
//! re-deliveries: each record makes one document, from one snapshot per batch. Reading the store is part of the figure,
//! writing it is not. Then one change of a customer with the accounts' fan-out. CPU is that of the whole process.

// A bench may fail loudly and prints its result.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::pipeline::{Field, Flow, Section, TableFlow, parse};
use headwater::record::{Batch, Epoch, Kind, Op, Position, Record, Row, SourcePosition, TableSchema, Value};
use headwater::stage::{LaneContext, Stage};
use headwater::stores::Stores;

const CUSTOMERS: i64 = 2_000;
const ACCOUNTS: i64 = 10_000;
const TRANSACTIONS: i64 = 100_000;
const BATCH: usize = 2_000;

const TABLES: [(&str, &[(&str, &str)]); 3] = [
    ("customer", &[("id", "int64"), ("name", "text"), ("city", "text")]),
    ("account", &[("id", "int64"), ("customer_id", "int64"), ("iban", "text"), ("currency", "text")]),
    (
        "transaction",
        &[
            ("id", "int64"),
            ("account_id", "int64"),
            ("amount", "decimal(12,2)"),
            ("counterparty", "text"),
            ("refund_of", "int64"),
            ("booked_at", "timestamptz"),
        ],
    ),
];

const CASES: [(&str, &str); 4] = [
    ("root alone", "{ root: transaction, with: { r: { table: transaction, on: { refund_of: id }, many: true } }, fields: { amount: .amount, counterparty: .counterparty } }"),
    (
        "two to-one joins",
        "
root: transaction
with:
  account:  { table: account, on: { id: account_id } }
  customer: { table: customer, on: { id: account.customer_id } }
fields: { amount: .amount, counterparty: .counterparty, at: .booked_at, iban: .account.iban, customer.name: .customer.name }
",
    ),
    (
        "and an expression",
        "
root: transaction
with:
  account:  { table: account, on: { id: account_id } }
  customer: { table: customer, on: { id: account.customer_id } }
fields:
  amount: .amount
  counterparty: .counterparty
  at: .booked_at
  iban: .account.iban
  customer.name: .customer.name
  label: 'upcase(string!(.counterparty)) + \" \" + (string(.customer.city) ?? \"\")'
",
    ),
    (
        "and child sums",
        "
root: transaction
with:
  account:  { table: account, on: { id: account_id } }
  customer: { table: customer, on: { id: account.customer_id } }
  refunds:  { table: transaction, on: { refund_of: id }, many: true }
fields:
  amount: .amount
  counterparty: .counterparty
  iban: .account.iban
  customer.name: .customer.name
  refunds: { list: refunds, fields: { id: .id, amount: .amount }, limit: 10 }
  refunded: { sum: refunds.amount }
",
    ),
];

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let dir = tempfile::tempdir().unwrap();
    let stores = Arc::new(Stores::new(dir.path()));
    let lane = LaneContext {
        pipeline: "bench".into(),
        lane: 0,
        lanes: 1,
        batch: Default::default(),
        data_dir: dir.path().into(),
        stores: stores.clone(),
        shutdown: Default::default(),
        until_end: true,
        state: "state".into(),
        accepted: Default::default(),
    };
    // All stages first: indexes are cheaper before the rows.
    let mut stages = Vec::new();
    for (name, yaml) in CASES {
        let mut stage = planned(yaml);
        stage.open(&lane).await.unwrap();
        stages.push((name, stage));
    }
    let store = stores.get("bank").await.unwrap();
    let bank = bank();
    for chunk in bank.chunks(BATCH) {
        store.apply(chunk.to_vec()).await.unwrap();
    }
    let transactions: Vec<Record> = bank.iter().filter(|r| &*r.table == "transaction").cloned().collect();
    println!("{:<28} {:>10} {:>12} {:>14}", "document", "documents", "documents/s", "CPU-s/million");
    for (name, stage) in &mut stages {
        let batches: Vec<Vec<Record>> = transactions.chunks(BATCH).map(<[Record]>::to_vec).collect();
        measure(name, stage, batches).await;
    }
    let customer: Vec<Record> = bank.iter().filter(|r| &*r.table == "customer").take(400).cloned().collect();
    let batches = customer.chunks(20).map(<[Record]>::to_vec).collect();
    measure("20 customers a batch", &mut stages[1].1, batches).await;
}

async fn measure(name: &str, stage: &mut Box<dyn Stage>, batches: Vec<Vec<Record>>) {
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut documents = 0;
    for records in batches {
        let batch = stage.process(Batch { records, ..Batch::default() }).await.unwrap();
        assert!(batch.rejects.is_empty(), "{:?}", batch.rejects.first());
        documents += batch.records.len();
    }
    let (wall, cpu) = (start.elapsed().as_secs_f64(), (cpu_time() - cpu).as_secs_f64());
    let million = documents as f64 / 1e6;
    println!("{name:<28} {documents:>10} {:>12.0} {:>14.2}", documents as f64 / wall, cpu / million);
}

/// User and system time of this process (`/proc/self/stat`, in ticks of 10 ms).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn planned(yaml: &str) -> Box<dyn Stage> {
    let field = |(name, kind): &(&str, &str)| Field {
        name: name.to_string(),
        kind: kind.parse().unwrap(),
        origin: Vec::new(),
        tags: Vec::new(),
    };
    let table = |columns: &[(&str, &str)]| TableFlow {
        fields: columns.iter().map(field).collect(),
        open: false,
        nested: false,
        key: vec!["id".to_string()],
    };
    let stored = TABLES.iter().map(|(name, columns)| (name.to_string(), table(columns))).collect();
    let node = parse(yaml).unwrap();
    let mut section = Section::new(&node);
    let mut stage = headwater::stages::document::make(&mut section);
    assert_eq!(section.finish(), []);
    stage.plan(Flow { stored, store: Some("bank".into()), ..Flow::default() }).unwrap();
    stage
}

/// The rows of the bank, as their topics would bring them.
fn bank() -> Vec<Record> {
    let schemas: Vec<Arc<TableSchema>> = TABLES
        .iter()
        .map(|(_, columns)| columns.iter().map(|(n, k)| (*n, k.parse::<Kind>().unwrap())))
        .map(|columns| Arc::new(TableSchema::new(columns)))
        .collect();
    let key = Arc::new(TableSchema::new([("id", Kind::Int64)]));
    let record = |table: usize, id: i64, values: Vec<Value>| Record {
        table: TABLES[table].0.into(),
        op: Op::Read,
        key: Row::new(key.clone(), vec![Value::Int(id)]),
        row: Some(Row::new(schemas[table].clone(), values)),
        patch: None,
        before: None,
        position: Position {
            topic: TABLES[table].0.into(),
            epoch: Epoch::default(),
            partition: 0,
            offset: id,
            source: SourcePosition::Unknown,
        },
        version: id as u64 + 1,
        changed_at: None,
        snapshot: Default::default(),
        origin: 0,
    };
    let text = |text: String| Value::text(text);
    let customers = (0..CUSTOMERS).map(|id| {
        record(0, id, vec![Value::Int(id), text(format!("Customer {id}")), text(format!("City {}", id % 90))])
    });
    let accounts = (0..ACCOUNTS).map(|id| {
        let iban = text(format!("DE{:020}", id * 7_919));
        record(1, id, vec![Value::Int(id), Value::Int(id % CUSTOMERS), iban, "EUR".into()])
    });
    let transactions = (0..TRANSACTIONS).map(|id| {
        let amount = format!("{}.{:02}", id * 37 % 900 - 450, id % 100).parse().unwrap();
        let refund_of = if id % 20 == 19 { Value::Int(id - 7) } else { Value::Null };
        let at = headwater::record::Timestamp { secs: 1_700_000_000 + id * 61, nanos: 0 };
        let counterparty = text(format!("Merchant {} of some city", id * 31 % 4_000));
        let account = Value::Int(id * 13 % ACCOUNTS);
        record(
            2,
            id,
            vec![Value::Int(id), account, Value::Decimal(amount), counterparty, refund_of, Value::TimestampTz(at)],
        )
    });
    customers.chain(accounts).chain(transactions).collect()
}
