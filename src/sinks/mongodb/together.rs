//! The documents of a batch that are to be seen at once: one MongoDB transaction over all of its collections.
//!
//! Inside of it nothing else is seen, so that the plan is a simple one: read the versions of all documents and tombstones,
//! write what is newer, commit. What others write at the same time makes the server refuse the transaction, which is then
//! tried again as the driver asks (`TransientTransactionError` the whole, `UnknownTransactionCommitResult` the commit).
//!
//! Whether versions still hold when others write key by key, and never look at this transaction: with the names of
//! [the parent's documentation](super), W, and T and X of deletes, are all at the commit. So the deletes are done once more
//! behind it (X'), and the look for tombstones (C) is behind it as ever. Of an upsert by another writer (W', C') and our
//! delete: if W' comes before X', X' removes it; else T came before C', and C' does. Of our upsert and another writer's
//! delete (T', X'): if the commit comes before X', X' removes it; else T' came before C.
//!
//! What cannot be written so is written key by key, and its documents say why (`_headwater.torn`): too many documents or
//! bytes for one transaction, or one that the server refuses by itself, which would take all others with it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bson::kind;
use super::command::{Command, Commands, Concern, delete_older, put_guarded, put_tombstone};
use super::fold::Fold;
use super::server::Failure;
use super::session::{Cure, Session, Trouble};
use super::target::{Collection, Put, Target};
use crate::error::{Error, Result};
use crate::pipeline::Transactions;
use crate::record::Torn;

/// How often a transaction is tried before the lane backs off.
const ATTEMPTS: u32 = 10;

/// Folded records by collection.
pub(super) type Parts<'p, 'r> = [(&'p str, Fold<'r>)];

/// How an attempt ended.
enum Attempt {
    /// It was committed; what was written (or was there already), by part.
    Done(Vec<Vec<usize>>),
    /// A document was there although its `_id` was not found: it is equal for MongoDB, but of other bytes.
    Duplicate,
    /// It cannot be, for this reason.
    Torn(Torn),
}

/// Writes all parts at once, or nothing and tells why not.
pub(super) async fn write(
    session: &mut Session,
    targets: &mut BTreeMap<String, Target>,
    parts: &Parts<'_, '_>,
    limits: &Transactions,
) -> Result<Option<Torn>> {
    if parts.iter().map(|(_, fold)| fold.entries.len()).sum::<usize>() > limits.events {
        return Ok(Some(Torn::Events));
    }
    let mut put = Put::Insert;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(1 << attempt)).await;
        }
        match try_once(session, targets, parts, put, limits.bytes).await {
            Ok(Attempt::Done(written)) => {
                for ((collection, fold), written) in parts.iter().zip(written) {
                    if let Some(target) = targets.get_mut(*collection) {
                        target.settle(fold, &written).await?;
                    }
                }
                return Ok(None);
            }
            Ok(Attempt::Duplicate) => put = Put::Guarded,
            Ok(Attempt::Torn(why)) => {
                session.abort().await;
                return Ok(Some(why));
            }
            Err(Trouble { cure: Cure::Again, .. }) => {}
            Err(Trouble { cure: Cure::Fewer, .. }) => {
                session.abort().await;
                return Ok(Some(Torn::Bytes));
            }
            Err(Trouble { error, .. }) => return Err(error),
        }
    }
    Err(Error::Unavailable(format!("{}: others keep changing the same documents", session.place())))
}

async fn try_once(
    session: &mut Session,
    targets: &BTreeMap<String, Target>,
    parts: &Parts<'_, '_>,
    put: Put,
    mut bytes_left: usize,
) -> Result<Attempt, Trouble> {
    session.begin().await?;
    let mut written = Vec::with_capacity(parts.len());
    for (collection, fold) in parts {
        let Some(target) = targets.get(*collection) else { continue };
        let (places, commands) = target.commands_in(session, fold, put).await?;
        let Some(commands) = commands else { return Ok(Attempt::Torn(Torn::Refused)) };
        written.push(places);
        for command in commands {
            let Some(left) = bytes_left.checked_sub(command.bytes.len()) else {
                return Ok(Attempt::Torn(Torn::Bytes));
            };
            bytes_left = left;
            let failed = session.write(command).await?.failed;
            let is_duplicate = |(_, failure): &(usize, Failure)| matches!(failure, Failure::Duplicate);
            match failed.is_empty() {
                true => {}
                false if put == Put::Insert && failed.iter().all(is_duplicate) => return Ok(Attempt::Duplicate),
                false => return Ok(Attempt::Torn(Torn::Refused)),
            }
        }
    }
    commit(session).await?;
    Ok(Attempt::Done(written))
}

/// Commits; again, as long as it is not known whether that was done.
async fn commit(session: &mut Session) -> Result<(), Trouble> {
    let mut done = session.commit().await;
    for attempt in 0..ATTEMPTS {
        if !matches!(&done, Err(trouble) if trouble.cure == Cure::Commit) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1 << attempt)).await;
        done = session.commit().await;
    }
    done
}

impl Target {
    /// The commands that write a fold inside of a transaction, none where an entry cannot be written; and which of its
    /// documents will stand there with their versions.
    async fn commands_in(
        &self,
        session: &mut Session,
        fold: &Fold<'_>,
        put: Put,
    ) -> Result<(Vec<usize>, Option<Vec<Command>>), Trouble> {
        let upserts: Vec<usize> =
            (0..fold.entries.len()).filter(|place| fold.get(*place).is_some_and(|entry| !entry.is_delete())).collect();
        let there = self.versions_in(session, fold, &upserts, Collection::Documents).await?;
        let dead = self.versions_in(session, fold, &upserts, Collection::Tombstones).await?;
        let mut written = Vec::with_capacity(upserts.len());
        let statements = |verb, list| Commands::write(verb, &self.documents, list, Concern::Transaction);
        let (mut inserts, mut updates) = (statements("insert", "documents"), statements("update", "updates"));
        let mut deletes = statements("delete", "deletes");
        let mut tombstones = Commands::write("update", &self.tombstones, "updates", Concern::Transaction);
        for (place, entry) in fold.entries.iter().enumerate() {
            let found = there.get(&place).copied();
            let fit = match found.map(|version| version.unwrap_or(i64::MIN)) {
                _ if entry.is_delete() => tombstones
                    .add(place, kind::DOCUMENT, |w| put_tombstone(w, entry))
                    .and_then(|()| deletes.add(place, kind::DOCUMENT, |w| delete_older(w, entry, entry.version))),
                Some(version) if version > entry.version => continue,
                Some(version) if version == entry.version => Ok(()),
                // Whatever is there is dead, too: the look for tombstones removes it.
                _ if dead.get(&place).is_some_and(|dead| dead.is_some_and(|dead| dead > entry.version)) => Ok(()),
                None if put == Put::Insert => {
                    inserts.add(place, kind::DOCUMENT, |w| entry.write_document(w, self.style))
                }
                _ => updates.add(place, kind::DOCUMENT, |w| put_guarded(w, entry, self.style)),
            };
            if fit.is_err() {
                return Ok((written, None));
            }
            if !entry.is_delete() {
                written.push(place);
            }
        }
        let commands = [tombstones, deletes, updates, inserts].into_iter().flat_map(Commands::finish).collect();
        Ok((written, Some(commands)))
    }

    async fn versions_in(
        &self,
        session: &mut Session,
        fold: &Fold<'_>,
        places: &[usize],
        of: Collection,
    ) -> Result<BTreeMap<usize, Option<i64>>, Trouble> {
        let mut versions = BTreeMap::new();
        let (commands, version) = self.look_up(fold, places, of, Concern::Transaction);
        for command in commands {
            let found = session.find(command.bytes, version).await?;
            versions.extend(found.iter().filter_map(|(id, version)| Some((fold.place_of(id)?, version))));
        }
        Ok(versions)
    }
}
