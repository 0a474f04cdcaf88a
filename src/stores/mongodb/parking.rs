//! Messages kept aside, in the same database as the rows. What is too large for one document is kept in pieces.

use std::sync::Arc;

use bson::raw::cstr;
use bson::spec::BinarySubtype;
use bson::{Binary, RawArrayBuf, RawBson, RawDocument, RawDocumentBuf, rawdoc};
use bytes::Bytes;

use super::catalog::broken;
use super::server::{Server, integer};
use crate::error::Result;
use crate::mongo::number;
use crate::record::{Epoch, Message};
use crate::stores::Parked;

const PARKED: &str = "headwater_parked";
const PIECES: &str = "headwater_parked_pieces";
/// Bytes of a value that stand in the message's own document, and in each piece.
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Keeps messages aside: pieces first, so that a message that is there is whole.
pub async fn park(server: &Server, parked: &[Parked]) -> Result<()> {
    for entry in parked {
        let value = entry.message.value.as_deref().unwrap_or_default();
        let pieces = value.chunks(PIECE_BYTES).enumerate().skip(1).map(|(n, piece)| {
            let id = rawdoc! { "id": &*entry.id, "n": n as i64 };
            let document = rawdoc! { "_id": id.clone(), "bytes": binary(piece) };
            rawdoc! { "q": { "_id": id }, "u": document, "upsert": true }
        });
        server.update(PIECES, pieces.collect()).await?;
    }
    let statements = parked.iter().map(|entry| {
        rawdoc! { "q": { "_id": &*entry.id }, "u": write(entry), "upsert": true }
    });
    server.update(PARKED, statements.collect()).await.map(|_| ())
}

/// Parked messages in the order of their ids.
pub async fn parked(server: &Server, pipeline: Option<&str>, after: Option<&str>, limit: usize) -> Result<Vec<Parked>> {
    let mut filter = RawDocumentBuf::new();
    if let Some(pipeline) = pipeline {
        filter.append(cstr!("pipeline"), pipeline);
    }
    if let Some(after) = after {
        filter.append(cstr!("_id"), rawdoc! { "$gt": after });
    }
    let mut command = rawdoc! { "find": PARKED, "filter": filter, "sort": { "_id": 1 } };
    command.append(cstr!("limit"), i64::try_from(limit).unwrap_or(i64::MAX));
    let mut found = Vec::new();
    for document in server.find(command, None).await? {
        let wrong = || broken("a parked message does not read");
        let mut entry = read(&document).ok_or_else(wrong)?;
        if integer(document.get("pieces").ok().flatten()).is_some_and(|pieces| pieces > 1) {
            let filter = rawdoc! { "_id.id": &*entry.id };
            let rest = server.find(rawdoc! { "find": PIECES, "filter": filter, "sort": { "_id.n": 1 } }, None).await?;
            let mut whole = entry.message.value.take().unwrap_or_default().to_vec();
            for piece in rest {
                whole.extend_from_slice(piece.get_binary("bytes").map_err(|_| wrong())?.bytes);
            }
            entry.message.value = Some(whole.into());
        }
        found.push(entry);
    }
    Ok(found)
}

/// Forgets parked messages; says how many there were.
pub async fn unpark(server: &Server, ids: &[String]) -> Result<u64> {
    let ids: Vec<bson::Bson> = ids.iter().map(|id| id.as_str().into()).collect();
    let delete = |collection: &str, field: &str| {
        bson::doc! { "delete": collection, "deletes": [{ "q": { field: { "$in": &ids } }, "limit": 0 }],
        "writeConcern": { "w": "majority", "j": true } }
    };
    let reply = server.run(delete(PARKED, "_id")).await?;
    server.run(delete(PIECES, "_id.id")).await?;
    Ok(number(&reply, "n").unsigned_abs())
}

fn binary(bytes: &[u8]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}

fn bytes_or_null(bytes: Option<&[u8]>) -> RawBson {
    bytes.map_or(RawBson::Null, |bytes| RawBson::Binary(binary(bytes)))
}

fn write(entry: &Parked) -> RawDocumentBuf {
    let message = &entry.message;
    let mut headers = RawArrayBuf::new();
    for (name, value) in &message.headers {
        headers.push(rawdoc! { "name": &**name, "value": bytes_or_null(value.as_deref()) });
    }
    let value = message.value.as_deref();
    let first = value.map(|value| value.get(..PIECE_BYTES).unwrap_or(value));
    let pieces = value.map_or(0, |value| value.len().div_ceil(PIECE_BYTES));
    rawdoc! {
        "_id": &*entry.id,
        "pipeline": &*entry.pipeline,
        "stage": &*entry.stage,
        "code": &*entry.code,
        "reason": &*entry.reason,
        "table": entry.table.as_deref().map_or(RawBson::Null, |table| RawBson::String(table.into())),
        "parked_at_ms": entry.parked_at_ms,
        "topic": &*message.epoch.name(&message.topic),
        "partition": message.partition,
        "offset": message.offset,
        "timestamp_ms": message.timestamp_ms.map_or(RawBson::Null, RawBson::Int64),
        "key": bytes_or_null(message.key.as_deref()),
        "value": bytes_or_null(first),
        "pieces": pieces as i64,
        "headers": headers,
    }
}

fn read(document: &RawDocument) -> Option<Parked> {
    let text = |name: &str| document.get_str(name).ok().map(str::to_string);
    let bytes = |document: &RawDocument, name: &str| -> Option<Bytes> {
        document.get_binary(name).ok().map(|binary| binary.bytes.to_vec().into())
    };
    let headers = document.get_array("headers").ok()?.into_iter().map(|header| {
        let header = header.ok()?.as_document()?;
        Some((Arc::from(header.get_str("name").ok()?), bytes(header, "value")))
    });
    let (topic, epoch) = Epoch::of_name(document.get_str("topic").ok()?);
    let message = Message {
        topic: topic.into(),
        epoch,
        partition: document.get_i32("partition").ok()?,
        offset: document.get_i64("offset").ok()?,
        timestamp_ms: document.get_i64("timestamp_ms").ok(),
        key: bytes(document, "key"),
        value: bytes(document, "value"),
        headers: headers.collect::<Option<_>>()?,
    };
    Some(Parked {
        id: text("_id")?,
        pipeline: text("pipeline")?,
        stage: text("stage")?,
        code: text("code")?,
        reason: text("reason")?,
        table: text("table"),
        parked_at_ms: document.get_i64("parked_at_ms").ok()?,
        message,
    })
}
