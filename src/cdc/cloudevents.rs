//! CloudEvents 1.0 in structured JSON, as Debezium's converter writes them: the envelope's parts are attributes
//! (`iodebeziumop`, `iodebeziumtable`, …, all text), the rows stand in `data`.
//!
//! Specification: “CloudEvents 1.0.2”, “JSON Event Format”; Debezium, “Exporting CloudEvents”.
//! Deliberately absent: the binary content mode (attributes in headers), which the converter does not write.

use super::change::{Context, parse_op};
use super::column::Reader;
use super::debezium::Envelope;
use super::decoder::Event;
use super::json::{Cursor, Next};
use super::payload::Payload;
use super::source::{Source, scalar};
use super::{Fault, envelope};

const PREFIX: &str = "iodebezium";

/// Decodes an event whose `payload` is known to be a CloudEvent.
pub fn decode(context: Context<'_>, payload: &Payload) -> Result<Event, Fault> {
    let reader = Reader { doc: &payload.doc, unavailable: &context.config.unavailable };
    let (mut source, mut op, mut data) = (Source::default(), "", None);
    let mut cursor = payload.cursor();
    let mut more = cursor.open_object()?;
    while more {
        let name = cursor.key()?.raw;
        match name.strip_prefix(PREFIX) {
            Some("op") => op = scalar(&mut cursor)?,
            Some("table" | "collection") if cursor.next()? == Next::Text => source.table = Some(cursor.string()?),
            Some(attribute) => match source.place(attribute) {
                Some(place) => *place = scalar(&mut cursor)?,
                None => cursor.skip().map(|_| ())?,
            },
            None => {
                data = (name == "data").then_some(cursor).or(data);
                cursor.skip()?;
            }
        }
        more = cursor.more_fields()?;
    }
    let Some(data) = data else { return Err(Fault::new("cloudevents.data", "the event has no `data`")) };
    let envelope = rows_of(reader, data)?;
    let op = parse_op(op, &source)?;
    context.change(op, &source, None, |plan| envelope::rows(plan, op, envelope, reader))
}

/// `data` holds `before` and `after`, bare or beside a schema.
fn rows_of<'a>(reader: Reader<'a>, mut data: Cursor<'a>) -> Result<Envelope<'a>, Fault> {
    match data.next()? {
        Next::Object => {}
        Next::Text => {
            return Err(Fault::new(
                "cloudevents.data",
                "`data` is text (base64 of Avro?): expected JSON; set the converter's `data.serializer.type` to json",
            ));
        }
        other => {
            return Err(Fault::new("cloudevents.data", format!("expected `data` as JSON, found {}", other.name())));
        }
    }
    let mut probe = data;
    if probe.open_object()? {
        loop {
            if probe.try_key("payload") {
                return Envelope::read(reader, &mut probe, None);
            }
            probe.key()?;
            probe.skip()?;
            if !probe.more_fields()? {
                break;
            }
        }
    }
    Envelope::read(reader, &mut data, None)
}
