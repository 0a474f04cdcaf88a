//! Debezium's JSON: judging an envelope. Which change of which row, or which other event.

use bytes::Bytes;
use bytestring::ByteString;

use super::change::{Context, RowPlan, Rows, parse_op};
use super::column::Reader;
use super::debezium::{After, Envelope};
use super::decoder::Event;
use super::json::{Cursor, Next};
use super::payload::Payload;
use super::{Fault, Unavailable, cloudevents, control, mongodb};
use crate::record::{Op, Row};

/// Decodes a message in Debezium's JSON.
pub fn decode(context: Context<'_>, value: &Bytes) -> Result<Event, Fault> {
    let payload = Payload::find(value, &mut context.topic.values, context.config)?;
    let reader = Reader { doc: &payload.doc, unavailable: &context.config.unavailable };
    let mut cursor = payload.cursor();
    match cursor.next()? {
        Next::Object => {}
        Next::Null => {
            cursor.null()?;
            payload.finish(&mut cursor)?;
            return context.tombstone();
        }
        Next::Text => return Err(double_encoded()),
        other => return Err(Fault::new("envelope.shape", format!("expected an envelope, found {}", other.name()))),
    }
    let topic = &mut *context.topic;
    let guess = match payload.schema {
        Some(schema) => topic.values.get(schema).map(|schema| &mut schema.rows),
        None => topic.tables.get_mut(topic.last).map(|table| &mut table.rows),
    };
    let envelope = Envelope::read(reader, &mut cursor, guess)?;
    payload.finish(&mut cursor)?;
    match (envelope.op, envelope.source) {
        (Some("m"), _) => control::logical_message(&envelope),
        (Some(op), Some(source)) => {
            let op = parse_op(op, &source)?;
            context.change(op, &source, payload.schema, |plan| rows(plan, op, envelope, reader))
        }
        (Some(_), None) => Err(Fault::new("envelope.source", "the envelope has no `source`: the table is not known")),
        (None, _) if envelope.marks.cloud_event => cloudevents::decode(context, &payload),
        (None, _) => control::other(&envelope),
    }
}

#[cold]
fn double_encoded() -> Fault {
    Fault::new("json.double_encoded", "expected an envelope, found a string: was the event converted to JSON twice?")
}

/// Takes the rows that an envelope holds.
pub fn rows<'a>(plan: RowPlan<'_>, op: Op, envelope: Envelope<'a>, reader: Reader<'a>) -> Result<Rows, Fault> {
    let RowPlan { layouts, as_guessed, before, documents } = plan;
    let mut read = |mut at: Cursor<'a>, part| {
        let row = if documents { mongodb::document(reader, &mut at, layouts) } else { layouts.read(reader, &mut at) };
        row.map_err(|fault| fault.in_part(part))
    };
    let row = match envelope.after {
        _ if !op.is_upsert() => None,
        After::Read(row, _) if as_guessed && !documents => Some(row),
        After::Read(_, at) | After::At(at) => Some(read(at, "after")?),
        After::None => return Err(missing_after(op, documents)),
    };
    let before = match envelope.before {
        Some(at) if before => Some(read(at, "before")?),
        _ => None,
    };
    Ok((row, before))
}

/// The fault of a change without its row.
#[cold]
pub fn missing_after(op: Op, documents: bool) -> Fault {
    let what = match op {
        Op::Update if documents => {
            "an update without the document: set the connector's `capture.mode` to change_streams_update_full"
        }
        Op::Update => "an update whose `after` is null is not a delete: expected the row",
        _ => "`after` is null: expected the row",
    };
    Fault::new("envelope.after", what)
}

/// Judges an event without `op` and `source` that came in another encoding.
pub fn judge_other(row: &Row) -> Result<Event, Fault> {
    let doc = ByteString::from(row.to_json());
    let unavailable = Unavailable::default();
    let reader = Reader { doc: &doc, unavailable: &unavailable };
    let envelope = Envelope::read(reader, &mut Cursor::new(&doc), None)?;
    control::other(&envelope)
}
