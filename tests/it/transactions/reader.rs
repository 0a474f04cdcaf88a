//! Looks at MongoDB as a reader of it would: all collections in one snapshot, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mongodb::bson::{Bson, Document, doc};
use mongodb::error::TRANSIENT_TRANSACTION_ERROR;
use mongodb::options::ReadConcern;

use super::bank::{ACCOUNTS, Bank, OPENING};
use crate::e2e::runner::Runner;

/// A database, read by a client with a runtime of its own.
pub struct Database {
    runtime: tokio::runtime::Runtime,
    client: mongodb::Client,
    name: String,
}

impl Database {
    pub fn open(uri: &str, name: &str) -> Database {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(mongodb::Client::with_uri_str(uri)).unwrap();
        Database { runtime, client, name: name.to_string() }
    }

    /// All documents of collections, in one snapshot, in the order of their ids.
    pub fn snapshot<const N: usize>(&self, collections: [&str; N]) -> [Vec<Document>; N] {
        loop {
            match self.runtime.block_on(self.look(collections)) {
                // Around the creation of a collection the server asks to look again.
                Err(error) if error.contains_label(TRANSIENT_TRANSACTION_ERROR) => {}
                found => return found.unwrap(),
            }
        }
    }

    async fn look<const N: usize>(&self, collections: [&str; N]) -> mongodb::error::Result<[Vec<Document>; N]> {
        let mut session = self.client.start_session().await?;
        session.start_transaction().read_concern(ReadConcern::snapshot()).await?;
        let mut all = collections.map(|_| Vec::new());
        for (collection, found) in collections.iter().zip(&mut all) {
            let collection = self.client.database(&self.name).collection::<Document>(collection);
            let mut cursor = collection.find(doc! {}).sort(doc! { "_id": 1 }).session(&mut session).await?;
            while cursor.advance(&mut session).await? {
                found.push(cursor.deserialize_current()?);
            }
        }
        session.abort_transaction().await?;
        Ok(all)
    }

    pub fn drop(&self) {
        let _ = self.runtime.block_on(async { self.client.database(&self.name).drop().await });
    }
}

/// What a reader has seen.
pub struct Seen {
    pub looks: usize,
    /// Different states.
    pub states: usize,
}

pub struct Reader {
    database: Database,
}

impl Reader {
    pub fn open(bank: &Bank) -> Reader {
        Reader { database: Database::open(&bank.services.mongodb, &bank.name) }
    }

    /// A snapshot of the source has no transactions: its rows come as they can.
    pub fn wait_for_load(&self, runner: &Runner) {
        let begun = Instant::now();
        loop {
            let [accounts] = self.database.snapshot(["account"]);
            if accounts.len() as i64 == ACCOUNTS {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{} accounts:\n{}", accounts.len(), runner.log_tail());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Looks until it is told to stop; fails when something does not add up.
    pub fn start(self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut looks, mut states) = (0, BTreeSet::new());
            while !until.load(Ordering::Relaxed) {
                let [accounts, payments] = self.database.snapshot(["account", "payment"]);
                states.insert(check(&accounts, &payments));
                looks += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            Seen { looks, states: states.len() }
        });
        Running { stop, thread }
    }
}

pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Running {
    pub fn stop(self, runner: &Runner) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.join();
        seen.unwrap_or_else(|_| panic!("the reader saw a part of a transaction:\n{}", runner.log_tail()))
    }
}

/// Every balance is what payments made it, and no money came or went; the balances.
fn check(accounts: &[Document], payments: &[Document]) -> Vec<i64> {
    let mut made: BTreeMap<i64, i64> = BTreeMap::new();
    for payment in payments {
        let amount = number(payment, "amount");
        *made.entry(number(payment, "sender")).or_default() -= amount;
        *made.entry(number(payment, "receiver")).or_default() += amount;
    }
    let mut balances = Vec::new();
    for account in accounts {
        let id = number(account, "_id");
        let of_itself = number(account, "received") - number(account, "sent");
        let expected = OPENING + of_itself + made.get(&id).copied().unwrap_or_default();
        assert_eq!(number(account, "balance"), expected, "account {id} is not what its payments made it");
        balances.push(expected);
    }
    assert_eq!(balances.iter().sum::<i64>(), OPENING * balances.len() as i64, "money came or went");
    balances
}

/// A number of any type; 0 where there is none.
fn number(document: &Document, field: &str) -> i64 {
    match document.get(field) {
        Some(Bson::Int64(n)) => *n,
        Some(Bson::Int32(n)) => i64::from(*n),
        Some(Bson::Decimal128(n)) => n.to_string().parse().unwrap(),
        None | Some(Bson::Null) => 0,
        other => panic!("{field}: {other:?}"),
    }
}
