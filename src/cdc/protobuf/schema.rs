//! Protobuf schemas, as a registry gives them: a `.proto` file and the files that it imports.
//!
//! What every converter and producer knows by heart (`google/protobuf`, `google/type`, `confluent`) is usually not
//! registered: it is built in. Specification: “Confluent Schema Registry, Wire format”.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost_reflect::{DynamicMessage, FileDescriptor, MessageDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use rustc_hash::FxHashMap;

use super::value::{Shape, shapes};
use crate::cdc::Fault;

/// The name of the schema's own file.
const ROOT: &str = "headwater-registry-schema.proto";
/// How deep types are nested in others, and brackets in each other, at most.
const MAX_NESTING: usize = 32;

const CONFLUENT_META: &str = r#"syntax = "proto3"; package confluent;
import "google/protobuf/descriptor.proto";
message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }"#;
const CONFLUENT_DECIMAL: &str = r#"syntax = "proto3"; package confluent.type;
message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }"#;
const GOOGLE_DATE: &str = r#"syntax = "proto3"; package google.type;
message Date { int32 year = 1; int32 month = 2; int32 day = 3; }"#;
const GOOGLE_TIME: &str = r#"syntax = "proto3"; package google.type;
message TimeOfDay { int32 hours = 1; int32 minutes = 2; int32 seconds = 3; int32 nanos = 4; }"#;
const BUILT_IN: &[(&str, &str)] = &[
    ("confluent/meta.proto", CONFLUENT_META),
    ("confluent/type/decimal.proto", CONFLUENT_DECIMAL),
    ("google/type/date.proto", GOOGLE_DATE),
    ("google/type/timeofday.proto", GOOGLE_TIME),
];

/// A compiled schema.
#[derive(Debug)]
pub struct ProtobufSchema {
    file: FileDescriptor,
    /// Rows of each message type by its full name.
    pub(super) shapes: FxHashMap<String, Arc<Shape>>,
}

/// Files by the names under which others import them.
struct Files(BTreeMap<String, String>);

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let known = BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
        match self.0.get(name).map(String::as_str).or(known) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

impl ProtobufSchema {
    /// Compiles a schema. `references` are the files that it imports, by the names in its imports.
    pub fn parse(text: &str, references: &[(String, String)]) -> Result<ProtobufSchema, Fault> {
        // The compiler descends without a bound of its own.
        if references.iter().map(|(_, text)| text.as_str()).chain([text]).any(|text| depth(text) > MAX_NESTING) {
            return Err(wrong("it is nested too deep"));
        }
        let mut files: BTreeMap<String, String> = references.iter().cloned().collect();
        files.insert(ROOT.to_string(), text.to_string());
        let mut resolver = ChainFileResolver::new();
        resolver.add(Files(files));
        resolver.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true);
        compiler.open_file(ROOT).map_err(|error| wrong(&error.to_string()))?;
        let pool = compiler.descriptor_pool();
        let file = pool.get_file_by_name(ROOT).ok_or_else(|| wrong("no file"))?;
        let shapes = shapes(&pool);
        Ok(ProtobufSchema { file, shapes })
    }

    /// The message behind the frame, which ends at byte `at`.
    pub(super) fn message(&self, bytes: &Bytes, at: usize) -> Result<DynamicMessage, Fault> {
        let mut rest = bytes.get(at..).unwrap_or_default();
        let descriptor = self.message_type(&mut rest)?;
        let body = bytes.slice(bytes.len() - rest.len()..);
        DynamicMessage::decode(descriptor, body).map_err(|_| {
            Fault::new("protobuf.shape", "the Protobuf value cannot be read by its schema: is it of another schema?")
        })
    }

    /// The type that the indexes name: the first is of the file, each further one of the type before it. A single zero
    /// byte stands for the file's first type.
    fn message_type(&self, rest: &mut &[u8]) -> Result<MessageDescriptor, Fault> {
        let wrong = || Fault::new("protobuf.index", "expected the indexes of a message type that the schema has");
        let count = zigzag(rest).and_then(|count| usize::try_from(count).ok()).ok_or_else(wrong)?;
        if count > MAX_NESTING {
            return Err(wrong());
        }
        if count == 0 {
            return self.file.messages().next().ok_or_else(wrong);
        }
        let mut found: Option<MessageDescriptor> = None;
        for _ in 0..count {
            let index = zigzag(rest).and_then(|index| usize::try_from(index).ok()).ok_or_else(wrong)?;
            found = match found {
                None => self.file.messages().nth(index),
                Some(outer) => outer.child_messages().nth(index),
            };
            if found.is_none() {
                return Err(wrong());
            }
        }
        found.ok_or_else(wrong)
    }
}

/// How deep brackets are nested in a `.proto` file, comments and strings left out.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}', '[', ']', '(', ')', '<', '>', '"', '\'', '/']) {
        let (found, after) = rest.split_at(at).1.split_at(1);
        let skipped = match found {
            "{" | "[" | "(" | "<" => {
                depth += 1;
                deepest = deepest.max(depth);
                0
            }
            "\"" | "'" => string_end(after, found),
            "/" if after.starts_with('/') => after.find('\n').unwrap_or(after.len()),
            "/" if after.starts_with('*') => after.find("*/").unwrap_or(after.len()),
            "/" => 0,
            _ => {
                depth = depth.saturating_sub(1);
                0
            }
        };
        rest = after.get(skipped..).unwrap_or_default();
    }
    deepest
}

/// Bytes up to the end of a string, its quote included.
fn string_end(text: &str, quote: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if !escaped && quote.starts_with(c) {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    text.len()
}

#[cold]
fn wrong(what: &str) -> Fault {
    let line = what.lines().next().unwrap_or_default();
    Fault::new("schema.syntax", format!("the registry's Protobuf schema does not compile: {line}"))
}

/// A zigzag varint, as the indexes are written.
fn zigzag(rest: &mut &[u8]) -> Option<i64> {
    let (mut value, mut shift) = (0u64, 0u32);
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}
