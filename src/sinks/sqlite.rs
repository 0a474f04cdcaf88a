//! `sqlite`: documents as JSON in one file that any SQLite tool opens; the sink that needs no service.
//!
//! ```yaml
//! - sqlite:
//!     path: spending.db            # relative to the data directory
//!     table: transactions          # default: the record's table name
//!     tombstones: { keep: 30d }
//! ```
//!
//! A table has the columns `id` (a key of one column as SQLite's own type: integer, real, text or blob; a composite
//! key as JSON text), `document` (JSON text, numbers with all digits), `version` and `as_of`. Deletes leave
//! `{id, version, at}` in `TABLE_tombstones`, in the same transaction.
//!
//! Invariants: a batch is one transaction, synced to disk before `Ok`; an older version never replaces a newer one and
//! never comes back after a delete; the same version is the same document, so the same batch again changes no row.
//! Several lanes and processes may write.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

use crate::error::{Error, Result};
use crate::pipeline::{Flow, Problem, Section, Spanned};
use crate::record::{Batch, Decimal, Op, Record, Row, Timestamp, Value};
use crate::stage::{LaneContext, Stage};

/// How long another writer's transaction is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Prepared statements kept: three for a table.
const STATEMENTS_KEPT: usize = 64;

struct Sqlite {
    path: Spanned<String>,
    table: Option<Spanned<String>>,
    keep: Duration,
    file: Option<File>,
    here: Spanned<()>,
}

/// The open file; on its way through a blocking thread while a batch is written.
struct File {
    path: PathBuf,
    connection: Connection,
    tables: BTreeMap<String, Statements>,
    keep: Duration,
}

/// The statements of one table.
struct Statements {
    put: String,
    bury: String,
    delete: String,
}

/// Why a record is not written: code and reason.
type Unfit = (&'static str, String);

/// Reads the section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Stage> {
    let keep = section.section("tombstones", |section| section.duration("keep")).flatten();
    Box::new(Sqlite {
        path: section.required_text("path"),
        table: section.text("table"),
        keep: keep.map_or(Duration::from_secs(30 * 86_400), |keep| keep.value),
        file: None,
        here: section.here(),
    })
}

#[async_trait]
impl Stage for Sqlite {
    fn plan(&mut self, input: Flow) -> Result<Flow, Vec<Problem>> {
        let mut problems = Vec::new();
        problems.extend(input.transactions.as_ref().map(|wanted| wanted.refused(&self.here, "sqlite")));
        if let Some(name) = &self.table {
            if let Err(expected) = check_table(name) {
                problems.push(name.problem("value.wrong", format!("expected {expected}")));
            }
            if input.tables.len() > 1 {
                let tables = input.tables.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let text = format!("several tables arrive here ({tables}); in one table their keys would collide");
                problems.push(name.problem("table.shared", text).help("leave `table` out: each gets its own"));
            }
        }
        if problems.is_empty() { Ok(input) } else { Err(problems) }
    }

    async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        let (path, keep) = (lane.data_dir.join(&*self.path.value), self.keep);
        self.file = Some(blocking(move || File::open(path, keep)).await?);
        Ok(())
    }

    async fn process(&mut self, batch: Batch) -> Result<Batch> {
        let mut file = self.file.take().ok_or_else(|| Error::Broken("sqlite: the sink was not opened".into()))?;
        let table = self.table.as_ref().map(|name| name.value.clone());
        let (file, batch) = blocking(move || {
            let batch = file.write(batch, table.as_deref())?;
            Ok((file, batch))
        })
        .await?;
        self.file = Some(file);
        Ok(batch)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Error::Unavailable("sqlite: the runtime is shutting down".into())))
}

impl File {
    fn open(path: PathBuf, keep: Duration) -> Result<File> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Error::Unavailable(format!("sqlite {}: {}", path.display(), error.kind())))?;
        }
        let connect = || {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
            Ok(connection)
        };
        let connection = connect().map_err(|error| describe(&path, &error))?;
        Ok(File { path, connection, tables: BTreeMap::new(), keep })
    }

    fn write(&mut self, mut batch: Batch, table: Option<&str>) -> Result<Batch> {
        let records = std::mem::take(&mut batch.records);
        self.create_tables(&records, table)?;
        let path = self.path.clone();
        let place = |error: rusqlite::Error| describe(&path, &error);
        let begin = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begin.map_err(place)?;
        for record in records {
            let known = self.tables.get(table.unwrap_or(&record.table));
            match check(&record, known).and_then(|statements| Ok((statements, id_of(&record.key)?))) {
                Err((code, reason)) => batch.reject(&record, code, reason),
                Ok((statements, id)) => match statements.write(&transaction, &record, &id) {
                    Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::TooBig => {
                        batch.reject(
                            &record,
                            "document.too_large",
                            "expected a document of at most 1,000,000,000 bytes",
                        );
                    }
                    Err(error) => return Err(place(error)),
                    Ok(()) => batch.records.push(record),
                },
            }
        }
        transaction.commit().map_err(place)?;
        Ok(batch)
    }

    /// Creates what is missing and lets old tombstones go, once per table.
    fn create_tables(&mut self, records: &[Record], table: Option<&str>) -> Result<()> {
        for record in records {
            let name = table.unwrap_or(&record.table);
            if self.tables.contains_key(name) || check_table(name).is_err() {
                continue;
            }
            let (live, dead) = (quoted(name), quoted(&format!("{name}_tombstones")));
            let horizon = Timestamp::now().secs.saturating_sub(i64::try_from(self.keep.as_secs()).unwrap_or(i64::MAX));
            let create = format!(
                "CREATE TABLE IF NOT EXISTS {live} (id NOT NULL PRIMARY KEY, document TEXT NOT NULL, version INTEGER NOT NULL, as_of TEXT);
                 CREATE TABLE IF NOT EXISTS {dead} (id NOT NULL PRIMARY KEY, version INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
                 DELETE FROM {dead} WHERE at < {horizon};"
            );
            self.connection.execute_batch(&create).map_err(|error| describe(&self.path, &error))?;
            self.tables.insert(name.to_string(), Statements::new(&live, &dead));
        }
        Ok(())
    }
}

impl Statements {
    fn new(live: &str, dead: &str) -> Self {
        Statements {
            put: format!(
                "INSERT INTO {live} AS old (id, document, version, as_of)
                 SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM {dead} WHERE id = ?1 AND version > ?3)
                 ON CONFLICT (id) DO UPDATE
                 SET document = excluded.document, version = excluded.version, as_of = excluded.as_of
                 WHERE excluded.version > old.version"
            ),
            bury: format!(
                "INSERT INTO {dead} AS old (id, version, at) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE
                 SET version = excluded.version, at = excluded.at WHERE excluded.version > old.version"
            ),
            delete: format!("DELETE FROM {live} WHERE id = ?1 AND version < ?2"),
        }
    }

    fn write(&self, connection: &Connection, record: &Record, id: &Sql) -> rusqlite::Result<()> {
        let version = i64::try_from(record.version).unwrap_or(i64::MAX);
        if let Some(row) = record.row.as_ref().filter(|_| record.op.is_upsert()) {
            let as_of = record.changed_at.map(Value::TimestampTz).map(|at| shown(&at));
            connection.prepare_cached(&self.put)?.execute(params![id, row.to_json(), version, as_of])?;
        } else {
            connection.prepare_cached(&self.bury)?.execute(params![id, version, Timestamp::now().secs])?;
            connection.prepare_cached(&self.delete)?.execute(params![id, version])?;
        }
        Ok(())
    }
}

/// Whether the record can be written, by the statements of its table (none when the name was no table's).
fn check<'a>(record: &Record, statements: Option<&'a Statements>) -> Result<&'a Statements, Unfit> {
    let expected = || ("table.name", format!("the table's name cannot be used: expected {TABLE_NAME}"));
    let statements = statements.ok_or_else(expected)?;
    let unfit = |code, reason: &str| Err((code, reason.to_string()));
    if record.op == Op::Truncate {
        return unfit("op.truncate", "a truncate cannot be guarded by version; empty the table by hand");
    }
    if record.key.is_empty() {
        return unfit("key.missing", "expected a key: rows of a table without one cannot be documents");
    }
    if i64::try_from(record.version).is_err() {
        return unfit("version.too_large", "expected a version below 2^63");
    }
    match &record.row {
        None if record.op.is_upsert() => unfit("row.missing", "expected the row after the change"),
        Some(row) if record.op.is_upsert() => match row.iter().find(|(_, value)| has_unchanged(value)) {
            Some((column, _)) => Err((
                "value.unchanged",
                format!(
                    "column `{column}`: the source left this value out; put a `raw` stage before this sink, which fills it in"
                ),
            )),
            None => Ok(statements),
        },
        _ => Ok(statements),
    }
}

fn has_unchanged(value: &Value) -> bool {
    match value {
        Value::Unchanged => true,
        Value::List(values) => values.iter().any(has_unchanged),
        Value::Map(entries) => entries.iter().any(|(_, value)| has_unchanged(value)),
        _ => false,
    }
}

fn id_of(key: &Row) -> Result<Sql, Unfit> {
    let [value] = key.values() else { return Ok(Sql::Text(key.to_json())) };
    Ok(match value {
        Value::Null | Value::Unchanged => return Err(("key.missing", "expected a key that is not null".to_string())),
        Value::Bool(flag) => Sql::Integer(i64::from(*flag)),
        Value::Int(n) => Sql::Integer(*n),
        // SQLite keeps NaN as null, which a key cannot be.
        Value::Float(n) if !n.is_nan() => Sql::Real(*n),
        Value::Text(text) => Sql::Text(text.to_string()),
        Value::Bytes(bytes) => Sql::Blob(bytes.to_vec()),
        Value::Decimal(n @ (Decimal::Small { .. } | Decimal::Number(_))) => Sql::Text(n.to_string()),
        other => Sql::Text(shown(other)),
    })
}

/// A value as its JSON text without quotes.
fn shown(value: &Value) -> String {
    let json = value.to_json();
    json.strip_prefix('"').and_then(|text| text.strip_suffix('"')).map_or_else(|| json.clone(), str::to_string)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

const TABLE_NAME: &str = "a table name, not starting with `sqlite_`, not ending with `_tombstones`";

fn check_table(name: &str) -> Result<(), &'static str> {
    let fits = !name.is_empty()
        && !name.contains('\0')
        && !name.to_ascii_lowercase().starts_with("sqlite_")
        && !name.ends_with("_tombstones");
    if fits { Ok(()) } else { Err(TABLE_NAME) }
}

/// An error by what to do about it. SQLite's own texts may quote values, so only its code's name is told.
fn describe(path: &std::path::Path, error: &rusqlite::Error) -> Error {
    let code = error.sqlite_error_code();
    let what = code.map_or_else(|| "unexpected answer".to_string(), |code| format!("{code:?}"));
    let text = format!("sqlite {}: {what}", path.display());
    match code {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Error::Broken(text),
        _ => Error::Unavailable(text),
    }
}
