//! From what a reader found (operation, source, rows) to a record: which table, which key, which position.

use std::sync::Arc;

use super::decoder::{Config, Control, DeclaredKey, DeclaredTable, Event, Format};
use super::json::Text;
use super::key::{self, Keys};
use super::layout::Layouts;
use super::parts::Part;
use super::retype::{Retype, Without};
use super::schemas::RegistrySchemas;
use super::source::Source;
use super::topic::{Table, Topic};
use super::transaction::Told;
use super::{Fault, flattened, mongodb, signal};
use crate::record::{Message, Op, Patch, Position, Record, Row, SnapshotMark, SourcePosition, Timestamp};

/// What every reader works with: one message, and what the lane knows about its topic.
pub struct Context<'c> {
    /// What the pipeline says.
    pub config: &'c Config,
    /// What is known about the topic.
    pub topic: &'c mut Topic,
    /// The message.
    pub message: &'c Message,
    /// Its index in the batch.
    pub origin: u32,
    /// The key of rows without one.
    pub keyless: &'c Row,
    /// The registry's schemas.
    pub schemas: &'c RegistrySchemas,
    /// Takes which transaction the message is part of.
    pub told: &'c mut Told,
    /// Takes what has to be remembered about topics.
    pub naming: &'c mut Naming,
}

/// Which tables topics carry, as far as it was not known before.
#[derive(Default)]
pub struct Naming {
    /// Topics' lives, and tables that their changes are of.
    pub named: Vec<(String, Arc<str>)>,
    /// Whether only the topic's name told which table the last message is of.
    pub guessed: bool,
}

impl Naming {
    /// A message has told that it is of `table`.
    fn tell(&mut self, table: &mut Table, message: &Message) {
        if !table.told {
            table.told = true;
            self.named.push((message.epoch.name(&message.topic).into_owned(), table.name.clone()));
        }
    }
}

/// The rows of a change.
#[derive(Default)]
pub struct Rows {
    /// After it.
    pub row: Option<Row>,
    /// Before it.
    pub before: Option<Row>,
    /// What changed, where no row tells.
    pub patch: Option<Box<Patch>>,
}

/// Where the rows of a change are to be read, and how.
pub struct RowPlan<'p> {
    /// The layouts of the table.
    pub layouts: &'p mut Layouts,
    /// Whether they are those that were guessed before the table was known.
    pub as_guessed: bool,
    /// Whether the row before the change is wanted.
    pub before: bool,
    /// Whether rows are MongoDB's documents.
    pub documents: bool,
    /// Takes metadata out of flattened rows.
    pub without: &'p mut Without,
    config: &'p Config,
    declared: Option<&'p DeclaredTable>,
    retype: &'p mut Retype,
}

impl RowPlan<'_> {
    /// The row of a part; `None` where there is none.
    pub fn row_of(&mut self, part: Part) -> Result<Option<Row>, Fault> {
        Ok(match part {
            Part::None => None,
            Part::Row(row) => Some(self.retyped(row)?),
            Part::Document(doc) => Some(mongodb::document_of(&doc, &self.config.unavailable, self.layouts)?),
        })
    }

    /// A row that was read without its table's layout, in the declared types.
    pub fn retyped(&mut self, row: Row) -> Result<Row, Fault> {
        self.retype.row(row, self.declared, self.config.handling, &self.config.unavailable)
    }
}

impl Context<'_> {
    /// The record of a change. `schema` is the embedded schema of the value; `read` takes the rows once their table is
    /// known.
    pub fn change(
        self,
        op: Op,
        source: &Source<'_>,
        schema: Option<usize>,
        read: impl FnOnce(RowPlan<'_>) -> Result<Rows, Fault>,
    ) -> Result<Event, Fault> {
        let guessed = self.topic.last;
        let index = self.topic.table(self.config, source, &self.message.topic)?;
        let Topic { values, tables, keys: schemas, without, .. } = self.topic;
        let Some(table) = tables.get_mut(index) else { return Err(unknown_table()) };
        self.naming.tell(table, self.message);
        let documents = table.documents;
        let (layouts, key_layouts) = match schema.and_then(|schema| values.get(schema)) {
            Some(schema) if !documents => (&mut schema.rows, &mut schema.keys),
            _ => (&mut table.rows, &mut table.keys),
        };
        let declared = key::declared(table.declared.as_deref());
        let before = op != Op::Truncate && (self.config.keep_before || needs_before(declared, op));
        let as_guessed = schema.is_some() || guessed == index;
        let (retype, definition) = (&mut table.retype, table.declared.as_deref());
        let plan = RowPlan {
            layouts,
            as_guessed,
            before,
            documents,
            without,
            config: self.config,
            declared: definition,
            retype,
        };
        let Rows { row, before, patch } = read(plan)?;
        let mut keys = Keys { registry: self.schemas, schemas, layouts: key_layouts, config: self.config };
        let bytes = self.message.key.as_ref();
        let outbox = self.config.outbox_of(&table.name);
        let key = if op == Op::Truncate || outbox.is_some() {
            self.keyless.clone() // An outbox's event is known by its own id.
        } else if documents {
            mongodb::key(&mut keys, &mut table.key_schema, bytes, row.as_ref().or(before.as_ref()))?
        } else {
            let known = row.as_ref().or(before.as_ref());
            key::of(&mut keys, definition, &mut table.key_schema, bytes, known, self.keyless)?
        };
        let former = match &row {
            Some(row) if op == Op::Create && row.is_partial() => key::former(&mut keys, &key, self.message),
            _ => None,
        };
        if signal::is_signal(self.config, table, row.as_ref()) {
            return Ok(Event::Control(Control::Signal));
        }
        let mut record = record(table, op, key, self.message, self.origin);
        record.row = row;
        record.patch = patch;
        record.before = before.or(former);
        record.position.source = source.position(table.incarnation);
        record.changed_at = source.changed_at();
        record.snapshot = source.mark();
        match outbox {
            Some(outbox) => outbox.event(record),
            None => Ok(Event::Change(record)),
        }
    }

    /// The record of an event that happened once: its row is never another.
    pub fn occurred(self, key: Row, row: Row) -> Result<Event, Fault> {
        let index = self.topic.table(self.config, &Source::default(), &self.message.topic)?;
        let Some(table) = self.topic.tables.get(index) else { return Err(unknown_table()) };
        let mut record = record(table, Op::Create, key, self.message, self.origin);
        record.row = Some(row);
        record.changed_at = self.message.timestamp_ms.map(Timestamp::from_millis);
        Ok(Event::Change(record))
    }

    /// A message without a payload: in compacted and flattened topics it is the delete, else it follows one.
    pub fn tombstone(self) -> Result<Event, Fault> {
        if self.message.key.is_none() && self.config.format != Format::Flattened {
            // It names no row, and has none: its delete, which stands before it, did. (Of a flattened row it is the delete.)
            return Ok(Event::Control(Control::Tombstone));
        }
        let headers = flattened::table_in_headers(self.config, self.message);
        let index = match headers {
            Some(table) => {
                let mut source = Source::default();
                source.table = Some(Text::plain(table));
                self.topic.table(self.config, &source, &self.message.topic)?
            }
            None => {
                let route = self.message.key.as_deref().and_then(key::route);
                self.topic.table_of(self.config, &self.message.topic, route.as_deref())?
            }
        };
        let Topic { values, tables, keys: schemas, .. } = self.topic;
        let Some(table) = tables.get_mut(index) else { return Err(unknown_table()) };
        match headers {
            Some(_) => self.naming.tell(table, self.message),
            None => self.naming.guessed = !table.told,
        }
        if self.config.outbox_of(&table.name).is_some() {
            return Ok(Event::Control(Control::Outbox));
        }
        if signal::is_signal(self.config, table, None) {
            return Ok(Event::Control(Control::Signal));
        }
        let bytes = self.message.key.as_ref();
        let layouts = match values.last() {
            Some(schema) if !table.documents => &mut schema.keys,
            _ => &mut table.keys,
        };
        let mut keys = Keys { registry: self.schemas, schemas, layouts, config: self.config };
        let key = if table.documents {
            mongodb::key(&mut keys, &mut table.key_schema, bytes, None)?
        } else {
            key::of(&mut keys, table.declared.as_deref(), &mut table.key_schema, bytes, None, self.keyless)?
        };
        Ok(Event::Change(record(table, Op::Delete, key, self.message, self.origin)))
    }
}

#[cold]
fn unknown_table() -> Fault {
    Fault::new("envelope.source", "the event's table is not known")
}

/// The operation that `op` names. MySQL's connector before 1.2 wrote snapshot rows as creates. Cassandra's writes cells
/// (`{value, deletion_ts, set}`), null where a change did not touch them: taken for rows they would overwrite what is stored.
pub fn parse_op(op: &str, source: &Source<'_>) -> Result<Op, Fault> {
    if source.connector == "cassandra" {
        return Err(Fault::new(
            "envelope.cells",
            "events of Cassandra's connector tell cells, not rows: expected rows",
        ));
    }
    Ok(match op {
        "r" => Op::Read,
        "c" if source.is_snapshot() => Op::Read,
        "c" => Op::Create,
        "u" => Op::Update,
        "d" => Op::Delete,
        "t" => Op::Truncate,
        _ => return Err(Fault::new("envelope.op", "`op`: expected one of c, u, d, r, t, m")),
    })
}

/// A delete names its row by the key alone; without one only the row itself can.
fn needs_before(declared: &DeclaredKey, op: Op) -> bool {
    match declared {
        DeclaredKey::FromMessage => false,
        DeclaredKey::Columns(_) => op == Op::Delete,
        DeclaredKey::None => matches!(op, Op::Delete | Op::Update),
    }
}

/// A record without rows.
fn record(table: &Table, op: Op, key: Row, message: &Message, origin: u32) -> Record {
    Record {
        table: table.name.clone(),
        op,
        key,
        row: None,
        patch: None,
        before: None,
        position: Position {
            topic: message.topic.clone(),
            epoch: message.epoch,
            partition: message.partition,
            offset: message.offset,
            source: SourcePosition::Unknown,
        },
        version: message.epoch.version(message.offset),
        changed_at: None,
        snapshot: SnapshotMark::None,
        origin,
    }
}
