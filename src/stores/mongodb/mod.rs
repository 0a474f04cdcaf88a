//! The distributed raw store: a MongoDB database (replica set or sharded cluster, 5.0 or later).
//!
//! Source tables are collections of the same name. A row's document has the key as `_id`, the row typed as far as BSON
//! has the types (`row.amount`), the position that it came from, and whether it is a tombstone (`dead`). Everything else
//! is in collections called `headwater_…`.
//!
//! Invariants
//! - writes are guarded by the revision that was read, so any number of processes may write;
//! - `apply` answers after a majority has journaled; a snapshot reads at one cluster time, which is its version;
//! - what a row was indexed by is kept in its document, written together with the row.
//!
//! Unlike the embedded engine a batch is not one transaction: a crash may leave a part of it, which the next delivery
//! completes. Deliberately absent: transactions, which cost as much again and change nothing that is derived.

mod apply;
mod catalog;
mod facts;
mod fold;
mod parking;
mod rows;
mod server;
mod snapshot;
mod state;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bson::rawdoc;

use self::catalog::Shapes;
use self::server::Server;
use self::state::source_text;
use super::resent::Runs;
use super::{Applied, Index, Parked, RawStore, Snapshot, Sweep};
use crate::error::{Error, Result};
use crate::record::{Record, TableSchema};

/// Layout of the database. A newer one is refused, an older one would be migrated here.
const FORMAT: i64 = 1;
const META: &str = "headwater_meta";

/// A raw store in MongoDB. Cloning shares it.
#[derive(Clone)]
pub struct MongoStore {
    server: Server,
    id: Arc<str>,
    shapes: Arc<Shapes>,
    no_columns: Arc<TableSchema>,
    /// Of messages of tables without a key.
    runs: Arc<Mutex<Runs>>,
}

impl MongoStore {
    /// Opens the store in the database that `uri` names, making it if it is new.
    pub async fn open(uri: &str) -> Result<Self> {
        let server = Server::connect(uri).await?;
        let id: [u8; 16] = rand::random();
        let id: String = id.iter().map(|b| format!("{b:02x}")).collect();
        server.insert(META, vec![rawdoc! { "_id": "store", "format": FORMAT, "id": id }]).await?;
        let found = server.find(rawdoc! { "find": META, "filter": { "_id": "store" } }, None).await?;
        let meta = found.first().ok_or_else(|| catalog::broken("the store's description is missing"))?;
        match server::integer(meta.get("format").ok().flatten()) {
            Some(FORMAT) => {}
            format => {
                let text = format!(
                    "{}: the store has format {format:?}, this program knows format {FORMAT}: use the program that wrote it or a newer one",
                    server.place()
                );
                return Err(Error::Config(text));
            }
        }
        let id = meta.get_str("id").map_err(|_| catalog::broken("the store's id does not read"))?.into();
        catalog::prepare(&server).await?;
        Ok(MongoStore { server, id, shapes: Arc::default(), no_columns: apply::no_columns(), runs: Arc::default() })
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RawStore for MongoStore {
    fn id(&self) -> &str {
        &self.id
    }

    async fn apply(&self, records: Vec<Record>) -> Result<Applied> {
        self.apply_batch(records).await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Vec<Record>> {
        // Most rows are the snapshot's own: they need not be looked at.
        let shown = source_text(&sweep.than);
        let candidates =
            rawdoc! { "$or": [{ "dead": false, "at.s": { "$ne": &*shown } }, { "dead": true, "at.s": &*shown }] };
        self.bury_where(&sweep.delete(), candidates, |stored| sweep.judge(stored)).await
    }

    async fn ensure_indexes(&self, indexes: &[Index]) -> Result<()> {
        for index in indexes {
            self.ensure_index(index).await?;
        }
        Ok(())
    }

    async fn advance(&self) -> Result<()> {
        // Every write moves the cluster time.
        let count = rawdoc! { "q": { "_id": "store" }, "u": { "$inc": { "starts": 1_i64 } } };
        self.server.update(META, vec![count]).await.map(|_| ())
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(snapshot::View::open(self.clone()).await?))
    }

    async fn tables(&self) -> Result<Vec<(String, u64)>> {
        let mut tables = Vec::new();
        for table in catalog::all_tables(&self.server).await? {
            tables.push((table.name.to_string(), self.count_live(&table).await?));
        }
        Ok(tables)
    }

    async fn positions(&self) -> Result<Vec<(String, i32, i64)>> {
        self.read_positions().await
    }

    async fn facts(&self, prefix: &str) -> Result<BTreeMap<String, String>> {
        facts::facts(&self.server, prefix).await
    }

    async fn remember(&self, facts: &[(String, String)]) -> Result<()> {
        facts::remember(&self.server, facts).await
    }

    async fn replace_fact(&self, name: &str, expected: Option<&str>, value: &str) -> Result<bool> {
        facts::replace(&self.server, name, expected, value).await
    }

    async fn park(&self, parked: &[Parked]) -> Result<()> {
        parking::park(&self.server, parked).await
    }

    async fn parked(&self, pipeline: Option<&str>, after: Option<&str>, limit: usize) -> Result<Vec<Parked>> {
        parking::parked(&self.server, pipeline, after, limit).await
    }

    async fn unpark(&self, ids: &[String]) -> Result<u64> {
        parking::unpark(&self.server, ids).await
    }
}
