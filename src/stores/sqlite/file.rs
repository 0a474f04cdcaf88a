//! The file of an embedded store: opening, settings, identity, and what SQLite's errors mean to the runner.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use crate::error::{Error, Result};

/// Layout of the file. A newer one is refused, an older one would be migrated here.
const FORMAT: i64 = 2;

const META: &str = "
CREATE TABLE IF NOT EXISTS headwater_meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS headwater_tables (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, sql_name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    live INTEGER NOT NULL DEFAULT 0, keyless INTEGER NOT NULL DEFAULT 0, truncated TEXT) STRICT;
CREATE TABLE IF NOT EXISTS headwater_indexes (
    table_id INTEGER NOT NULL, column TEXT NOT NULL, sql_column TEXT NOT NULL, PRIMARY KEY (table_id, column))
    STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS headwater_links (
    table_id INTEGER NOT NULL, column TEXT NOT NULL, key ANY NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (table_id, column, key, value)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS headwater_schemas (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, columns TEXT NOT NULL, UNIQUE (key, columns)) STRICT;
CREATE TABLE IF NOT EXISTS headwater_topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS headwater_positions (
    topic INTEGER NOT NULL, partition INTEGER NOT NULL, \"offset\" INTEGER NOT NULL, PRIMARY KEY (topic, partition))
    STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS headwater_facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS headwater_parked (
    id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, stage TEXT NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL,
    \"table\" TEXT, parked_at_ms INTEGER NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    \"offset\" INTEGER NOT NULL, timestamp_ms INTEGER, key BLOB, value BLOB, headers TEXT NOT NULL) STRICT;
";

/// The size of a new file's pages.
const PAGE_BYTES: i64 = 8 << 10;
/// At this size the write-ahead log is folded back into the file.
const WAL_BYTES: i64 = 64 << 20;

/// Opens the file for writing and makes it a store if it is new.
pub fn open_writer(path: &Path) -> Result<Connection> {
    let mut conn = Connection::open(path).map_err(sql)?;
    settle(&conn)?;
    // Before anything is set: the settings stay in the file.
    refuse_foreign(&conn)?;
    // Larger pages than SQLite's 4 KiB make rows of some hundred bytes cheaper to write in key order; still larger ones make
    // an update dear, which writes a whole page for each row that it meets (`benches/README.md`).
    conn.pragma_update(None, "page_size", PAGE_BYTES).map_err(sql)?;
    // WAL lets snapshots read while one batch is written; FULL makes a commit durable before `apply` answers.
    // What several batches write to the same page is folded back once.
    conn.pragma_update(None, "journal_mode", "WAL").map_err(sql)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(sql)?;
    conn.pragma_update(None, "wal_autocheckpoint", WAL_BYTES / PAGE_BYTES).map_err(sql)?;
    conn.pragma_update(None, "cache_size", -32_768).map_err(sql)?;
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(sql)?;
    create(&tx)?;
    tx.commit().map_err(sql)?;
    Ok(conn)
}

/// Opens a connection that can only read.
pub fn open_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(sql)?;
    conn.pragma_update(None, "cache_size", -8_192).map_err(sql)?;
    settle(&conn)?;
    Ok(conn)
}

fn settle(conn: &Connection) -> Result<()> {
    conn.set_prepared_statement_cache_capacity(256);
    conn.busy_timeout(Duration::from_secs(10)).map_err(sql)
}

fn count(conn: &Connection, query: &str) -> Result<i64> {
    conn.query_row(query, [], |r| r.get(0)).map_err(sql)
}

fn is_store(conn: &Connection) -> Result<bool> {
    Ok(count(conn, "SELECT count(*) FROM sqlite_schema WHERE name = 'headwater_meta'")? > 0)
}

fn refuse_foreign(conn: &Connection) -> Result<()> {
    if !is_store(conn)? && count(conn, "SELECT count(*) FROM sqlite_schema")? > 0 {
        return Err(Error::Config("the file is a SQLite database of something else: choose another store name".into()));
    }
    Ok(())
}

fn create(conn: &Connection) -> Result<()> {
    if is_store(conn)? {
        return match meta(conn, "format")? {
            Some(FORMAT) => Ok(()),
            Some(format) => Err(Error::Config(format!(
                "the file has format {format}, this program knows format {FORMAT}: use the program that wrote it or a newer one"
            ))),
            None => Err(Error::Broken("the file names no format: restore it from a backup or rebuild it".into())),
        };
    }
    refuse_foreign(conn)?;
    conn.execute_batch(META).map_err(sql)?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    set_meta(conn, "format", FORMAT)?;
    set_meta(conn, "created", created)?;
    let id: [u8; 16] = rand::random();
    let id: String = id.iter().map(|b| format!("{b:02x}")).collect();
    conn.execute("INSERT INTO headwater_meta (name, value) VALUES ('id', ?1)", [id]).map_err(sql)?;
    // Versions of documents come from the commit number. Starting it at the time of creation keeps them growing when a
    // store is deleted and built again, or moved to MongoDB, whose cluster time has the same form.
    set_meta(conn, "commit", created << 32)
}

/// The store's random name.
pub fn store_id(conn: &Connection) -> Result<String> {
    conn.query_row("SELECT value FROM headwater_meta WHERE name = 'id'", [], |r| r.get(0)).map_err(sql)
}

/// A number among the file's facts.
pub fn meta(conn: &Connection, name: &str) -> Result<Option<i64>> {
    let mut statement = conn.prepare_cached("SELECT value FROM headwater_meta WHERE name = ?1").map_err(sql)?;
    statement.query_row([name], |r| r.get(0)).optional().map_err(sql)
}

/// Sets a number among the file's facts.
pub fn set_meta(conn: &Connection, name: &str, value: i64) -> Result<()> {
    let text = "INSERT INTO headwater_meta (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2";
    conn.prepare_cached(text).and_then(|mut s| s.execute((name, value))).map_err(sql)?;
    Ok(())
}

/// An error of SQLite by the reaction that it calls for. SQLite's own texts name tables and columns, not values.
pub fn sql(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SchemaChanged) | None => {
            Error::Broken(error.to_string())
        }
        Some(ErrorCode::DiskFull) => {
            Error::Unavailable(format!("{error}: free space on the volume of the data directory"))
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            Error::Unavailable(format!("{error}: check owner and permissions of the data directory"))
        }
        Some(_) => Error::Unavailable(error.to_string()),
    }
}

/// A stored thing that does not read back.
pub fn broken(what: impl std::fmt::Display) -> Error {
    Error::Broken(format!("{what}: the file was changed by something else; restore it from a backup or rebuild it"))
}

/// An SQL name in quotes.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_file_is_refused_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("books.db");
        let foreign = Connection::open(&path).unwrap();
        foreign.execute_batch("CREATE TABLE books (title TEXT); INSERT INTO books VALUES ('x')").unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(open_writer(&path), Err(Error::Config(_))));
        assert!(std::fs::read(&path).unwrap() == before, "the file was changed");
        let mode: String = foreign.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "delete");
    }
}
