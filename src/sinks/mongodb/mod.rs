//! `mongodb`: one document for each key, guarded by version, readable at any moment as if there were no pipeline.
//!
//! ```yaml
//! - mongodb:
//!     uri: "${MONGODB_URI}"        # TLS, authentication, replica set: all in the URI
//!     database: spending
//!     collection: transactions     # default: the record's table name
//!     collections: { tx: transactions }   # instead, when several tables arrive
//!     timestamps: auto             # auto | text | date
//!     decimals: decimal128         # decimal128 | text
//!     tombstones: { keep: 30d }    # longer than any writer may sleep and any backup may be old
//!     timeout: 60s                 # a command's; then the lane backs off
//!     write: auto                  # auto | insert | probe | guarded: see below
//! ```
//!
//! # Documents
//! `{_id, …the row's fields…, _headwater: {v: version, as_of: time of the causing change}}`; with `consistency:
//! transaction`, `torn: WHY` in there says that the document could be seen without the rest of its transaction. A key of one column is the
//! `_id` itself, a composite one a sub-document in key order. Names may hold dots and dollars as MongoDB 5 allows.
//!
//! What each value becomes stands in the documentation of [`Value`](crate::record::Value). Where a column's kind is not known, times have nine fraction digits. One field so has one type, and texts sort.
//!
//! # How a batch is written
//! The batch is folded by key. Then, with prices in CPU-seconds of mongod 6 per million (`benches/mongodb.rs`):
//! 1. The versions in the target are read in one `find` (2.5 in key order, 15 at random): what is missing is inserted
//!    (5 to 8), what is older is updated, what has the same or a higher version is left alone. After two batches in a
//!    row without a surprise (created rows were missing, updated ones there and older: the initial load, and the daily
//!    course of a log read for the first time) the question is saved: created rows are inserted, others updated. The
//!    answers tell when that was wrong, and the next batches ask again (after a restart, the first ones). Documents
//!    computed from a raw store do not tell whether they are new: for those the question pays.
//! 2. An update, and whatever an insert found taken (`_id` exists: another writer, a repeated batch), is one pipeline
//!    update that compares versions and replaces in the same atomic step (35; 20 when it leaves all as it is). It is
//!    hardly dearer than a blind replacement, and cheaper than one guarded by its filter, which the server has to plan.
//! 3. A delete raises a tombstone `{_id, v, at}` in `COLLECTION.tombstones`, then deletes the document where its version
//!    is lower.
//! 4. For everything written, and for documents found with just this version, tombstones with a higher version are
//!    looked for (1 to 2.5); a hit deletes the document where its version is lower. While there is no tombstone at all,
//!    one tiny `find` per batch says so instead.
//!
//! `write: insert | probe | guarded` force one way; all are safe, only their prices differ.
//!
//! ## What an update costs depends on the server's cache
//! Random updates of 900,000 documents of 350 bytes, batches of 1,200, mongod 6, CPU-s a million: with 4 GB of cache 30 by
//! the guarded update, 47 by a blind replacement, 54 by a replacement whose filter names the exact version; with 1 GB of
//! cache 97, 116 and 139. The guarded update is the cheapest (it stores the difference, not the document). The rest is
//! the storage engine: once a fifth of its cache is dirty it compresses and writes a page of 32 KB for nearly each update,
//! whatever the client sends. Larger batches help only where they hold several updates for each page.
//!
//! ## Why this is right with any number of writers, paused and awakened ones included
//! *No older version replaces a newer one*: an insert fails where a document is; the update compares versions in the
//! same step as it writes; a skip only follows a majority read of a version at least as high, which no failover can
//! take back.
//! *What is deleted stays deleted*: let a delete with version `t` and an upsert with a lower version `v` of one key run
//! in any order, possibly by writers that know nothing of each other. The delete does T (tombstone, durable on a
//! majority), then X (delete what is older than `t`). The upsert does W (write), then C (look for tombstones, delete
//! what is older than them). If W comes before X, X removes the document. If X comes before W, then T comes before C,
//! and C removes it. There is no third order. A crash between W and C is healed by the batch's repetition: it finds its
//! own version in place and still does C. Readers can see a document between W and C only when a delayed writer brings
//! an old version after the delete, and then for one round trip.
//! *Again is the same as once*: every statement compares before it writes, so commands go out without retryable writes
//! (twice the price) and are simply sent again by the lane. Writes are acknowledged by a majority's journal.
//! *The limit*: a tombstone goes `keep` after its last delete. A writer that slept longer than that could bring back
//! a document deleted meanwhile.
//! *The same version is the same document*: replaying the log changes nothing. A changed `document` stage gives its
//! documents higher versions from its start on; rows that come straight from the log keep theirs, so a pipeline without
//! a `document` stage that was changed writes into a new collection, or deletes the old one first.
//!
//! # Transactions of the source
//! With `consistency: transaction` in the pipeline, a batch of whole transactions is one transaction here, too, over all
//! collections (`together.rs`). `write` has no say in that.
//!
//! Deliberately absent: truncates (rejected `op.truncate`: no version of one partition can guard rows of
//! others), changes of indexes, validators or sharding: those are the owner's.

mod bson;
mod command;
mod decimal128;
mod fold;
mod server;
mod session;
mod settings;
mod target;
mod times;
mod together;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use self::bson::Writer;
use self::fold::{Fold, Ids};
use self::server::Server;
use self::session::Session;
use self::settings::{Settings, check_collection};
use self::target::Target;
use self::values::{Style, Unfit};
use crate::error::{Error, Result};
use crate::pipeline::{Flow, Problem, Section, Transactions};
use crate::record::{Batch, Record, Torn, Unity};
use crate::stage::{LaneContext, Stage};

struct MongoDb {
    settings: Settings,
    /// How much is written together, where the pipeline asks for that.
    transactions: Option<Transactions>,
    server: Option<Server>,
    /// Where documents are written together.
    session: Option<Session>,
    /// Tables that are known to come.
    tables: Vec<String>,
    /// By collection.
    targets: BTreeMap<String, Target>,
}

/// Reads the section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Stage> {
    Box::new(MongoDb {
        settings: Settings::read(section),
        transactions: None,
        tables: Vec::new(),
        server: None,
        session: None,
        targets: BTreeMap::new(),
    })
}

#[async_trait]
impl Stage for MongoDb {
    fn plan(&mut self, input: Flow) -> Result<Flow, Vec<Problem>> {
        let problems = self.settings.check(&input);
        self.transactions.clone_from(&input.transactions);
        self.settings.creates = input.transactions.is_some();
        self.tables = input.tables.keys().cloned().collect();
        if problems.is_empty() { Ok(input) } else { Err(problems) }
    }

    async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        self.targets.clear();
        self.session = None;
        let Settings { uri, database, timeout, .. } = &self.settings;
        let server = Server::connect(uri, database, *timeout).await?;
        if self.transactions.is_some() {
            server.check_transactions().await?;
            let store = lane.stores.get(&lane.state).await.map_err(|e| e.at("state store"))?;
            let name = format!("mongodb/session/{}/{}/{}", lane.pipeline, lane.lane, server.place);
            self.session = Some(Session::start(&server, &store, name).await?);
        }
        self.server = Some(server);
        if self.settings.creates {
            for table in self.tables.clone() {
                let collection = self.settings.collection_of(&table).to_string();
                self.target(&collection).await?;
            }
        }
        Ok(())
    }

    async fn process(&mut self, mut batch: Batch) -> Result<Batch> {
        let (mut unfit, mut unity): (Vec<(usize, Unfit)>, Unity) = (Vec::new(), batch.unity);
        let parts = self.parts(&batch.records, &mut unfit).await?;
        if unity.together && !unfit.is_empty() {
            unity.torn.get_or_insert(Torn::Refused);
        }
        let fold = |(collection, ids)| (collection, Fold::new(ids, &batch.records));
        let mut folds: Vec<_> = parts.iter().map(|(collection, ids)| (collection.as_str(), ids)).map(fold).collect();
        folds.iter_mut().for_each(|(_, fold)| fold.mark(unity.torn));
        if let (true, Some(limits), Some(session)) = (unity.together, &self.transactions, &mut self.session)
            && let Some(why) = together::write(session, &mut self.targets, &folds, limits).await?
        {
            unity = Unity { together: false, torn: Some(why), ..unity };
            folds.iter_mut().for_each(|(_, fold)| fold.mark(unity.torn));
        }
        if !unity.together {
            for (collection, fold) in &folds {
                let refused = self.target(collection).await?.write(fold).await?;
                unfit.extend(refused.into_iter().filter_map(|(place, why)| Some((fold.get(place)?.index, why))));
            }
        }
        batch.unity = unity;
        reject(&mut batch, unfit);
        Ok(batch)
    }
}

impl MongoDb {
    /// The ids of all records that can be documents, by collection, each of which is open then.
    async fn parts(&mut self, records: &[Record], unfit: &mut Vec<(usize, Unfit)>) -> Result<Vec<(String, Ids)>> {
        let mut parts = Vec::new();
        for (table, indexes) in by_table(records) {
            let collection = self.settings.collection_of(&table).to_string();
            if let Err(expected) = check_collection(&collection) {
                let reason = format!("the table's name cannot name a collection: expected {expected}");
                unfit.extend(indexes.into_iter().map(|at| (at, Unfit::new("collection.name", reason.clone()))));
                continue;
            }
            let style = self.settings.style;
            self.target(&collection).await?;
            let mut ids = Ids::default();
            for index in indexes {
                if let Some(record) = records.get(index) {
                    ids.add(index, record, style);
                }
            }
            unfit.append(&mut ids.unfit);
            parts.push((collection, ids));
        }
        Ok(parts)
    }

    async fn target(&mut self, collection: &str) -> Result<&mut Target> {
        if !self.targets.contains_key(collection) {
            let server =
                self.server.as_ref().ok_or_else(|| Error::Broken("mongodb: the sink was not opened".into()))?;
            let target = Target::open(server, collection, &self.settings).await?;
            self.targets.insert(collection.to_string(), target);
        }
        self.targets.get_mut(collection).ok_or_else(|| Error::Broken("mongodb: a collection got lost".into()))
    }
}

/// Folds records by key and writes each document's BSON, as a batch is before it is sent; tells how many bytes came out.
/// For benches: everything else of this sink needs a server.
#[doc(hidden)]
pub fn encoded_bytes(records: &[Record]) -> usize {
    let style = Style::default();
    let mut ids = Ids::default();
    records.iter().enumerate().for_each(|(index, record)| ids.add(index, record, style));
    let mut bytes = Writer::default();
    for entry in &Fold::new(&ids, records).entries {
        if entry.write_document(&mut bytes, style).is_err() {
            return 0;
        }
    }
    bytes.len()
}

/// The records' indexes by table, in the order in which tables first occur.
fn by_table(records: &[Record]) -> Vec<(Arc<str>, Vec<usize>)> {
    let mut tables: Vec<(Arc<str>, Vec<usize>)> = Vec::new();
    for (index, record) in records.iter().enumerate() {
        match tables.iter_mut().find(|(table, _)| Arc::ptr_eq(table, &record.table) || *table == record.table) {
            Some((_, indexes)) => indexes.push(index),
            None => tables.push((record.table.clone(), vec![index])),
        }
    }
    tables
}

/// Moves what is unfit out of the flow.
fn reject(batch: &mut Batch, mut unfit: Vec<(usize, Unfit)>) {
    if unfit.is_empty() {
        return;
    }
    unfit.sort_by_key(|(index, _)| *index);
    let mut unfit = unfit.into_iter().peekable();
    for (index, record) in std::mem::take(&mut batch.records).into_iter().enumerate() {
        match unfit.next_if(|(at, _)| *at == index) {
            Some((_, why)) => batch.reject(&record, why.code, why.reason),
            None => batch.records.push(record),
        }
    }
}
