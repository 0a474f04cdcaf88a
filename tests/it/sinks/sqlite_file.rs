//! The SQLite sink's file as any tool sees it, and when it cannot be written.

use headwater::Error;
use headwater::record::{Date, Op, Record, Row, Timestamp, Value};
use headwater::stage::Stage;

use crate::sinks::lab::{batch, create, delete, opened, record, write, yaml};

async fn sink(folder: &std::path::Path) -> headwater::Result<Box<dyn Stage>> {
    opened(headwater::sinks::sqlite::make, yaml(&[("path", "sub/target.db"), ("table", "documents")]), folder).await
}

fn rows(folder: &std::path::Path, select: &str) -> Vec<String> {
    let connection = rusqlite::Connection::open(folder.join("sub/target.db")).unwrap();
    let mut select = connection.prepare(select).unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn documents_are_exact_json_and_keys_native() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path()).await.unwrap();
    let keys = [
        (vec![Value::Int(i64::MAX)], "integer 9223372036854775807"),
        (vec![Value::from("a'\"b")], "text a'\"b"),
        (vec![Value::Float(0.5)], "real 0.5"),
        (vec![Value::Decimal("1.10".parse().unwrap())], "text 1.10"),
        (vec![Value::Date(Date { days: 0 })], "text 1970-01-01"),
        (vec![Value::UInt(u64::MAX)], "text 18446744073709551615"),
        (vec![Value::Int(1), Value::from("x")], "text {\"a\":1,\"b\":\"x\"}"),
    ];
    let row = || {
        Row::of([
            ("amount", Value::Decimal("12345678901234567890.1200".parse().unwrap())),
            ("at", Value::TimestampTz(Timestamp::from_millis(1))),
            ("list", Value::List(vec![Value::UInt(u64::MAX), Value::Null])),
        ])
    };
    let put = |(at, (key, _)): (usize, &(Vec<Value>, &str))| {
        record(Op::Create, Row::of(["a", "b"].into_iter().zip(key.clone())), Some(row()), at as u64 + 1)
    };
    let records: Vec<Record> = keys.iter().enumerate().map(put).collect();
    write(&mut sink, records).await;
    let found = rows(folder.path(), "SELECT typeof(id) || ' ' || id FROM documents ORDER BY version");
    assert_eq!(found, keys.map(|(_, shown)| shown));
    let expected =
        r#"{"amount":12345678901234567890.1200,"at":"1970-01-01T00:00:00.001Z","list":[18446744073709551615,null]}"#;
    assert_eq!(rows(folder.path(), "SELECT DISTINCT document FROM documents"), [expected]);
    assert_eq!(rows(folder.path(), "SELECT DISTINCT as_of FROM documents"), ["2023-11-14T22:13:20Z"]);
}

#[tokio::test]
async fn a_file_that_is_no_database_stops_the_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("sub/target.db"), "not a database, whatever the name says ".repeat(100)).unwrap();
    assert!(matches!(sink(folder.path()).await, Err(Error::Broken(_))));
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sub"), "a file where a folder should be").unwrap();
    assert!(matches!(sink(folder.path()).await, Err(Error::Unavailable(_))));
}

/// A batch that fails in the middle leaves nothing behind, and its repetition all of it.
#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = sink(folder.path()).await.unwrap();
    write(&mut first, vec![create(1, "a", 1), delete(8, 2)]).await;
    let connection = rusqlite::Connection::open(folder.path().join("sub/target.db")).unwrap();
    let full =
        "CREATE TRIGGER full BEFORE INSERT ON documents WHEN NEW.id = 3 BEGIN SELECT RAISE(ABORT, 'secret'); END";
    connection.execute_batch(full).unwrap();
    let records = || vec![create(2, "b", 3), create(3, "c", 4), delete(1, 5)];
    let error = first.process(batch(records())).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if !text.contains("secret")), "{error}");
    assert_eq!(rows(folder.path(), "SELECT CAST(id AS TEXT) FROM documents"), ["1"]);
    connection.execute_batch("DROP TRIGGER full").unwrap();
    let mut second = sink(folder.path()).await.unwrap();
    write(&mut second, records()).await;
    assert_eq!(rows(folder.path(), "SELECT CAST(id AS TEXT) FROM documents ORDER BY id"), ["2", "3"]);
    assert_eq!(
        rows(folder.path(), "SELECT id || ':' || version FROM documents_tombstones ORDER BY id"),
        ["1:5", "8:2"]
    );
}
