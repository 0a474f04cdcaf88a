//! What the `mongodb` sink costs, in CPU-seconds per million records, for itself and for the server.
//!
//!     cargo bench --bench mongodb -- --uri mongodb://127.0.0.1:27017 --pid "$(pgrep -x mongod)"
//!
//! Options: `--records N` (1,000,000), `--batch N` (2,000), `--lanes N` (1; one writer for each partition), `--write PLAN`
//! (auto), `--only PHASE`. The records look like change events of bank transactions, about 300 bytes a document; the
//! mix has 89 % creates, 10 % updates of random earlier rows and 1 % deletes. Records are made before the clock starts.
//!
//! Phases: `creates` (into nothing), `mix` (into nothing), `replay` (the mix again: nothing may be rewritten), `delta`
//! (a tenth as many updates, creates and deletes upon the mix). `settled` adds what the server still does for 10 s.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::pipeline::{BatchLimits, Flow, Node, NodeKind, Section, Span, Spanned};
use headwater::record::{
    Batch, Epoch, Kind, Message, Op, Position, Record, Row, SourcePosition, TableSchema, Timestamp, Value,
};
use headwater::stage::{LaneContext, Stage};
use headwater::stores::Stores;
use mongodb::bson::doc;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DATABASE: &str = "headwater_bench";
const COLLECTION: &str = "transactions";

struct Options {
    uri: String,
    pid: u32,
    records: usize,
    batch: usize,
    lanes: usize,
    write: String,
    only: Option<String>,
}

fn options() -> Option<Options> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let given: BTreeMap<&str, &str> =
        arguments.chunks(2).filter_map(|pair| Some((pair[0].as_str(), pair.get(1)?.as_str()))).collect();
    let number = |name: &str, default: usize| given.get(name).map_or(default, |n| n.parse().expect("a number"));
    Some(Options {
        uri: given.get("--uri")?.to_string(),
        pid: given.get("--pid")?.parse().expect("a process id"),
        records: number("--records", 1_000_000),
        batch: number("--batch", 2_000),
        lanes: number("--lanes", 1),
        write: given.get("--write").unwrap_or(&"auto").to_string(),
        only: given.get("--only").map(|phase| phase.to_string()),
    })
}

/// User and system time of a process so far, in seconds (proc(5): fields 14 and 15, in ticks of 1/100 s).
fn cpu_secs(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Makes the same records for the same seed.
struct Generator {
    random: StdRng,
    schema: Arc<TableSchema>,
    key: Arc<TableSchema>,
    table: Arc<str>,
    topic: Arc<str>,
    live: Vec<i64>,
    next_id: i64,
    lane: i64,
    version: u64,
}

impl Generator {
    fn new(lane: usize) -> Self {
        let text = ["booked_at", "amount", "currency", "counterparty", "description"];
        let columns = [("id", Kind::Int64), ("account_id", Kind::Int64)].into_iter();
        let columns = columns.chain(text.map(|name| (name, Kind::Text))).chain([("mcc", Kind::Int64)]);
        let columns = columns.chain([("category", Kind::Text), ("category_source", Kind::Text)]);
        Generator {
            random: StdRng::seed_from_u64(lane as u64),
            schema: Arc::new(TableSchema::new(columns)),
            key: Arc::new(TableSchema::new([("id", Kind::Int64)])),
            table: COLLECTION.into(),
            topic: "t".into(),
            live: Vec::new(),
            next_id: 0,
            lane: lane as i64,
            version: 0,
        }
    }

    /// One change: of a hundred, `updates` update, `deletes` delete and the others create.
    fn change(&mut self, updates: u32, deletes: u32) -> Record {
        self.version += 1;
        let dice = self.random.gen_range(0..100);
        let chosen = (!self.live.is_empty()).then(|| self.random.gen_range(0..self.live.len()));
        match chosen {
            Some(at) if dice < updates => self.record(Op::Update, self.live[at]),
            Some(at) if dice < updates + deletes => {
                let id = self.live.swap_remove(at);
                self.record(Op::Delete, id)
            }
            _ => {
                self.next_id += 1;
                let id = self.next_id * 64 + self.lane;
                self.live.push(id);
                self.record(Op::Create, id)
            }
        }
    }

    fn record(&mut self, op: Op, id: i64) -> Record {
        let n: u32 = self.random.gen_range(0..1_000_000);
        let row = (op != Op::Delete).then(|| {
            let values = vec![
                Value::Int(id),
                Value::Int(i64::from(n % 50_000)),
                Value::text(format!("2026-01-{:02}T{:02}:{:02}:07.{n:06}Z", n % 28 + 1, n % 24, n % 60)),
                Value::text(format!("-{}.{:02}", n % 5_000, n % 100)),
                Value::text("EUR"),
                Value::text("DB VERTRIEB"),
                Value::text(format!("DEUTSCHE BAHN ONLINE TICKET {} FRANKFURT", n % 60)),
                Value::Int(4_112),
                Value::text("transport"),
                Value::text("rule"),
            ];
            Row::new(self.schema.clone(), values)
        });
        Record {
            table: self.table.clone(),
            op,
            key: Row::new(self.key.clone(), vec![Value::Int(id)]),
            row,
            patch: None,
            before: None,
            position: Position {
                topic: self.topic.clone(),
                epoch: Epoch::default(),
                partition: 0,
                offset: 0,
                source: SourcePosition::Unknown,
            },
            version: self.version,
            changed_at: Some(Timestamp::from_millis(1_795_405_830_648 + self.version as i64)),
            snapshot: Default::default(),
            origin: 0,
        }
    }

    fn batches(&mut self, records: usize, batch: usize, updates: u32, deletes: u32) -> Vec<Batch> {
        let records: Vec<Record> = (0..records).map(|_| self.change(updates, deletes)).collect();
        records
            .chunks(batch)
            .map(|chunk| Batch { records: chunk.to_vec(), ..Batch::from_messages(Vec::<Message>::new()) })
            .collect()
    }
}

async fn sink(options: &Options) -> Box<dyn Stage> {
    let at = |text: &str| Spanned { value: text.to_string(), span: Span::default(), path: String::new() };
    let node = |kind| Node { kind, span: Span::default(), path: String::new() };
    let scalar = |text: &str| node(NodeKind::Scalar { text: text.into(), quoted: false, secret: false });
    let settings =
        [("uri", &*options.uri), ("database", DATABASE), ("collection", COLLECTION), ("write", &options.write)];
    let section = node(NodeKind::Map(settings.map(|(key, value)| (at(key), scalar(value))).into()));
    let mut sink = headwater::sinks::mongodb::make(&mut Section::new(&section));
    sink.plan(Flow { open: true, ..Flow::default() }).expect("a right section");
    let lane = LaneContext {
        pipeline: "bench".into(),
        lane: 0,
        lanes: 1,
        batch: BatchLimits::default(),
        data_dir: ".".into(),
        stores: Arc::new(Stores::new(".")),
        shutdown: Default::default(),
        until_end: false,
        state: "state".into(),
        accepted: Default::default(),
    };
    sink.open(&lane).await.expect("a reachable server");
    sink
}

/// Writes all batches, one task for each lane, and prints what it cost.
async fn measure(options: &Options, phase: &str, lanes: Vec<Vec<Batch>>, counters: &mongodb::Database) {
    if options.only.as_ref().is_some_and(|only| !only.split(',').any(|p| p == phase)) {
        return;
    }
    let records: usize = lanes.iter().flatten().map(|batch| batch.records.len()).sum();
    let mut sinks = Vec::new();
    for _ in &lanes {
        sinks.push(sink(options).await);
    }
    let pid = options.pid.to_string();
    let before = updates_done(counters).await;
    let (client, server, start) = (cpu_secs("self"), cpu_secs(&pid), Instant::now());
    let writers = lanes.into_iter().zip(sinks).map(|(batches, mut sink)| {
        tokio::spawn(async move {
            for batch in batches {
                assert!(sink.process(batch).await.expect("written").rejects.is_empty());
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer that ends");
    }
    let (wall, client) = (start.elapsed().as_secs_f64(), cpu_secs("self") - client);
    let active = cpu_secs(&pid) - server;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let settled = cpu_secs(&pid) - server;
    let after = updates_done(counters).await;
    let millions = records as f64 / 1e6;
    println!(
        "{phase:<8} {records:>9} records  {:>8.0} records/s  client {:>6.2}  mongod {:>6.2}  settled {:>6.2} CPU-s/M  \
         inserted {} updated {} deleted {}",
        records as f64 / wall,
        client / millions,
        active / millions,
        settled / millions,
        after[0] - before[0],
        after[1] - before[1],
        after[2] - before[2],
    );
}

/// Documents inserted, updated and deleted by the server so far (its own count of what really changed).
async fn updates_done(admin: &mongodb::Database) -> [i64; 3] {
    let status = admin.run_command(doc! { "serverStatus": 1 }).await.expect("serverStatus");
    let document = status.get_document("metrics").and_then(|m| m.get_document("document")).expect("document metrics");
    ["inserted", "updated", "deleted"].map(|name| document.get_i64(name).unwrap_or_default())
}

fn main() {
    let Some(options) = options() else {
        println!("skipped: give --uri and --pid of a MongoDB server (see the head of benches/mongodb.rs)");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(&options.uri).await.expect("a MongoDB URI");
        let (database, admin) = (client.database(DATABASE), client.database("admin"));
        let each = options.records / options.lanes;
        let lanes = |updates, deletes| {
            (0..options.lanes).map(|lane| Generator::new(lane).batches(each, options.batch, updates, deletes)).collect()
        };
        database.drop().await.expect("the right to drop");
        measure(&options, "creates", lanes(0, 0), &admin).await;
        database.drop().await.expect("the right to drop");
        measure(&options, "mix", lanes(10, 1), &admin).await;
        measure(&options, "replay", lanes(10, 1), &admin).await;
        let delta = (0..options.lanes).map(|lane| {
            let mut generator = Generator::new(lane);
            generator.batches(each, options.batch, 10, 1);
            generator.batches(each / 10, options.batch, 60, 5)
        });
        measure(&options, "delta", delta.collect(), &admin).await;
        database.drop().await.expect("the right to drop");
    });
}
