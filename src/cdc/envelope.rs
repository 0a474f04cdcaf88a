//! Debezium's JSON: judging an envelope. Which change of which row, or which other event.

use bytes::Bytes;

use super::change::{Context, RowPlan, Rows, parse_op};
use super::column::Reader;
use super::debezium::{After, Envelope, Guess};
use super::decoder::Event;
use super::form::Form;
use super::json::{Cursor, Next};
use super::mongodb::Legacy;
use super::parts::Part;
use super::payload::Payload;
use super::{Fault, cloudevents, control, mongodb};
use crate::record::{Op, Value};

/// Decodes a message in Debezium's JSON.
pub fn decode(context: Context<'_>, value: &Bytes) -> Result<Event, Fault> {
    let payload = Payload::find(value, &mut context.topic.values, context.config)?.check(context.config)?;
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
    let layouts = match payload.schema {
        Some(schema) => topic.values.get(schema).map(|schema| &mut schema.rows),
        None => topic.tables.get_mut(topic.last).map(|table| &mut table.rows),
    };
    let guess = Guess { rows: layouts, source: Some(&mut topic.source) };
    let envelope = Envelope::read(reader, &mut cursor, guess)?;
    payload.finish(&mut cursor)?;
    context.told.change(envelope.marks.transaction)?;
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
pub fn rows<'a>(mut plan: RowPlan<'_>, op: Op, envelope: Envelope<'a>, reader: Reader<'a>) -> Result<Rows, Fault> {
    let (as_guessed, documents) = (plan.as_guessed, plan.documents);
    let read = |plan: &mut RowPlan<'_>, mut at: Cursor<'a>, part| {
        let row = match documents {
            true => mongodb::document(reader, &mut at, plan.layouts),
            false => plan.layouts.read(reader, &mut at),
        };
        row.map_err(|fault| fault.in_part(part))
    };
    let mut rows = Rows::default();
    match envelope.after {
        _ if !op.is_upsert() => {}
        After::Read(row, _) if as_guessed && !documents => rows.row = Some(row),
        After::Read(_, at) | After::At(at) => rows.row = Some(read(&mut plan, at, "after")?),
        After::None if op == Op::Update && documents => match patch(reader, envelope.update, envelope.patch)? {
            Some(Legacy::Patch(patch)) => rows.patch = Some(Box::new(patch)),
            Some(Legacy::Document(document)) => rows.row = plan.row_of(Part::Document(document))?,
            None => return Err(missing_after(op)),
        },
        After::None => return Err(missing_after(op)),
    }
    if let Some(at) = envelope.before.filter(|_| plan.before) {
        rows.before = Some(read(&mut plan, at, "before")?);
    }
    Ok(rows)
}

/// What an update of MongoDB tells instead of a document; `None` when it tells nothing.
fn patch<'a>(
    reader: Reader<'a>,
    update: Option<Cursor<'a>>,
    legacy: Option<Cursor<'a>>,
) -> Result<Option<Legacy>, Fault> {
    if let Some(mut at) = update {
        return match reader.column(&mut at, &Form::Any)? {
            Value::Map(description) => mongodb::update(&description).map(Legacy::Patch).map(Some),
            _ => Err(Fault::new("envelope.update", "expected `updateDescription` as an object")),
        };
    }
    let Some(mut at) = legacy else { return Ok(None) };
    match reader.column(&mut at, &Form::Text)? {
        Value::Text(text) => mongodb::legacy(text).map(Some),
        _ => Err(Fault::new("envelope.update", "expected `patch` as text")),
    }
}

/// The fault of a change without its row.
#[cold]
pub fn missing_after(op: Op) -> Fault {
    let what = match op {
        Op::Update => "an update whose `after` is null is not a delete: expected the row",
        _ => "`after` is null: expected the row",
    };
    Fault::new("envelope.after", what)
}
