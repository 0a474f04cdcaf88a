//! Schemas of a registry by id, and the wire format that names them: a zero byte and the id before the value.
//!
//! Fetching is not done here: [`missing`] tells what a batch needs, whoever can reach the registry fills it in.

use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::Fault;
use super::avro::AvroSchema;
use crate::record::Message;

/// What a schema says, or why it says nothing.
#[derive(Debug, Clone)]
pub enum Known {
    /// Avro.
    Avro(Arc<AvroSchema>),
    /// JSON: the value is plain JSON.
    Json,
    /// The registry does not have it, or it cannot be read: messages of this schema are rejected.
    Unusable(Fault),
}

/// A registry's schemas as far as they were needed.
#[derive(Debug, Clone, Default)]
pub struct RegistrySchemas {
    known: FxHashMap<u64, Known>,
    /// How many bytes the id has: 4 (Confluent), 8 (Apicurio's default). 0 without a registry.
    id_bytes: usize,
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
        RegistrySchemas { known: FxHashMap::default(), id_bytes }
    }

    /// Learns what schema `id` says.
    pub fn insert(&mut self, id: u64, known: Known) {
        self.known.insert(id, known);
    }

    /// The schema id of a message's key or value.
    fn id(&self, bytes: &[u8]) -> Option<u64> {
        let rest = bytes.strip_prefix(&[0]).filter(|_| self.id_bytes > 0)?;
        Some(rest.get(..self.id_bytes)?.iter().fold(0, |id, byte| id << 8 | u64::from(*byte)))
    }

    /// The ids that `messages` name and that are not known, each once.
    pub fn missing(&self, messages: &[Message]) -> Vec<u64> {
        let mut missing = Vec::new();
        if self.id_bytes == 0 {
            return missing;
        }
        for bytes in messages.iter().flat_map(|message| [&message.key, &message.value]).flatten() {
            if let Some(id) = self.id(bytes)
                && !self.known.contains_key(&id)
                && !missing.contains(&id)
            {
                missing.push(id);
            }
        }
        missing
    }

    /// The schema in front of `bytes`; `None` when they are not framed.
    pub fn frame(&self, bytes: &Bytes) -> Result<Option<Framed<'_>>, Fault> {
        let Some(id) = self.id(bytes) else {
            return match bytes.first() {
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
            None => Err(Fault::new("registry.missing", format!("schema {id} was not fetched from the registry"))),
        }
    }
}
