//! Law 3 as a property: whatever the schedule, the documents at rest equal a plain fold of the log.
//!
//! A schedule is a list of moves over a log of three tables: lanes read batches of any size in any order of their
//! partitions and advance step by step (raw store, documents, sink, commit), interleaved with each other; a lane or the
//! whole process loses everything that is not durable between any two steps; committed positions go back; partitions
//! change lanes while the old lane still holds a batch; the log itself repeats suffixes at new offsets. Rows move between
//! parents, are deleted and come back. The raw store, the document stage and the sink are the real ones.
//!
//! The oracle shares no code with the product: a fold into maps and nested loops over them.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use headwater::pipeline::{Field, Flow, Section, TableFlow, parse};
use headwater::record::{Batch, Epoch, Op, Position, Record, Row, SourcePosition, Value};
use headwater::stage::{LaneContext, Stage, StageFactory};
use headwater::stores::Stores;
use proptest::prelude::*;

const LANES: usize = 2;
/// Partitions of each topic.
const PARTITIONS: usize = 2;
const TABLES: [&str; 3] = ["customer", "account", "transaction"];
const COLUMNS: [&[(&str, &str)]; 3] = [
    &[("id", "int64"), ("name", "text")],
    &[("id", "int64"), ("customer_id", "int64"), ("number", "text")],
    &[
        ("id", "int64"),
        ("account_id", "int64"),
        ("account_number", "text"),
        ("refund_of", "int64"),
        ("amount", "decimal(12,2)"),
    ],
];

/// One document per transaction: a key join, a join of a join, a join by another column, children of its own table.
const TRANSACTIONS: &str = "
root: transaction
with:
  account:  { table: account, on: { id: account_id } }
  customer: { table: customer, on: { id: account.customer_id } }
  named:    { table: account, on: { number: account_number } }
  owner:    { table: customer, on: { id: named.customer_id } }
  refunds:  { table: transaction, on: { refund_of: id }, many: true }
fields:
  amount: .amount
  customer: .customer.name
  owner: .owner.name
  loud: 'upcase(string(.customer.name) ?? \"nobody\")'
  refunds: { list: refunds, fields: { id: .id }, order: [-amount], limit: 2 }
  refunded: { sum: refunds.amount }
into: transactions
";

/// One document per customer, with children that are reached through a second table's rows only.
const ACCOUNTS: &str = "
root: account
with:
  customer: { table: customer, on: { id: customer_id } }
  booked:   { table: transaction, on: { account_id: id }, many: true }
fields:
  customer: .customer.name
  count: { count: booked }
  sum: { sum: booked.amount }
  largest: { max: booked.amount }
into: accounts
";

// ---- the log ----

/// A row of any of the tables. Links are small numbers, so that rows meet, part and meet again.
#[derive(Debug, Clone, PartialEq)]
enum Content {
    Customer { name: u8 },
    Account { customer: i64, number: u8 },
    Transaction { account: i64, number: u8, refund_of: Option<i64>, cents: i64 },
}

#[derive(Debug, Clone)]
struct Change {
    table: usize,
    key: i64,
    /// `None`: a delete.
    content: Option<Content>,
}

impl Change {
    fn partition(&self) -> usize {
        self.key as usize % PARTITIONS
    }

    fn record(&self, offset: i64) -> Record {
        let text = |prefix: &str, n: &u8| Value::text(format!("{prefix}{n}"));
        let id = ("id", Value::Int(self.key));
        let row = self.content.as_ref().map(|content| match content {
            Content::Customer { name } => Row::of([id.clone(), ("name", text("c", name))]),
            Content::Account { customer, number } => {
                Row::of([id.clone(), ("customer_id", Value::Int(*customer)), ("number", text("n", number))])
            }
            Content::Transaction { account, number, refund_of, cents } => Row::of([
                id.clone(),
                ("account_id", Value::Int(*account)),
                ("account_number", text("n", number)),
                ("refund_of", refund_of.map_or(Value::Null, Value::Int)),
                ("amount", Value::Decimal(euros(*cents).parse().unwrap())),
            ]),
        });
        Record {
            table: TABLES[self.table].into(),
            op: if row.is_some() { [Op::Read, Op::Create, Op::Update][offset as usize % 3] } else { Op::Delete },
            key: Row::of([id]),
            row,
            patch: None,
            before: None,
            position: Position {
                topic: TABLES[self.table].into(),
                epoch: Epoch::default(),
                partition: self.partition() as i32,
                offset,
                source: SourcePosition::Unknown,
            },
            version: offset as u64 + 1,
            changed_at: None,
            snapshot: Default::default(),
            origin: 0,
        }
    }
}

fn euros(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

fn change() -> impl Strategy<Value = Change> {
    let customer = (0..3i64, 0..3u8).prop_map(|(key, name)| (0, key, Content::Customer { name }));
    let account =
        (0..4i64, 0..3i64, 0..3u8).prop_map(|(key, customer, number)| (1, key, Content::Account { customer, number }));
    let refund = prop::option::weighted(0.6, 0..6i64);
    let transaction =
        (0..6i64, 0..4i64, 0..3u8, refund, -500..500i64).prop_map(|(key, account, number, refund_of, cents)| {
            (2, key, Content::Transaction { account, number, refund_of, cents })
        });
    let put = prop_oneof![1 => customer, 2 => account, 4 => transaction];
    (put, prop::bool::weighted(0.75)).prop_map(|((table, key, content), live)| Change {
        table,
        key,
        content: live.then_some(content),
    })
}

/// Every partition's changes; the offset of a change is its index. A connector that comes back repeats a suffix.
type Log = BTreeMap<(usize, usize), Vec<Change>>;

fn log(changes: &[Change], repeats: &[(prop::sample::Index, usize)]) -> Log {
    let mut log = Log::new();
    let mut pending: VecDeque<(usize, usize)> =
        repeats.iter().map(|(at, count)| (at.index(changes.len().max(1)), *count)).collect();
    pending.make_contiguous().sort_unstable();
    for (i, change) in changes.iter().enumerate() {
        log.entry((change.table, change.partition())).or_default().push(change.clone());
        while pending.front().is_some_and(|(at, _)| *at <= i) {
            let (_, count) = pending.pop_front().unwrap();
            for partition in log.values_mut() {
                let suffix = partition[partition.len().saturating_sub(count)..].to_vec();
                partition.extend(suffix);
            }
        }
    }
    log
}

// ---- the oracle ----

/// The documents that the log means, as JSON text by `table/id`. `zero` is the sum of nothing.
fn expected(log: &Log, zero: &str) -> BTreeMap<String, String> {
    let mut rows: BTreeMap<(usize, i64), Content> = BTreeMap::new();
    for change in log.values().flatten() {
        match &change.content {
            Some(content) => _ = rows.insert((change.table, change.key), content.clone()),
            None => _ = rows.remove(&(change.table, change.key)),
        }
    }
    let customers: BTreeMap<i64, u8> = rows
        .iter()
        .filter_map(|((_, k), c)| match c {
            Content::Customer { name } => Some((*k, *name)),
            _ => None,
        })
        .collect();
    let accounts: BTreeMap<i64, (i64, u8)> = rows
        .iter()
        .filter_map(|((_, k), c)| match c {
            Content::Account { customer, number } => Some((*k, (*customer, *number))),
            _ => None,
        })
        .collect();
    let transactions: BTreeMap<i64, (i64, u8, Option<i64>, i64)> = rows
        .iter()
        .filter_map(|((_, k), c)| match c {
            Content::Transaction { account, number, refund_of, cents } => {
                Some((*k, (*account, *number, *refund_of, *cents)))
            }
            _ => None,
        })
        .collect();
    let name = |customer: Option<i64>| customer.and_then(|c| customers.get(&c)).map(|n| format!("c{n}"));
    let sum = |cents: &[i64]| if cents.is_empty() { zero.to_string() } else { euros(cents.iter().sum()) };
    let json = |text: Option<String>| text.map_or("null".to_string(), |t| format!("\"{t}\""));
    let mut documents = BTreeMap::new();
    for (id, (account, number, _, cents)) in &transactions {
        let customer = name(accounts.get(account).map(|a| a.0));
        let owner = name(accounts.values().find(|a| a.1 == *number).map(|a| a.0));
        let mut refunds: Vec<(i64, i64)> =
            transactions.iter().filter(|(_, t)| t.2 == Some(*id)).map(|(k, t)| (*k, t.3)).collect();
        let refunded: Vec<i64> = refunds.iter().map(|r| r.1).collect();
        refunds.sort_by_key(|(key, cents)| (-cents, *key));
        let listed: Vec<String> = refunds.iter().take(2).map(|r| format!("{{\"id\":{}}}", r.0)).collect();
        documents.insert(
            format!("transactions/{id}"),
            format!(
                "{{\"amount\":{},\"customer\":{},\"owner\":{},\"loud\":\"{}\",\"refunds\":[{}],\"refunded\":{}}}",
                euros(*cents),
                json(customer.clone()),
                json(owner),
                customer.map_or("NOBODY".to_string(), |c| c.to_uppercase()),
                listed.join(","),
                sum(&refunded),
            ),
        );
    }
    for (id, (customer, _)) in &accounts {
        let booked: Vec<i64> = transactions.values().filter(|t| t.0 == *id).map(|t| t.3).collect();
        documents.insert(
            format!("accounts/{id}"),
            format!(
                "{{\"customer\":{},\"count\":{},\"sum\":{},\"largest\":{}}}",
                json(name(Some(*customer))),
                booked.len(),
                sum(&booked),
                booked.iter().max().map_or("null".to_string(), |c| euros(*c)),
            ),
        );
    }
    documents
}

// ---- the machine ----

/// One move of a schedule.
#[derive(Debug, Clone)]
enum Move {
    /// A lane takes its next steps. `take` and `turn` say how much it reads and where it starts.
    Step { lane: usize, steps: usize, take: usize, turn: usize },
    /// A lane fails and is built again.
    LoseLane(usize),
    /// The process is killed.
    Kill,
    /// A partition's committed position goes back, and its lane starts from there.
    Rewind { table: usize, partition: usize, by: usize },
    /// Partitions change lanes; the old lanes do not know yet.
    Rebalance,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    // Up to two rounds of one lane in a row, so that one lane overtakes what another one still holds.
    let step = (0..LANES, 1..10usize, 1..7usize, 0..6usize).prop_map(|(lane, steps, take, turn)| Move::Step {
        lane,
        steps,
        take,
        turn,
    });
    let rewind = (0..TABLES.len(), 0..PARTITIONS, 1..8usize).prop_map(|(table, partition, by)| Move::Rewind {
        table,
        partition,
        by,
    });
    let one = prop_oneof![
        20 => step,
        2 => (0..LANES).prop_map(Move::LoseLane),
        1 => Just(Move::Kill),
        2 => rewind,
        2 => Just(Move::Rebalance),
    ];
    prop::collection::vec(one, 0..60)
}

/// What a lane holds between two steps.
enum Held {
    Nothing,
    /// Read: positions behind the batch, and its records.
    Read(Positions, Vec<Record>),
    /// In the raw store.
    Stored(Positions, Vec<Record>),
    /// Documents made.
    Made(Positions, Vec<Batch>),
    /// Documents written.
    Written(Positions),
}

type Positions = BTreeMap<(usize, usize), usize>;

struct Lane {
    raw: Box<dyn Stage>,
    documents: Vec<Box<dyn Stage>>,
    sink: Box<dyn Stage>,
    held: Held,
    /// Where it reads on.
    next: Positions,
}

struct Machine<'a> {
    log: &'a Log,
    dir: &'a Path,
    /// The raw store: a name in `dir`, or a URI.
    bank: &'a str,
    stores: Arc<Stores>,
    lanes: Vec<Lane>,
    committed: Positions,
    /// Which lane owns a partition: all topics' partition p belong to lane (p + turn) modulo lanes.
    turn: usize,
    /// Whether the tables are declared; else keys and kinds show at run time only.
    declared: bool,
}

impl<'a> Machine<'a> {
    async fn start(log: &'a Log, dir: &'a Path, bank: &'a str, declared: bool) -> Machine<'a> {
        let stores = Arc::new(Stores::new(dir));
        let mut machine =
            Machine { log, dir, bank, stores, lanes: Vec::new(), committed: Positions::new(), turn: 0, declared };
        machine.restart().await;
        machine
    }

    /// Everything that is not durable is lost.
    async fn restart(&mut self) {
        self.lanes.clear();
        self.stores = Arc::new(Stores::new(self.dir));
        for number in 0..LANES {
            let lane = self.lane(number).await;
            self.lanes.push(lane);
        }
    }

    async fn lane(&self, number: usize) -> Lane {
        let context = LaneContext {
            pipeline: "replay".into(),
            lane: number,
            lanes: LANES,
            batch: Default::default(),
            data_dir: self.dir.into(),
            stores: self.stores.clone(),
            shutdown: Default::default(),
            until_end: true,
            state: "state".into(),
            accepted: Default::default(),
        };
        let mut raw = planned(headwater::stages::raw::make, &yaml_text(self.bank), self.flow(None));
        raw.open(&context).await.unwrap();
        let mut documents = Vec::new();
        for yaml in [TRANSACTIONS, ACCOUNTS] {
            let mut stage = planned(headwater::stages::document::make, yaml, self.flow(Some(self.bank)));
            stage.open(&context).await.unwrap();
            documents.push(stage);
        }
        let mut sink = planned(headwater::sinks::sqlite::make, "path: documents.db", self.flow(Some(self.bank)));
        sink.open(&context).await.unwrap();
        Lane { raw, documents, sink, held: Held::Nothing, next: self.owned(number) }
    }

    /// What flows into a stage.
    fn flow(&self, store: Option<&str>) -> Flow {
        let store = store.map(str::to_string);
        if !self.declared {
            return Flow { open: true, store, ..Flow::default() };
        }
        let tables = TABLES.iter().zip(COLUMNS).map(|(name, columns)| (name.to_string(), declared(columns)));
        Flow { stored: tables.collect(), store, ..Flow::default() }
    }

    /// The partitions of a lane at their committed positions.
    fn owned(&self, lane: usize) -> Positions {
        let partitions = self.log.keys().filter(|(_, partition)| (partition + self.turn) % LANES == lane);
        partitions.map(|p| (*p, self.committed.get(p).copied().unwrap_or(0))).collect()
    }

    async fn make(&mut self, step: &Move) {
        match step {
            Move::Step { lane, steps, take, turn } => {
                for _ in 0..*steps {
                    self.step(*lane, *take, *turn).await;
                }
            }
            Move::LoseLane(lane) => self.lanes[*lane] = self.lane(*lane).await,
            Move::Kill => self.restart().await,
            Move::Rewind { table, partition, by } => {
                if let Some(position) = self.committed.get_mut(&(*table, *partition)) {
                    *position = position.saturating_sub(*by);
                }
                let lane = (partition + self.turn) % LANES;
                self.lanes[lane] = self.lane(lane).await;
            }
            Move::Rebalance => {
                self.turn += 1;
                for lane in 0..LANES {
                    self.lanes[lane].next = self.owned(lane);
                }
            }
        }
    }

    async fn step(&mut self, number: usize, take: usize, turn: usize) {
        let held = std::mem::replace(&mut self.lanes[number].held, Held::Nothing);
        let lane = &mut self.lanes[number];
        lane.held = match held {
            Held::Nothing => read(self.log, &mut lane.next, take, turn),
            Held::Read(positions, records) => {
                let batch = lane.raw.process(Batch { records, ..Batch::default() }).await.unwrap();
                assert_eq!(batch.rejects, []);
                Held::Stored(positions, batch.records)
            }
            Held::Stored(positions, records) => {
                let mut batches = Vec::new();
                for stage in &mut lane.documents {
                    let batch = Batch { records: records.clone(), ..Batch::default() };
                    batches.push(stage.process(batch).await.unwrap());
                }
                Held::Made(positions, batches)
            }
            Held::Made(positions, batches) => {
                for batch in batches {
                    let batch = lane.sink.process(batch).await.unwrap();
                    assert_eq!(batch.rejects, []);
                }
                Held::Written(positions)
            }
            Held::Written(positions) => {
                // A lane that lost a partition is fenced: its commit does not count.
                let owner = |partition: usize| (partition + self.turn) % LANES == number;
                self.committed.extend(positions.into_iter().filter(|((_, partition), _)| owner(*partition)));
                Held::Nothing
            }
        };
    }

    /// Goes on without faults until every position is committed.
    async fn come_to_rest(&mut self) {
        let end: Positions = self.log.iter().map(|(partition, changes)| (*partition, changes.len())).collect();
        for lane in 0..LANES {
            self.lanes[lane] = self.lane(lane).await;
        }
        while self.committed != end {
            for lane in 0..LANES {
                self.step(lane, 50, lane).await;
            }
        }
    }
}

fn read(log: &Log, next: &mut Positions, take: usize, turn: usize) -> Held {
    let (mut records, mut positions) = (Vec::new(), Positions::new());
    let partitions: Vec<(usize, usize)> = next.keys().copied().collect();
    let start = turn % partitions.len().max(1);
    for partition in partitions[start..].iter().chain(&partitions[..start]) {
        let position = next.get_mut(partition).unwrap();
        let count = (log[partition].len() - *position).min(take - records.len());
        let waiting = log[partition][*position..*position + count].iter().enumerate();
        records.extend(waiting.map(|(i, change)| change.record((*position + i) as i64)));
        *position += count;
        positions.insert(*partition, *position);
    }
    Held::Read(positions, records)
}

pub(super) fn planned(make: StageFactory, yaml: &str, flow: Flow) -> Box<dyn Stage> {
    let node = parse(yaml).unwrap();
    let mut section = Section::new(&node);
    let mut stage = make(&mut section);
    assert_eq!(section.finish(), []);
    stage.plan(flow).unwrap();
    stage
}

/// The tables as a pipeline declares them.
pub(super) fn declared(columns: &[(&str, &str)]) -> TableFlow {
    let field = |(name, kind): &(&str, &str)| Field {
        name: name.to_string(),
        kind: kind.parse().unwrap(),
        origin: Vec::new(),
        tags: Vec::new(),
    };
    TableFlow { fields: columns.iter().map(field).collect(), open: false, nested: false, key: vec!["id".to_string()] }
}

/// The documents in the sink's file, by `table/id`.
fn written(dir: &Path) -> BTreeMap<String, String> {
    let file = rusqlite::Connection::open(dir.join("documents.db")).unwrap();
    let mut documents = BTreeMap::new();
    for table in ["transactions", "accounts"] {
        let exists = file.table_exists(None, table).unwrap();
        if !exists {
            continue;
        }
        let mut statement = file.prepare(&format!("SELECT id, document FROM {table}")).unwrap();
        let rows = statement.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?))).unwrap();
        documents.extend(rows.map(|row| row.map(|(id, text)| (format!("{table}/{id}"), text)).unwrap()));
    }
    documents
}

/// A schedule: changes, repeated suffixes, moves, and whether the tables are declared.
type Schedule = (Vec<Change>, Vec<(prop::sample::Index, usize)>, Vec<Move>, bool);

fn schedules() -> impl Strategy<Value = Schedule> {
    let repeats = prop::collection::vec((any::<prop::sample::Index>(), 1..5usize), 0..3);
    (prop::collection::vec(change(), 1..120), repeats, moves(), any::<bool>())
}

/// Runs a schedule over the raw store `bank` and compares what is written at rest with the fold of the log.
fn replay((changes, repeats, moves, declared): Schedule, bank: &str) -> Result<(), TestCaseError> {
    let log = log(&changes, &repeats);
    let dir = folder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut machine = Machine::start(&log, dir.path(), bank, declared).await;
        for step in &moves {
            machine.make(step).await;
        }
        machine.come_to_rest().await;
    });
    prop_assert_eq!(written(dir.path()), expected(&log, if declared { "0.00" } else { "0" }));
    Ok(())
}

pub(super) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, max_shrink_iters: shrinks(), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(cases(200)))]

    #[test]
    fn every_schedule_ends_in_the_fold_of_the_log(schedule in schedules()) {
        replay(schedule, "bank")?;
    }
}

/// The same over the distributed raw store; fewer schedules, since each makes and drops a database.
#[test]
fn every_schedule_over_mongodb_ends_in_the_fold_of_the_log() {
    over_mongodb("replay", 8, schedules(), replay);
}

/// Runs generated schedules, each over a database of its own on the server of `HEADWATER_TEST_MONGODB`.
pub(super) fn over_mongodb<S: Strategy>(
    test: &str,
    default: u32,
    schedules: S,
    replay: impl Fn(S::Value, &str) -> Result<(), TestCaseError>,
) {
    let Ok(server) = std::env::var("HEADWATER_TEST_MONGODB") else {
        println!("skipped: HEADWATER_TEST_MONGODB is not set");
        return;
    };
    let (host, options) = server.split_once("/?").unwrap_or((&server, ""));
    let number = std::sync::atomic::AtomicU64::new(0);
    let run = |schedule| {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("headwater_{test}_{}_{number}", std::process::id());
        let uri = format!("{}/{name}?{options}", host.trim_end_matches('/'));
        let result = replay(schedule, &uri);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
            client.database(&name).drop().await.unwrap();
        });
        result
    };
    let mut runner = proptest::test_runner::TestRunner::new(config(cases(default)));
    if let Err(failure) = runner.run(&schedules, run) {
        panic!("{failure}");
    }
}

/// A text in quotes.
pub(super) fn yaml_text(text: &str) -> String {
    format!("\"{text}\"")
}

/// In memory where there is such a place: what a crash of the machine would lose is not this test's subject.
pub(super) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// `HEADWATER_TEST_CASES` for a longer run.
pub(super) fn cases(default: u32) -> u32 {
    std::env::var("HEADWATER_TEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// A failing schedule is made smaller for some minutes at most; `PROPTEST_MAX_SHRINK_ITERS` says otherwise.
fn shrinks() -> u32 {
    std::env::var("PROPTEST_MAX_SHRINK_ITERS").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
}
