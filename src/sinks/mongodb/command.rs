//! Commands with many statements, built as bytes and split where they grow too large.
//!
//! Invariants: every command outside of a transaction names its own concern, carries neither session transaction number nor retry (the
//! statements are idempotent and the lane sends them again), and is unordered (a batch holds each key once).
//! The list of statements is the last field, so that a command is written in one pass.

use super::bson::{Open, Writer, kind};
use super::fold::Entry;
use super::values::{Fit, GUARD_VERSION, Style, Unfit};

/// A command is one BSON document for the driver, and so bound by the server's limit for documents: 16 MB.
const COMMAND_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A statement that has a command for itself may use most of the 16 KB that the server grants above.
const STATEMENT_BYTES_MAX: usize = COMMAND_BYTES_MAX + 15 * 1024;
/// The server's own limit of statements in a command.
const STATEMENTS_MAX: usize = 100_000;
/// After so many statements the size of the whole command is foreseen: growing step by step would move it again and again.
const FORESEEN_AFTER: usize = 16;

/// Who sees to it that a command's effect, or what it reads, cannot be rolled back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Concern {
    /// The command itself.
    Majority {
        /// What a write grants the replica set.
        timeout_ms: i32,
    },
    /// The transaction that it is sent in; the server refuses it then in a command.
    Transaction,
}

/// A finished command.
pub(super) struct Command {
    pub bytes: Vec<u8>,
    /// The places (in the fold) of its statements, in order.
    pub places: Vec<usize>,
}

/// Writes a command up to its list of statements and tells the documents it left open.
type Head<'a> = Box<dyn Fn(&mut Writer) -> Vec<Open> + Send + 'a>;

/// Collects statements into commands.
pub(super) struct Commands<'a> {
    head: Head<'a>,
    done: Vec<Command>,
    writer: Writer,
    open: Vec<Open>,
    places: Vec<usize>,
    /// How many statements are coming.
    expected: usize,
}

impl<'a> Commands<'a> {
    /// Commands whose fields before the statements are written by `head`, which tells the documents it left open.
    fn new(head: impl Fn(&mut Writer) -> Vec<Open> + Send + 'a) -> Self {
        let head = Box::new(head);
        let (done, writer, open, places) = (Vec::new(), Writer::default(), Vec::new(), Vec::new());
        Commands { head, done, writer, open, places, expected: 0 }
    }

    /// The same, for about so many statements.
    #[must_use]
    pub fn expecting(self, statements: usize) -> Self {
        Commands { expected: statements, ..self }
    }

    /// An `insert`, `update` or `delete` with its list called `list`.
    pub fn write(verb: &'a str, collection: &'a str, list: &'a str, concern: Concern) -> Self {
        Commands::new(move |w| {
            let command = w.open();
            w.text(verb, collection);
            w.bool("ordered", false);
            if let Concern::Majority { timeout_ms } = concern {
                let concern = w.open_document("writeConcern");
                w.text("w", "majority");
                w.bool("j", true);
                w.int32("wtimeout", timeout_ms);
                w.close(concern);
            }
            vec![command, w.open_array(list)]
        })
    }

    /// A `find` of `_id` and `version_field` by a list of ids: only what cannot be rolled back.
    pub fn find(collection: &'a str, version_field: &'a str, concern: Concern) -> Self {
        Commands::new(move |w| {
            let command = w.open();
            w.text("find", collection);
            let fields = w.open_document("projection");
            w.int32(version_field, 1);
            w.close(fields);
            w.int32("batchSize", STATEMENTS_MAX as i32);
            if let Concern::Majority { .. } = concern {
                let concern = w.open_document("readConcern");
                w.text("level", "majority");
                w.close(concern);
            }
            let filter = w.open_document("filter");
            let id = w.open_document("_id");
            vec![command, filter, id, w.open_array("$in")]
        })
    }

    /// Adds the statement of the entry at `place`; what is unfit leaves no trace.
    pub fn add(&mut self, place: usize, kind: u8, write: impl FnOnce(&mut Writer) -> Fit) -> Fit {
        if self.places.len() >= STATEMENTS_MAX {
            self.cut();
        }
        if self.places.is_empty() {
            self.open = (self.head)(&mut self.writer);
        }
        let start = self.writer.len();
        self.writer.index(kind, self.places.len());
        let value = self.writer.len();
        let written = write(&mut self.writer).and_then(|()| match self.writer.len() - value {
            ..=STATEMENT_BYTES_MAX => Ok(()),
            _ => Err(Unfit::new("document.too_large", "document and key together exceed what a command may hold")),
        });
        if written.is_err() {
            self.writer.truncate(start);
        } else if self.writer.len() > COMMAND_BYTES_MAX && !self.places.is_empty() {
            let statement = self.writer.bytes().get(value..).unwrap_or_default().to_vec();
            self.writer.truncate(start);
            self.cut();
            self.open = (self.head)(&mut self.writer);
            self.writer.index(kind, 0);
            self.writer.raw(&statement);
            self.places.push(place);
        } else {
            self.places.push(place);
            self.foresee();
        }
        written
    }

    fn foresee(&mut self) {
        if self.places.len() == FORESEEN_AFTER && self.expected > FORESEEN_AFTER {
            let (written, coming) = (self.writer.len(), self.expected - FORESEEN_AFTER);
            // Later statements have longer numbers, and some are longer themselves.
            let each = written / FORESEEN_AFTER * 9 / 8;
            self.places.reserve(coming.min(STATEMENTS_MAX));
            self.writer.reserve(each.saturating_mul(coming).min(COMMAND_BYTES_MAX));
        }
    }

    fn cut(&mut self) {
        let mut writer = std::mem::take(&mut self.writer);
        let places = std::mem::take(&mut self.places);
        for open in self.open.drain(..).rev() {
            writer.close(open);
        }
        if !places.is_empty() {
            self.done.push(Command { bytes: writer.into_bytes(), places });
        }
    }

    pub fn finish(mut self) -> Vec<Command> {
        self.cut();
        self.done
    }
}

/// `{q: {_id}, …}`, left open for the rest of the statement.
fn open_statement(w: &mut Writer, entry: &Entry<'_>, older_than: Option<i64>) -> Open {
    let statement = w.open();
    let query = w.open_document("q");
    w.element("_id", entry.id);
    if let Some(version) = older_than {
        let guard = w.open_document(GUARD_VERSION);
        w.int64("$lt", version);
        w.close(guard);
    }
    w.close(query);
    statement
}

/// Puts the document if there is none or an older one, in one atomic step whatever other writers do. The document
/// stands under `$literal`: its texts are never read as expressions.
pub(super) fn put_guarded(w: &mut Writer, entry: &Entry<'_>, style: Style) -> Fit {
    let statement = open_statement(w, entry, None);
    let pipeline = w.open_array("u");
    w.index(kind::DOCUMENT, 0);
    let stage = w.open();
    let replace = w.open_document("$replaceWith");
    let condition = w.open_array("$cond");
    write_older(w, "0", "$_headwater.v", entry.version);
    w.index(kind::DOCUMENT, 1);
    let literal = w.open();
    w.name(kind::DOCUMENT, "$literal");
    entry.write_document(w, style)?;
    w.close(literal);
    w.text("2", "$$ROOT");
    for open in [condition, replace, stage, pipeline] {
        w.close(open);
    }
    w.bool("upsert", true);
    w.close(statement);
    Ok(())
}

/// `name: {$lt: [field, version]}`; a missing field is less than any number.
fn write_older(w: &mut Writer, name: &str, field: &str, version: i64) {
    let less = w.open_document(name);
    let pair = w.open_array("$lt");
    w.text("0", field);
    w.int64("1", version);
    w.close(pair);
    w.close(less);
}

/// Puts or raises a tombstone. Its age is the server's time of the newest delete.
pub(super) fn put_tombstone(w: &mut Writer, entry: &Entry<'_>) -> Fit {
    let statement = open_statement(w, entry, None);
    let pipeline = w.open_array("u");
    w.index(kind::DOCUMENT, 0);
    let stage = w.open();
    let set = w.open_document("$set");
    let at = w.open_document("at");
    let condition = w.open_array("$cond");
    write_older(w, "0", "$v", entry.version);
    w.text("1", "$$NOW");
    w.text("2", "$at");
    w.close(condition);
    w.close(at);
    let version = w.open_document("v");
    let highest = w.open_array("$max");
    w.text("0", "$v");
    w.int64("1", entry.version);
    w.close(highest);
    w.close(version);
    for open in [set, stage, pipeline] {
        w.close(open);
    }
    w.bool("upsert", true);
    w.close(statement);
    Ok(())
}

/// Deletes the document if it is older than `version`.
pub(super) fn delete_older(w: &mut Writer, entry: &Entry<'_>, version: i64) -> Fit {
    let statement = open_statement(w, entry, Some(version));
    w.int32("limit", 1);
    w.close(statement);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_split_by_size_and_forget_unfit_statements() {
        let mut commands = Commands::write("insert", "c", "documents", Concern::Majority { timeout_ms: 1 });
        let big = "x".repeat(6 * 1024 * 1024);
        for place in 0..5 {
            let added = commands.add(place, kind::DOCUMENT, |w| {
                let document = w.open();
                w.text("t", &big);
                w.close(document);
                if place == 1 { Err(Unfit::new("x", "y")) } else { Ok(()) }
            });
            assert_eq!(added.is_err(), place == 1);
        }
        let done = commands.finish();
        assert_eq!(done.iter().map(|c| c.places.clone()).collect::<Vec<_>>(), [vec![0, 2], vec![3, 4]]);
        for command in done {
            let read = bson::Document::try_from(bson::RawDocumentBuf::from_bytes(command.bytes).unwrap()).unwrap();
            assert_eq!(read.get_array("documents").unwrap().len(), 2);
            assert_eq!(
                read.get_document("writeConcern").unwrap(),
                &bson::doc! {"w": "majority", "j": true, "wtimeout": 1}
            );
        }
        assert!(Commands::find("c", "v", Concern::Transaction).finish().is_empty());
    }
}
