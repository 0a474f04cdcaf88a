//! One collection and its tombstones, and the plan by which a folded batch is written: see
//! [the parent's documentation](super) for the plan and why every interleaving ends right.
//!
//! Invariant: the last step of a batch is the look for tombstones newer than what it wrote (or found as its own), and
//! nothing is reported as written before that.

use bson::doc;
use tokio::join;

use super::bson::kind;
use super::command::{Command, Commands, Concern, delete_older, put_guarded, put_tombstone};
use super::fold::Fold;
use super::server::{Answer, Failure, Found, Server};
use super::settings::Settings;
use super::values::{GUARD_VERSION, Style, Unfit};
use crate::error::{Error, Result};

/// Which way documents are written; every one of them is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Chosen batch by batch from what the last ones met.
    Auto,
    /// Insert everything, resolve what is there already.
    Insert,
    /// Ask for versions first, always.
    Probe,
    /// One guarded update for every document.
    Guarded,
}

/// After so many batches in a row that brought nothing but news, the next ones are written without asking.
const CALM_BATCHES: u32 = 2;

/// A collection, its tombstones, and what is known about them.
pub(super) struct Target {
    server: Server,
    pub documents: String,
    pub tombstones: String,
    pub style: Style,
    plan: Plan,
    /// Batches in a row without a surprise: all created rows were missing and all updated ones there and older, as in a log
    /// that is read for the first time.
    calm: u32,
    /// Whether a tombstone has ever been seen: then each batch looks for those of its keys, before that for any at all.
    buried: bool,
}

/// What shall be done, as places in the fold.
#[derive(Default)]
struct Work {
    insert: Vec<usize>,
    guard: Vec<usize>,
    bury: Vec<usize>,
    /// Already there with this very version: written by an earlier attempt that may not have looked for tombstones.
    same: Vec<usize>,
    /// Whether the probe found what the records did not tell.
    surprised: bool,
}

/// What became of some writes.
#[derive(Default)]
struct Outcome {
    /// A document with this `_id` is there.
    duplicate: Vec<usize>,
    /// Refused by a unique index other than `_id`'s.
    violated: Vec<usize>,
    unfit: Vec<(usize, Unfit)>,
    /// Whether a guarded update left a document as it was, or made one.
    surprised: bool,
}

impl Outcome {
    fn take(&mut self, sent: usize, answer: Answer) {
        self.surprised |= answer.upserted > 0 || answer.changed + (answer.failed.len() as u64) < sent as u64;
        for (place, failure) in answer.failed {
            match failure {
                Failure::Duplicate => self.duplicate.push(place),
                Failure::Violated => self.violated.push(place),
                Failure::Unfit(unfit) => self.unfit.push((place, unfit)),
            }
        }
    }

    fn merge(&mut self, other: Outcome) {
        self.duplicate.extend(other.duplicate);
        self.violated.extend(other.violated);
        self.unfit.extend(other.unfit);
        self.surprised |= other.surprised;
    }
}

/// How documents are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// As a new one: the document must not be there.
    Insert,
    /// Where there is none, or an older one.
    Guarded,
}

/// What is looked up.
#[derive(Debug, Clone, Copy)]
pub(super) enum Collection {
    /// The documents.
    Documents,
    /// Their tombstones.
    Tombstones,
}

impl Target {
    /// Makes sure that tombstones age: after `keep_secs` without a newer delete they go.
    pub async fn open(server: &Server, collection: &str, settings: &Settings) -> Result<Target> {
        let keep_secs = i32::try_from(settings.keep.as_secs()).unwrap_or(i32::MAX).max(1);
        let tombstones = format!("{collection}.tombstones");
        let index = doc! { "key": { "at": 1 }, "name": "headwater_age", "expireAfterSeconds": keep_secs };
        let (other_options, other_name) = (85, 86);
        let create = doc! { "createIndexes": &tombstones, "indexes": [index], "writeConcern": { "w": "majority" } };
        if server.run_unless(create, &[other_options, other_name]).await?.is_none() {
            let index = doc! { "keyPattern": { "at": 1 }, "expireAfterSeconds": keep_secs };
            server.run(doc! { "collMod": &tombstones, "index": index }).await?;
        }
        if settings.creates {
            let exists = 48;
            server.run_unless(doc! { "create": collection, "writeConcern": { "w": "majority" } }, &[exists]).await?;
        }
        let server = server.clone();
        let documents = collection.to_string();
        let Settings { style, plan, .. } = *settings;
        let mut target = Target { server, documents, tombstones, style, plan, calm: 0, buried: false };
        target.buried = !target.is_unburied().await?;
        Ok(target)
    }

    /// Writes a folded batch; what is unfit comes back by its place in the fold.
    pub async fn write(&mut self, fold: &Fold<'_>) -> Result<Vec<(usize, Unfit)>> {
        let work = self.choose(fold).await?;
        // Independent of each other, since a fold has every key once; all are awaited, so that none is torn.
        let (inserted, guarded, buried) = join!(
            self.put(fold, &work.insert, Put::Insert),
            self.put(fold, &work.guard, Put::Guarded),
            self.bury(fold, &work.bury)
        );
        let (mut outcome, guarded, unburied) = (inserted?, guarded?, buried?);
        outcome.merge(guarded);
        outcome.unfit.extend(unburied);
        let mut surprised = work.surprised || outcome.surprised || !outcome.duplicate.is_empty();
        // Unique values, too: within a batch, one may move from a document to another. Tried as long as it helps.
        let mut again = std::mem::take(&mut outcome.duplicate);
        again.append(&mut outcome.violated);
        while !again.is_empty() {
            outcome.merge(self.put(fold, &again, Put::Guarded).await?);
            if outcome.violated.len() == again.len() {
                break;
            }
            again = std::mem::take(&mut outcome.violated);
        }
        if !outcome.duplicate.is_empty() {
            return Err(Error::Unavailable(format!("mongodb {}: others keep changing the same keys", self.documents)));
        }
        let mut written = work.same;
        written.extend(work.insert.iter().chain(&work.guard));
        surprised |= self.respect_tombstones(fold, &written).await?;
        match (surprised, written.is_empty()) {
            (true, _) => self.calm = 0,
            (false, false) => self.calm = self.calm.saturating_add(1),
            (false, true) => {}
        }
        let violated = "another document has the same value in a unique index; mend it there and retry";
        let violated = outcome.violated.into_iter().map(|place| (place, Unfit::new("unique.violated", violated)));
        Ok(outcome.unfit.into_iter().chain(violated).collect())
    }

    /// Decides from what is known, and from what the probe tells, what becomes of every entry.
    async fn choose(&self, fold: &Fold<'_>) -> Result<Work> {
        let mut work = Work::default();
        let mut probe = Vec::new();
        let blind = self.calm >= CALM_BATCHES;
        for (place, entry) in fold.entries.iter().enumerate() {
            match self.plan {
                _ if entry.is_delete() => work.bury.push(place),
                Plan::Insert => work.insert.push(place),
                Plan::Guarded => work.guard.push(place),
                Plan::Auto if blind && entry.created => work.insert.push(place),
                Plan::Auto if blind => work.guard.push(place),
                Plan::Auto | Plan::Probe => probe.push(place),
            }
        }
        let mut decided = vec![false; fold.entries.len()];
        for (place, version) in self.find(fold, &probe, Collection::Documents).await? {
            let (Some(entry), Some(decided)) = (fold.get(place), decided.get_mut(place)) else { continue };
            *decided = true;
            work.surprised |= entry.created || version.is_some_and(|there| there >= entry.version);
            match version {
                Some(there) if there > entry.version => {}
                Some(there) if there == entry.version => work.same.push(place),
                // Older, or somebody else's document: the guarded update takes that over.
                _ => work.guard.push(place),
            }
        }
        probe.retain(|place| decided.get(*place) == Some(&false));
        if self.buried {
            for (place, version) in self.find(fold, &probe, Collection::Tombstones).await? {
                let (Some(entry), Some(decided)) = (fold.get(place), decided.get_mut(place)) else { continue };
                *decided = version.is_some_and(|dead| dead > entry.version);
                work.surprised |= *decided;
            }
            probe.retain(|place| decided.get(*place) == Some(&false));
        }
        let is_update = |place: &usize| fold.get(*place).is_some_and(|entry| !entry.created);
        work.surprised |= probe.iter().any(is_update);
        work.insert.append(&mut probe);
        Ok(work)
    }

    async fn put(&self, fold: &Fold<'_>, places: &[usize], by: Put) -> Result<Outcome> {
        let (verb, list) = match by {
            Put::Insert => ("insert", "documents"),
            Put::Guarded => ("update", "updates"),
        };
        let mut outcome = Outcome::default();
        let commands = Commands::write(verb, &self.documents, list, self.concern());
        let mut commands = commands.expecting(places.len());
        for place in places {
            let Some(entry) = fold.get(*place) else { continue };
            let written = commands.add(*place, kind::DOCUMENT, |w| match by {
                Put::Insert => entry.write_document(w, self.style),
                Put::Guarded => put_guarded(w, entry, self.style),
            });
            outcome.unfit.extend(written.err().map(|unfit| (*place, unfit)));
        }
        for command in commands.finish() {
            let sent = command.places.len();
            outcome.take(sent, self.server.write(command).await?);
        }
        Ok(outcome)
    }

    /// Tombstones first, durable, then the deletes.
    async fn bury(&self, fold: &Fold<'_>, places: &[usize]) -> Result<Vec<(usize, Unfit)>> {
        let mut unfit = Vec::new();
        let mut tombstones = Commands::write("update", &self.tombstones, "updates", self.concern());
        let mut deletes = Commands::write("delete", &self.documents, "deletes", self.concern());
        for place in places {
            let Some(entry) = fold.get(*place) else { continue };
            let written = tombstones
                .add(*place, kind::DOCUMENT, |w| put_tombstone(w, entry))
                .and_then(|()| deletes.add(*place, kind::DOCUMENT, |w| delete_older(w, entry, entry.version)));
            unfit.extend(written.err().map(|why| (*place, why)));
        }
        self.write_all(tombstones.finish()).await?;
        self.write_all(deletes.finish()).await?;
        Ok(unfit)
    }

    /// Sends commands of which no statement may fail.
    async fn write_all(&self, commands: Vec<Command>) -> Result<()> {
        for command in commands {
            if !self.server.write(command).await?.failed.is_empty() {
                return Err(Error::Unavailable(format!("mongodb {}: a delete was refused", self.documents)));
            }
        }
        Ok(())
    }

    /// Behind a transaction: what was deleted stays so, and what was `written` goes where a newer delete came meanwhile.
    pub async fn settle(&mut self, fold: &Fold<'_>, written: &[usize]) -> Result<()> {
        let mut deletes = Commands::write("delete", &self.documents, "deletes", self.concern());
        for (place, entry) in fold.entries.iter().enumerate().filter(|(_, entry)| entry.is_delete()) {
            self.buried = true;
            // It fitted before.
            let _ = deletes.add(place, kind::DOCUMENT, |w| delete_older(w, entry, entry.version));
        }
        self.write_all(deletes.finish()).await?;
        self.respect_tombstones(fold, written).await.map(|_| ())
    }

    fn concern(&self) -> Concern {
        Concern::Majority { timeout_ms: self.server.timeout_ms() }
    }

    /// Deletes again what was written although a newer tombstone stood (or came up meanwhile); tells whether one did.
    async fn respect_tombstones(&mut self, fold: &Fold<'_>, written: &[usize]) -> Result<bool> {
        if written.is_empty() || (!self.buried && self.is_unburied().await?) {
            return Ok(false);
        }
        self.buried = true;
        let mut deletes = Commands::write("delete", &self.documents, "deletes", self.concern());
        for (place, version) in self.find(fold, written, Collection::Tombstones).await? {
            let (Some(entry), Some(version)) = (fold.get(place), version) else { continue };
            if version > entry.version {
                // A shorter statement than the one that put the document: it fits.
                let _ = deletes.add(place, kind::DOCUMENT, |w| delete_older(w, entry, version));
            }
        }
        let deletes = deletes.finish();
        let dead = !deletes.is_empty();
        self.write_all(deletes).await?;
        Ok(dead)
    }

    /// Whether there is no tombstone at all, right now.
    async fn is_unburied(&self) -> Result<bool> {
        let reply = self.server.run(doc! { "find": &self.tombstones, "limit": 1, "projection": { "_id": 1 } }).await?;
        let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        Ok(batch.is_ok_and(Vec::is_empty))
    }

    /// The versions of those of `places` that are there.
    async fn find(&self, fold: &Fold<'_>, places: &[usize], of: Collection) -> Result<Vec<(usize, Option<i64>)>> {
        let (commands, version) = self.look_up(fold, places, of, self.concern());
        let mut versions = Vec::new();
        for command in commands {
            let found: Found = self.server.find(command.bytes, version).await?;
            // An id that is equal for MongoDB but other bytes (1.0 and 1.00) is not found here: the insert meets it.
            versions.extend(found.iter().filter_map(|(id, version)| Some((fold.place_of(id)?, version))));
        }
        Ok(versions)
    }

    /// The commands that look up the versions of `places`, and where a version stands.
    pub fn look_up(
        &self,
        fold: &Fold<'_>,
        places: &[usize],
        of: Collection,
        concern: Concern,
    ) -> (Vec<Command>, &'static str) {
        let (collection, version) = match of {
            Collection::Documents => (&self.documents, GUARD_VERSION),
            Collection::Tombstones => (&self.tombstones, "v"),
        };
        let mut commands = Commands::find(collection, version, concern).expecting(places.len());
        for place in places {
            if let Some((kind, value)) = fold.get(*place).and_then(|entry| entry.id.split_first()) {
                let _ = commands.add(*place, *kind, |w| {
                    w.raw(value);
                    Ok(())
                });
            }
        }
        (commands.finish(), version)
    }
}
