//! SQLite, fjall and redb on the embedded raw store's real work: batches of versioned rows as one durable commit each,
//! with a secondary index, and look-ups by that index from a snapshot.
//!
//! `cargo run --release -- [ROWS]` in this folder (500,000 rows by default); the figures are in `../README.md`.
//!
//! Work, for each engine in a fresh folder:
//! 1. load: every row once, in the order of the key, as ids are given out, but anywhere in the index, 2,000 a commit;
//! 2. delta: a fifth as many changes of rows all over the key, 500 a commit; every tenth is stale and must be left out, every
//!    twentieth moves the row to another account, so that the index changes;
//! 3. joins: from one snapshot per 2,000 accounts, all rows of each; as often as there are accounts;
//! 4. keys: from one snapshot per 2,000 keys, the rows by key.
//!
//! Every engine must end with the same rows. CPU is that of the whole process, background threads included.

use std::path::Path;
use std::time::{Duration, Instant};

use fjall::{KeyspaceCreateOptions, PersistMode, Readable};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use rusqlite::OptionalExtension;

type Done<T> = Result<T, Box<dyn std::error::Error>>;

const LOAD_BATCH: usize = 2_000;
const DELTA_BATCH: usize = 500;
const READ_BATCH: usize = 2_000;
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// A row as a change brings it.
#[derive(Clone)]
struct Row {
    key: u64,
    account: u64,
    version: u64,
    json: String,
}

impl Row {
    fn new(key: u64, account: u64, version: u64) -> Row {
        let amount = (key * 37 % 90_000) as f64 / 100.0;
        let json = format!(
            r#"{{"id":{key},"account_id":{account},"kind":"card_payment","status":"booked","booked_at":"2026-08-07T07:00:09.541296Z","value_date":"2026-08-07","amount":{amount:.2},"currency":"EUR","counterparty":"Merchant {}","description":"PARKHAUS LEIPZIG MITTE 40//LEIPZIG/DE 2026-08-07T07:01 KFN {}","mcc":{},"contactless":true,"reference":"d6d633bf-79c9-40cf-8457-{version:012}"}}"#,
            key * 31 % 4_000,
            key % 97,
            key % 9_999,
        );
        Row { key, account, version, json }
    }
}

/// An engine with the rows, their versions and the index in it.
trait Engine {
    fn name(&self) -> &'static str;
    /// One durable commit; says how many rows it took.
    fn apply(&mut self, rows: &[Row], are_new: bool) -> Done<usize>;
    /// From one snapshot: how many rows, and bytes of them, the accounts have.
    fn join(&self, accounts: &[u64]) -> Done<(usize, usize)>;
    /// From one snapshot: the sum of the rows' bytes.
    fn get(&self, keys: &[u64]) -> Done<usize>;
}

struct Sqlite(rusqlite::Connection, rusqlite::Connection);

impl Sqlite {
    fn open(folder: &Path) -> Done<Self> {
        let open = || -> Done<rusqlite::Connection> {
            let file = rusqlite::Connection::open(folder.join("bank.db"))?;
            file.pragma_update(None, "page_size", 8_192)?;
            file.pragma_update(None, "journal_mode", "WAL")?;
            file.pragma_update(None, "synchronous", "FULL")?;
            file.pragma_update(None, "wal_autocheckpoint", (64 << 20) / 8_192)?;
            file.pragma_update(None, "cache_size", -(CACHE_BYTES as i64) / 1024)?;
            Ok(file)
        };
        let writer = open()?;
        writer.execute_batch(
            "CREATE TABLE t (key NOT NULL PRIMARY KEY, row TEXT, version INTEGER NOT NULL, ix) WITHOUT ROWID;
             CREATE INDEX by_account ON t (ix, key)",
        )?;
        Ok(Sqlite(writer, open()?))
    }
}

impl Engine for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite"
    }

    fn apply(&mut self, rows: &[Row], are_new: bool) -> Done<usize> {
        let transaction = self.0.transaction()?;
        let mut taken = 0;
        for row in rows {
            let values = (row.key, &row.json, row.version, row.account);
            let insert = "INSERT INTO t (key, row, version, ix) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
            if are_new && transaction.prepare_cached(insert)?.execute(values)? > 0 {
                taken += 1;
                continue;
            }
            let mut select = transaction.prepare_cached("SELECT version FROM t WHERE key = ?1")?;
            match select.query_row([row.key], |found| found.get::<_, u64>(0)).optional()? {
                None => taken += transaction.prepare_cached(insert)?.execute(values)?,
                Some(version) if version < row.version => {
                    let update = "UPDATE t SET row = ?2, version = ?3, ix = ?4 WHERE key = ?1";
                    taken += transaction.prepare_cached(update)?.execute(values)?;
                }
                Some(_) => {}
            }
        }
        transaction.commit()?;
        Ok(taken)
    }

    fn join(&self, accounts: &[u64]) -> Done<(usize, usize)> {
        let snapshot = self.1.unchecked_transaction()?;
        let mut select = snapshot.prepare_cached("SELECT row FROM t WHERE ix = ?1 ORDER BY key")?;
        let (mut count, mut bytes) = (0, 0);
        for account in accounts {
            let mut rows = select.query([account])?;
            while let Some(row) = rows.next()? {
                count += 1;
                bytes += row.get_ref(0)?.as_str()?.len();
            }
        }
        Ok((count, bytes))
    }

    fn get(&self, keys: &[u64]) -> Done<usize> {
        let snapshot = self.1.unchecked_transaction()?;
        let mut select = snapshot.prepare_cached("SELECT row FROM t WHERE key = ?1")?;
        let mut bytes = 0;
        for key in keys {
            let mut rows = select.query([key])?;
            while let Some(row) = rows.next()? {
                bytes += row.get_ref(0)?.as_str()?.len();
            }
        }
        Ok(bytes)
    }
}

/// Version, account, JSON: what the key-value engines store under a key.
fn encoded(row: &Row) -> Vec<u8> {
    [&row.version.to_be_bytes()[..], &row.account.to_be_bytes(), row.json.as_bytes()].concat()
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// Account, key: an entry of the index.
fn entry(account: u64, key: u64) -> [u8; 16] {
    (u128::from(account) << 64 | u128::from(key)).to_be_bytes()
}

struct Fjall {
    database: fjall::Database,
    rows: fjall::Keyspace,
    index: fjall::Keyspace,
}

impl Fjall {
    fn open(folder: &Path) -> Done<Self> {
        let database = fjall::Database::builder(folder).cache_size(CACHE_BYTES as u64).open()?;
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default)?;
        let index = database.keyspace("index", KeyspaceCreateOptions::default)?;
        Ok(Fjall { database, rows, index })
    }
}

impl Engine for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn apply(&mut self, rows: &[Row], _: bool) -> Done<usize> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        let mut taken = 0;
        for row in rows {
            let key = row.key.to_be_bytes();
            // A batch has each key once here; ours folds before it.
            if let Some(old) = self.rows.get(key)? {
                if number(&old, 0) >= row.version {
                    continue;
                }
                if number(&old, 8) != row.account {
                    batch.remove(&self.index, entry(number(&old, 8), row.key));
                }
            }
            batch.insert(&self.rows, key, encoded(row));
            batch.insert(&self.index, entry(row.account, row.key), []);
            taken += 1;
        }
        batch.commit()?;
        Ok(taken)
    }

    fn join(&self, accounts: &[u64]) -> Done<(usize, usize)> {
        let snapshot = self.database.snapshot();
        let (mut count, mut bytes) = (0, 0);
        for account in accounts {
            for found in snapshot.prefix(&self.index, account.to_be_bytes()) {
                let entry = found.key()?;
                let row = snapshot.get(&self.rows, entry.get(8..).unwrap_or_default())?;
                count += 1;
                bytes += row.map_or(0, |row| row.len() - 16);
            }
        }
        Ok((count, bytes))
    }

    fn get(&self, keys: &[u64]) -> Done<usize> {
        let snapshot = self.database.snapshot();
        let mut bytes = 0;
        for key in keys {
            bytes += snapshot.get(&self.rows, key.to_be_bytes())?.map_or(0, |row| row.len() - 16);
        }
        Ok(bytes)
    }
}

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");
const INDEX: TableDefinition<'_, (u64, u64), ()> = TableDefinition::new("index");

struct Redb(redb::Database);

impl Redb {
    fn open(folder: &Path) -> Done<Self> {
        let database = redb::Builder::new().set_cache_size(CACHE_BYTES).create(folder.join("bank.redb"))?;
        let transaction = database.begin_write()?;
        transaction.open_table(ROWS)?;
        transaction.open_table(INDEX)?;
        transaction.commit()?;
        Ok(Redb(database))
    }
}

impl Engine for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn apply(&mut self, rows: &[Row], _: bool) -> Done<usize> {
        let transaction = self.0.begin_write()?;
        let mut taken = 0;
        {
            let (mut table, mut index) = (transaction.open_table(ROWS)?, transaction.open_table(INDEX)?);
            for row in rows {
                let old = table.get(row.key)?.map(|old| (number(old.value(), 0), number(old.value(), 8)));
                match old {
                    Some((version, _)) if version >= row.version => continue,
                    Some((_, account)) if account != row.account => _ = index.remove((account, row.key))?,
                    _ => {}
                }
                table.insert(row.key, &*encoded(row))?;
                index.insert((row.account, row.key), ())?;
                taken += 1;
            }
        }
        transaction.commit()?;
        Ok(taken)
    }

    fn join(&self, accounts: &[u64]) -> Done<(usize, usize)> {
        let snapshot = self.0.begin_read()?;
        let (table, index) = (snapshot.open_table(ROWS)?, snapshot.open_table(INDEX)?);
        let (mut count, mut bytes) = (0, 0);
        for account in accounts {
            for found in index.range((*account, 0)..=(*account, u64::MAX))? {
                let (_, key) = found?.0.value();
                count += 1;
                bytes += table.get(key)?.map_or(0, |row| row.value().len() - 16);
            }
        }
        Ok((count, bytes))
    }

    fn get(&self, keys: &[u64]) -> Done<usize> {
        let snapshot = self.0.begin_read()?;
        let table = snapshot.open_table(ROWS)?;
        let mut bytes = 0;
        for key in keys {
            bytes += table.get(*key)?.map_or(0, |row| row.value().len() - 16);
        }
        Ok(bytes)
    }
}

/// A permutation of `0..count` without a table, of which any few hundred in a row lie all over it: steps by the golden ratio.
fn scattered(count: u64) -> impl Iterator<Item = u64> {
    let step = ((count as f64 * 0.618_034) as u64..).find(|step| gcd(*step, count) == 1).unwrap_or(1);
    (0..count).scan(0, move |at, _| {
        *at = (*at + step) % count;
        Some(*at)
    })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn measure(engine: &mut dyn Engine, folder: &Path, count: u64) -> Done<(usize, usize)> {
    let accounts = count / 20;
    let report = |what: &str, done: usize, start: Instant, cpu: Duration| {
        let (wall, cpu) = (start.elapsed().as_secs_f64(), (cpu_time() - cpu).as_secs_f64());
        let (rate, million) = (done as f64 / wall, done as f64 / 1e6);
        println!("{:<8} {what:<6} {done:>9} rows {rate:>10.0} rows/s {:>8.2} CPU-s/million", "", cpu / million);
    };
    println!("{}", engine.name());

    let rows: Vec<Row> = (0..count).map(|key| Row::new(key, key * 7 % accounts, 1)).collect();
    let (start, cpu) = (Instant::now(), cpu_time());
    for batch in rows.chunks(LOAD_BATCH) {
        assert_eq!(engine.apply(batch, true)?, batch.len());
    }
    report("load", rows.len(), start, cpu);

    let changes: Vec<Row> = scattered(count)
        .take(count as usize / 5)
        .enumerate()
        .map(|(number, key)| {
            let moved = u64::from(number % 20 == 7);
            Row::new(key, (key * 7 + moved) % accounts, if number % 10 == 3 { 1 } else { 2 })
        })
        .collect();
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut taken = 0;
    for batch in changes.chunks(DELTA_BATCH) {
        taken += engine.apply(batch, false)?;
    }
    report("delta", changes.len(), start, cpu);
    assert_eq!(taken, changes.iter().filter(|row| row.version == 2).count());

    let wanted: Vec<u64> = scattered(accounts).collect();
    let (start, cpu) = (Instant::now(), cpu_time());
    let (mut found, mut bytes) = (0, 0);
    for batch in wanted.chunks(READ_BATCH) {
        let (more, size) = engine.join(batch)?;
        found += more;
        bytes += size;
    }
    report("joins", found, start, cpu);

    let (start, cpu) = (Instant::now(), cpu_time());
    let keys: Vec<u64> = scattered(count).collect();
    let mut again = 0;
    for batch in keys.chunks(READ_BATCH) {
        again += engine.get(batch)?;
    }
    report("keys", keys.len(), start, cpu);
    assert_eq!(bytes, again);

    let size: u64 = files(folder)?;
    println!("{:<8} {:.0} MB on disk for {:.0} MB of rows", "", size as f64 / 1e6, bytes as f64 / 1e6);
    Ok((found, bytes))
}

fn files(folder: &Path) -> Done<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        size += if entry.file_type()?.is_dir() { files(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(size)
}

/// User and system time of this process (`/proc/self/stat`, in ticks of 10 ms).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn main() -> Done<()> {
    let count: u64 = std::env::args().nth(1).map_or(Ok(500_000), |rows| rows.parse())?;
    let mut ends = Vec::new();
    for open in [
        |folder: &Path| -> Done<Box<dyn Engine>> { Ok(Box::new(Sqlite::open(folder)?)) },
        |folder: &Path| -> Done<Box<dyn Engine>> { Ok(Box::new(Fjall::open(folder)?)) },
        |folder: &Path| -> Done<Box<dyn Engine>> { Ok(Box::new(Redb::open(folder)?)) },
    ] {
        let folder = tempfile::tempdir()?;
        ends.push(measure(&mut *open(folder.path())?, folder.path(), count)?);
    }
    assert!(ends.iter().all(|end| Some(end) == ends.first()), "the engines differ: {ends:?}");
    Ok(())
}
