//! CloudEvents 1.0 in structured JSON, as Debezium's converter writes them: the envelope's parts are attributes
//! (`iodebeziumop`, `iodebeziumtable`, …, all text), the rows stand in `data`: JSON, bare or beside its schema, or base64
//! of Avro behind the schema registry.
//!
//! Specification: “CloudEvents 1.0.2”, “JSON Event Format”; Debezium, “Exporting CloudEvents”.
//! Deliberately absent: the binary content mode (attributes in headers), which the converter does not write.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::change::{Context, parse_op};
use super::column::Reader;
use super::debezium::{Envelope, Guess};
use super::decoder::Event;
use super::json::{Cursor, Next, Text};
use super::parts::{self, Parts};
use super::payload::Payload;
use super::schemas::{Framed, Known};
use super::source::{Source, scalar};
use super::{Fault, avro, envelope, protobuf};
use crate::record::{Row, Value};

const PREFIX: &str = "iodebezium";

/// Decodes an event whose `payload` is known to be a CloudEvent.
pub fn decode(context: Context<'_>, payload: &Payload) -> Result<Event, Fault> {
    let reader = Reader { doc: &payload.doc, unavailable: &context.config.unavailable };
    let (mut source, mut op, mut data) = (Source::default(), "", None);
    let (mut transaction, mut order) = ("", "");
    let mut cursor = payload.cursor();
    let mut more = cursor.open_object()?;
    while more {
        let name = cursor.key()?.raw;
        match name.strip_prefix(PREFIX) {
            Some("op") if !op.is_empty() => return Err(doubled("iodebeziumop")),
            Some("op") => op = scalar(&mut cursor)?,
            Some("txid") => transaction = Some(scalar(&mut cursor)?).filter(|id| !id.is_empty()).unwrap_or(transaction),
            Some("txtotalorder") => order = scalar(&mut cursor)?,
            Some("table" | "collection") if cursor.next()? == Next::Text => {
                if source.table.replace(cursor.string()?).is_some() {
                    return Err(doubled("iodebeziumtable"));
                }
            }
            Some(attribute) => match source.place(attribute) {
                Some(place) => *place = scalar(&mut cursor)?,
                None => cursor.skip().map(|_| ())?,
            },
            None => {
                if matches!(name, "data" | "data_base64") && data.replace(cursor).is_some() {
                    return Err(doubled("data"));
                }
                cursor.skip()?;
            }
        }
        more = cursor.more_fields()?;
    }
    context.told.attributes(transaction, order);
    let Some(mut data) = data else { return Err(Fault::new("cloudevents.data", "the event has no `data`")) };
    let op = parse_op(op, &source)?;
    match data.next()? {
        Next::Object => {}
        Next::Text => return base64(&context, data)?.change(context, op, &source),
        other => {
            return Err(Fault::new("cloudevents.data", format!("expected `data` as JSON, found {}", other.name())));
        }
    }
    let schema = match enter(&mut data)? {
        Some(text) => context.topic.values.embedded(context.config, text)?,
        None => None,
    };
    let envelope = Envelope::read(reader, &mut data, Guess::default())?;
    context.change(op, &source, schema, |plan| envelope::rows(plan, op, envelope, reader))
}

/// An event that came in a binary encoding itself: its attributes are columns.
pub fn judge(context: Context<'_>, event: Row) -> Result<Event, Fault> {
    let (mut source, mut op) = (Source::default(), String::new());
    let texts: Vec<String> = event.values().iter().map(parts::scalar).collect();
    for ((name, _), text) in event.iter().zip(&texts) {
        match name.strip_prefix(PREFIX) {
            Some("op") => op.clone_from(text),
            Some("table" | "collection") if !text.is_empty() => source.table = Some(Text::plain(text)),
            Some(attribute) => {
                if let Some(place) = source.place(attribute) {
                    *place = text;
                }
            }
            None => {}
        }
    }
    let text = |name: &str| event.get(name).map(parts::scalar).unwrap_or_default();
    context.told.attributes(&text("iodebeziumtxid"), &text("iodebeziumtxtotalorder"));
    let op = parse_op(&op, &source)?;
    let rows = match event.get("data") {
        Some(Value::Bytes(bytes)) => parts_of(&context, bytes)?,
        Some(Value::Map(data)) => {
            let mut rows = Parts::default();
            for (name, value) in data {
                if let Value::Map(columns) = value {
                    rows.row(name, Row::of(columns.iter().map(|(name, value)| (name.to_string(), value.clone()))));
                }
            }
            rows
        }
        _ => return Err(Fault::new("cloudevents.data", "expected `data` as a record or bytes")),
    };
    rows.change(context, op, &source)
}

/// Goes to the payload where `data` is `{schema, payload}`; the schema's text.
fn enter<'a>(data: &mut Cursor<'a>) -> Result<Option<&'a str>, Fault> {
    let (mut schema, mut payload) = (None, None);
    let mut probe = *data;
    let mut more = probe.open_object()?;
    while more {
        let name = probe.key()?.raw;
        let at = probe;
        let text = probe.skip()?;
        match name {
            "schema" => schema = Some(text),
            "payload" => payload = Some(at),
            _ => return Ok(None),
        }
        more = probe.more_fields()?;
    }
    let Some(payload) = payload else { return Ok(None) };
    *data = payload;
    Ok(schema)
}

/// The rows of `data` that is base64 of a value behind the schema registry.
fn base64(context: &Context<'_>, mut data: Cursor<'_>) -> Result<Parts, Fault> {
    let bytes = STANDARD.decode(&*data.string()?.resolve()?).map_err(|_| not_readable())?;
    parts_of(context, &Bytes::from(bytes))
}

fn parts_of(context: &Context<'_>, bytes: &Bytes) -> Result<Parts, Fault> {
    if !context.schemas.is_framed(bytes) {
        return Err(not_readable());
    }
    match context.schemas.frame(bytes)? {
        Some(Framed { schema: Known::Avro(schema), at }) => avro::parts(context.config, schema, bytes, at),
        Some(Framed { schema: Known::Protobuf(schema), at }) => protobuf::parts(context.config, schema, bytes, at),
        _ => Err(not_readable()),
    }
}

#[cold]
fn doubled(name: &str) -> Fault {
    Fault::new("json.duplicate", format!("`{name}` occurs twice in the event"))
}

#[cold]
fn not_readable() -> Fault {
    Fault::new(
        "cloudevents.data",
        "`data` is text or bytes: expected JSON, or Avro behind the schema registry (give `registry:`, or set the \
         converter's `data.serializer.type` to json)",
    )
}
