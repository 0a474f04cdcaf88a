//! The Debezium envelope in JSON: `{before, after, source, op, ts_ms, …}`, read in one pass.
//!
//! `after` comes before `source` says which table it belongs to. So the row is read at once with the layout that the
//! topic's last event had, and again in the rare case that the guess was wrong. `before` is only found here; whoever
//! needs it reads it.

use super::Fault;
use super::column::Reader;
use super::json::{Cursor, Next};
use super::layout::Layouts;
use super::source::{Source, SourceShape, scalar};
use crate::record::Row;

/// An envelope, found but not judged.
#[derive(Default)]
pub struct Envelope<'a> {
    /// `c`, `u`, `d`, `r`, `t`, `m`.
    pub op: Option<&'a str>,
    /// Where `before` stands, unless it is null or absent.
    pub before: Option<Cursor<'a>>,
    /// The row, or where it stands.
    pub after: After<'a>,
    /// Where the change came from.
    pub source: Option<Source<'a>>,
    /// The connector's clock, milliseconds.
    pub ts_ms: &'a str,
    /// Where `message` stands (logical decoding messages).
    pub message: Option<Cursor<'a>>,
    /// Where `updateDescription` stands (MongoDB).
    pub update: Option<Cursor<'a>>,
    /// Where `patch` stands (MongoDB before 2.0).
    pub patch: Option<Cursor<'a>>,
    /// Names of fields that tell the other kinds of event apart.
    pub marks: Marks<'a>,
    seen: u16,
}

/// The row after the change.
#[derive(Default)]
pub enum After<'a> {
    /// Null or absent.
    #[default]
    None,
    /// It stands here.
    At(Cursor<'a>),
    /// It was read with the guessed layout, and stands here.
    Read(Row, Cursor<'a>),
}

/// Fields of events that are not changes of rows.
#[derive(Debug, Default)]
pub struct Marks<'a> {
    /// Transaction metadata: `BEGIN` or `END`.
    pub status: &'a str,
    /// Transaction id, notification id.
    pub id: &'a str,
    /// Events of the transaction.
    pub event_count: &'a str,
    /// Where the transaction's tables stand.
    pub data_collections: Option<Cursor<'a>>,
    /// Whether it has `ddl`, `tableChanges` or `databaseName`.
    pub schema_change: bool,
    /// Notification: which aggregate.
    pub aggregate_type: &'a str,
    /// Notification: what happened.
    pub kind: &'a str,
    /// Notification: when.
    pub timestamp: &'a str,
    /// Where the notification's details stand.
    pub additional_data: Option<Cursor<'a>>,
    /// Where the block stands that names a change's transaction.
    pub transaction: Option<Cursor<'a>>,
    /// Whether it has CloudEvents' `specversion`.
    pub cloud_event: bool,
    /// How many fields there are that none of the events above has.
    pub foreign: usize,
}

/// What an envelope of a topic probably looks like.
#[derive(Default)]
pub struct Guess<'g> {
    /// The layouts of `after`.
    pub rows: Option<&'g mut Layouts>,
    /// The shape of `source`.
    pub source: Option<&'g mut SourceShape>,
}

impl<'a> Envelope<'a> {
    /// Takes an envelope.
    pub fn read(reader: Reader<'a>, cursor: &mut Cursor<'a>, mut guess: Guess<'_>) -> Result<Self, Fault> {
        let mut envelope = Envelope::default();
        let mut more = cursor.open_object()?;
        while more {
            match &*cursor.key()?.resolve()? {
                "before" => {
                    envelope.once(0, "before")?;
                    envelope.before = object_at(cursor)?;
                }
                "after" => {
                    envelope.once(1, "after")?;
                    envelope.after = After::take(reader, cursor, guess.rows.take())?;
                }
                "source" => {
                    envelope.once(2, "source")?;
                    envelope.source = match cursor.next()? {
                        Next::Object => {
                            let shape = guess.source.take();
                            Some(Source::read(cursor, shape.unwrap_or(&mut SourceShape::default()))?)
                        }
                        _ => cursor.skip().map(|_| None)?,
                    };
                }
                "op" => {
                    envelope.once(3, "op")?;
                    envelope.op = match cursor.next()? {
                        Next::Text => Some(cursor.string()?.raw),
                        Next::Null => cursor.skip().map(|_| None)?,
                        _ => return Err(Fault::new("envelope.op", "`op`: expected one of c, u, d, r, t, m as text")),
                    };
                }
                "ts_ms" => envelope.ts_ms = scalar(cursor)?,
                "message" => envelope.message = object_at(cursor)?,
                "updateDescription" => {
                    envelope.once(4, "updateDescription")?;
                    envelope.update = object_at(cursor)?;
                }
                "patch" => {
                    envelope.once(5, "patch")?;
                    envelope.patch = object_at(cursor)?;
                }
                other => envelope.marks.take(other, cursor)?,
            }
            more = cursor.more_fields()?;
        }
        Ok(envelope)
    }

    /// A doubled field could turn a create into a delete: refuse.
    fn once(&mut self, bit: u16, name: &str) -> Result<(), Fault> {
        let known = self.seen & 1 << bit != 0;
        self.seen |= 1 << bit;
        if known {
            return Err(Fault::new("json.duplicate", format!("`{name}` occurs twice in the envelope")));
        }
        Ok(())
    }
}

/// Passes a value; where it stands, unless it is null.
fn object_at<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Cursor<'a>>, Fault> {
    if cursor.null()? {
        return Ok(None);
    }
    let at = *cursor;
    cursor.skip()?;
    Ok(Some(at))
}

impl<'a> After<'a> {
    fn take(reader: Reader<'a>, cursor: &mut Cursor<'a>, guess: Option<&mut Layouts>) -> Result<Self, Fault> {
        if cursor.null()? {
            return Ok(After::None);
        }
        let is_object = cursor.next()? == Next::Object;
        let at = *cursor;
        if let Some(layouts) = guess.filter(|_| is_object)
            && let Ok(row) = layouts.read(reader, cursor)
        {
            return Ok(After::Read(row, at));
        }
        *cursor = at;
        cursor.skip()?;
        Ok(After::At(at))
    }
}

impl<'a> Marks<'a> {
    fn take(&mut self, name: &str, cursor: &mut Cursor<'a>) -> Result<(), Fault> {
        let place = match name {
            "status" => &mut self.status,
            "id" => &mut self.id,
            "event_count" => &mut self.event_count,
            "aggregate_type" => &mut self.aggregate_type,
            "type" => &mut self.kind,
            "data_collections" => {
                self.data_collections = object_at(cursor)?;
                return Ok(());
            }
            "transaction" => {
                self.transaction = object_at(cursor)?;
                return Ok(());
            }
            "additional_data" => {
                self.additional_data = object_at(cursor)?;
                return Ok(());
            }
            "ddl" | "tableChanges" | "databaseName" => {
                self.schema_change = true;
                return cursor.skip().map(|_| ());
            }
            "specversion" => {
                self.cloud_event = true;
                return cursor.skip().map(|_| ());
            }
            "timestamp" => &mut self.timestamp,
            "ts_us" | "ts_ns" | "schemaName" => return cursor.skip().map(|_| ()),
            _ => {
                self.foreign += 1;
                return cursor.skip().map(|_| ());
            }
        };
        *place = scalar(cursor)?;
        Ok(())
    }
}
