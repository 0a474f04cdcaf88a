//! Accounts, payments between them, and an audit table that the pipeline does not read. Every transaction leaves the sum of
//! all balances, and each balance is what payments made it.

use std::path::PathBuf;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mongodb::bson::Document;
use postgres::{Client, NoTls};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::reader::Database;
use crate::e2e::services::{Services, repository};

/// What an account has before its first payment.
pub const OPENING: i64 = 1_000;
/// Accounts before anything is written.
pub const ACCOUNTS: i64 = 30;

pub struct Bank {
    pub services: Services,
    pub name: String,
    pub dir: tempfile::TempDir,
}

impl Bank {
    /// A database, captured from the start, with the connector's transaction topic.
    pub fn open(services: Services, test: &str) -> Bank {
        let name = format!("{test}_{}", std::process::id());
        let bank = Bank { services, name, dir: tempfile::tempdir().unwrap() };
        let mut admin = Client::connect(&bank.services.postgres, NoTls).unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {}", bank.name)).unwrap();
        bank.connect()
            .batch_execute(&format!(
                "CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL);
                 CREATE TABLE payment (id bigint PRIMARY KEY, sender bigint, receiver bigint, amount bigint NOT NULL);
                 CREATE TABLE audit (id bigserial PRIMARY KEY, what text);
                 ALTER TABLE payment REPLICA IDENTITY FULL;
                 INSERT INTO account SELECT n, {OPENING} FROM generate_series(1, {ACCOUNTS}) n"
            ))
            .unwrap();
        let topic = format!("{}\\.transaction", bank.name);
        bank.connector(&[
            &bank.name,
            &bank.name,
            &bank.name,
            "public.account,public.payment,public.audit",
            "--streaming",
            "provide.transaction.metadata=true",
            "topic.creation.groups=ends",
            &format!("topic.creation.ends.include={topic}"),
            "topic.creation.ends.partitions=1",
            "topic.creation.ends.replication.factor=1",
        ]);
        // Until then there is no topic of it to be read.
        bank.connect()
            .batch_execute("INSERT INTO audit (what) VALUES ('opened'); INSERT INTO payment VALUES (0, 0, 0, 0)")
            .unwrap();
        bank
    }

    pub fn connect(&self) -> Client {
        Client::connect(&self.services.postgres_database(&self.name), NoTls).unwrap()
    }

    pub fn env(&self) -> Vec<(String, String)> {
        let env = |name: &str, value: &str| (name.to_string(), value.to_string());
        vec![env("MONGODB_URI", &self.services.mongodb), env("WORLD", &self.name)]
    }

    pub fn raw_store(&self) -> String {
        self.services.mongodb.replacen("/?", &format!("/{}_raw?", self.name), 1)
    }

    pub fn pipeline(&self, stages: &str) -> PathBuf {
        let Bank { name, services, .. } = self;
        let text = format!(
            "name: {}
source:
  kafka:
    brokers: {}
    instance: one
    topics: [{name}.public.account, {name}.public.payment, {name}.transaction]
consistency: {{ transaction: {{ topic: {name}.transaction, age: 5m }} }}
batch: {{ records: 150 }}
stages:
  - debezium: {{}}{stages}",
            name.replace('_', "-"),
            services.kafka
        );
        let path = self.dir.path().join("accounts.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Moves money for so long; how many transactions that were.
    pub fn write(&self, time: Duration) -> JoinHandle<usize> {
        let mut sql = self.connect();
        std::thread::spawn(move || {
            let mut random = StdRng::seed_from_u64(11);
            let (begun, mut count, mut clerk) = (Instant::now(), 0, Clerk::default());
            while begun.elapsed() < time {
                let statements = match random.gen_range(0..20) {
                    0 => "INSERT INTO audit (what) VALUES ('nothing');".to_string(),
                    1 => "INSERT INTO audit (what) SELECT 'a lot' FROM generate_series(1, 50);".to_string(),
                    _ => (0..random.gen_range(1..5)).map(|_| clerk.work(&mut random)).collect(),
                };
                sql.batch_execute(&format!("BEGIN; {statements} COMMIT")).unwrap();
                count += 1;
                std::thread::sleep(Duration::from_millis(random.gen_range(0..12)));
            }
            count
        })
    }

    /// How MongoDB differs from PostgreSQL; empty when it does not.
    pub fn difference(&self) -> String {
        let mut sql = self.connect();
        let rows = sql.query("SELECT id, balance FROM account ORDER BY id", &[]).unwrap();
        let expected: Vec<(i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let found: Vec<(i64, i64)> = self
            .documents("account")
            .iter()
            .map(|found| (found.get_i64("_id").unwrap(), found.get_i64("balance").unwrap()))
            .collect();
        match expected == found {
            true => String::new(),
            false => format!("PostgreSQL {expected:?}\nMongoDB {found:?}"),
        }
    }

    /// Documents that say that they were torn.
    pub fn marked(&self) -> Vec<String> {
        let all = ["account", "payment"].into_iter().flat_map(|collection| self.documents(collection));
        all.filter(|found| found.get_document("_headwater").unwrap().contains_key("torn"))
            .map(|found| found.to_string())
            .collect()
    }

    fn documents(&self, collection: &str) -> Vec<Document> {
        let [found] = Database::open(&self.services.mongodb, &self.name).snapshot([collection]);
        found
    }

    /// Its task ends wherever it is, and begins again where it last said that it was.
    pub fn restart_connector(&self) {
        let url = format!("{}/connectors/{}/restart?includeTasks=true", self.services.connect, self.name);
        let done = Command::new("curl").args(["-sf", "-X", "POST", &url]).output().unwrap();
        assert!(done.status.success(), "the connector is not restarted: {}", String::from_utf8_lossy(&done.stdout));
    }

    fn connector(&self, args: &[&str]) {
        let script = repository().join("tests/services/connector");
        let done = Command::new(script).arg(&self.services.dir).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        self.connector(&["--delete", &self.name]);
        let mut admin = Client::connect(&self.services.postgres, NoTls).unwrap();
        admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).unwrap();
        for name in [self.name.clone(), format!("{}_raw", self.name)] {
            Database::open(&self.services.mongodb, &name).drop();
        }
    }
}

/// Knows the payments that stand.
#[derive(Default)]
struct Clerk {
    payments: Vec<(i64, i64, i64, i64)>,
    next: i64,
    accounts: i64,
}

impl Clerk {
    /// The statements of one piece of work; several may share a transaction.
    fn work(&mut self, random: &mut StdRng) -> String {
        let chosen = random.gen_range(0..self.payments.len().max(1));
        match random.gen_range(0..10) {
            0 if !self.payments.is_empty() => {
                let (id, sender, receiver, amount) = self.payments.swap_remove(chosen);
                format!("DELETE FROM payment WHERE id = {id}; {}", transfer(receiver, sender, amount))
            }
            1 if !self.payments.is_empty() => {
                let (id, new) = (self.payments[chosen].0, self.next_payment());
                self.payments[chosen].0 = new;
                format!("UPDATE payment SET id = {new} WHERE id = {id};")
            }
            2 if self.accounts < 20 => {
                self.accounts += 1;
                format!("INSERT INTO account VALUES ({}, {OPENING});", ACCOUNTS + self.accounts)
            }
            _ => {
                let account = |random: &mut StdRng| random.gen_range(1..=ACCOUNTS);
                let (sender, receiver, amount) = (account(random), account(random), random.gen_range(1..50));
                let id = self.next_payment();
                self.payments.push((id, sender, receiver, amount));
                let insert = format!("INSERT INTO payment VALUES ({id}, {sender}, {receiver}, {amount});");
                insert + &transfer(sender, receiver, amount)
            }
        }
    }

    fn next_payment(&mut self) -> i64 {
        self.next += 1;
        self.next
    }
}

fn transfer(sender: i64, receiver: i64, amount: i64) -> String {
    format!(
        "UPDATE account SET balance = balance - {amount} WHERE id = {sender};
         UPDATE account SET balance = balance + {amount} WHERE id = {receiver};"
    )
}
