//! Categories as a property: whatever the schedule of rows, corrections, publications and crashes, the documents at rest
//! show the correction, or else the answer of the version that was published last.
//!
//! As in `replay.rs` lanes read batches in any order of their partitions and advance step by step, interleaved with each
//! other, losing what is not durable at any point. Besides, versions of the model are published at any moment, and a scan
//! of the raw store, in a process of its own, then takes every row through the stages again, page by page between the
//! lanes' steps; it is killed, too. Nothing else makes rows follow a new version. Raw store, categorize, document and
//! sink are the real ones; the oracle is a fold of the log and a loop over corrections.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headwater::model::folder;
use headwater::pipeline::{Flow, Section, parse};
use headwater::record::{Batch, Op, Position, Record, Row, SourcePosition, Value};
use headwater::stage::{LaneContext, Stage};
use headwater::stores::{SharedStore, Stores};
use proptest::prelude::*;

use super::replay::{cases, config, declared, folder as data_folder, planned, yaml_text};

const LANES: usize = 2;
/// Partitions of each topic.
const PARTITIONS: usize = 2;
const TABLES: [&str; 2] = ["transaction", "correction"];
const COLUMNS: [&[(&str, &str)]; 2] = [
    &[("id", "int64"), ("shop", "text"), ("note", "text")],
    &[("id", "int64"), ("transaction_id", "int64"), ("merchant", "text"), ("category", "text")],
];
const SHOPS: [&str; 4] = ["Alpha 12", "Beta", "Gamma 3", ""];
/// The same shops as a person may write them; the last one is nobody's.
const SPELLINGS: [&str; 4] = ["ALPHA 999", "beta", "gamma  7", "delta"];

const DOCUMENTS: &str = "
root: transaction
with: { category: { table: result, on: { id: id } } }
fields: { shop: .shop, category: .category.category, by: .category.source, model: .category.model }
into: documents
";

/// The versions: the same rules, other names of categories.
fn rules(version: usize) -> String {
    format!("pattern\tcategory\nALPHA\talpha{version}\nBETA\tbeta{version}\n*\tother{version}\n")
}

fn publish(model: &Path, version: usize) {
    let (name, files) = (format!("{version}.0.0"), [("rules.tsv".to_string(), rules(version).into_bytes())].into());
    if !model.join(&name).exists() {
        folder::write_version(model, "shops", &name, "now", &files).unwrap();
    }
    folder::set_current(model, &name).unwrap();
}

// ---- the log ----

#[derive(Debug, Clone)]
enum Content {
    Transaction {
        shop: usize,
    },
    /// Of a row, of all rows of a merchant, of both, of nothing.
    Correction {
        row: Option<i64>,
        merchant: Option<usize>,
        category: u8,
    },
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
        let id = ("id", Value::Int(self.key));
        let row = self.content.as_ref().map(|content| match content {
            Content::Transaction { shop } => Row::of([id.clone(), ("shop", SHOPS[*shop].into()), ("note", "x".into())]),
            Content::Correction { row, merchant, category } => Row::of([
                id.clone(),
                ("transaction_id", row.map_or(Value::Null, Value::Int)),
                ("merchant", merchant.map_or(Value::Null, |m| SPELLINGS[m].into())),
                ("category", Value::text(format!("corrected{category}"))),
            ]),
        });
        Record {
            table: TABLES[self.table].into(),
            op: if row.is_some() { [Op::Read, Op::Create, Op::Update][offset as usize % 3] } else { Op::Delete },
            key: Row::of([id]),
            row,
            before: None,
            patch: None,
            snapshot: Default::default(),
            position: Position {
                topic: TABLES[self.table].into(),
                epoch: Default::default(),
                partition: self.partition() as i32,
                offset,
                source: SourcePosition::Unknown,
            },
            version: offset as u64 + 1,
            changed_at: None,
            origin: 0,
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let transaction = (0..6i64, 0..SHOPS.len()).prop_map(|(key, shop)| (0, key, Content::Transaction { shop }));
    let of_row = prop::option::weighted(0.5, 0..6i64);
    let of_merchant = prop::option::weighted(0.5, 0..SPELLINGS.len());
    let correction = (0..4i64, of_row, of_merchant, 0..3u8)
        .prop_map(|(key, row, merchant, category)| (1, key, Content::Correction { row, merchant, category }));
    let put = prop_oneof![2 => transaction, 1 => correction];
    (put, prop::bool::weighted(0.75)).prop_map(|((table, key, content), live)| Change {
        table,
        key,
        content: live.then_some(content),
    })
}

/// Every partition's changes; the offset of a change is its index.
type Log = BTreeMap<(usize, usize), Vec<Change>>;

fn log(changes: &[Change]) -> Log {
    let mut log = Log::new();
    for change in changes {
        log.entry((change.table, change.partition())).or_default().push(change.clone());
    }
    log
}

/// The documents that the log means under a version, by key.
fn expected(log: &Log, version: usize) -> BTreeMap<i64, String> {
    let mut rows: BTreeMap<(usize, i64), Content> = BTreeMap::new();
    for change in log.values().flatten() {
        match &change.content {
            Some(content) => _ = rows.insert((change.table, change.key), content.clone()),
            None => _ = rows.remove(&(change.table, change.key)),
        }
    }
    let mut documents = BTreeMap::new();
    for ((_, id), content) in &rows {
        let Content::Transaction { shop } = content else { continue };
        // The correction with the highest key wins, one of the row before one of its merchant.
        let (mut of_row, mut of_merchant) = (None, None);
        for other in rows.values() {
            let Content::Correction { row, merchant, category } = other else { continue };
            let category = format!("corrected{category}");
            if *row == Some(*id) {
                of_row = Some(category.clone());
            }
            if *merchant == Some(*shop) && *shop < 3 {
                of_merchant = Some(category);
            }
        }
        let by_rules = [format!("alpha{version}"), format!("beta{version}")].get(*shop).cloned();
        let (category, by) = match (of_row.or(of_merchant), by_rules) {
            (Some(corrected), _) => (corrected, "correction"),
            (None, Some(category)) => (category, "rule"),
            (None, None) => (format!("other{version}"), "default"),
        };
        let shop = SHOPS[*shop];
        let text = format!(
            "{{\"shop\":\"{shop}\",\"category\":\"{category}\",\"by\":\"{by}\",\"model\":\"shops@{version}.0.0\"}}"
        );
        documents.insert(*id, text);
    }
    documents
}

// ---- the machine ----

#[derive(Debug, Clone)]
enum Move {
    /// A lane takes its next steps. `take` and `turn` say how much it reads and where it starts.
    Step { lane: usize, steps: usize, take: usize, turn: usize },
    /// A lane fails and is built again.
    LoseLane(usize),
    /// All processes are killed.
    Kill,
    /// A partition's committed position goes back, and its lane starts from there.
    Rewind { table: usize, partition: usize, by: usize },
    /// A version is published, and a scan begins in a process of its own.
    Publish(usize),
    /// The scan takes its next steps.
    Scan(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let step = (0..LANES, 1..8usize, 1..6usize, 0..4usize).prop_map(|(lane, steps, take, turn)| Move::Step {
        lane,
        steps,
        take,
        turn,
    });
    let rewind = (0..TABLES.len(), 0..PARTITIONS, 1..6usize).prop_map(|(table, partition, by)| Move::Rewind {
        table,
        partition,
        by,
    });
    let one = prop_oneof![
        20 => step,
        2 => (0..LANES).prop_map(Move::LoseLane),
        1 => Just(Move::Kill),
        2 => rewind,
        2 => (1..4usize).prop_map(Move::Publish),
        6 => (1..6usize).prop_map(Move::Scan),
    ];
    prop::collection::vec(one, 0..60)
}

type Positions = BTreeMap<(usize, usize), usize>;

/// What a lane or the scan holds between two steps, and what it knows then.
enum Held {
    Nothing,
    /// Read (`false`) or in the raw store (`true`).
    Records(Positions, Vec<Record>, bool),
    /// Results are in the raw store.
    Categorized(Positions, Vec<Record>),
    /// Documents made.
    Made(Positions, Batch),
    /// Documents written.
    Written(Positions),
}

struct Lane {
    raw: Box<dyn Stage>,
    categorize: Box<dyn Stage>,
    documents: Box<dyn Stage>,
    sink: Box<dyn Stage>,
    held: Held,
    /// Where it reads on.
    next: Positions,
}

impl Lane {
    /// The next step of a lane that holds something; the positions that may be committed after the last one.
    async fn advance(&mut self) -> Option<Positions> {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => {}
            Held::Records(positions, records, false) => {
                let batch = self.raw.process(Batch { records, ..Batch::default() }).await.unwrap();
                assert_eq!(batch.rejects, []);
                self.held = Held::Records(positions, batch.records, true);
            }
            Held::Records(positions, records, true) => {
                let batch = self.categorize.process(Batch { records, ..Batch::default() }).await.unwrap();
                assert_eq!(batch.rejects, []);
                self.held = Held::Categorized(positions, batch.records);
            }
            Held::Categorized(positions, records) => {
                let batch = self.documents.process(Batch { records, ..Batch::default() }).await.unwrap();
                self.held = Held::Made(positions, batch);
            }
            Held::Made(positions, batch) => {
                assert_eq!(self.sink.process(batch).await.unwrap().rejects, []);
                self.held = Held::Written(positions);
            }
            Held::Written(positions) => return Some(positions),
        }
        None
    }
}

/// A re-categorization under way: what `headwater recategorize` does between two of its notes.
struct Scan {
    lane: Lane,
    /// The last key that is done, which survives a kill.
    after: Option<Row>,
    /// The last key of the page under way.
    page: Option<Row>,
    done: bool,
}

struct Machine<'a> {
    log: &'a Log,
    dir: &'a Path,
    bank: &'a str,
    stores: Arc<Stores>,
    lanes: Vec<Lane>,
    scan: Option<Scan>,
    committed: Positions,
    version: usize,
}

impl<'a> Machine<'a> {
    async fn start(log: &'a Log, dir: &'a Path, bank: &'a str) -> Machine<'a> {
        std::fs::create_dir(dir.join("model")).unwrap();
        publish(&dir.join("model"), 1);
        let stores = Arc::new(Stores::new(dir));
        let (committed, lanes) = (Positions::new(), Vec::new());
        let mut machine = Machine { log, dir, bank, stores, lanes, scan: None, committed, version: 1 };
        machine.restart().await;
        machine
    }

    async fn restart(&mut self) {
        self.lanes.clear();
        self.stores = Arc::new(Stores::new(self.dir));
        for number in 0..LANES {
            let lane = self.lane(number).await;
            self.lanes.push(lane);
        }
        if let Some(after) = self.scan.as_ref().filter(|scan| !scan.done).map(|scan| scan.after.clone()) {
            self.begin_scan(after).await;
        }
    }

    async fn store(&self) -> SharedStore {
        self.stores.get(self.bank).await.unwrap()
    }

    /// Another process, which stands where the note says.
    async fn begin_scan(&mut self, after: Option<Row>) {
        self.store().await.remember(&[("scan".to_string(), "begun".to_string())]).await.unwrap();
        self.scan = Some(Scan { lane: self.lane(0).await, after, page: None, done: false });
    }

    async fn lane(&self, number: usize) -> Lane {
        let context = LaneContext {
            pipeline: "categories".into(),
            lane: number,
            lanes: LANES,
            batch: Default::default(),
            data_dir: self.dir.into(),
            stores: self.stores.clone(),
            shutdown: Default::default(),
            state: self.bank.into(),
            until_end: true,
            accepted: Default::default(),
        };
        let tables = TABLES.iter().zip(COLUMNS).map(|(name, columns)| (name.to_string(), declared(columns)));
        let flow = Flow { tables: tables.collect(), ..Flow::default() };
        let mut raw = planned(headwater::stages::raw::make, &yaml_text(self.bank), flow.clone());
        let flow = Flow { store: Some(self.bank.into()), stored: flow.tables.clone(), ..flow };
        let categorize = format!(
            "{{ table: transaction, model: '{}', text: [shop, note], into: result, \
             corrections: {{ table: correction, on: {{ id: transaction_id }}, text: merchant }} }}",
            self.dir.join("model").display()
        );
        let (mut categorize, flow) = {
            let node = parse(&categorize).unwrap();
            let mut section = Section::new(&node);
            let mut stage = headwater::stages::categorize::make(&mut section);
            assert_eq!(section.finish(), []);
            let flow = stage.plan(flow).unwrap();
            (stage, flow)
        };
        let mut documents = planned(headwater::stages::document::make, DOCUMENTS, flow.clone());
        let mut sink = planned(headwater::sinks::sqlite::make, "path: documents.db", flow);
        for stage in [&mut raw, &mut categorize, &mut documents, &mut sink] {
            stage.open(&context).await.unwrap();
        }
        let owned = self.log.keys().filter(|(_, partition)| partition % LANES == number);
        let next = owned.map(|p| (*p, self.committed.get(p).copied().unwrap_or(0))).collect();
        Lane { raw, categorize, documents, sink, held: Held::Nothing, next }
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
                let lane = partition % LANES;
                self.lanes[lane] = self.lane(lane).await;
            }
            Move::Publish(version) => {
                publish(&self.dir.join("model"), *version);
                self.version = *version;
                self.begin_scan(None).await;
            }
            Move::Scan(steps) => {
                for _ in 0..*steps {
                    self.scan_step().await;
                }
            }
        }
    }

    async fn step(&mut self, number: usize, take: usize, turn: usize) {
        let lane = &mut self.lanes[number];
        if matches!(lane.held, Held::Nothing) {
            lane.held = read(self.log, &mut lane.next, take, turn);
        } else if let Some(positions) = lane.advance().await {
            self.committed.extend(positions);
        }
    }

    async fn scan_step(&mut self) {
        let store = self.store().await;
        let Some(scan) = self.scan.as_mut().filter(|scan| !scan.done) else { return };
        if !matches!(scan.lane.held, Held::Nothing) {
            if scan.lane.advance().await.is_some() {
                scan.after = scan.page.take();
            }
            return;
        }
        let page = store.snapshot().await.unwrap().scan("transaction", scan.after.as_ref(), 2).await.unwrap();
        scan.page = page.last().map(|row| row.key.clone());
        scan.done = page.is_empty();
        let record = |row: headwater::stores::ScannedRow| Record {
            table: "transaction".into(),
            op: Op::Update,
            key: row.key,
            row: Some(row.row),
            before: None,
            patch: None,
            snapshot: Default::default(),
            version: row.position.offset as u64 + 1,
            position: row.position,
            changed_at: None,
            origin: 0,
        };
        scan.lane.held = Held::Records(Positions::new(), page.into_iter().map(record).collect(), true);
    }

    /// Goes on without faults until every position is committed and the scan has ended.
    async fn come_to_rest(&mut self) {
        let end: Positions = self.log.iter().map(|(partition, changes)| (*partition, changes.len())).collect();
        // What a lane held when it lost its partitions must do no harm either: it is carried on.
        while self.committed != end || self.scan.as_ref().is_some_and(|scan| !scan.done) {
            for lane in 0..LANES {
                self.step(lane, 50, lane).await;
            }
            self.scan_step().await;
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
    Held::Records(positions, records, false)
}

/// The documents in the sink's file.
fn written(dir: &Path) -> BTreeMap<i64, String> {
    let file = rusqlite::Connection::open(dir.join("documents.db")).unwrap();
    if !file.table_exists(None, "documents").unwrap() {
        return BTreeMap::new();
    }
    let mut statement = file.prepare("SELECT id, document FROM documents").unwrap();
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn replay((changes, moves): (Vec<Change>, Vec<Move>), bank: &str) -> Result<(), TestCaseError> {
    let log = log(&changes);
    let dir = data_folder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let version = runtime.block_on(async {
        let mut machine = Machine::start(&log, dir.path(), bank).await;
        for step in &moves {
            machine.make(step).await;
        }
        machine.come_to_rest().await;
        machine.version
    });
    prop_assert_eq!(written(dir.path()), expected(&log, version));
    Ok(())
}

fn schedules() -> impl Strategy<Value = (Vec<Change>, Vec<Move>)> {
    (prop::collection::vec(change(), 1..80), moves())
}

proptest! {
    #![proptest_config(config(cases(150)))]

    #[test]
    fn every_schedule_ends_in_corrections_and_the_last_version(schedule in schedules()) {
        replay(schedule, "bank")?;
    }
}

/// The same over the distributed raw store; fewer schedules, since each makes and drops a database.
#[test]
fn every_schedule_over_mongodb_ends_in_corrections_and_the_last_version() {
    super::replay::over_mongodb("categories", 8, schedules(), replay);
}

// ---- every order of the calls to the store ----

/// Whose turn it is: calls to the store happen one at a time, in the order of a schedule of actors.
struct Turns {
    schedule: Vec<usize>,
    at: std::sync::Mutex<usize>,
    ended: std::sync::Mutex<Vec<bool>>,
    one: tokio::sync::Mutex<()>,
}

impl Turns {
    fn new(schedule: Vec<usize>, actors: usize) -> Arc<Turns> {
        Arc::new(Turns { schedule, at: Default::default(), ended: vec![false; actors].into(), one: Default::default() })
    }

    /// Waits for the turn of `actor`; until the guard is dropped nobody else calls the store.
    async fn take(&self, actor: usize) -> tokio::sync::MutexGuard<'_, ()> {
        loop {
            let guard = self.one.lock().await;
            {
                let (mut at, ended) = (self.at.lock().unwrap(), self.ended.lock().unwrap());
                while self.schedule.get(*at).is_some_and(|next| ended[*next]) {
                    *at += 1;
                }
                if self.schedule.get(*at).is_none_or(|next| *next == actor) {
                    *at += 1;
                    return guard;
                }
            }
            drop(guard);
            tokio::task::yield_now().await;
        }
    }

    fn end(&self, actor: usize) {
        self.ended.lock().unwrap()[actor] = true;
    }
}

/// A store as one actor sees it.
struct Gated {
    store: SharedStore,
    turns: Arc<Turns>,
    actor: usize,
}

#[async_trait::async_trait]
impl headwater::stores::RawStore for Gated {
    fn id(&self) -> &str {
        self.store.id()
    }
    async fn apply(&self, records: Vec<Record>) -> headwater::Result<headwater::stores::Applied> {
        let _turn = self.turns.take(self.actor).await;
        self.store.apply(records).await
    }
    async fn sweep(&self, sweep: headwater::stores::Sweep) -> headwater::Result<Vec<Record>> {
        self.store.sweep(sweep).await
    }
    async fn ensure_indexes(&self, indexes: &[headwater::stores::Index]) -> headwater::Result<()> {
        self.store.ensure_indexes(indexes).await
    }
    async fn advance(&self) -> headwater::Result<()> {
        self.store.advance().await
    }
    async fn snapshot(&self) -> headwater::Result<Box<dyn headwater::stores::Snapshot>> {
        let _turn = self.turns.take(self.actor).await;
        self.store.snapshot().await
    }
    async fn tables(&self) -> headwater::Result<Vec<(String, u64)>> {
        self.store.tables().await
    }
    async fn positions(&self) -> headwater::Result<Vec<(String, i32, i64)>> {
        self.store.positions().await
    }
    async fn facts(&self, prefix: &str) -> headwater::Result<BTreeMap<String, String>> {
        self.store.facts(prefix).await
    }
    async fn remember(&self, facts: &[(String, String)]) -> headwater::Result<()> {
        let _turn = self.turns.take(self.actor).await;
        self.store.remember(facts).await
    }
    async fn replace_fact(&self, name: &str, expected: Option<&str>, value: &str) -> headwater::Result<bool> {
        self.store.replace_fact(name, expected, value).await
    }
    async fn park(&self, parked: &[headwater::stores::Parked]) -> headwater::Result<()> {
        self.store.park(parked).await
    }
    async fn parked(
        &self,
        pipeline: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> headwater::Result<Vec<headwater::stores::Parked>> {
        self.store.parked(pipeline, after, limit).await
    }
    async fn unpark(&self, ids: &[String]) -> headwater::Result<u64> {
        self.store.unpark(ids).await
    }
}

/// One lane brings a row, one a correction of its merchant, and a third process publishes a version and scans: their
/// calls to the store fall into any order.
fn meet(log: &Log, schedule: Vec<usize>, scans: bool) -> BTreeMap<i64, String> {
    const ACTORS: usize = 3;
    let dir = data_folder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut machine = Machine::start(log, dir.path(), "bank").await;
        let store = machine.store().await;
        let turns = Turns::new(schedule, ACTORS);
        let mut lanes = Vec::new();
        for actor in 0..ACTORS {
            let gated = Gated { store: store.clone(), turns: turns.clone(), actor };
            machine.stores = Arc::new(Stores::new(dir.path()).with_open("bank", Arc::new(gated)));
            lanes.push(machine.lane(0).await);
        }
        let stores = machine.stores.clone();
        let gated = stores.get("bank").await.unwrap();
        let [mut rows, mut corrections, mut scan] = <[Lane; ACTORS]>::try_from(lanes).ok().unwrap();
        for (lane, table) in [(&mut rows, 0), (&mut corrections, 1)] {
            let records = log.iter().filter(|((t, _), _)| *t == table).flat_map(|(_, changes)| {
                changes.iter().enumerate().map(|(offset, change)| change.record(offset as i64))
            });
            lane.held = Held::Records(Positions::new(), records.collect(), false);
        }
        let work = async |lane: &mut Lane, actor: usize| {
            while lane.advance().await.is_none() {}
            turns.end(actor);
        };
        let rescan = async {
            if scans {
                let turn = turns.take(2).await;
                publish(&dir.path().join("model"), 2);
                drop(turn);
                gated.remember(&[("scan".to_string(), "begun".to_string())]).await.unwrap();
                let mut view = gated.snapshot().await.unwrap();
                let page = view.scan("transaction", None, 100).await.unwrap();
                let again = page.into_iter().map(|row| Record {
                    op: Op::Update,
                    key: row.key,
                    row: Some(row.row),
                    position: row.position,
                    ..log[&(0, 0)][0].record(0)
                });
                scan.held = Held::Records(Positions::new(), again.collect(), true);
                while scan.advance().await.is_none() {}
            }
            turns.end(2);
        };
        tokio::join!(work(&mut rows, 0), work(&mut corrections, 1), rescan);
    });
    written(dir.path())
}

proptest! {
    #![proptest_config(config(cases(150)))]

    #[test]
    fn a_row_and_its_correction_meet_whatever_order_the_store_is_asked_in(
        schedule in prop::collection::vec(0..2usize, 20),
        merchant in any::<bool>(),
    ) {
        let row = Change { table: 0, key: 2, content: Some(Content::Transaction { shop: 0 }) };
        let (of_row, of_merchant) = if merchant { (None, Some(0)) } else { (Some(2), None) };
        let content = Content::Correction { row: of_row, merchant: of_merchant, category: 0 };
        let log = log(&[row, Change { table: 1, key: 0, content: Some(content) }]);
        prop_assert_eq!(meet(&log, schedule, false), expected(&log, 1));
    }

    #[test]
    fn a_lane_that_was_held_up_never_brings_an_old_version_back(schedule in prop::collection::vec(0..3usize, 30)) {
        let row = |key, shop| Change { table: 0, key, content: Some(Content::Transaction { shop }) };
        let content = Content::Correction { row: Some(4), merchant: None, category: 0 };
        let log = log(&[row(2, 0), row(4, 1), Change { table: 1, key: 0, content: Some(content) }]);
        prop_assert_eq!(meet(&log, schedule, true), expected(&log, 2));
    }
}
