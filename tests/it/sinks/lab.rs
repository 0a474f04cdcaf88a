//! A place to try a sink in: makes instances of it over one target, and reads the target with other means than the
//! product's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use headwater::pipeline::{BatchLimits, Flow, Node, NodeKind, Section, Span, Spanned, Transactions};
use headwater::record::{
    Batch, Epoch, Message, Op, Position, Record, Reject, Row, SourcePosition, Timestamp, Unity, Value,
};
use headwater::stage::{LaneContext, Stage, StageFactory};
use headwater::stores::Stores;
use mongodb::bson::{Document, doc};

/// What a target holds: the documents' `name` fields and versions by key.
pub type Documents = BTreeMap<String, (String, i64)>;

#[async_trait]
pub trait Lab: Send + Sync {
    /// A new, opened instance over the same target.
    async fn sink(&self) -> Box<dyn Stage>;
    async fn documents(&self) -> Documents;
    async fn close(self: Box<Self>);
}

/// The table of all records here.
pub const TABLE: &str = "account";

/// A node of a pipeline file, as if it had been written there.
pub fn yaml(entries: &[(&str, &str)]) -> Node {
    let at = |value: &str| Spanned { value: value.to_string(), span: Span::default(), path: String::new() };
    let scalar = |text: &str| NodeKind::Scalar { text: text.into(), quoted: false, secret: false };
    let node = |kind| Node { kind, span: Span::default(), path: String::new() };
    node(NodeKind::Map(entries.iter().map(|(key, value)| (at(key), node(scalar(value)))).collect()))
}

/// Builds, plans and opens a sink.
pub async fn opened(make: StageFactory, options: Node, folder: &Path) -> headwater::Result<Box<dyn Stage>> {
    planned(make, options, folder, Flow { open: true, ..Default::default() }).await
}

async fn planned(make: StageFactory, options: Node, folder: &Path, input: Flow) -> headwater::Result<Box<dyn Stage>> {
    let mut section = Section::new(&options);
    let mut sink = make(&mut section);
    assert_eq!(section.finish(), []);
    let planned = sink.plan(input);
    planned.map_err(|problems| headwater::Error::Config(format!("{problems:?}")))?;
    sink.open(&lane(folder)).await?;
    Ok(sink)
}

fn lane(folder: &Path) -> LaneContext {
    LaneContext {
        pipeline: "test".into(),
        lane: 0,
        lanes: 1,
        batch: BatchLimits::default(),
        data_dir: folder.into(),
        stores: Arc::new(Stores::new(folder)),
        shutdown: Default::default(),
        until_end: false,
        state: "state".into(),
        accepted: Default::default(),
    }
}

/// A number that no other test of this run has.
pub fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn record(op: Op, key: Row, row: Option<Row>, version: u64) -> Record {
    Record {
        table: TABLE.into(),
        op,
        key,
        row,
        patch: None,
        before: None,
        position: Position {
            topic: "t".into(),
            epoch: Epoch::default(),
            partition: 0,
            offset: 0,
            source: SourcePosition::Unknown,
        },
        version,
        changed_at: Some(Timestamp::from_millis(1_700_000_000_000)),
        snapshot: Default::default(),
        origin: 0,
    }
}

pub fn put(op: Op, id: i64, name: &str, version: u64) -> Record {
    let row = Row::of([("id", Value::Int(id)), ("name", Value::from(name))]);
    record(op, Row::of([("id", Value::Int(id))]), Some(row), version)
}

pub fn create(id: i64, name: &str, version: u64) -> Record {
    put(Op::Create, id, name, version)
}

pub fn update(id: i64, name: &str, version: u64) -> Record {
    put(Op::Update, id, name, version)
}

pub fn delete(id: i64, version: u64) -> Record {
    record(Op::Delete, Row::of([("id", Value::Int(id))]), None, version)
}

pub fn batch(records: Vec<Record>) -> Batch {
    let message = Message {
        topic: "t".into(),
        epoch: Epoch::default(),
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        value: None,
        headers: Vec::new(),
    };
    Batch { records, ..Batch::from_messages(vec![message]) }
}

/// Writes a batch; everything in it must be accepted.
pub async fn write(sink: &mut Box<dyn Stage>, records: Vec<Record>) {
    assert_eq!(offer(sink, records).await, []);
}

/// Writes a batch and tells what was rejected.
pub async fn offer(sink: &mut Box<dyn Stage>, records: Vec<Record>) -> Vec<Reject> {
    let count = records.len();
    let batch = sink.process(batch(records)).await.unwrap();
    assert_eq!(batch.records.len() + batch.rejects.len(), count, "records go on or are rejected");
    batch.rejects
}

pub fn held<'a>(documents: impl IntoIterator<Item = (i64, &'a str, i64)>) -> Documents {
    documents.into_iter().map(|(id, name, version)| (id.to_string(), (name.to_string(), version))).collect()
}

/// The plan of a sink that gets every batch as one that is to be seen at once.
pub const TOGETHER: &str = "together";

/// Says of each batch that it is made of whole transactions.
pub struct Together {
    sink: Box<dyn Stage>,
    /// What became of the last batch.
    pub unity: Unity,
}

impl Together {
    pub async fn open(options: Node, folder: &Path, events: usize, bytes: usize) -> Together {
        let topic = Spanned { value: "bank.transaction".to_string(), span: Span::default(), path: String::new() };
        let transactions = Some(Transactions { topic, events, bytes, age: std::time::Duration::from_secs(30) });
        let input = Flow { open: true, transactions, ..Flow::default() };
        let sink = planned(headwater::sinks::mongodb::make, options, folder, input).await.unwrap();
        Together { sink, unity: Unity::default() }
    }
}

#[async_trait]
impl Stage for Together {
    fn plan(&mut self, input: Flow) -> Result<Flow, Vec<headwater::pipeline::Problem>> {
        Ok(input)
    }

    async fn process(&mut self, batch: Batch) -> headwater::Result<Batch> {
        let unity = Unity { together: true, torn: None, transactions: 1 };
        let batch = self.sink.process(Batch { unity, ..batch }).await?;
        self.unity = batch.unity;
        Ok(batch)
    }
}

/// A collection of its own in the MongoDB of the test services.
pub struct Mongo {
    pub uri: String,
    pub client: mongodb::Client,
    pub database: String,
    pub plan: &'static str,
    /// Of the sinks' pipeline.
    pub data_dir: tempfile::TempDir,
}

impl Mongo {
    pub async fn new(plan: &'static str) -> Option<Mongo> {
        let Ok(uri) = std::env::var("HEADWATER_TEST_MONGODB") else {
            println!("skipped: HEADWATER_TEST_MONGODB is not set");
            return None;
        };
        let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
        let (database, data_dir) = (format!("headwater_sinks_{}", unique()), tempfile::tempdir().unwrap());
        Some(Mongo { uri, client, database, plan, data_dir })
    }

    /// A sink whose commands the server knows by `app_name`, through `uri`.
    pub async fn sink_at(&self, uri: &str, app_name: &str, more: &[(&str, &str)]) -> Box<dyn Stage> {
        let uri = format!("{uri}{}appName={app_name}", if uri.contains('?') { "&" } else { "/?" });
        let write = if self.plan == TOGETHER { "auto" } else { self.plan };
        let options = [("uri", &*uri), ("database", &*self.database), ("write", write)];
        let options = yaml(&[&options, more].concat());
        match self.plan == TOGETHER {
            true => Box::new(Together::open(options, self.data_dir.path(), 100_000, 1 << 30).await),
            false => opened(headwater::sinks::mongodb::make, options, self.data_dir.path()).await.unwrap(),
        }
    }

    /// A sink with another age of tombstones.
    pub async fn sink_keeping(&self, keep: &str) -> Box<dyn Stage> {
        let mut options = yaml(&[("uri", &self.uri), ("database", &self.database), ("tombstones", "")]);
        let NodeKind::Map(entries) = &mut options.kind else { panic!("options are a map") };
        entries[2].1 = yaml(&[("keep", keep)]);
        opened(headwater::sinks::mongodb::make, options, self.data_dir.path()).await.unwrap()
    }

    /// Opens a sink at any URI.
    pub async fn try_open(&self, uri: &str) -> headwater::Result<Box<dyn Stage>> {
        let options = yaml(&[("uri", uri), ("database", &self.database)]);
        opened(headwater::sinks::mongodb::make, options, self.data_dir.path()).await
    }

    pub fn collection(&self, name: &str) -> mongodb::Collection<Document> {
        self.client.database(&self.database).collection(name)
    }

    pub async fn find_all(&self, name: &str) -> Vec<Document> {
        let mut cursor = self.collection(name).find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
        let mut all = Vec::new();
        while cursor.advance().await.unwrap() {
            all.push(cursor.deserialize_current().unwrap());
        }
        all
    }
}

#[async_trait]
impl Lab for Mongo {
    async fn sink(&self) -> Box<dyn Stage> {
        self.sink_at(&self.uri, "headwater", &[]).await
    }

    async fn documents(&self) -> Documents {
        let describe = |found: Document| {
            let version = found.get_document("_headwater").unwrap().get_i64("v").unwrap();
            (found.get("_id").unwrap().to_string(), (found.get_str("name").unwrap().to_string(), version))
        };
        self.find_all(TABLE).await.into_iter().map(describe).collect()
    }

    async fn close(self: Box<Self>) {
        self.client.database(&self.database).drop().await.unwrap();
    }
}

/// A file of its own.
pub struct SqliteFile(pub tempfile::TempDir);

#[async_trait]
impl Lab for SqliteFile {
    async fn sink(&self) -> Box<dyn Stage> {
        opened(headwater::sinks::sqlite::make, yaml(&[("path", "target.db")]), self.0.path()).await.unwrap()
    }

    async fn documents(&self) -> Documents {
        let connection = rusqlite::Connection::open(self.0.path().join("target.db")).unwrap();
        let select = format!("SELECT CAST(id AS TEXT), document, version FROM {TABLE}");
        let mut select = connection.prepare(&select).unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?))).unwrap();
        rows.map(Result::unwrap)
            .map(|(id, document, version): (String, String, i64)| {
                let document: serde_json::Value = serde_json::from_str(&document).unwrap();
                (id, (document["name"].as_str().unwrap().to_string(), version))
            })
            .collect()
    }

    async fn close(self: Box<Self>) {}
}
