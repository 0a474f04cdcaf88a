//! Judging an envelope: which change of which row of which table, or which other event.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::column::Reader;
use super::debezium::{After, Envelope, Marks, collections, text_map};
use super::decoder::{Config, Control, DeclaredKey, Decoder, Event};
use super::json::{Cursor, Next};
use super::key::{self, Keys};
use super::layout::Layouts;
use super::payload::Payload;
use super::source::{Source, scalar};
use super::topic::{Table, Topic};
use super::{Fault, signal};
use crate::record::{Message, Op, Position, Record, Row, SourcePosition};

const HEARTBEAT_TOPIC: &str = "__debezium-heartbeat";

/// Decodes a message in Debezium's JSON.
pub fn decode(decoder: &mut Decoder, message: &Message, origin: u32) -> Result<Event, Fault> {
    let Decoder { config, topics, keyless, .. } = decoder;
    if message.topic.starts_with(HEARTBEAT_TOPIC) {
        return Ok(Event::Control(heartbeat(message)));
    }
    let topic = topics.get(&message.topic);
    let Some(value) = &message.value else {
        return tombstone(config, topic, message, origin, keyless);
    };
    let payload = Payload::find(value, &mut topic.values)?;
    let reader = Reader { doc: &payload.doc, unavailable: &config.unavailable };
    let mut cursor = payload.cursor();
    match cursor.next()? {
        Next::Object => {}
        Next::Null => {
            cursor.null()?;
            payload.finish(&mut cursor)?;
            return tombstone(config, topic, message, origin, keyless);
        }
        Next::Text => return Err(double_encoded()),
        other => return Err(Fault::new("envelope.shape", format!("expected an envelope, found {}", other.name()))),
    }
    let guess = match payload.schema {
        Some(schema) => topic.values.get(schema).map(|schema| &mut schema.rows),
        None => topic.tables.get_mut(topic.last).map(|table| &mut table.rows),
    };
    let envelope = Envelope::read(reader, &mut cursor, guess)?;
    payload.finish(&mut cursor)?;
    match envelope.op {
        Some("m") => logical_message(&envelope),
        Some(op) => {
            let op = parse_op(op, envelope.source.as_ref())?;
            let change = Change { op, envelope, reader, schema: payload.schema };
            change.decode(config, topic, message, origin, keyless)
        }
        None => control(&envelope),
    }
}

fn parse_op(op: &str, source: Option<&Source<'_>>) -> Result<Op, Fault> {
    let snapshot = source.is_some_and(Source::is_snapshot);
    Ok(match op {
        "r" => Op::Read,
        // MySQL's connector before 1.2 wrote snapshot rows as creates.
        "c" if snapshot => Op::Read,
        "c" => Op::Create,
        "u" => Op::Update,
        "d" => Op::Delete,
        "t" => Op::Truncate,
        _ => return Err(Fault::new("envelope.op", "`op`: expected one of c, u, d, r, t, m")),
    })
}

#[cold]
fn double_encoded() -> Fault {
    Fault::new("json.double_encoded", "expected an envelope, found a string: was the event converted to JSON twice?")
}

/// A change of a row: an envelope and what is needed to read its rows.
struct Change<'a> {
    op: Op,
    envelope: Envelope<'a>,
    reader: Reader<'a>,
    schema: Option<usize>,
}

impl Change<'_> {
    fn decode(
        self,
        config: &Config,
        topic: &mut Topic,
        message: &Message,
        origin: u32,
        keyless: &Row,
    ) -> Result<Event, Fault> {
        let Some(source) = self.envelope.source else {
            return Err(Fault::new("envelope.source", "the envelope has no `source`: the table is not known"));
        };
        let guessed = topic.last;
        let index = topic.table(config, &source, &message.topic)?;
        let Topic { values, tables, keys: schemas, .. } = topic;
        let Some(table) = tables.get_mut(index) else {
            return Err(Fault::new("envelope.source", "`source` names no table"));
        };
        let right_guess = self.schema.is_some() || guessed == index;
        let op = self.op;
        let (rows, layouts) = match self.schema.and_then(|schema| values.get(schema)) {
            Some(schema) => (&mut schema.rows, &mut schema.keys),
            None => (&mut table.rows, &mut table.keys),
        };
        let declared = table.declared.as_ref().map_or(&DeclaredKey::FromMessage, |table| &table.key);
        let keep_before = config.keep_before || needs_before(declared, op);
        let (row, before) = self.rows(rows, right_guess, keep_before)?;
        let key = match op {
            Op::Truncate => keyless.clone(),
            _ => {
                let mut keys = Keys { schemas, layouts, unavailable: &config.unavailable };
                let known = row.as_ref().or(before.as_ref());
                key::of(&mut keys, declared, &mut table.key_schema, message.key.as_ref(), known, keyless)?
            }
        };
        if signal::is_signal(config, table, row.as_ref()) {
            return Ok(Event::Control(Control::Signal));
        }
        let mut record = record(table, op, key, message, origin);
        record.row = row;
        record.before = before;
        record.position.source = source.position(table.incarnation);
        record.changed_at = source.changed_at();
        Ok(Event::Change(record))
    }

    /// The rows after and before the change.
    fn rows(
        self,
        layouts: &mut Layouts,
        right_guess: bool,
        keep_before: bool,
    ) -> Result<(Option<Row>, Option<Row>), Fault> {
        let Change { op, envelope, reader, .. } = self;
        let mut read = |mut at, part| layouts.read(reader, &mut at).map_err(|fault| fault.in_part(part));
        let row = match envelope.after {
            _ if !op.is_upsert() => None,
            After::Read(row, _) if right_guess => Some(row),
            After::Read(_, at) | After::At(at) => Some(read(at, "after")?),
            After::None => return Err(missing_after(op)),
        };
        let before = match envelope.before {
            Some(at) if keep_before && op != Op::Truncate => Some(read(at, "before")?),
            _ => None,
        };
        Ok((row, before))
    }
}

/// A delete names its row by the key alone; without one only the row itself can.
fn needs_before(declared: &DeclaredKey, op: Op) -> bool {
    match declared {
        DeclaredKey::FromMessage => false,
        DeclaredKey::Columns(_) => op == Op::Delete,
        DeclaredKey::None => matches!(op, Op::Delete | Op::Update),
    }
}

#[cold]
fn missing_after(op: Op) -> Fault {
    let what = match op {
        Op::Update => "an update whose `after` is null is not a delete: expected the row",
        _ => "`after` is null: expected the row",
    };
    Fault::new("envelope.after", what)
}

/// A record without rows.
fn record(table: &Table, op: Op, key: Row, message: &Message, origin: u32) -> Record {
    Record {
        table: table.name.clone(),
        op,
        key,
        row: None,
        before: None,
        position: Position {
            topic: message.topic.clone(),
            partition: message.partition,
            offset: message.offset,
            source: SourcePosition::Unknown,
        },
        version: u64::try_from(message.offset).map_or(0, |offset| offset.saturating_add(1)),
        changed_at: None,
        origin,
    }
}

/// A message without a payload: in compacted and flattened topics it is the delete, else it follows one.
fn tombstone(
    config: &Config,
    topic: &mut Topic,
    message: &Message,
    origin: u32,
    keyless: &Row,
) -> Result<Event, Fault> {
    let index = topic.table_of(config, &message.topic);
    let Topic { values, tables, keys: schemas, .. } = topic;
    let Some(table) = tables.get_mut(index) else {
        return Err(Fault::new("envelope.source", "the tombstone's table is not known"));
    };
    let layouts = match values.last() {
        Some(schema) => &mut schema.keys,
        None => &mut table.keys,
    };
    let declared = table.declared.as_ref().map_or(&DeclaredKey::FromMessage, |table| &table.key);
    let mut keys = Keys { schemas, layouts, unavailable: &config.unavailable };
    let key = key::of(&mut keys, declared, &mut table.key_schema, message.key.as_ref(), None, keyless)?;
    Ok(Event::Change(record(table, Op::Delete, key, message, origin)))
}

fn heartbeat(message: &Message) -> Control {
    let read = || {
        let text = std::str::from_utf8(message.value.as_deref()?).ok()?;
        let mut cursor = Cursor::new(text);
        let mut more = cursor.open_object().ok()?;
        while more {
            match cursor.key().ok()?.raw {
                "ts_ms" => return scalar(&mut cursor).ok()?.parse().ok(),
                "payload" => more = cursor.open_object().ok()?,
                _ => {
                    cursor.skip().ok()?;
                    more = cursor.more_fields().ok()?;
                }
            }
        }
        None
    };
    Control::Heartbeat { ts_ms: read() }
}

fn logical_message(envelope: &Envelope<'_>) -> Result<Event, Fault> {
    let Some(mut at) = envelope.message else {
        return Err(Fault::new("envelope.message", "`op` is m but there is no `message`"));
    };
    let (mut prefix, mut content) = (String::new(), Vec::new());
    let mut more = at.open_object()?;
    while more {
        match at.key()?.raw {
            "prefix" => prefix = at.string()?.resolve()?.into_owned(),
            "content" if at.next()? == Next::Text => {
                let decoded = STANDARD.decode(&*at.string()?.resolve()?);
                content = decoded.map_err(|_| Fault::new("envelope.message", "`content`: expected base64"))?;
            }
            _ => at.skip().map(|_| ())?,
        }
        more = at.more_fields()?;
    }
    Ok(Event::Control(Control::Message { prefix, content: content.into() }))
}

/// Events without an operation, told apart by their fields.
fn control(envelope: &Envelope<'_>) -> Result<Event, Fault> {
    let Marks { status, id, event_count, data_collections, aggregate_type, kind, additional_data, .. } = envelope.marks;
    if envelope.marks.schema_change {
        return Ok(Event::Control(Control::SchemaChange));
    }
    if matches!(status, "BEGIN" | "END") {
        let collections = data_collections.map(|mut at| collections(&mut at)).transpose()?.unwrap_or_default();
        // PostgreSQL's id is `txid:lsn`, the LSN another in each of the transaction's events.
        let id = id.split_once(':').filter(|(tx, _)| is_number(tx)).map_or(id, |(tx, _)| tx);
        let (end, event_count) = (status == "END", event_count.parse().ok());
        return Ok(Event::Control(Control::Transaction { end, id: id.to_string(), event_count, collections }));
    }
    if !aggregate_type.is_empty() {
        let details = additional_data.map(|mut at| text_map(&mut at)).transpose()?.unwrap_or_default();
        let (aggregate, kind) = (aggregate_type.to_string(), kind.to_string());
        return Ok(Event::Control(Control::Notification { aggregate, kind, details }));
    }
    if !envelope.ts_ms.is_empty() && envelope.marks.foreign == 0 && envelope.source.is_none() {
        return Ok(Event::Control(Control::Heartbeat { ts_ms: envelope.ts_ms.parse().ok() }));
    }
    Err(Fault::new(
        "envelope.shape",
        "expected a Debezium envelope with `op` and `source`; is the topic flattened or of another format? (`format:`)",
    ))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
