//! Events of binary encodings: their parts are rows already when `source` tells which table they are of.

use bytestring::ByteString;

use super::change::{Context, Rows, parse_op};
use super::column::Reader;
use super::debezium::{Envelope, Guess};
use super::decoder::Event;
use super::json::{Cursor, Text};
use super::mongodb::{self, Legacy};
use super::source::Source;
use super::{Fault, Unavailable, cloudevents, control, envelope};
use crate::record::{Op, Patch, Row, Value};

/// A row before or after a change.
#[derive(Debug, Default)]
pub enum Part {
    /// Null or absent.
    #[default]
    None,
    /// Columns.
    Row(Row),
    /// A document of MongoDB: extended JSON.
    Document(ByteString),
}

/// What an envelope holds.
#[derive(Debug, Default)]
pub struct Parts {
    before: Part,
    after: Part,
    source: Option<Row>,
    op: String,
    message: Option<Row>,
    update: Option<Row>,
    transaction: Option<Row>,
    legacy: Option<ByteString>,
}

impl Parts {
    /// Whether the field called `name` is read as a row of columns, where its schema allows it.
    pub fn is_row(name: &str) -> bool {
        matches!(name, "before" | "after" | "source" | "message" | "updateDescription" | "transaction")
    }

    /// Takes a field that is a row.
    pub fn row(&mut self, name: &str, row: Row) {
        match name {
            "before" => self.before = Part::Row(row),
            "after" => self.after = Part::Row(row),
            "source" => self.source = Some(row),
            "message" => self.message = Some(row),
            "updateDescription" => self.update = Some(row),
            "transaction" => self.transaction = Some(row),
            _ => {}
        }
    }

    /// Takes any other field.
    pub fn value(&mut self, name: &str, value: Value) {
        let (Value::Text(text) | Value::Json(text)) = value else { return };
        match name {
            "op" => self.op = text.to_string(),
            "before" => self.before = Part::Document(text),
            "after" => self.after = Part::Document(text),
            "patch" => self.legacy = Some(text),
            _ => {}
        }
    }

    /// What the envelope says.
    pub fn judge(mut self, context: Context<'_>) -> Result<Event, Fault> {
        let source = self.source.take();
        context.told.change_of(self.transaction.as_ref());
        if self.op == "m" {
            return control::message_of(self.message.as_ref());
        }
        let Some(row) = &source else {
            return Err(Fault::new("envelope.source", "the envelope has no `source`: the table is not known"));
        };
        let texts: Vec<String> = row.values().iter().map(scalar).collect();
        let mut source = Source::default();
        for ((name, _), text) in row.iter().zip(&texts) {
            match &**name {
                "table" | "collection" if !text.is_empty() => source.table = Some(Text::plain(text)),
                name => {
                    if let Some(place) = source.place(name) {
                        *place = text;
                    }
                }
            }
        }
        let op = parse_op(&self.op, &source)?;
        self.change(context, op, &source)
    }

    /// The record of a change whose source is known.
    pub fn change(self, context: Context<'_>, op: Op, source: &Source<'_>) -> Result<Event, Fault> {
        context.change(op, source, None, |mut plan| {
            let Parts { before, after, update, legacy, .. } = self;
            let mut rows = Rows::default();
            match after {
                _ if !op.is_upsert() => {}
                Part::None if op == Op::Update && plan.documents && (update.is_some() || legacy.is_some()) => {
                    match patch(update.as_ref(), legacy)? {
                        Legacy::Patch(patch) => rows.patch = Some(Box::new(patch)),
                        Legacy::Document(doc) => rows.row = plan.row_of(Part::Document(doc))?,
                    }
                }
                Part::None => return Err(envelope::missing_after(op)),
                after => rows.row = plan.row_of(after).map_err(|fault| fault.in_part("after"))?,
            }
            if plan.before {
                rows.before = plan.row_of(before).map_err(|fault| fault.in_part("before"))?;
            }
            Ok(rows)
        })
    }
}

/// What an update of MongoDB tells instead of a document.
fn patch(update: Option<&Row>, legacy: Option<ByteString>) -> Result<Legacy, Fault> {
    if let Some(row) = update {
        let fields: Vec<_> = row.iter().map(|(name, value)| (ByteString::from(&**name), value.clone())).collect();
        return mongodb::update(&fields).map(Legacy::Patch);
    }
    legacy.map_or_else(|| Ok(Legacy::Patch(Patch::default())), mongodb::legacy)
}

/// Judges an event without `op` and `source`. Debezium's own events are rare: their fields are judged as JSON.
pub fn other(context: Context<'_>, root: Row) -> Result<Event, Fault> {
    if root.get("specversion").is_some() {
        return cloudevents::judge(context, root);
    }
    let doc = ByteString::from(root.to_json());
    let unavailable = Unavailable::default();
    let reader = Reader { doc: &doc, unavailable: &unavailable };
    let envelope = Envelope::read(reader, &mut Cursor::new(&doc), Guess::default())?;
    control::other(&envelope)
}

/// A scalar as its text; nothing for null.
pub fn scalar(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Int(n) => n.to_string(),
        Value::UInt(n) => n.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}
