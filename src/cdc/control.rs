//! Events that are not changes of rows: heartbeats, transaction metadata, schema changes, notifications, messages.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Fault;
use super::debezium::{Envelope, Marks};
use super::decoder::{Control, Event};
use super::json::{Cursor, Next};
use super::source::scalar;
use super::transaction::identity;
use crate::record::{Message, Row, Value};

/// Whether the message comes from a heartbeat topic.
pub fn is_heartbeat(message: &Message) -> bool {
    message.topic.starts_with("__debezium-heartbeat")
}

/// A heartbeat's event, whatever its format.
pub fn heartbeat(message: &Message) -> Control {
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

/// A logical decoding message.
pub fn logical_message(envelope: &Envelope<'_>) -> Result<Event, Fault> {
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

/// A logical decoding message of a binary encoding.
pub fn message_of(message: Option<&Row>) -> Result<Event, Fault> {
    let field = |name: &str| message.and_then(|row| row.get(name));
    match (field("prefix"), field("content")) {
        (Some(Value::Text(prefix)), Some(Value::Bytes(content))) => {
            Ok(Event::Control(Control::Message { prefix: prefix.to_string(), content: content.clone() }))
        }
        _ => Err(Fault::new("envelope.message", "`op` is m: expected `message` with a prefix and bytes")),
    }
}

/// Events without an operation, told apart by their fields.
pub fn other(envelope: &Envelope<'_>) -> Result<Event, Fault> {
    let Marks { status, id, event_count, data_collections, aggregate_type, kind, additional_data, .. } = envelope.marks;
    if envelope.marks.schema_change {
        return Ok(Event::Control(Control::SchemaChange));
    }
    if matches!(status, "BEGIN" | "END") {
        let collections = data_collections.map(|mut at| collections(&mut at)).transpose()?.unwrap_or_default();
        let (end, event_count, id) = (status == "END", event_count.parse().ok(), identity(id).to_string());
        return Ok(Event::Control(Control::Transaction { end, id, event_count, collections }));
    }
    if !aggregate_type.is_empty() {
        let details = additional_data.map(|mut at| text_map(&mut at)).transpose()?.unwrap_or_default();
        let (aggregate, kind) = (aggregate_type.to_string(), kind.to_string());
        let at_ms = envelope.marks.timestamp.parse().ok();
        return Ok(Event::Control(Control::Notification { aggregate, kind, at_ms, details }));
    }
    if !envelope.ts_ms.is_empty() && envelope.marks.foreign == 0 && envelope.source.is_none() {
        return Ok(Event::Control(Control::Heartbeat { ts_ms: envelope.ts_ms.parse().ok() }));
    }
    Err(Fault::new(
        "envelope.shape",
        "expected a Debezium envelope with `op` and `source`; is the topic flattened or of another format? (`format:`)",
    ))
}

/// Reads `{name: text, …}`.
fn text_map(cursor: &mut Cursor<'_>) -> Result<Vec<(String, String)>, Fault> {
    let mut entries = Vec::new();
    let mut more = cursor.open_object()?;
    while more {
        let name = cursor.key()?.resolve().map(Cow::into_owned)?;
        entries.push((name, scalar(cursor)?.to_string()));
        more = cursor.more_fields()?;
    }
    Ok(entries)
}

/// Reads `[{data_collection, event_count}, …]`.
fn collections(cursor: &mut Cursor<'_>) -> Result<Vec<(String, u64)>, Fault> {
    let mut counts = Vec::new();
    let mut more = cursor.open_list()?;
    while more {
        let (mut name, mut count) = (String::new(), 0);
        let mut more_fields = cursor.open_object()?;
        while more_fields {
            match cursor.key()?.raw {
                "data_collection" => name = cursor.string()?.resolve()?.into_owned(),
                "event_count" => count = scalar(cursor)?.parse().unwrap_or(0),
                _ => cursor.skip().map(|_| ())?,
            }
            more_fields = cursor.more_fields()?;
        }
        counts.push((name, count));
        more = cursor.more_items()?;
    }
    Ok(counts)
}
