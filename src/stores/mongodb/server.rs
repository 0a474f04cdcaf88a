//! The connection to a database: commands as bytes, replies checked, errors sorted by the reaction that they call for.
//!
//! Invariants: writes wait for a majority and its journals; nothing is retried by the driver, since applying again is
//! the same as once; no error text holds what a server's message may quote from documents.

use std::time::Duration;

use bson::raw::{CStr, cstr};
use bson::{Document, RawArrayBuf, RawBsonRef, RawDocumentBuf, Timestamp, doc, rawdoc};
use mongodb::Database;
use mongodb::error::Error as DriverError;

use crate::error::{Error, Result};
use crate::mongo::{self, number};

/// How long a call may take before the lane backs off.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
const ADVICE: &[(i32, &str)] = &[
    (13, "the user needs readWrite on this database"),
    (239, "the view is older than the server's minSnapshotHistoryWindowInSeconds: raise it"),
];
/// Statements per command stay below this; the server's limit is 16 MB and some.
const COMMAND_BYTES: usize = 12 * 1024 * 1024;
/// Statements per command; the server's limit is 100,000.
const COMMAND_STATEMENTS: usize = 10_000;

/// A database on a replica set or sharded cluster.
#[derive(Clone)]
pub struct Server {
    database: Database,
    /// `mongodb host:port,…/database`: the start of every error.
    place: String,
}

/// What became of the statements of a write.
#[derive(Debug, Default)]
pub struct Written {
    /// Documents that were inserted or found by an update's filter.
    pub matched: u64,
    /// Inserts that met a document with the same `_id`.
    pub duplicates: u64,
}

impl Server {
    /// Connects to the database that `uri` names.
    pub async fn connect(uri: &str) -> Result<Server> {
        let form = "mongodb://[user:password@]host[:port],…/database[?options]";
        let mongo::Reached { client, place, database } = mongo::reach("mongodb store", uri, form).await?;
        let name = database.ok_or_else(|| {
            Error::Config("mongodb store: the uri names no database; expected mongodb://…/database".into())
        })?;
        let place = format!("{place}/{name}");
        let server = Server { database: client.database(&name), place };
        let hello = server.run(doc! { "hello": 1 }).await?;
        if !mongo::has_transactions(&hello) {
            let text =
                "a single server without a replica set has no snapshots: start it with --replSet and initiate it";
            return Err(Error::Config(format!("{}: {text}", server.place)));
        }
        Ok(server)
    }

    /// The start of error texts.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Runs a command.
    pub async fn run(&self, command: Document) -> Result<Document> {
        let reply = self.call(self.database.run_command(command).into_future()).await?;
        self.check_concern(&reply)?;
        Ok(reply)
    }

    /// Every document that a `find` gives, as of `at` if a time is given, else as a majority has it.
    pub async fn find(&self, mut command: RawDocumentBuf, at: Option<Timestamp>) -> Result<Vec<RawDocumentBuf>> {
        command.append(cstr!("batchSize"), 100_000);
        match at {
            Some(at) => {
                let concern = rawdoc! { "level": "snapshot", "atClusterTime": at };
                command.append(cstr!("readConcern"), concern);
            }
            None => command.append(cstr!("readConcern"), rawdoc! { "level": "majority" }),
        }
        self.call(async {
            let mut cursor = self.database.run_raw_cursor_command(command).await?;
            let mut found = Vec::new();
            while cursor.advance().await? {
                found.push(cursor.current().to_owned());
            }
            Ok(found)
        })
        .await
    }

    /// The cluster time of a consistent view of everything that a majority has now.
    pub async fn snapshot_time(&self, collection: &str) -> Result<Timestamp> {
        let command = doc! { "find": collection, "limit": 1, "projection": { "_id": 1 }, "singleBatch": true,
        "readConcern": { "level": "snapshot" } };
        let reply = self.run(command).await?;
        let at = reply.get_document("cursor").ok().and_then(|cursor| cursor.get_timestamp("atClusterTime").ok());
        at.ok_or_else(|| Error::Broken(format!("{}: the server tells no snapshot time; 5.0 or later does", self.place)))
    }

    /// Inserts documents; those whose `_id` is taken are counted, not errors.
    pub async fn insert(&self, collection: &str, documents: Vec<RawDocumentBuf>) -> Result<Written> {
        self.write(cstr!("insert"), cstr!("documents"), collection, documents).await
    }

    /// Runs `{q, u, …}` statements.
    pub async fn update(&self, collection: &str, statements: Vec<RawDocumentBuf>) -> Result<Written> {
        self.write(cstr!("update"), cstr!("updates"), collection, statements).await
    }

    async fn write(
        &self,
        verb: &'static CStr,
        list: &'static CStr,
        collection: &str,
        statements: Vec<RawDocumentBuf>,
    ) -> Result<Written> {
        let mut written = Written::default();
        let mut statements = statements.into_iter().peekable();
        while statements.peek().is_some() {
            let (mut part, mut bytes) = (RawArrayBuf::new(), 0);
            for count in 0..COMMAND_STATEMENTS {
                let fits = |next: &RawDocumentBuf| count == 0 || bytes + next.as_bytes().len() < COMMAND_BYTES;
                let Some(statement) = statements.next_if(fits) else { break };
                bytes += statement.as_bytes().len();
                part.push(statement);
            }
            let mut command = RawDocumentBuf::new();
            command.append(verb, collection);
            command.append(cstr!("ordered"), false);
            command.append(cstr!("writeConcern"), rawdoc! { "w": "majority", "j": true });
            command.append(list, part);
            let reply = self.call(self.database.run_raw_command(command).into_future()).await?;
            self.check_concern(&reply)?;
            written.matched += number(&reply, "n").unsigned_abs();
            for error in reply.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default() {
                match error.as_document().map(|error| number(error, "code")) {
                    Some(11000) => written.duplicates += 1,
                    code => return Err(Error::Unavailable(format!("{}: a write failed (code {code:?})", self.place))),
                }
            }
        }
        Ok(written)
    }

    fn check_concern(&self, reply: &Document) -> Result<()> {
        match reply.get_document("writeConcernError") {
            Ok(concern) => Err(Error::Unavailable(format!(
                "{}: written, but not yet safe on a majority (code {})",
                self.place,
                number(concern, "code")
            ))),
            Err(_) => Ok(()),
        }
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, DriverError>>) -> Result<T> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(result) => result.map_err(|error| mongo::unavailable(&self.place, &error, ADVICE)),
            Err(_) => Err(Error::Unavailable(format!("{}: no answer within {} s", self.place, CALL_TIMEOUT.as_secs()))),
        }
    }
}

/// A 64-bit number in a stored document.
pub fn integer(value: Option<RawBsonRef<'_>>) -> Option<i64> {
    match value? {
        RawBsonRef::Int64(n) => Some(n),
        RawBsonRef::Int32(n) => Some(n.into()),
        _ => None,
    }
}
