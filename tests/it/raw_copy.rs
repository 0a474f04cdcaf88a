//! A pipeline that copies one topic into a raw store, for tests that compare the copy with the database it came from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::pipeline::load_text;
use headwater::record::Row;
use headwater::runner::{Fleet, Outcome, RunOptions, retry};
use headwater::stores::{ScannedRow, Stores};
use tokio_util::sync::CancellationToken;

pub struct RawCopy {
    dir: tempfile::TempDir,
    yaml: String,
    store: String,
    retries: bool,
}

impl RawCopy {
    /// `debezium` is the stage's section. Two lanes: partitions are read side by side, in no order.
    pub fn of(name: &str, brokers: &str, topic: &str, debezium: &str) -> Self {
        RawCopy::into(name, brokers, topic, debezium, "copy", "")
    }

    /// The same into a store of its own, with more options of the raw stage.
    pub fn into(name: &str, brokers: &str, topic: &str, debezium: &str, store: &str, more: &str) -> Self {
        let name = name.to_lowercase().replace(['_', '.'], "-");
        let yaml = format!(
            "name: {name}\nlanes: 2\nsource: {{ kafka: {{ brokers: \"{brokers}\", topics: [\"{topic}\"] }} }}\nstages:\n  \
             - debezium: {debezium}\n  - raw: {{ store: \"{store}\" {more} }}\n"
        );
        RawCopy { dir: tempfile::tempdir().unwrap(), yaml, store: store.to_string(), retries: false }
    }

    /// Tries again, as a person would, what was parked since its partition was ahead of another.
    pub fn with_retry(self) -> Self {
        RawCopy { retries: true, ..self }
    }

    /// Reads what is in the topic; gives what the store has. Nothing may be parked.
    pub async fn rows(&self, table: &str) -> Vec<ScannedRow> {
        let (rows, parked) = self.read(table).await;
        assert!(parked.is_empty(), "{parked:?}");
        rows
    }

    /// The rows, and what was parked with its reasons.
    async fn read(&self, table: &str) -> (Vec<ScannedRow>, Vec<[String; 3]>) {
        let load = || {
            let pipeline = load_text("it", &self.yaml, &headwater::builtin(), &|_: &str| None);
            pipeline.unwrap_or_else(|failure| panic!("{:?}", failure.problems))
        };
        let stores = Arc::new(Stores::new(self.dir.path()));
        let options = RunOptions {
            data_dir: self.dir.path().into(),
            stores: stores.clone(),
            until_end: true,
            accepted: Default::default(),
            shutdown: CancellationToken::new(),
        };
        let ended = Fleet::start(vec![load()], &options).finish(true).await.remove(0);
        assert!(matches!(ended.outcome, Outcome::Done), "{:?}", ended.outcome);
        if self.retries {
            retry(&Arc::new(load()), &options, None).await.unwrap();
        }
        let store = stores.get(&self.store).await.unwrap();
        let parked = store.parked(None, None, 10).await.unwrap();
        let parked = parked.into_iter().map(|p| [p.id, p.code, p.reason]).collect();
        (store.snapshot().await.unwrap().scan(table, None, usize::MAX).await.unwrap(), parked)
    }

    /// The tables that the store has.
    pub async fn tables(&self) -> Vec<String> {
        let store = Stores::new(self.dir.path()).get(&self.store).await.unwrap();
        store.tables().await.unwrap().into_iter().map(|(name, _)| name).collect()
    }

    /// Reads until the row `key` is there: whatever the database wrote before it is on its way or has arrived.
    pub async fn rows_up_to(&self, table: &str, key: &Row) -> Vec<ScannedRow> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            // What another partition has to bring first may be parked until then.
            let (rows, parked) = self.read(table).await;
            assert!(parked.is_empty() || self.retries, "{parked:?}");
            if rows.iter().any(|stored| stored.key.to_json() == key.to_json()) {
                // Its partition may be ahead of others.
                tokio::time::sleep(Duration::from_secs(2)).await;
                return self.rows(table).await;
            }
            assert!(Instant::now() < deadline, "row {} does not arrive", key.to_json());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
