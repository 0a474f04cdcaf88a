//! What components remember beyond a run, in the same database as the rows.

use std::collections::BTreeMap;

use bson::rawdoc;

use super::catalog::broken;
use super::server::Server;
use crate::error::Result;

const FACTS: &str = "headwater_facts";

/// Facts whose names begin with `prefix`.
pub async fn facts(server: &Server, prefix: &str) -> Result<BTreeMap<String, String>> {
    let names = rawdoc! { "$gte": prefix, "$lt": format!("{prefix}{}", char::MAX) };
    let found = server.find(rawdoc! { "find": FACTS, "filter": { "_id": names } }, None).await?;
    let read = |document: &bson::RawDocumentBuf| {
        Some((document.get_str("_id").ok()?.to_string(), document.get_str("value").ok()?.to_string()))
    };
    found.iter().map(|document| read(document).ok_or_else(|| broken("a fact does not read"))).collect()
}

/// Remembers facts, whatever was known before. Counted, so that it is a write also when they say the same again.
pub async fn remember(server: &Server, facts: &[(String, String)]) -> Result<()> {
    let statements = facts.iter().map(|(name, value)| {
        rawdoc! { "q": { "_id": &**name }, "u": { "$set": { "value": &**value }, "$inc": { "times": 1_i64 } }, "upsert": true }
    });
    server.update(FACTS, statements.collect()).await.map(|_| ())
}

/// Remembers a fact if what is known is still `expected`.
pub async fn replace(server: &Server, name: &str, expected: Option<&str>, value: &str) -> Result<bool> {
    let written = match expected {
        Some(expected) => {
            let known = rawdoc! { "_id": name, "value": expected };
            server.update(FACTS, vec![rawdoc! { "q": known, "u": { "$set": { "value": value } } }]).await?
        }
        None => server.insert(FACTS, vec![rawdoc! { "_id": name, "value": value }]).await?,
    };
    Ok(written.matched > 0)
}
