//! The connection: sends commands, reads every error out of their replies, and sorts them.
//!
//! Invariants
//! - a call, once started, runs to its end in a task of its own: dropping the caller's future never tears a connection;
//! - no text names a key or a value: of a server's error only code, code name and our own advice are kept, since its
//!   message quotes the documents.
//!
//! | reported | becomes |
//! |---|---|
//! | network, time-outs, no primary, stepping down, shutting down, full disk, memory pressure, write concern errors | `Unavailable`: back off, send the batch again |
//! | authentication, missing rights | `Unavailable`: an operator mends it, nothing is lost meanwhile |
//! | what is not known | `Unavailable`: better a pause that is seen than a record that is lost |
//! | 11000 on `_id` | the guarded path |
//! | 11000 on another unique index | reject `unique.violated`, once trying again at the end of the batch helps no more |
//! | 121 (schema validation) | reject `document.invalid` |
//! | 10334, 17419, 17420 (size) | reject `document.too_large` |
//! | 2, 9, 14, 52, 53, 55, 56, 57, 66, 171, 16755, 16766, 17261, 17262, 50840 and alike for one statement (names, index keys) | reject `document.refused` |

use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};
use mongodb::Database;
use mongodb::error::{Error as DriverError, ErrorKind};

use super::command::Command;
use super::values::Unfit;
use crate::error::{Error, Result};
use crate::mongo;

/// What the network may take on top of the server's own time-out.
const NETWORK_GRACE: Duration = Duration::from_secs(15);
const ADVICE: &[(i32, &str)] =
    &[(13, "the user needs find, insert, update, remove, createIndex, createCollection and collMod here")];

/// A database on a server.
#[derive(Clone)]
pub(super) struct Server {
    pub database: Database,
    /// `mongodb host:port,…/database`: the start of every error.
    pub place: String,
    /// How long a command may take.
    pub timeout: Duration,
}

/// The answer to a write command.
pub(super) struct Answer {
    /// How many documents were inserted, deleted or really changed.
    pub changed: u64,
    /// How many of them were made by an update that found nothing.
    pub upserted: u64,
    /// Statements that failed, by their place in the fold.
    pub failed: Vec<(usize, Failure)>,
}

/// Why one statement failed.
pub(super) enum Failure {
    /// A document with this `_id` is there.
    Duplicate,
    /// Another unique index has these values.
    Violated,
    /// The document cannot be stored as it is.
    Unfit(Unfit),
}

/// Ids (type byte and value) and versions as a `find` told them.
#[derive(Default)]
pub(super) struct Found {
    arena: Vec<u8>,
    ends: Vec<(usize, Option<i64>)>,
}

impl Found {
    /// Every id found, with the version if the document has one.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<i64>)> {
        let mut start = 0;
        self.ends.iter().filter_map(move |(end, version)| {
            let id = self.arena.get(start..*end);
            start = *end;
            id.map(|id| (id, *version))
        })
    }

    /// Takes a document's id and version; nothing of one whose id cannot be read.
    pub fn push(&mut self, document: &bson::RawDocument, version_field: &str) -> Option<()> {
        // `_id` is always the first field of a stored document: type byte at 4, then `_id` and NUL, then the value.
        let id = document.iter_elements().next()?.ok().filter(|first| first.key().as_str() == "_id")?;
        let bytes = document.as_bytes();
        self.arena.push(*bytes.get(4)?);
        self.arena.extend_from_slice(bytes.get(9..9 + id.size())?);
        let mut parent = Some(document);
        let mut path = version_field.split('.').peekable();
        let mut version = None;
        while let (Some(holder), Some(step)) = (parent.take(), path.next()) {
            match path.peek() {
                Some(_) => parent = holder.get_document(step).ok(),
                None => version = holder.get_i64(step).ok(),
            }
        }
        self.ends.push((self.arena.len(), version));
        Some(())
    }
}

impl Server {
    /// Connects and checks that writes are possible.
    pub async fn connect(uri: &str, database: &str, timeout: Duration) -> Result<Server> {
        let form = "mongodb://[user:password@]host[:port],…/[?options]";
        let mongo::Reached { client, place, .. } = mongo::reach("mongodb", uri, form).await?;
        let place = format!("{place}/{database}");
        let server = Server { database: client.database(database), place, timeout };
        server.run(doc! { "ping": 1 }).await?;
        Ok(server)
    }

    /// Whether transactions are possible here: a server that stands alone has none.
    pub async fn check_transactions(&self) -> Result<()> {
        if mongo::has_transactions(&self.run(doc! { "hello": 1 }).await?) {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{}: `consistency: transaction` needs a replica set (one member is enough) or a sharded cluster",
            self.place
        )))
    }

    /// What write commands grant the replica set, in milliseconds.
    pub fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Runs an administrative command.
    pub async fn run(&self, command: Document) -> Result<Document> {
        let database = self.database.clone();
        self.call(async move { database.run_command(command).await }).await
    }

    /// Like [`Server::run`], but an error with one of these codes is `None`.
    pub async fn run_unless(&self, command: Document, codes: &[i32]) -> Result<Option<Document>> {
        let database = self.database.clone();
        let codes = codes.to_vec();
        self.call(async move {
            match database.run_command(command).await {
                Ok(reply) => Ok(Some(reply)),
                Err(error) if code_of(&error).is_some_and(|code| codes.contains(&code)) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Sends one write command.
    pub async fn write(&self, command: Command) -> Result<Answer> {
        let (database, place) = (self.database.clone(), self.place.clone());
        let raw = self.raw(command.bytes)?;
        let reply = self.call(async move { database.run_raw_command(raw).await }).await?;
        if let Ok(concern) = reply.get_document("writeConcernError") {
            let code = concern.get_i32("code").unwrap_or_default();
            let name = concern.get_str("codeName").unwrap_or("unnamed");
            let text = format!("{place}: written, but not yet safe on a majority (code {code} {name})");
            return Err(Error::Unavailable(text));
        }
        self.answer(&command.places, &reply)
    }

    /// Reads the answer to a write command whose statements stand at `places` of the fold.
    pub fn answer(&self, places: &[usize], reply: &Document) -> Result<Answer> {
        // An update tells matched, modified and inserted documents; the others tell only how many.
        let upserted = reply.get_array("upserted").map_or(0, |new| new.len() as u64);
        let changed = mongo::number(reply, if reply.contains_key("nModified") { "nModified" } else { "n" });
        let mut answer = Answer { changed: changed.unsigned_abs() + upserted, upserted, failed: Vec::new() };
        for error in reply.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default() {
            let Some(error) = error.as_document() else { continue };
            let place = usize::try_from(mongo::number(error, "index")).ok().and_then(|at| places.get(at).copied());
            let place = place.ok_or_else(|| self.protocol("an error for a statement that was not sent"))?;
            answer.failed.push((place, self.failure(error)?));
        }
        Ok(answer)
    }

    /// Sends a `find` of ids and versions.
    pub async fn find(&self, bytes: Vec<u8>, version_field: &'static str) -> Result<Found> {
        let database = self.database.clone();
        let raw = self.raw(bytes)?;
        let found = self
            .call(async move {
                let mut cursor = database.run_raw_cursor_command(raw).await?;
                let mut found = Some(Found::default());
                while cursor.advance().await? {
                    found = found.and_then(|mut f| f.push(cursor.current(), version_field).map(|()| f));
                }
                Ok(found)
            })
            .await?;
        found.ok_or_else(|| self.protocol("a document without a readable _id"))
    }

    /// A command's bytes as the driver takes them.
    pub fn raw(&self, bytes: Vec<u8>) -> Result<RawDocumentBuf> {
        RawDocumentBuf::from_bytes(bytes).map_err(|_| self.protocol("a command that is no document"))
    }

    /// The server, or this code, has said what cannot be.
    pub fn protocol(&self, what: &str) -> Error {
        Error::Broken(format!("{}: {what}; please report it", self.place))
    }

    /// Runs a call to its end in a task of its own.
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, DriverError>> + Send + 'static,
    ) -> Result<T> {
        self.finish(call).await?.map_err(|error| self.unavailable(&error))
    }

    /// Runs whatever asks the server to its end in a task of its own, within the time that it and the network have.
    pub async fn finish<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let limit = self.timeout + NETWORK_GRACE;
        match tokio::time::timeout(limit, tokio::spawn(call)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(Error::Unavailable(format!("{}: the runtime is shutting down", self.place))),
            Err(_) => Err(Error::Unavailable(format!("{}: no answer within {} s", self.place, limit.as_secs()))),
        }
    }

    /// What a driver's error says, as far as it may be told.
    pub fn unavailable(&self, error: &DriverError) -> Error {
        mongo::unavailable(&self.place, error, ADVICE)
    }

    fn failure(&self, error: &Document) -> Result<Failure> {
        let code = mongo::number(error, "code");
        let unfit = |class, reason: String| Ok(Failure::Unfit(Unfit::new(class, reason)));
        match code {
            11000 | 11001 => {
                let on_id =
                    error.get_document("keyPattern").is_ok_and(|keys| keys.len() == 1 && keys.contains_key("_id"));
                Ok(if on_id { Failure::Duplicate } else { Failure::Violated })
            }
            121 => unfit("document.invalid", "the collection's validator refuses the document (code 121)".into()),
            10334 | 17419 | 17420 => {
                unfit("document.too_large", format!("the server finds the document too large (code {code})"))
            }
            2 | 9 | 14 | 52 | 53 | 55 | 56 | 57 | 66 | 171 | 10088 | 16755 | 16766 | 17261 | 17262 | 50840 => unfit(
                "document.refused",
                format!("the server refuses the document (code {code}): its field names or an index do not allow it"),
            ),
            _ => Err(Error::Unavailable(format!("{}: a write failed (code {code})", self.place))),
        }
    }
}

fn code_of(error: &DriverError) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}
