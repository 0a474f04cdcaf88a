//! What is away, refuses us or is full pauses the real binary: the reason is said once, nothing is parked, nothing is
//! committed, and when the cause is gone it goes on and ends as the plain fold of its log. With real parts only.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(90);

const TABLES: &str = "debezium: { tables: { t: { columns: { id: int64, name: text } } } }";

/// A recording of `rows` rows whose names have `bytes` bytes.
fn recording(rows: i64, bytes: usize) -> String {
    let name = "n".repeat(bytes);
    (1..=rows).map(|id| format!("{}\n", message(id, &format!("{name}{id}")))).collect()
}

fn message(id: i64, name: &str) -> Value {
    json!({ "topic": "b.public.t", "partition": 0, "offset": id, "key": key(id), "payload": payload(id, name) })
}

fn key(id: i64) -> String {
    format!(r#"{{"id":{id}}}"#)
}

fn payload(id: i64, name: &str) -> String {
    let source = format!(r#"{{"connector":"postgresql","schema":"public","table":"t","lsn":{id}}}"#);
    format!(r#"{{"op":"c","after":{{"id":{id},"name":"{name}"}},"source":{source}}}"#)
}

/// A folder with a pipeline, in which `headwater` is started.
struct Place {
    folder: tempfile::TempDir,
    data: PathBuf,
}

impl Place {
    fn new(pipeline: &str, recording: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), pipeline).unwrap();
        std::fs::write(folder.path().join("in.jsonl"), recording).unwrap();
        let data = folder.path().join("data");
        Place { folder, data }
    }

    fn headwater(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command.current_dir(self.folder.path()).args(arguments).args(["--config", "/dev/null", "--data-dir"]);
        command.arg(&self.data);
        command
    }

    /// Starts a run to the end of what is there.
    fn start(&self) -> Run {
        let log = self.folder.path().join("log");
        let mut command = self.headwater(&["run", "p.yaml", "--until-end", "--quiet"]);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        Run { process: command.spawn().unwrap(), log }
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.headwater(arguments).output().unwrap()
    }

    /// The codes of all parked messages.
    fn parked(&self) -> Vec<String> {
        let output = self.output(&["parked", "list", "p.yaml", "--output", "json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["result"]["parked"].as_array().unwrap().iter().map(|p| p["code"].as_str().unwrap().to_string()).collect()
    }

    fn raw_rows(&self) -> String {
        String::from_utf8(self.output(&["raw", "dump", "bank", "t"]).stdout).unwrap()
    }
}

/// A run in the background; ended with the test, whatever happens.
struct Run {
    process: Child,
    log: PathBuf,
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Run {
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has said why it pauses; then it must stay alive and silent for a while.
    fn pauses(&mut self, reason: &str) {
        let begun = Instant::now();
        while !self.log().contains(reason) {
            assert!(self.process.try_wait().unwrap().is_none(), "it ended instead of pausing: {}", self.log());
            assert!(begun.elapsed() < LIMIT, "it never said `{reason}`: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_secs(2));
        assert!(self.process.try_wait().unwrap().is_none(), "it gave up: {}", self.log());
        let log = self.log();
        assert_eq!(log.matches("paused, trying again").count(), 1, "the pause is said once: {log}");
        // Another stage may be the first to meet it at the next attempt.
        let reason = |line: &'_ str| {
            Some(line.split_once("paused")?.1.split_once(": ")?.1.split(" pipeline=").next()?.to_string())
        };
        let reasons: Vec<String> = log.lines().filter_map(reason).collect();
        let different: std::collections::BTreeSet<&String> = reasons.iter().collect();
        assert_eq!(reasons.len(), different.len(), "each reason is said once: {log}");
        assert!(!log.contains("hunter2"), "a password was printed: {log}");
    }

    fn ends_well(&mut self) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < LIMIT, "it does not go on: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        };
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    #[cfg(unix)]
    fn terminate(&mut self) {
        assert!(Command::new("kill").arg(self.process.id().to_string()).status().unwrap().success());
    }
}

/// A user of the MongoDB of the test services who has a password that the pipeline does not know yet. A server checks the
/// password of whoever gives one, also when it lets in others without.
struct MongoUser {
    database: mongodb::Database,
    uri: String,
}

impl MongoUser {
    async fn create(test: &str) -> Option<MongoUser> {
        let Ok(server) = std::env::var("HEADWATER_TEST_MONGODB") else {
            println!("skipped: {test} needs HEADWATER_TEST_MONGODB (tests/all sets it)");
            return None;
        };
        let name = format!("headwater_{test}_{}", std::process::id());
        let database = mongodb::Client::with_uri_str(&server).await.unwrap().database(&name);
        let roles = ["readWrite", "dbAdmin"];
        database.run_command(doc! { "createUser": "bank", "pwd": "another", "roles": roles.to_vec() }).await.unwrap();
        let address = server.trim_start_matches("mongodb://");
        let (hosts, options) = address.split_once("/?").unwrap_or((address, ""));
        let uri = format!("mongodb://bank:hunter2@{hosts}/{name}?{options}&authSource={name}");
        Some(MongoUser { database, uri })
    }

    /// Gives the user the password that the pipeline uses.
    async fn let_in(&self) {
        self.database.run_command(doc! { "updateUser": "bank", "pwd": "hunter2" }).await.unwrap();
    }

    async fn remove(self) {
        self.database.run_command(doc! { "dropUser": "bank" }).await.unwrap();
        self.database.drop().await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_password_of_the_target_pauses_until_it_is_right() {
    let Some(user) = MongoUser::create("sink_password").await else { return };
    let target = format!("mongodb: {{ uri: '{}', database: {} }}", user.uri, user.database.name());
    let pipeline = format!("name: p\nsource: {{ file: {{ path: in.jsonl }} }}\nstages:\n  - {TABLES}\n  - {target}\n");
    let place = Place::new(&pipeline, &recording(3, 1));
    let mut run = place.start();
    run.pauses("authentication failed");
    assert!(!place.data.join("p.lane0of1.position").exists(), "nothing is committed");
    assert_eq!(place.parked(), [""; 0]);
    user.let_in().await;
    run.ends_well();
    assert_eq!(user.database.collection::<Document>("t").count_documents(doc! {}).await.unwrap(), 3);
    assert_eq!(place.parked(), [""; 0]);
    user.remove().await;
}

#[tokio::test]
async fn a_wrong_password_of_the_raw_store_pauses_until_it_is_right() {
    let Some(user) = MongoUser::create("store_password").await else { return };
    let store = format!("raw: {{ store: '{}' }}", user.uri);
    let pipeline = format!(
        "name: p\nsource: {{ file: {{ path: in.jsonl }} }}\nparking: {{ store: parking }}\nstages:\n  - {TABLES}\n  - {store}\n"
    );
    let place = Place::new(&pipeline, &recording(3, 1));
    let mut run = place.start();
    run.pauses("authentication failed");
    assert_eq!(place.parked(), [""; 0]);
    user.let_in().await;
    run.ends_well();
    let output = place.output(&["raw", "tables", &user.uri]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "t  3\n");
    assert_eq!(place.parked(), [""; 0]);
    user.remove().await;
}

/// The password stands in the pipeline file, so mending it takes a restart.
#[tokio::test]
async fn a_wrong_password_of_the_broker_pauses_and_commits_nothing() {
    let (Ok(brokers), Ok(guarded)) =
        (std::env::var("HEADWATER_TEST_KAFKA"), std::env::var("HEADWATER_TEST_KAFKA_SASL"))
    else {
        return println!(
            "skipped: HEADWATER_TEST_KAFKA and HEADWATER_TEST_KAFKA_SASL are not set (tests/all sets them)"
        );
    };
    let topic = format!("outage-{}.public.t", std::process::id());
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    for id in 1..=3 {
        let (key, payload) = (key(id), payload(id, "n"));
        let record = FutureRecord::to(&topic).key(&key).payload(&payload).partition(0);
        producer.send(record, LIMIT).await.map_err(|(error, _)| error).unwrap();
    }
    let pipeline = |password: &str| {
        let settings = format!(
            "security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: bank, sasl.password: {password}"
        );
        let source =
            format!("kafka: {{ brokers: '{guarded}', topics: [{topic}], group: {topic}, settings: {{ {settings} }} }}");
        format!("name: p\nsource: {{ {source} }}\nstages:\n  - {TABLES}\n  - raw: {{ store: bank }}\n")
    };
    let place = Place::new(&pipeline("hunter2"), "");
    let mut run = place.start();
    run.pauses("Authentication failed");
    run.terminate();
    run.ends_well();
    assert_eq!((place.raw_rows(), place.parked()), (String::new(), Vec::new()));

    std::fs::write(place.folder.path().join("p.yaml"), pipeline("right")).unwrap();
    place.start().ends_well();
    assert_eq!(place.raw_rows().lines().count(), 3);
    assert_eq!(place.parked(), [""; 0]);
    let admin = rdkafka::admin::AdminClient::<rdkafka::client::DefaultClientContext>::from_config(
        ClientConfig::new().set("bootstrap.servers", &brokers),
    )
    .unwrap();
    let _ = admin.delete_topics(&[&topic], &rdkafka::admin::AdminOptions::new()).await;
}

#[test]
fn an_unreachable_broker_pauses_until_told_to_stop() {
    let source = "kafka: { brokers: '127.0.0.1:1', topics: [t], settings: { socket.timeout.ms: 1000 } }";
    let place = Place::new(&format!("name: p\nsource: {{ {source} }}\nstages: [debezium]\n"), "");
    let mut run = place.start();
    run.pauses("no answer about topic t");
    run.terminate();
    run.ends_well();
}

#[test]
fn an_unreachable_database_pauses_until_told_to_stop() {
    let target = "mongodb: { uri: 'mongodb://bank:hunter2@127.0.0.1:1/?serverSelectionTimeoutMS=500', database: d }";
    let source = "file: { path: in.jsonl }";
    let pipeline = format!("name: p\nsource: {{ {source} }}\nstages:\n  - {TABLES}\n  - {target}\n");
    let place = Place::new(&pipeline, &recording(3, 1));
    let mut run = place.start();
    run.pauses("no primary can be reached");
    run.terminate();
    run.ends_well();
    assert_eq!(place.parked(), [""; 0]);
    assert!(!place.data.join("p.lane0of1.position").exists(), "nothing is committed");
}

/// Room for both files and their write-ahead logs.
const DISK_MB: usize = 48;

/// A small file system of its own; unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<SmallDisk> {
        std::fs::create_dir(at).unwrap();
        let size = format!("size={DISK_MB}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "headwater-test"]).arg(at).output();
        if !mount.is_ok_and(|output| output.status.success()) {
            println!("skipped: a small file system can be mounted only by root");
            return None;
        }
        Some(SmallDisk(at.to_path_buf()))
    }

    /// Fills it, but for `free` bytes.
    fn fill(&self, free: usize) {
        let size = DISK_MB * 1024 * 1024 - free;
        std::fs::write(self.0.join("ballast"), vec![0; size]).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Raw store, documents and the source's position all lie on the disk that is full.
#[test]
fn a_full_disk_pauses_until_there_is_room() {
    let pipeline = format!(
        "name: p\nsource: {{ file: {{ path: in.jsonl }} }}\nbatch: {{ records: 50 }}\nstages:\n  - {TABLES}\n  - raw: {{ store: bank }}\n  - document: {{ root: t }}\n  - sqlite: {{ path: out.sqlite }}\n"
    );
    let recording = recording(1_500, 1_000);
    let documents = |place: &Place| {
        let file = rusqlite::Connection::open(place.data.join("out.sqlite")).unwrap();
        let mut select = file.prepare("SELECT document FROM t ORDER BY id").unwrap();
        let rows = select.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    };
    let place = Place::new(&pipeline, &recording);
    let Some(disk) = SmallDisk::mount(&place.data) else { return };
    disk.fill(2 * 1024 * 1024);
    let mut run = place.start();
    run.pauses("database or disk is full");
    disk.make_room();
    run.ends_well();

    let plain = Place::new(&pipeline, &recording);
    plain.start().ends_well();
    assert_eq!(documents(&plain).len(), 1_500);
    assert!(documents(&place) == documents(&plain), "the documents differ from those of a run with room");
    assert!(place.raw_rows() == plain.raw_rows(), "the raw rows differ from those of a run with room");
    assert_eq!(place.parked(), [""; 0]);
    drop(disk);
}

/// A message of 20 MB goes through all parts that can hold it; its document is too large for one, and parked there.
#[tokio::test]
async fn a_row_of_20_megabytes_is_stored_and_parked_where_it_is_too_large() {
    let Ok(server) = std::env::var("HEADWATER_TEST_MONGODB") else {
        return println!("skipped: HEADWATER_TEST_MONGODB is not set");
    };
    let name = format!("headwater_large_{}", std::process::id());
    let database = mongodb::Client::with_uri_str(&server).await.unwrap().database(&name);
    let pipeline = format!(
        "name: p\nsource: {{ file: {{ path: in.jsonl }} }}\nstages:\n  - {TABLES}\n  - raw: {{ store: bank }}\n  - sqlite: {{ path: out.sqlite }}\n  - mongodb: {{ uri: '{server}', database: {name} }}\n"
    );
    let large = "x".repeat(20 << 20);
    let recording: Vec<String> =
        [(1, "n"), (2, &*large), (3, "n")].map(|(id, name)| message(id, name).to_string()).into();
    let place = Place::new(&pipeline, &recording.join("\n"));
    place.start().ends_well();
    let lengths: Vec<usize> = place.raw_rows().lines().map(str::len).collect();
    let (small, empty) = (r#"{"id":1,"name":"n"}"#.len(), r#"{"id":2,"name":""}"#.len());
    assert_eq!(lengths, [small, empty + large.len(), small]);
    let file = rusqlite::Connection::open(place.data.join("out.sqlite")).unwrap();
    let longest = "SELECT count(*), max(length(document ->> '$.name')) FROM t";
    let found: (i64, i64) = file.query_row(longest, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(found, (3, 20 << 20));
    let ids = database.collection::<Document>("t").distinct("_id", doc! {}).await.unwrap();
    assert_eq!(ids, [1_i64, 3].map(bson::Bson::Int64));
    assert_eq!(place.parked(), ["document.too_large"]);
    database.drop().await.unwrap();
}
