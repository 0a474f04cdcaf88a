//! Finding the payload of a JSON message: bare, or `{"schema": …, "payload": …}` of Kafka Connect's JSON converter.
//!
//! The embedded schema is most of such a message and the same in each: once learned it is recognized by its bytes and
//! neither parsed nor even checked for UTF-8 again.

use bytes::Bytes;
use bytestring::ByteString;

use super::Fault;
use super::connect::Schema;
use super::decoder::Config;
use super::json::{Cursor, Next};
use super::topic::Schemas;

/// The text of a message's value or key, and the schema found before its payload.
pub struct Payload {
    /// The text, from the payload on if the schema was known.
    pub doc: ByteString,
    /// Index of the embedded schema.
    pub schema: Option<usize>,
    /// Where the payload begins in `doc`.
    pub at: usize,
    /// How many bytes of the message stand before `doc`.
    pub before: usize,
    /// Whether `}` and nothing else must follow the payload.
    pub closed_by_brace: bool,
}

impl Payload {
    /// Finds the payload of a JSON message: bare, or beside a schema, which is learned.
    pub fn find(bytes: &Bytes, schemas: &mut Schemas, config: &Config) -> Result<Payload, Fault> {
        if let Some((schema, start, closed_by_brace)) = schemas.find(bytes) {
            let doc = utf8(bytes.slice(start..))?;
            return Ok(Payload { doc, schema: Some(schema), at: 0, before: start, closed_by_brace });
        }
        let doc = utf8(bytes.clone())?;
        let mut cursor = Cursor::new(&doc);
        let bare = |doc: ByteString| Payload { doc, schema: None, at: 0, before: 0, closed_by_brace: false };
        if cursor.next()? != Next::Object || !cursor.open_object()? {
            return Ok(bare(doc));
        }
        if cursor.try_key("payload") {
            return Payload::before_schema(&doc, cursor, schemas, config);
        }
        if !cursor.try_key("schema") || !matches!(cursor.next()?, Next::Object | Next::Null) {
            return Ok(bare(doc));
        }
        let schema = cursor.skip()?;
        if !cursor.more_fields()? || !cursor.try_key("payload") {
            return Ok(bare(doc.clone()));
        }
        let at = cursor.offset();
        let prefix = bytes.get(..at).unwrap_or_default();
        let schema = Schema::parse(schema)?.map(|schema| schemas.add(config, prefix, true, &schema));
        Ok(Payload { doc: doc.clone(), schema, at, before: 0, closed_by_brace: true })
    }

    /// The payload that stands right behind a schema of which nothing is needed; `None` where `text` is no such pair.
    pub fn beside_schema(text: &str) -> Option<Cursor<'_>> {
        let mut cursor = Cursor::new(text);
        let pair = cursor.next().ok()? == Next::Object && cursor.open_object().ok()? && cursor.try_key("schema");
        let schema = pair && matches!(cursor.next().ok()?, Next::Object | Next::Null);
        let behind = schema && cursor.skip().is_ok() && cursor.more_fields().ok()? && cursor.try_key("payload");
        behind.then_some(cursor)
    }

    /// `{"payload": …}` alone or with the schema behind it.
    fn before_schema(
        doc: &ByteString,
        mut cursor: Cursor<'_>,
        schemas: &mut Schemas,
        config: &Config,
    ) -> Result<Payload, Fault> {
        cursor.next()?;
        let before = cursor.offset();
        let payload = cursor.skip()?;
        let mut schema = None;
        if cursor.more_fields()? {
            let beside = cursor.try_key("schema") && matches!(cursor.next()?, Next::Object | Next::Null);
            if !beside {
                return Ok(Payload { doc: doc.clone(), schema: None, at: 0, before: 0, closed_by_brace: false });
            }
            schema = schemas.embedded(config, cursor.skip()?)?;
            if cursor.more_fields()? {
                return Err(Fault::new("envelope.shape", "expected `schema` and `payload` and nothing else"));
            }
        }
        cursor.end()?;
        Ok(Payload { doc: doc.slice_ref(payload), schema, at: 0, before, closed_by_brace: false })
    }
}

fn utf8(bytes: Bytes) -> Result<ByteString, Fault> {
    ByteString::try_from(bytes).map_err(|_| {
        Fault::new("text.utf8", "the message is not UTF-8: expected JSON (is it Avro, Protobuf or another encoding?)")
    })
}

impl Payload {
    /// Refuses a payload without a schema where the pipeline counts on one.
    pub fn check(self, config: &Config) -> Result<Payload, Fault> {
        if config.schemas_required && self.schema.is_none() {
            return Err(Fault::new(
                "schema.missing",
                "expected the message's schema (`schemas: required`): set the converter's `schemas.enable`, or declare \
                 the columns in `tables:`",
            ));
        }
        Ok(self)
    }

    /// A cursor at the payload.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor::starting(&self.doc, self.at, self.before)
    }

    /// Makes sure that the message ends where the payload does.
    pub fn finish(&self, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        if self.closed_by_brace && cursor.more_fields()? {
            return Err(Fault::new("envelope.shape", "expected `schema` and `payload` and nothing else"));
        }
        cursor.end()
    }
}
