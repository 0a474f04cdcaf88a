//! Messages kept aside, in the same file as the rows.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rusqlite::{Connection, TransactionBehavior};

use super::file::{broken, sql};
use crate::error::Result;
use crate::record::{Epoch, Message};
use crate::stores::Parked;

/// Keeps messages aside as one durable commit.
pub fn park(conn: &mut Connection, parked: &[Parked]) -> Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    for entry in parked {
        let text = "INSERT OR REPLACE INTO headwater_parked (id, pipeline, stage, code, reason, \"table\", parked_at_ms, \
                    topic, partition, \"offset\", timestamp_ms, key, value, headers) \
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        let message = &entry.message;
        tx.prepare_cached(text)
            .and_then(|mut s| {
                s.execute(rusqlite::params![
                    entry.id,
                    entry.pipeline,
                    entry.stage,
                    entry.code,
                    entry.reason,
                    entry.table,
                    entry.parked_at_ms,
                    message.epoch.name(&message.topic),
                    message.partition,
                    message.offset,
                    message.timestamp_ms,
                    message.key.as_deref(),
                    message.value.as_deref(),
                    headers_text(message),
                ])
            })
            .map_err(sql)?;
    }
    tx.commit().map_err(sql)
}

/// Parked messages in the order of their ids.
pub fn parked(conn: &Connection, pipeline: Option<&str>, after: Option<&str>, limit: usize) -> Result<Vec<Parked>> {
    let text = "SELECT id, pipeline, stage, code, reason, \"table\", parked_at_ms, topic, partition, \"offset\", \
                timestamp_ms, key, value, headers FROM headwater_parked \
                WHERE (?1 IS NULL OR pipeline = ?1) AND (?2 IS NULL OR id > ?2) ORDER BY id LIMIT ?3";
    let mut statement = conn.prepare_cached(text).map_err(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query((pipeline, after, limit)).map_err(sql)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(sql)? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Forgets parked messages; says how many there were.
pub fn unpark(conn: &mut Connection, ids: &[String]) -> Result<u64> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let mut gone = 0;
    for id in ids {
        let mut statement = tx.prepare_cached("DELETE FROM headwater_parked WHERE id = ?1").map_err(sql)?;
        gone += statement.execute([id]).map_err(sql)? as u64;
    }
    tx.commit().map_err(sql)?;
    Ok(gone)
}

fn read(row: &rusqlite::Row<'_>) -> Result<Parked> {
    let bytes = |i| row.get::<_, Option<Vec<u8>>>(i).map(|b| b.map(Into::into)).map_err(sql);
    let name: String = row.get(7).map_err(sql)?;
    let (topic, epoch) = Epoch::of_name(&name);
    let message = Message {
        topic: topic.into(),
        epoch,
        partition: row.get(8).map_err(sql)?,
        offset: row.get(9).map_err(sql)?,
        timestamp_ms: row.get(10).map_err(sql)?,
        key: bytes(11)?,
        value: bytes(12)?,
        headers: headers(&row.get::<_, String>(13).map_err(sql)?)?,
    };
    Ok(Parked {
        id: row.get(0).map_err(sql)?,
        pipeline: row.get(1).map_err(sql)?,
        stage: row.get(2).map_err(sql)?,
        code: row.get(3).map_err(sql)?,
        reason: row.get(4).map_err(sql)?,
        table: row.get(5).map_err(sql)?,
        parked_at_ms: row.get(6).map_err(sql)?,
        message,
    })
}

/// Headers as JSON, `[["name", "base64" or null], …]`: names may repeat, values need not be text.
fn headers_text(message: &Message) -> String {
    let pairs = message.headers.iter().map(|(name, value)| (&**name, value.as_ref().map(|v| BASE64.encode(v))));
    serde_json::Value::from_iter(pairs.map(|(name, value)| serde_json::json!([name, value]))).to_string()
}

fn headers(text: &str) -> Result<Vec<(Arc<str>, Option<bytes::Bytes>)>> {
    let wrong = || broken("the headers of a parked message do not read");
    let pairs: Vec<(Arc<str>, Option<String>)> = serde_json::from_str(text).map_err(|_| wrong())?;
    pairs
        .into_iter()
        .map(|(name, value)| match value.map(|v| BASE64.decode(v)).transpose() {
            Ok(value) => Ok((name, value.map(Into::into))),
            Err(_) => Err(wrong()),
        })
        .collect()
}
