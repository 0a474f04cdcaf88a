//! Events that services write into an outbox table: as Debezium's outbox router sends them on (`format: outbox`), or the
//! captured table itself (`outbox: { table: … }`). Both become the same record.
//!
//! An event happens once: it is a row `{id, aggregate_type, aggregate_id, type, payload}` under the key `id`, in a table
//! called after the aggregate's type (the last part of the topic). The payload is JSON where it is JSON, in whatever way
//! it was converted: an object, a string that holds it, beside its schema, behind the schema registry; else text or bytes.
//! In the captured table deletes are the service's housekeeping and mean nothing; an update would change history and is
//! refused.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use bytestring::ByteString;

use super::change::Context;
use super::column::json_text;
use super::decoder::{Control, Event};
use super::json::{Cursor, Next};
use super::key::Found;
use super::payload::Payload;
use super::schemas::{Framed, Known};
use super::{Fault, avro, protobuf};
use crate::record::{Kind, Message, Op, Record, Row, TableSchema, Value};

static ROW: LazyLock<Arc<TableSchema>> = LazyLock::new(|| {
    let text = |name| (name, Kind::Text);
    let columns = [text("id"), text("aggregate_type"), text("aggregate_id"), text("type"), ("payload", Kind::Json)];
    Arc::new(TableSchema::new(columns))
});
static KEY: LazyLock<Arc<TableSchema>> = LazyLock::new(|| Arc::new(TableSchema::new([("id", Kind::Text)])));

/// The captured outbox table and how its columns are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbox {
    /// The table.
    pub table: String,
    /// Column of the event's id.
    pub id: String,
    /// Column of the aggregate's type.
    pub aggregate_type: String,
    /// Column of the aggregate's id.
    pub aggregate_id: String,
    /// Column of the event's type.
    pub kind: String,
    /// Column of the payload.
    pub payload: String,
}

impl Outbox {
    /// `table` with Debezium's names of columns.
    pub fn new(table: &str) -> Self {
        Outbox {
            table: table.to_string(),
            id: "id".into(),
            aggregate_type: "aggregatetype".into(),
            aggregate_id: "aggregateid".into(),
            kind: "type".into(),
            payload: "payload".into(),
        }
    }

    /// A change of the table as the event that it means.
    pub(super) fn event(&self, record: Record) -> Result<Event, Fault> {
        let row = match (record.op, &record.row) {
            (Op::Read | Op::Create, Some(row)) => row,
            (Op::Update, _) => {
                return Err(Fault::new("outbox.update", "a row of the outbox was updated: events are written once"));
            }
            _ => return Ok(Event::Control(Control::Outbox)),
        };
        let text = |name: &str| match row.get(name) {
            None | Some(Value::Null) => Value::Null,
            Some(Value::Text(text)) => Value::Text(text.clone()),
            Some(other) => Value::text(other.to_json().trim_matches('"').to_string()),
        };
        let needed = |name: &str| match text(name) {
            Value::Null => {
                Err(Fault::new("outbox.column", format!("expected a value in the outbox's column `{name}`")))
            }
            value => Ok(value),
        };
        let payload = match row.get(&self.payload) {
            Some(Value::Text(text) | Value::Json(text)) => json_text(text.clone()),
            Some(other) => other.clone(),
            None => Value::Null,
        };
        let (id, aggregate_type) = (needed(&self.id)?, needed(&self.aggregate_type)?);
        let table = aggregate_type.as_str().map_or_else(|| record.table.clone(), Arc::from);
        let values = vec![id.clone(), aggregate_type, text(&self.aggregate_id), text(&self.kind), payload];
        let (row, key) = (Some(Row::new(ROW.clone(), values)), Row::new(KEY.clone(), vec![id]));
        Ok(Event::Change(Record { table, op: Op::Create, key, row, before: None, ..record }))
    }
}

/// Decodes a message of the outbox router.
pub fn decode(context: Context<'_>, value: Option<&Bytes>) -> Result<Event, Fault> {
    let id = header(context.message, &["id"]).ok_or_else(|| {
        Fault::new("outbox.id", "expected a header `id` with the event's id, as the outbox router writes it")
    })?;
    let kind = header(context.message, &["eventType", "type"]).map_or(Value::Null, Value::Text);
    let aggregate_id = match &context.message.key {
        Some(key) => payload(&context, key).map_err(Fault::in_key)?,
        None => Value::Null,
    };
    let aggregate_id = match aggregate_id {
        value @ (Value::Null | Value::Text(_)) => value,
        Value::Json(text) => Value::Text(text),
        other => Value::text(other.to_json()),
    };
    let payload = match value {
        Some(value) => payload(&context, value)?,
        None => Value::Null,
    };
    let route = context.message.topic.rsplit('.').next().unwrap_or_default().to_string();
    let values = vec![Value::Text(id.clone()), Value::text(route), aggregate_id, kind, payload];
    context.occurred(Row::new(KEY.clone(), vec![Value::Text(id)]), Row::new(ROW.clone(), values))
}

/// The text of the first header that has one of `names`; quotes of the JSON converter are none of it.
fn header(message: &Message, names: &[&str]) -> Option<ByteString> {
    let bytes = names.iter().find_map(|name| message.header(name))?;
    let text = ByteString::try_from(bytes.clone()).ok()?;
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    Some(inner.map_or_else(|| text.clone(), |inner| text.slice_ref(inner))).filter(|text| !text.is_empty())
}

/// Whatever converter wrote it.
fn payload(context: &Context<'_>, bytes: &Bytes) -> Result<Value, Fault> {
    let unavailable = &context.config.unavailable;
    let found = match context.schemas.is_framed(bytes).then(|| context.schemas.frame(bytes)).transpose()?.flatten() {
        Some(Framed { schema: Known::Avro(schema), at }) => avro::key(schema, bytes, at, unavailable)?,
        Some(Framed { schema: Known::Protobuf(schema), at }) => protobuf::key(schema, bytes, at, unavailable)?,
        Some(Framed { at, .. }) => return Ok(text_or_bytes(&bytes.slice(at..))),
        None => return Ok(text_or_bytes(bytes)),
    };
    Ok(match found {
        Found::Nothing => Value::Null,
        Found::Value(value) => value,
        Found::Columns(row) => {
            let names: Vec<ByteString> = row.iter().map(|(name, _)| ByteString::from(&**name)).collect();
            Value::Map(names.into_iter().zip(row.into_values()).collect())
        }
    })
}

fn text_or_bytes(bytes: &Bytes) -> Value {
    let Ok(text) = ByteString::try_from(bytes.clone()) else { return Value::Bytes(bytes.clone()) };
    json(&text).unwrap_or(Value::Text(text))
}

/// What JSON says: itself, or what a string in it holds. `None` when it is no JSON.
fn json(text: &ByteString) -> Option<Value> {
    let mut cursor = Payload::beside_schema(text).unwrap_or_else(|| Cursor::new(text));
    let mut probe = cursor;
    let whole = probe.skip().ok()?;
    Some(match cursor.next().ok()? {
        Next::Null => Value::Null,
        Next::Text => json_text(cursor.string().ok()?.resolve().ok()?.into_owned().into()),
        _ if whole.len() == text.trim().len() || cursor.offset() > 0 => Value::Json(text.slice_ref(whole)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{envelope, message};
    use super::super::*;
    use super::*;

    fn routed(topic: &str, key: &str, value: Option<&[u8]>, headers: &[(&str, &str)]) -> Result<Event, Fault> {
        let header = |(name, value): &(&str, &str)| (Arc::from(*name), Some(Bytes::copy_from_slice(value.as_bytes())));
        let message = Message {
            value: value.map(Bytes::copy_from_slice),
            headers: headers.iter().map(header).collect(),
            ..message(topic, 0, Some(key), None)
        };
        Decoder::new(Config { format: Format::Outbox, ..Config::default() }).decode(&message, 0)
    }

    fn row(event: Event) -> (String, String, String) {
        let Event::Change(record) = event else { panic!("{event:?}") };
        assert_eq!(record.op, Op::Create);
        (record.table.to_string(), record.key.to_json(), record.row.unwrap().to_json())
    }

    #[test]
    fn routed_events_in_every_shape() {
        let id = [("id", "4d47")];
        let object = r#"{"payload":{"n":1.10}}"#;
        for (value, payload) in [
            (Some(r#"{"n": 1.10}"#), r#"{"n":1.10}"#),
            (Some(r#""{\"n\": 1.10}""#), r#"{"n":1.10}"#),
            (Some(r#"{"schema":{"type":"string","optional":false},"payload":"{\"n\": 1.10}"}"#), r#"{"n":1.10}"#),
            (Some(r#"{"schema":{"type":"struct","fields":[]},"payload":{"n":1.10}}"#), r#"{"n":1.10}"#),
            (Some(object), object),
            (Some(r#""just text""#), r#""just text""#),
            (Some("not { JSON"), r#""not { JSON""#),
            (Some("[1, 2]"), "[1,2]"),
            (Some("null"), "null"),
            (None, "null"),
        ] {
            let expected = format!(
                r#"{{"id":"4d47","aggregate_type":"order","aggregate_id":"1","type":null,"payload":{payload}}}"#
            );
            for key in ["\"1\"", "1"] {
                let event = routed("outbox.event.order", key, value.map(str::as_bytes), &id).unwrap();
                assert_eq!(row(event), ("order".into(), r#"{"id":"4d47"}"#.into(), expected.clone()), "{value:?}");
            }
        }
        let bytes = routed("outbox.event.order", "1", Some(&[0xff, 0]), &[("id", "\"4d47\""), ("eventType", "New")]);
        let expected = r#"{"id":"4d47","aggregate_type":"order","aggregate_id":"1","type":"New","payload":"/wA="}"#;
        assert_eq!(row(bytes.unwrap()).2, expected);
        assert_eq!(routed("outbox.event.order", "1", Some(b"{}"), &[]).unwrap_err().code, "outbox.id");
    }

    #[test]
    fn rows_of_the_captured_table_are_the_same_events() {
        let config = Config { outbox: Some(Outbox::new("transaction")), ..Config::default() };
        let decode = |op: &str, before: &str, after: &str| {
            let value = envelope(op, before, after);
            Decoder::new(config.clone()).decode(&message("t", 0, Some(r#""4d47""#), Some(&value)), 0)
        };
        let after = r#"{"id":"4d47","aggregatetype":"order","aggregateid":1,"type":"New","payload":"{\"n\": 1.10}"}"#;
        let expected = r#"{"id":"4d47","aggregate_type":"order","aggregate_id":"1","type":"New","payload":{"n":1.10}}"#;
        for op in ["c", "r"] {
            let event = decode(op, "null", after).unwrap();
            assert_eq!(row(event), ("order".into(), r#"{"id":"4d47"}"#.into(), expected.into()));
        }
        assert_eq!(decode("d", after, "null").unwrap(), Event::Control(Control::Outbox));
        let tombstone = message("s.public.transaction", 0, Some(r#""4d47""#), None);
        assert_eq!(Decoder::new(config.clone()).decode(&tombstone, 0).unwrap(), Event::Control(Control::Outbox));
        assert_eq!(decode("u", "null", after).unwrap_err().code, "outbox.update");
        let without = r#"{"id":"4d47","aggregatetype":null}"#;
        assert_eq!(decode("c", "null", without).unwrap_err().code, "outbox.column");
    }
}
