//! Avro in Confluent's wire format: a zero byte, the schema's id, the value in Avro's binary encoding.
//!
//! The writer's schema is all that is needed: the value is read as it was written, and named columns find their way.

mod binary;
mod envelope;
mod schema;

pub use envelope::{decode, key, parts};
pub use schema::AvroSchema;

#[cfg(test)]
mod edge_tests;
#[cfg(test)]
mod tests;
