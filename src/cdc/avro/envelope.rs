//! Debezium's envelope in Avro: its fields are known by name in the writer's schema, and read in its order.

use bytes::Bytes;

use super::binary::Binary;
use super::schema::AvroSchema;
use crate::cdc::change::Context;
use crate::cdc::decoder::{Config, Event, Format};
use crate::cdc::key::Found;
use crate::cdc::parts::{self, Parts};
use crate::cdc::{Fault, Unavailable, flattened};

/// Decodes the Avro value that begins at byte `at` of the message's value.
pub fn decode(context: Context<'_>, schema: &AvroSchema, bytes: &Bytes, at: usize) -> Result<Event, Fault> {
    let root = schema.record(0).ok_or_else(|| Fault::new("avro.shape", "expected a record as the message's value"))?;
    let is_envelope = root.index_of("op").is_some() && root.index_of("source").is_some();
    if is_envelope && context.config.format != Format::Flattened {
        return parts(context.config, schema, bytes, at)?.judge(context);
    }
    let mut binary = Binary::new(bytes, at, schema, &context.config.unavailable);
    let row = binary.row(0)?;
    binary.end()?;
    match row {
        None => context.tombstone(),
        Some(row) if context.config.format == Format::Flattened => flattened::judge(context, row),
        Some(row) => parts::other(context, row),
    }
}

/// The fields of an envelope.
pub fn parts(config: &Config, schema: &AvroSchema, bytes: &Bytes, at: usize) -> Result<Parts, Fault> {
    let shape = || Fault::new("avro.shape", "expected an envelope: a record with `before` and `after`");
    let mut binary = Binary::new(bytes, at, schema, &config.unavailable);
    let branch = binary.branch(0)?;
    let root = schema.record(branch).ok_or_else(shape)?;
    let mut parts = Parts::default();
    for (field, column) in root.fields.iter().zip(&root.schema.columns) {
        let name = &*column.name;
        if Parts::is_row(name) && schema.record(*field).is_some() {
            if let Some(row) = binary.row(*field).map_err(|fault| fault.in_part(name))? {
                parts.row(name, row);
            }
        } else {
            parts.value(name, binary.value(*field, 0).map_err(|fault| fault.in_part(name))?);
        }
    }
    binary.end()?;
    Ok(parts)
}

/// A key: a record of key columns, or one value.
pub fn key(schema: &AvroSchema, bytes: &Bytes, at: usize, unavailable: &Unavailable) -> Result<Found, Fault> {
    let mut binary = Binary::new(bytes, at, schema, unavailable);
    let found = match schema.record(0) {
        Some(_) => binary.row(0)?.map_or(Found::Nothing, Found::Columns),
        None => Found::Value(binary.value(0, 0)?),
    };
    binary.end()?;
    Ok(found)
}
