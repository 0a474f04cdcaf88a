//! Protobuf in Confluent's wire format: a zero byte, the schema's id, the indexes of the message's type in its file, the
//! value in Protobuf's binary encoding.
//!
//! `prost-reflect` reads the encoding by the writer's schema, `protox` compiles that schema. Protobuf has no semantic
//! types: a Debezium timestamp is a bare integer in it. What a column means comes from the pipeline's `tables:`. A scalar
//! of proto3 that is neither `optional` nor in a wrapper cannot be null: the converter then sends 0 or empty text, and that
//! is what is read (its options `optional.for.nullables` and `wrapper.for.nullables` keep nulls).

mod envelope;
mod schema;
mod value;

pub use envelope::{decode, key, parts};
pub use schema::ProtobufSchema;

#[cfg(test)]
mod edge_tests;
#[cfg(test)]
mod tests;
