//! From messages to events: what a lane's decoder is told, what it gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::change::{Context, Naming};
use super::flattened::Metadata;
use super::form::{DeclaredColumn, Handling};
use super::schemas::{Framed, Known, RegistrySchemas};
use super::topic::Topics;
use super::transaction::Told;
use super::{Fault, Outbox, Unavailable, avro, control, envelope, flattened, outbox, protobuf};
use crate::record::{Membership, Message, Op, Record, Row};

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Debezium's envelope in JSON: with a schema, bare, or as CloudEvents.
    #[default]
    Debezium,
    /// The same, of MongoDB's connector: what a tombstone alone does not tell.
    Mongodb,
    /// Rows alone, as the transformation `ExtractNewRecordState` leaves them.
    Flattened,
    /// Events of services, as the transformation `EventRouter` sends them on.
    Outbox,
}

/// How tables are called in the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// By the table's own name.
    #[default]
    Table,
    /// `schema.table`, or `database.table` where there are no schemas.
    Qualified,
}

/// How keys are written, where their bytes alone do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyFormat {
    /// JSON, a schema of the registry, or plain text where it is neither.
    #[default]
    Auto,
    /// Plain text (`StringConverter`).
    Text,
    /// A big-endian integer of 1, 2, 4 or 8 bytes (`LongConverter`, …).
    Integer,
}

/// The key of a declared table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DeclaredKey {
    /// Whatever the messages' keys say.
    #[default]
    FromMessage,
    /// These columns, from the message's key, or from the row when the key does not have them.
    Columns(Vec<Arc<str>>),
    /// The table has no key: its rows are a multiset.
    None,
}

/// What a pipeline declares about a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeclaredTable {
    /// Its name.
    pub name: Arc<str>,
    /// Its key.
    pub key: DeclaredKey,
    /// Columns and their kinds.
    pub columns: Vec<DeclaredColumn>,
}

/// What a decoder is told.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// How messages are written.
    pub format: Format,
    /// How tables are called.
    pub names: Names,
    /// Declared tables by name.
    pub tables: BTreeMap<String, Arc<DeclaredTable>>,
    /// How keys are written.
    pub key_format: KeyFormat,
    /// What the connector was told about values that JSON alone cannot tell.
    pub handling: Handling,
    /// Which columns and headers of flattened rows are metadata.
    pub metadata: Metadata,
    /// The placeholder of values that were not sent.
    pub unavailable: Unavailable,
    /// Whether `before` is read where nothing needs it.
    pub keep_before: bool,
    /// Whether values without a schema are refused.
    pub schemas_required: bool,
    /// How many bytes the ids of a schema registry have; 0 without one.
    pub registry_id_bytes: usize,
    /// The captured outbox table, if there is one.
    pub outbox: Option<Outbox>,
    /// The table that signals to the connector are written to; its rows are no data.
    pub signal_table: Option<String>,
    /// Whether it is asked which transaction a message is part of.
    pub transactions: bool,
}

impl Config {
    /// What `table` is captured as, if it is the outbox.
    pub(super) fn outbox_of(&self, table: &str) -> Option<&Outbox> {
        self.outbox.as_ref().filter(|outbox| outbox.table == table)
    }
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
// Almost every event is a change: boxing it would cost an allocation for each.
#[allow(clippy::large_enum_variant)]
pub enum Event {
    /// A row changed.
    Change(Record),
    /// Something else happened.
    Control(Control),
}

/// Events that are not changes of rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// A tombstone right after its delete: it says nothing new.
    Tombstone,
    /// The source is alive, at this time of the connector's clock.
    Heartbeat {
        /// Milliseconds since 1970.
        ts_ms: Option<i64>,
    },
    /// A transaction of the source begins or ends.
    Transaction {
        /// Whether it ends.
        end: bool,
        /// Its identity, without the LSN that PostgreSQL's connector appends.
        id: String,
        /// At the end: how many events it has.
        event_count: Option<u64>,
        /// At the end: how many events each table has.
        collections: Vec<(String, u64)>,
    },
    /// The structure of a table changed.
    SchemaChange,
    /// The connector tells of its own progress (snapshots started, completed, …).
    Notification {
        /// `Initial Snapshot`, `Incremental Snapshot`, …
        aggregate: String,
        /// `STARTED`, `COMPLETED`, …
        kind: String,
        /// When, by the connector's clock, in milliseconds since 1970.
        at_ms: Option<i64>,
        /// Details.
        details: Vec<(String, String)>,
    },
    /// A logical decoding message (`pg_logical_emit_message`).
    Message {
        /// What its writer called it.
        prefix: String,
        /// Its bytes.
        content: Bytes,
    },
    /// A row of the connector's signal table.
    Signal,
    /// A row of the outbox table was removed: the event has happened all the same.
    Outbox,
}

/// Decodes the messages of one lane.
pub struct Decoder {
    config: Config,
    topics: Topics,
    keyless: Row,
    schemas: RegistrySchemas,
    told: Told,
    naming: Naming,
    /// Of each partition: where its last delete stood, and the message's key. Of each, since partitions arrive in another
    /// order when they are read again, and what was recognized then must be recognized now: a tombstone that counted as a
    /// delete would be what is stored, and the delete before it stale.
    last_deletes: FxHashMap<(Arc<str>, i32), (i64, Bytes)>,
}

impl Decoder {
    /// A decoder that has seen nothing yet.
    pub fn new(config: Config) -> Self {
        let schemas = RegistrySchemas::new(config.registry_id_bytes);
        let told = Told::new(config.transactions);
        Decoder {
            config,
            topics: Topics::default(),
            keyless: Row::empty(),
            schemas,
            told,
            naming: Naming::default(),
            last_deletes: FxHashMap::default(),
        }
    }

    /// The registry's schemas, to be completed before messages that name them are decoded.
    pub fn schemas(&mut self) -> &mut RegistrySchemas {
        &mut self.schemas
    }

    /// Which transaction the message is part of that was decoded last, with or without success; nothing unless
    /// [`Config::transactions`] asks for it.
    pub fn take_membership(&mut self) -> Option<Membership> {
        self.told.take()
    }

    /// Lives of topics ([`crate::record::Epoch::name`]) and tables that changes of theirs were of, since this was asked
    /// last. What reads on elsewhere has to know it, see [`Decoder::is_guess`].
    pub fn take_named(&mut self) -> Vec<(String, Arc<str>)> {
        std::mem::take(&mut self.naming.named)
    }

    /// Whether the message that was decoded last is a tombstone in a topic of which no change was seen, so that only the
    /// topic's own name told the table. Who knows better says it by [`Decoder::learn`] and has it decoded again.
    pub fn is_guess(&self) -> bool {
        self.naming.guessed
    }

    /// Learns which tables changes of a topic were of.
    pub fn learn(&mut self, topic: &Arc<str>, tables: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), Fault> {
        let known = self.topics.get(topic);
        tables.into_iter().try_for_each(|table| known.learn(&self.config, topic, table.as_ref()))
    }

    /// What `message` says. `origin` is its index in the batch.
    pub fn decode(&mut self, message: &Message, origin: u32) -> Result<Event, Fault> {
        self.told.take();
        self.naming.guessed = false;
        if self.repeats_delete(message) {
            return Ok(Event::Control(Control::Tombstone));
        }
        let Decoder { config, topics, keyless, schemas, told, naming, .. } = &mut *self;
        let topic = topics.get(&message.topic);
        let context = Context { config, topic, message, origin, keyless, schemas, told, naming };
        let event = read(context)?;
        if let Event::Control(control) = &event {
            self.told.control(control);
        }
        if let (Event::Change(record), Some(key), Some(_)) = (&event, &message.key, &message.value)
            && record.op == Op::Delete
        {
            // A copy: a slice would keep the whole batch of messages alive.
            let key = Bytes::copy_from_slice(key);
            self.last_deletes.insert((message.topic.clone(), message.partition), (message.offset, key));
        }
        Ok(event)
    }

    /// The table that events of this topic are about, if there was one only.
    pub fn table_of(&mut self, message: &Message) -> Option<&str> {
        match self.topics.get(&message.topic).tables.as_slice() {
            [table] => Some(&table.name),
            _ => None,
        }
    }

    /// Whether this is the tombstone that follows a delete which was just decoded.
    fn repeats_delete(&self, message: &Message) -> bool {
        if message.value.is_some() {
            return false;
        }
        let place = (message.topic.clone(), message.partition);
        let last = self.last_deletes.get(&place);
        last.is_some_and(|(offset, key)| {
            offset.checked_add(1) == Some(message.offset) && Some(key) == message.key.as_ref()
        })
    }
}

/// Reads a message with the reader of its encoding and format.
fn read(context: Context<'_>) -> Result<Event, Fault> {
    let schemas = context.schemas;
    let value = context.message.value.as_ref();
    if control::is_heartbeat(context.message) && !value.is_some_and(|value| schemas.is_framed(value)) {
        return Ok(Event::Control(control::heartbeat(context.message)));
    }
    if context.config.format == Format::Outbox {
        return outbox::decode(context, value);
    }
    let Some(value) = value else { return context.tombstone() };
    match schemas.frame(value)? {
        Some(Framed { schema: Known::Avro(schema), at }) => return avro::decode(context, schema, value, at),
        Some(Framed { schema: Known::Protobuf(schema), at }) => return protobuf::decode(context, schema, value, at),
        Some(Framed { schema: Known::Json(schema), at }) => {
            context.topic.values.framed(context.config, value, at, &schema.0);
        }
        _ => {}
    }
    match context.config.format {
        Format::Debezium | Format::Mongodb | Format::Outbox => envelope::decode(context, value),
        Format::Flattened => flattened::decode(context, value),
    }
}
