//! The main job, end to end: PostgreSQL → Debezium → Kafka → `headwater run` → targets, under SIGKILL and restarts.
//!
//! Proven at rest: the raw store equals the PostgreSQL tables value by value, and every document equals what one SQL
//! query over PostgreSQL gives. Sizes are set by environment variables; the defaults are the figures.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::canonical::{self, Leaves, difference};
use super::mongo::Mongo;
use super::oracle;
use super::runner::{Runner, headwater};
use super::services::Services;
use super::world::{TABLES, World};

/// Where a road ends, and how a test reads what stands there.
pub trait Target {
    /// All documents by key.
    fn documents(&self) -> BTreeMap<String, Leaves>;
    /// How many documents there are.
    fn count(&self) -> u64;
    /// What `headwater raw` is told to open.
    fn raw_store(&self) -> String;
}

/// Documents in MongoDB.
pub struct MongoTarget {
    /// A client.
    pub mongo: Mongo,
    /// The raw store's URI.
    pub raw_store: String,
    /// The documents' database.
    pub database: String,
}

impl Target for MongoTarget {
    fn documents(&self) -> BTreeMap<String, Leaves> {
        self.mongo.documents(&self.database, "transactions")
    }

    fn count(&self) -> u64 {
        self.mongo.count(&self.database, "transactions")
    }

    fn raw_store(&self) -> String {
        self.raw_store.clone()
    }
}

/// Documents in a SQLite file.
pub struct SqliteTarget {
    /// Where the runner keeps its files.
    pub data_dir: std::path::PathBuf,
}

impl SqliteTarget {
    fn open(&self) -> rusqlite::Connection {
        let file = self.data_dir.join("spending.db");
        rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    }
}

impl Target for SqliteTarget {
    fn documents(&self) -> BTreeMap<String, Leaves> {
        let connection = self.open();
        let mut rows = connection.prepare("SELECT id, document FROM transactions").unwrap();
        let rows = rows.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).unwrap();
        rows.map(|row| row.unwrap()).map(|(id, document)| (id.to_string(), canonical::from_json(&document))).collect()
    }

    fn count(&self) -> u64 {
        let count = || self.open().query_row("SELECT count(*) FROM transactions", [], |row| row.get::<_, i64>(0));
        if self.data_dir.join("spending.db").exists() { count().unwrap_or(0) as u64 } else { 0 }
    }

    fn raw_store(&self) -> String {
        "bank".to_string()
    }
}

#[test]
fn everything_arrives_in_mongodb_whatever_crashes() {
    let Some(services) = Services::from_env("everything_arrives_in_mongodb_whatever_crashes") else { return };
    let world = World::new(services, "mongo", 2_000, size("HEADWATER_E2E_TRANSACTIONS", 200_000));
    let mongo = Mongo::connect(&world.services.mongodb);
    let target = MongoTarget { mongo, raw_store: world.raw_store(), database: world.name.clone() };
    travel(&world, "spending-mongodb.yaml", &target);
}

#[test]
fn everything_arrives_in_embedded_stores_whatever_crashes() {
    let Some(services) = Services::from_env("everything_arrives_in_embedded_stores_whatever_crashes") else { return };
    let world = World::new(services, "embedded", 2_000, size("HEADWATER_E2E_TRANSACTIONS", 200_000));
    let target = SqliteTarget { data_dir: world.path().join("data") };
    travel(&world, "spending-embedded.yaml", &target);
}

fn travel(world: &World, pipeline: &str, target: &dyn Target) {
    let seed = size("HEADWATER_E2E_SEED", std::process::id());
    println!("seed {seed} (HEADWATER_E2E_SEED repeats it)");
    let mut random = StdRng::seed_from_u64(u64::from(seed));
    world.capture();
    let mut runner = Runner::new(world.path(), &world.pipeline(pipeline), world.env());
    runner.start();

    // Some kills fall into the initial load.
    let begun = Instant::now();
    let transactions = u64::from(size("HEADWATER_E2E_TRANSACTIONS", 200_000));
    let mut kills = 0;
    while target.count() < transactions {
        assert!(begun.elapsed() < Duration::from_secs(600), "the initial load does not end:\n{}", runner.log_tail());
        std::thread::sleep(Duration::from_millis(random.gen_range(1_000..4_000)));
        if kills < 5 {
            runner.kill();
            kills += 1;
            runner.start();
        }
    }
    println!("initial load of {transactions} transactions: {:.1} s, {kills} kills", begun.elapsed().as_secs_f64());

    kills += live_with_kills(world, &mut runner, &mut random);
    assert!(kills >= 20, "only {kills} kills: the schedule is too slow to prove anything");

    let waited = at_rest(world, &runner, target);
    println!("at rest {waited:.1} s after the last change; {kills} kills; peak memory {} MB", runner.peak_memory_mb());
    assert_eq!(
        runner.terminate(Duration::from_secs(35)),
        Some(0),
        "SIGTERM drains and exits 0:\n{}",
        runner.log_tail()
    );
    equal_raw_store(world, runner.data_dir(), &target.raw_store());
}

/// 60 s of changes on all three tables with at least 15 kills of the runner, and one of mongod and of Kafka each.
fn live_with_kills(world: &World, runner: &mut Runner, random: &mut StdRng) -> u32 {
    let seconds = u64::from(size("HEADWATER_E2E_SECONDS", 60));
    let mut bank = world.live(200, seconds, 11);
    let begun = Instant::now();
    let mut kills = 0;
    let mut restarts = vec![("kafka", 0.6), ("mongodb", 0.3)];
    while bank.try_wait().unwrap().is_none() || kills < 15 {
        std::thread::sleep(Duration::from_millis(random.gen_range(300..3_500)));
        runner.kill();
        kills += 1;
        runner.start();
        if restarts.last().is_some_and(|(_, at)| begun.elapsed().as_secs_f64() > seconds as f64 * at) {
            let (service, _) = restarts.pop().unwrap();
            println!("restarting {service} after {:.0} s", begun.elapsed().as_secs_f64());
            world.services.restart(service);
        }
    }
    assert!(bank.wait().unwrap().success(), "the bank could not be kept alive");
    kills
}

/// Waits until the documents equal the oracle's; seconds waited.
fn at_rest(world: &World, runner: &Runner, target: &dyn Target) -> f64 {
    let begun = Instant::now();
    let expected = oracle::documents(&mut world.connect());
    let mut last = String::new();
    while begun.elapsed() < Duration::from_secs(240) {
        if target.count() == expected.len() as u64 {
            match difference("documents", &expected, &target.documents()) {
                None => return begun.elapsed().as_secs_f64(),
                Some(text) => last = text,
            }
        }
        std::thread::sleep(Duration::from_secs(2));
    }
    panic!("never at rest: {} documents of {}; {last}\n{}", target.count(), expected.len(), runner.log_tail());
}

fn equal_raw_store(world: &World, data_dir: &Path, store: &str) {
    for table in TABLES {
        let expected = oracle::rows(&mut world.connect(), table);
        let output = headwater(data_dir).args(["raw", "dump", store, table]).output().unwrap();
        assert!(output.status.success(), "raw dump: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let found: BTreeMap<String, Leaves> =
            lines.lines().map(canonical::from_json).map(|row| (row["id"].clone(), row)).collect();
        if let Some(text) = difference(&format!("raw table {table}"), &expected, &found) {
            panic!("{text}");
        }
        println!("raw table {table}: {} rows equal value by value", expected.len());
    }
}

/// A number from the environment.
pub fn size(variable: &str, default: u32) -> u32 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}
