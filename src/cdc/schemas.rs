//! Schemas of a registry by id, and the wire format that names them: a zero byte and the id before the value.
//!
//! Fetching is not done here: a reader that meets an unknown id leaves it in [`RegistrySchemas::take_wanted`]; whoever
//! can reach the registry fills it in and decodes the message again.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::Fault;
use super::avro::AvroSchema;
use super::connect::Schema;
use super::protobuf::ProtobufSchema;

/// What a schema says, or why it says nothing.
#[derive(Debug, Clone)]
pub enum Known {
    /// Avro.
    Avro(Arc<AvroSchema>),
    /// Protobuf.
    Protobuf(Arc<ProtobufSchema>),
    /// JSON; its JSON Schema says what strings and numbers mean.
    Json(Arc<JsonSchema>),
    /// The registry does not have it, or it cannot be read: messages of this schema are rejected.
    Unusable(Fault),
}

/// A JSON Schema as far as it says what Kafka Connect's types are.
#[derive(Debug)]
pub struct JsonSchema(pub(super) Schema);

/// A registry's schemas as far as they were needed.
#[derive(Debug, Clone, Default)]
pub struct RegistrySchemas {
    known: FxHashMap<u64, Known>,
    /// How many bytes the id has: 4 (Confluent), 8 (Apicurio's default). 0 without a registry.
    id_bytes: usize,
    wanted: Cell<Option<u64>>,
}

/// A value behind its schema's id.
pub struct Framed<'a> {
    /// The schema.
    pub schema: &'a Known,
    /// Where the value begins.
    pub at: usize,
}

impl RegistrySchemas {
    /// No schemas; ids of `id_bytes` bytes.
    pub fn new(id_bytes: usize) -> Self {
        RegistrySchemas { id_bytes, ..RegistrySchemas::default() }
    }

    /// Learns what schema `id` says.
    pub fn insert(&mut self, id: u64, known: Known) {
        self.known.insert(id, known);
    }

    /// Forgets what was wrong with schemas: a registry that did not have one may have it by now.
    pub fn forget_unusable(&mut self) {
        self.known.retain(|_, known| !matches!(known, Known::Unusable(_)));
    }

    /// The schema id of a message's key or value.
    fn id(&self, bytes: &[u8]) -> Option<u64> {
        let rest = bytes.strip_prefix(&[0]).filter(|_| self.id_bytes > 0)?;
        Some(rest.get(..self.id_bytes)?.iter().fold(0, |id, byte| id << 8 | u64::from(*byte)))
    }

    /// Whether `bytes` name a schema of the registry.
    pub fn is_framed(&self, bytes: &[u8]) -> bool {
        self.id(bytes).is_some()
    }

    /// The schema that the last message named and that is not known: it has to be fetched before the message is decoded
    /// again.
    pub fn take_wanted(&self) -> Option<u64> {
        self.wanted.take()
    }

    /// The schema in front of `bytes`; `None` when they are not framed.
    pub fn frame(&self, bytes: &Bytes) -> Result<Option<Framed<'_>>, Fault> {
        let Some(id) = self.id(bytes) else {
            return match bytes.first() {
                Some(0) if self.id_bytes > 0 => Err(Fault::new(
                    "registry.short",
                    format!("expected the {} bytes of a schema's id behind a zero byte, found fewer", self.id_bytes),
                )),
                Some(0) => Err(Fault::new(
                    "registry.missing",
                    "the message begins with a zero byte, as Avro and Protobuf behind a schema registry do: give `registry:`",
                )),
                _ => Ok(None),
            };
        };
        match self.known.get(&id) {
            Some(Known::Unusable(fault)) => Err(fault.clone()),
            Some(schema) => Ok(Some(Framed { schema, at: 1 + self.id_bytes })),
            None => {
                self.wanted.set(Some(id));
                Err(Fault::new("registry.missing", format!("schema {id} was not fetched from the registry")))
            }
        }
    }
}
