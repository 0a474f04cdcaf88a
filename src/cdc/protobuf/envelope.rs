//! Debezium's envelope in Protobuf: a message whose fields are known by name.

use bytes::Bytes;
use prost_reflect::{DynamicMessage, ReflectMessage, Value as Proto};

use super::schema::ProtobufSchema;
use super::value::{Reader, known};
use crate::cdc::budget::Budget;
use crate::cdc::change::Context;
use crate::cdc::decoder::{Config, Event, Format};
use crate::cdc::form::Form;
use crate::cdc::key::Found;
use crate::cdc::parts::{self, Parts};
use crate::cdc::{Fault, Unavailable, flattened};

/// Decodes the value behind the frame, which ends at byte `at` of the message's value.
pub fn decode(context: Context<'_>, schema: &ProtobufSchema, bytes: &Bytes, at: usize) -> Result<Event, Fault> {
    let message = schema.message(bytes, at)?;
    let reader = Reader { schema, unavailable: &context.config.unavailable, budget: Budget::new(bytes.len()) };
    let descriptor = message.descriptor();
    let has = |name: &str| descriptor.get_field_by_name(name).is_some();
    if context.config.format == Format::Flattened {
        let row = reader.row(message, 0)?;
        return flattened::judge(context, row);
    }
    match has("op") && has("source") {
        true => parts_of(&reader, message)?.judge(context),
        false => parts::other(context, reader.row(message, 0)?),
    }
}

/// The fields of an envelope.
pub fn parts(config: &Config, schema: &ProtobufSchema, bytes: &Bytes, at: usize) -> Result<Parts, Fault> {
    let reader = Reader { schema, unavailable: &config.unavailable, budget: Budget::new(bytes.len()) };
    parts_of(&reader, schema.message(bytes, at)?)
}

fn parts_of(reader: &Reader<'_>, mut message: DynamicMessage) -> Result<Parts, Fault> {
    let mut parts = Parts::default();
    known(&message)?;
    let fields: Vec<_> = message.take_fields().collect();
    for (field, value) in fields {
        let name = field.name();
        match value {
            Proto::Message(inner) if Parts::is_row(name) && !is_wrapper(&inner) => {
                parts.row(name, reader.row(inner, 0).map_err(|fault| fault.in_part(name))?);
            }
            value => parts.value(name, reader.value(value, &Form::Any, 0).map_err(|fault| fault.in_part(name))?),
        }
    }
    Ok(parts)
}

/// MongoDB's documents are text, which may stand in a wrapper.
fn is_wrapper(message: &DynamicMessage) -> bool {
    message.descriptor().full_name() == "google.protobuf.StringValue"
}

/// A key: a message of key columns.
pub fn key(schema: &ProtobufSchema, bytes: &Bytes, at: usize, unavailable: &Unavailable) -> Result<Found, Fault> {
    let reader = Reader { schema, unavailable, budget: Budget::new(bytes.len()) };
    reader.row(schema.message(bytes, at)?, 0).map(Found::Columns)
}
