//! Change events: the bytes of a message become records. Pure functions and caches, no I/O.
//!
//! The way of a message: [`Decoder::decode`] → its reader (an envelope: `debezium.rs`, …) finds table, operation and
//! the place of the row → a layout (`layout.rs`) turns the row into values → a [`Record`](crate::record::Record), a control event,
//! or a [`Fault`] that says why not.
//!
//! Invariants
//! - whatever the bytes, a reader answers: no panic, bounded depth, memory in proportion to the message;
//! - a column that is absent, null, or unchanged stays those three things;
//! - faults name places and expectations, never values.
//!
//! Deliberately absent: merging (unchanged values are filled in by the raw store), ordering, any state about rows.

mod avro;
mod budget;
mod change;
mod cloudevents;
mod column;
mod connect;
mod control;
mod debezium;
mod decoder;
mod envelope;
mod extjson;
mod fault;
mod flattened;
mod form;
mod json;
mod json_schema;
mod key;
mod layout;
mod mongodb;
mod outbox;
mod parts;
mod payload;
mod placeholder;
mod protobuf;
mod retype;
mod schemas;
mod signal;
mod source;
mod structured;
mod temporal;
mod topic;
mod transaction;

pub use avro::AvroSchema;
pub use decoder::{Config, Control, DeclaredKey, DeclaredTable, Decoder, Event, Format, KeyFormat, Names};
pub use fault::Fault;
pub use flattened::Metadata;
pub use form::{Base64, Binary, DeclaredColumn, Handling};
pub use outbox::Outbox;
pub use placeholder::Unavailable;
pub use protobuf::ProtobufSchema;
pub use schemas::{JsonSchema, Known, RegistrySchemas};

#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod robustness;
#[cfg(test)]
mod tests;
