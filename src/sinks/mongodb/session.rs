//! A session with one transaction after the other: several commands that become visible at once, or not at all.
//!
//! Invariants
//! - as everywhere in this sink, a call once started runs to its end in a task of its own; the session goes with it;
//! - a transaction reads from a snapshot of the majority and is acknowledged by a majority's journal; its commands carry
//!   no concerns of their own;
//! - a session that is dropped in the middle of a transaction leaves nothing of it; one of a process that was killed is
//!   ended by its successor: the server would keep its transaction open for a minute, and others from its documents.

use bson::{Bson, Document, RawDocumentBuf, Uuid, doc};
use mongodb::error::{Error as DriverError, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{Acknowledgment, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{ClientSession, Database};

use super::command::Command;
use super::server::{Answer, Found, Server};
use crate::error::{Error, Result};
use crate::stores::SharedStore;

/// Transactions on a server, one at a time.
pub(super) struct Session {
    server: Server,
    session: Option<ClientSession>,
    /// Whether a transaction was begun and neither committed nor given up.
    open: bool,
}

/// Why a call failed, and what may be done about it.
pub(super) struct Trouble {
    /// What the lane is told if it is not tried again.
    pub error: Error,
    /// What helps at once.
    pub cure: Cure,
}

/// What helps against a failure inside of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    /// Nothing at once.
    None,
    /// The whole transaction again: the server says that it may well succeed (another writer was faster, …).
    Again,
    /// The commit again: whether it was done is not known.
    Commit,
    /// Fewer documents: the server cannot take so many at once.
    Fewer,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble { error, cure: Cure::None }
    }
}

impl Session {
    /// A session without a transaction, after the end of the one that had this `name` before. Its id is remembered in
    /// `store` as the fact `name`.
    pub async fn start(server: &Server, store: &SharedStore, name: String) -> Result<Session> {
        if let Some(former) = store.facts(&name).await?.remove(&name) {
            end(server, &former).await;
        }
        let client = server.database.client().clone();
        let session = server.call(async move { client.start_session().await }).await?;
        let id = uuid_of(session.id()).ok_or_else(|| server.protocol("a session without an id"))?;
        store.remember(&[(name, id.to_string())]).await?;
        Ok(Session { server: server.clone(), session: Some(session), open: false })
    }

    /// The start of every error.
    pub fn place(&self) -> &str {
        &self.server.place
    }

    /// Begins a transaction, after the end of one that failed. Sends nothing yet.
    pub async fn begin(&mut self) -> Result<(), Trouble> {
        if self.open {
            self.abort().await;
        }
        self.open = true;
        let concern = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
        let limit = self.server.timeout;
        self.call(move |mut session, _| async move {
            let begin = session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(concern);
            let begin = begin.selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
            let done = begin.max_commit_time(limit).await;
            (session, done)
        })
        .await
    }

    /// Sends one write command.
    pub async fn write(&mut self, command: Command) -> Result<Answer, Trouble> {
        let raw = self.server.raw(command.bytes)?;
        let reply = self.call(|mut session, database| async move {
            let done = database.run_raw_command(raw).session(&mut session).await;
            (session, done)
        });
        let reply = reply.await?;
        Ok(self.server.answer(&command.places, &reply)?)
    }

    /// Sends a `find` of ids and versions.
    pub async fn find(&mut self, bytes: Vec<u8>, version_field: &'static str) -> Result<Found, Trouble> {
        let raw = self.server.raw(bytes)?;
        let found = self.call(move |mut session, database| async move {
            let done = read_all(&database, raw, &mut session, version_field).await;
            (session, done)
        });
        let found = found.await?;
        Ok(found.ok_or_else(|| self.server.protocol("a document without a readable _id"))?)
    }

    /// Makes all of it visible.
    pub async fn commit(&mut self) -> Result<(), Trouble> {
        let done = self.call(|mut session, _| async move {
            let done = session.commit_transaction().await;
            (session, done)
        });
        done.await.map(|()| self.open = false)
    }

    /// Leaves nothing of it. The server does that by itself, too, when a transaction has failed or is forgotten.
    pub async fn abort(&mut self) {
        let aborted = self.call(|mut session, _| async move {
            let done = session.abort_transaction().await;
            (session, done)
        });
        let _ = aborted.await;
        self.open = false;
    }

    async fn call<T, Done>(&mut self, call: impl FnOnce(ClientSession, Database) -> Done) -> Result<T, Trouble>
    where
        T: Send + 'static,
        Done: Future<Output = (ClientSession, Result<T, DriverError>)> + Send + 'static,
    {
        let Some(session) = self.session.take() else {
            return Err(Error::Unavailable(format!("{}: a session got lost", self.server.place)).into());
        };
        let (session, done) = self.server.finish(call(session, self.server.database.clone())).await?;
        self.session = Some(session);
        done.map_err(|error| Trouble { cure: cure(&error), error: self.server.unavailable(&error) })
    }
}

/// Ends a session wherever it is used, and its transaction. Everyone may do that to sessions of their own.
async fn end(server: &Server, id: &str) {
    let Ok(id) = Uuid::parse_str(id) else { return };
    if let Err(error) = server.run(doc! { "killSessions": [{ "id": id }] }).await {
        tracing::warn!(
            "a transaction that was open when this pipeline last ended may hold it up for a minute: {error}"
        );
    }
}

fn uuid_of(id: &Document) -> Option<Uuid> {
    match id.get("id") {
        Some(Bson::Binary(binary)) => binary.to_uuid().ok(),
        _ => None,
    }
}

async fn read_all(
    database: &Database,
    find: RawDocumentBuf,
    session: &mut ClientSession,
    version_field: &str,
) -> Result<Option<Found>, DriverError> {
    let mut cursor = database.run_raw_cursor_command(find).session(&mut *session).await?;
    let mut found = Some(Found::default());
    while cursor.advance(session).await? {
        found = found.and_then(|mut f| f.push(cursor.current(), version_field).map(|()| f));
    }
    Ok(found)
}

/// What a driver's error asks for. Of those that promise success for another attempt, what the server itself said is
/// tried again at once; where no server answers the lane has to back off.
fn cure(error: &DriverError) -> Cure {
    let (too_large, too_large_for_cache) = (257, 388);
    match &*error.kind {
        ErrorKind::Command(command) if [too_large, too_large_for_cache].contains(&command.code) => Cure::Fewer,
        _ if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => Cure::Commit,
        ErrorKind::Command(_) if error.contains_label(TRANSIENT_TRANSACTION_ERROR) => Cure::Again,
        _ => Cure::None,
    }
}
