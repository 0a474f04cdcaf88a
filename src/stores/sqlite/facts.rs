//! What components remember beyond a run, in the same file as the rows.

use std::collections::BTreeMap;

use rusqlite::{Connection, TransactionBehavior};

use super::file::{broken, meta, set_meta, sql};
use crate::error::Result;

/// Facts whose names begin with `prefix`.
pub fn facts(conn: &Connection, prefix: &str) -> Result<BTreeMap<String, String>> {
    let text = "SELECT name, value FROM headwater_facts WHERE substr(name, 1, length(?1)) = ?1";
    let mut statement = conn.prepare_cached(text).map_err(sql)?;
    let rows = statement.query_map([prefix], |r| Ok((r.get(0)?, r.get(1)?))).map_err(sql)?;
    rows.collect::<Result<_, _>>().map_err(sql)
}

/// Remembers facts as one durable commit, which snapshots count like those of rows.
pub fn remember(conn: &mut Connection, facts: &[(String, String)]) -> Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    for (name, value) in facts {
        let text = "INSERT OR REPLACE INTO headwater_facts (name, value) VALUES (?1, ?2)";
        tx.prepare_cached(text).and_then(|mut s| s.execute((name, value))).map_err(sql)?;
    }
    let commit = meta(&tx, "commit")?.ok_or_else(|| broken("the commit number is missing"))?;
    set_meta(&tx, "commit", commit + 1)?;
    tx.commit().map_err(sql)
}

/// Remembers a fact if what is known is still `expected`.
pub fn replace(conn: &Connection, name: &str, expected: Option<&str>, value: &str) -> Result<bool> {
    let changed = match expected {
        Some(expected) => {
            let text = "UPDATE headwater_facts SET value = ?3 WHERE name = ?1 AND value = ?2";
            conn.execute(text, (name, expected, value))
        }
        None => conn.execute("INSERT OR IGNORE INTO headwater_facts (name, value) VALUES (?1, ?2)", (name, value)),
    };
    Ok(changed.map_err(sql)? > 0)
}
