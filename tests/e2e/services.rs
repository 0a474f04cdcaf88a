//! The real services that a test runs against, as `tests/services/start` describes them in the environment.
//!
//! Lacks: starting them. A test without services says that it skips.

use std::path::PathBuf;
use std::process::Command;

/// Where the services listen.
#[derive(Clone)]
pub struct Services {
    /// `postgresql://…/postgres` of a superuser.
    pub postgres: String,
    /// Bootstrap server.
    pub kafka: String,
    /// Kafka Connect's REST address.
    pub connect: String,
    /// `mongodb://…` of a replica set.
    pub mongodb: String,
    /// The state directory of `tests/services/start`.
    pub dir: PathBuf,
}

impl Services {
    /// The running services; `None`, with a line that says so, when there are none.
    pub fn from_env(test: &str) -> Option<Services> {
        let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let services = (|| {
            Some(Services {
                postgres: var("HEADWATER_TEST_POSTGRES")?,
                kafka: var("HEADWATER_TEST_KAFKA")?,
                connect: var("HEADWATER_TEST_CONNECT")?,
                mongodb: var("HEADWATER_TEST_MONGODB")?,
                dir: var("HEADWATER_TEST_DIR")?.into(),
            })
        })();
        if services.is_none() {
            println!("skipped: {test} needs the services of tests/services/start (tests/all starts them)");
        }
        services
    }

    /// The connection string of another database.
    pub fn postgres_database(&self, name: &str) -> String {
        let (server, _) = self.postgres.rsplit_once('/').unwrap();
        format!("{server}/{name}")
    }

    /// Kills a service with SIGKILL and starts it again on its data.
    pub fn restart(&self, service: &str) {
        let script = repository().join("tests/services/restart");
        let status = Command::new(script).arg(&self.dir).arg(service).status().unwrap();
        assert!(status.success(), "tests/services/restart {service} failed");
    }
}

/// The repository's root.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
