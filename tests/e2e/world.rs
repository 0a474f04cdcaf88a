//! A bank of a test's own: a PostgreSQL database, its Debezium connector, topics, and names that nobody else uses.
//!
//! Everything is dropped at the end, also when the test fails.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::mongo::Mongo;
use super::services::{Services, repository};

/// The tables that the connector captures.
pub const TABLES: [&str; 3] = ["customer", "account", "transaction"];

/// A bank and its change-data-capture.
pub struct World {
    /// The services.
    pub services: Services,
    /// Database name, topic prefix and connector name in one.
    pub name: String,
    /// A directory for the runner.
    pub dir: tempfile::TempDir,
}

impl World {
    /// A bank with so many transactions, captured by Debezium from the start.
    pub fn new(services: Services, name: &str, customers: u32, transactions: u32) -> World {
        let name = format!("hw_{name}_{}", std::process::id());
        let world = World { services, name, dir: tempfile::tempdir().unwrap() };
        world.admin(&format!("CREATE DATABASE {}", world.name));
        let fill =
            ["fill", "--customers", &customers.to_string(), "--transactions", &transactions.to_string(), "--seed", "7"];
        let status = world.bank(&fill).status().unwrap();
        assert!(status.success(), "the bank could not be filled");
        world
    }

    /// Registers the Debezium connector; the initial snapshot begins.
    pub fn capture(&self) {
        self.capture_tables("public.customer,public.account,public.transaction");
    }

    /// The same for other tables.
    pub fn capture_tables(&self, tables: &str) {
        let status = Command::new(repository().join("tests/services/connector"))
            .arg(&self.services.dir)
            .args([&self.name, &self.name, &self.name, tables])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "the connector could not be registered");
    }

    /// Changes all three tables for `seconds` at `rate` transactions a second.
    pub fn live(&self, rate: u32, seconds: u64, seed: u32) -> Child {
        let args =
            ["live", "--rate", &rate.to_string(), "--seconds", &seconds.to_string(), "--seed", &seed.to_string()];
        self.bank(&args).spawn().unwrap()
    }

    /// The connection string of the bank's database.
    pub fn database(&self) -> String {
        self.services.postgres_database(&self.name)
    }

    /// A connection to the bank's database.
    pub fn connect(&self) -> postgres::Client {
        postgres::Client::connect(&self.database(), postgres::NoTls).unwrap()
    }

    /// The variables that the pipelines of this folder use.
    pub fn env(&self) -> Vec<(String, String)> {
        let env = |name: &str, value: &str| (name.to_string(), value.to_string());
        vec![
            env("KAFKA_BROKERS", &self.services.kafka),
            env("MONGODB_URI", &self.services.mongodb),
            env("WORLD", &self.name),
            env("RAW_STORE", &self.raw_store()),
        ]
    }

    /// Fills a pipeline file of this folder in for this world.
    pub fn pipeline(&self, file: &str) -> PathBuf {
        repository().join("tests/e2e").join(file)
    }

    /// The MongoDB raw store of this world.
    pub fn raw_store(&self) -> String {
        self.services.mongodb.replacen("/?", &format!("/{}_raw?", self.name), 1)
    }

    /// A directory for the runner's data and log.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn bank(&self, args: &[&str]) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_headwater")).parent().unwrap().join("examples/bank");
        let mut command = Command::new(binary);
        command.arg("--postgres").arg(self.database()).args(args).stdout(Stdio::null());
        command
    }

    fn admin(&self, sql: &str) {
        postgres::Client::connect(&self.services.postgres, postgres::NoTls).unwrap().batch_execute(sql).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let connector = format!("{}/connectors/{}", self.services.connect, self.name);
        let _ = Command::new("curl").args(["-sf", "-X", "DELETE", &connector]).status();
        if let Ok(mut client) = postgres::Client::connect(&self.services.postgres, postgres::NoTls) {
            let slot = format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{}' AND NOT active",
                self.name
            );
            for _ in 0..50 {
                let _ = client.batch_execute(&slot);
                if client.batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
        }
        let mongo = Mongo::connect(&self.services.mongodb);
        mongo.drop_database(&self.name);
        mongo.drop_database(&format!("{}_raw", self.name));
    }
}
