//! One conformance suite over every raw store: what a store promises, it promises on each engine.

use std::sync::Arc;

use headwater::record::{Epoch, Kind, Message, Op, Patch, Position, Record, Row, SourcePosition, TableSchema, Value};
use headwater::stores::{Index, Parked, SharedStore, Snapshot, Stores, Sweep};

/// A store that can be opened again.
pub struct Engine {
    dir: tempfile::TempDir,
    name: String,
}

impl Engine {
    fn sqlite() -> Option<Engine> {
        Some(Engine { dir: tempfile::tempdir().unwrap(), name: "bank".into() })
    }

    /// A database of its own on the server of `HEADWATER_TEST_MONGODB`.
    fn mongodb() -> Option<Engine> {
        let Ok(server) = std::env::var("HEADWATER_TEST_MONGODB") else {
            println!("skipped: HEADWATER_TEST_MONGODB is not set");
            return None;
        };
        let number = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let (host, options) = server.split_once("/?").unwrap_or((&server, ""));
        let name = format!("{}/headwater_stores_{number}?{options}", host.trim_end_matches('/'));
        Some(Engine { dir: tempfile::tempdir().unwrap(), name })
    }

    /// Opens the store as a new process would.
    pub async fn open(&self) -> SharedStore {
        Stores::new(self.dir.path()).get(&self.name).await.unwrap()
    }

    /// Leaves nothing behind.
    async fn close(self) {
        if self.name.starts_with("mongodb") {
            let client = ::mongodb::Client::with_uri_str(&self.name).await.unwrap();
            client.default_database().unwrap().drop().await.unwrap();
        }
    }
}

use crate::resent::events_sent_again_double_no_row_without_a_key;

macro_rules! conformance {
    ($($test:ident)*) => {
        conformance!(sqlite: $($test)*);
        conformance!(mongodb: $($test)*);
    };
    ($engine:ident: $($test:ident)*) => {
        mod $engine {
            $(#[tokio::test]
            async fn $test() {
                let Some(engine) = super::Engine::$engine() else { return };
                super::$test(&engine).await;
                engine.close().await;
            })*
        }
    };
}

conformance! {
    applying_again_changes_nothing
    stale_never_wins
    deletes_leave_tombstones
    a_deleted_row_comes_back_only_by_a_newer_version
    unchanged_values_are_kept
    unchanged_without_a_base_is_rejected
    patches_are_applied_to_what_is_stored
    a_key_change_is_a_delete_and_a_create
    a_changed_key_takes_along_what_was_not_sent
    truncate_removes_what_is_older
    truncate_holds_against_late_rows
    lookups_follow_changes
    links_are_never_forgotten
    indexes_are_filled_from_rows_that_are_there
    snapshots_are_isolated
    versions_only_grow
    advancing_raises_the_version_and_changes_no_row
    scans_resume
    committed_rows_survive_reopening
    tables_without_keys_are_multisets
    events_sent_again_double_no_row_without_a_key
    values_are_exact
    keys_of_every_shape
    names_of_every_shape
    parking_is_idempotent
    positions_are_committed_with_rows
    a_topic_created_anew_is_newer
    changed_keys_may_arrive_in_any_order
    compacted_topics_begin_with_any_change
    a_second_snapshot_in_mid_topic_counts_by_its_place
    truncates_of_another_partition_spare_what_is_newer
    facts_are_replaced_only_where_they_are_known
    derived_rows_have_no_place_in_a_log
    remembering_is_a_commit
    a_sweep_takes_what_one_partition_wrote_before_a_place
    views_hold_what_other_processes_wrote
}

async fn advancing_raises_the_version_and_changes_no_row(engine: &Engine) {
    let store = engine.open().await;
    store.apply(vec![put(Op::Create, 0, 1, 10, "a")]).await.unwrap();
    let mut version = store.snapshot().await.unwrap().version();
    for store in [store, engine.open().await] {
        for _ in 0..3 {
            store.advance().await.unwrap();
            let mut view = store.snapshot().await.unwrap();
            assert!(view.version() > version, "{} > {version}", view.version());
            version = view.version();
            assert_eq!(view.get("account", &[id(1)]).await.unwrap(), [Some(account(1, 10, "a"))]);
        }
    }
}

fn at(partition: i32, offset: i64) -> Position {
    Position {
        topic: "bank.public.account".into(),
        epoch: Epoch::default(),
        partition,
        offset,
        source: SourcePosition::Unknown,
    }
}

fn pg(partition: i32, offset: i64, lsn: u64) -> Position {
    let source = SourcePosition::Postgres { incarnation: 7, commit_lsn: lsn, lsn };
    Position { source, ..at(partition, offset) }
}

fn id(id: i64) -> Row {
    Row::of([("id", Value::Int(id))])
}

fn account(n: i64, owner: i64, note: impl Into<Value>) -> Row {
    let schema = TableSchema::new([("id", Kind::Int64), ("owner", Kind::Int64), ("note", Kind::Text)]);
    Row::new(Arc::new(schema), vec![Value::Int(n), Value::Int(owner), note.into()])
}

fn record(op: Op, key: Row, row: Option<Row>, position: Position) -> Record {
    Record {
        table: "account".into(),
        op,
        key,
        row,
        patch: None,
        before: None,
        version: position.offset as u64 + 1,
        position,
        changed_at: None,
        snapshot: Default::default(),
        origin: 0,
    }
}

fn put(op: Op, offset: i64, n: i64, owner: i64, note: impl Into<Value>) -> Record {
    record(op, id(n), Some(account(n, owner, note)), at(0, offset))
}

fn delete(offset: i64, n: i64) -> Record {
    record(Op::Delete, id(n), None, at(0, offset))
}

/// The version of a row's end, where the message at `offset` was the last to write it.
fn behind(offset: i64) -> u64 {
    Epoch::default().version_behind(offset)
}

fn truncate(position: Position) -> Record {
    record(Op::Truncate, Row::empty(), None, position)
}

/// Applies and expects that nothing was rejected; gives (records, stale).
async fn apply(store: &SharedStore, records: Vec<Record>) -> (Vec<Record>, u64) {
    let applied = store.apply(records).await.unwrap();
    assert!(applied.rejects.is_empty(), "{:?}", applied.rejects);
    (applied.records, applied.stale)
}

/// Everything that can be seen of the table.
async fn contents(store: &SharedStore) -> Vec<(Row, Row)> {
    let mut snapshot = store.snapshot().await.unwrap();
    let rows = all(&mut *snapshot, "account").await;
    let live = store.tables().await.unwrap().into_iter().find(|(name, _)| name == "account").map_or(0, |(_, n)| n);
    assert_eq!(live, rows.len() as u64, "the count of live rows");
    rows
}

async fn all(snapshot: &mut dyn Snapshot, table: &str) -> Vec<(Row, Row)> {
    let rows = snapshot.scan(table, None, usize::MAX).await.unwrap();
    rows.into_iter().map(|stored| (stored.key, stored.row)).collect()
}

async fn note(store: &SharedStore, n: i64) -> Option<Value> {
    let mut snapshot = store.snapshot().await.unwrap();
    let found = snapshot.get("account", &[id(n)]).await.unwrap();
    found[0].as_ref().map(|row| row.get("note").unwrap().clone())
}

async fn applying_again_changes_nothing(engine: &Engine) {
    let store = engine.open().await;
    let batch = || {
        vec![put(Op::Read, 0, 1, 10, "a"), put(Op::Create, 1, 2, 10, "b"), put(Op::Update, 2, 1, 11, "c"), delete(3, 2)]
    };
    let (first, stale) = apply(&store, batch()).await;
    assert_eq!((first.len(), stale), (4, 0));
    let before = contents(&store).await;
    let version = store.snapshot().await.unwrap().version();

    // Only the last change of each row is what is stored; the ones before it are stale by now.
    let (again, stale) = apply(&store, batch()).await;
    assert_eq!(again.iter().map(|r| r.position.offset).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(stale, 2);
    assert_eq!(contents(&store).await, before);
    assert_eq!(before, [(id(1), account(1, 11, "c"))]);
    assert!(store.snapshot().await.unwrap().version() >= version);
}

async fn stale_never_wins(engine: &Engine) {
    let store = engine.open().await;
    apply(&store, vec![put(Op::Update, 5, 1, 10, "new")]).await;
    let (kept, stale) =
        apply(&store, vec![put(Op::Update, 4, 1, 10, "old"), put(Op::Read, 3, 1, 10, "older"), delete(2, 1)]).await;
    assert_eq!((kept.len(), stale), (0, 3));
    assert_eq!(note(&store, 1).await, Some("new".into()));

    // From another partition the source's own log decides.
    let row = |position, note: &str| record(Op::Update, id(2), Some(account(2, 1, note)), position);
    apply(&store, vec![row(pg(1, 7, 100), "new")]).await;
    let (_, stale) = apply(&store, vec![row(pg(2, 50, 90), "old")]).await;
    assert_eq!(stale, 1);
    apply(&store, vec![row(pg(2, 51, 110), "newest")]).await;
    assert_eq!(note(&store, 2).await, Some("newest".into()));
}

async fn deletes_leave_tombstones(engine: &Engine) {
    let store = engine.open().await;
    apply(&store, vec![put(Op::Create, 1, 1, 10, "a"), delete(2, 1), delete(3, 9)]).await;
    assert!(contents(&store).await.is_empty());
    // Neither the row that was deleted nor the one whose delete came first is let in again.
    let (_, stale) = apply(&store, vec![put(Op::Create, 1, 1, 10, "a"), put(Op::Read, 0, 9, 10, "z")]).await;
    assert_eq!(stale, 2);
    assert!(contents(&store).await.is_empty());
}

async fn a_deleted_row_comes_back_only_by_a_newer_version(engine: &Engine) {
    let store = engine.open().await;
    apply(&store, vec![put(Op::Create, 1, 1, 10, "a"), delete(5, 1)]).await;
    apply(&store, vec![put(Op::Create, 6, 1, 12, "b"), delete(5, 1)]).await;
    assert_eq!(contents(&store).await, [(id(1), account(1, 12, "b"))]);
}

async fn unchanged_values_are_kept(engine: &Engine) {
    let store = engine.open().await;
    let batch = || {
        vec![
            put(Op::Create, 1, 1, 10, "long text"),
            put(Op::Update, 2, 1, 11, Value::Unchanged),
            put(Op::Update, 3, 1, 12, Value::Unchanged),
        ]
    };
    let (records, _) = apply(&store, batch()).await;
    let complete = account(1, 12, "long text");
    assert_eq!(records[2].row, Some(complete.clone()));
    assert_eq!(contents(&store).await, [(id(1), complete.clone())]);
    // A re-delivery is completed too: whatever is derived from it needs the whole row.
    let (records, _) = apply(&store, batch()).await;
    assert_eq!(records.last().unwrap().row, Some(complete));
}

async fn unchanged_without_a_base_is_rejected(engine: &Engine) {
    let store = engine.open().await;
    let applied =
        store.apply(vec![put(Op::Update, 1, 1, 10, Value::Unchanged), put(Op::Create, 2, 2, 10, "b")]).await.unwrap();
    assert_eq!(applied.rejects.len(), 1);
    assert_eq!(applied.rejects[0].1.code, "row.unchanged_without_base");
    assert_eq!(applied.records.len(), 1);
    assert_eq!(contents(&store).await, [(id(2), account(2, 10, "b"))]);
    // What a deleted row last held is no base for a row that is created anew.
    apply(&store, vec![delete(3, 2)]).await;
    let applied = store.apply(vec![put(Op::Create, 4, 2, 10, Value::Unchanged)]).await.unwrap();
    assert_eq!(applied.rejects.len(), 1);
    assert!(contents(&store).await.is_empty());
}

async fn patches_are_applied_to_what_is_stored(engine: &Engine) {
    let store = engine.open().await;
    let patch = |offset, n, column: &str, value: Value| {
        let patch = Patch { updated: vec![(column.into(), value)], ..Patch::default() };
        Record { patch: Some(Box::new(patch)), ..record(Op::Update, id(n), None, at(0, offset)) }
    };
    let batch = || {
        vec![
            put(Op::Create, 1, 1, 10, "a"),
            patch(2, 1, "owner", Value::Int(11)),
            patch(3, 1, "note", "b".into()),
            patch(4, 1, "new", Value::Null),
        ]
    };
    let (records, _) = apply(&store, batch()).await;
    let named = |row: &Row| row.iter().map(|(name, value)| (name.to_string(), value.clone())).collect::<Vec<_>>();
    let whole =
        |fields: &[(&str, Value)]| fields.iter().map(|(name, v)| (name.to_string(), v.clone())).collect::<Vec<_>>();
    let last = whole(&[("id", Value::Int(1)), ("owner", Value::Int(11)), ("note", "b".into()), ("new", Value::Null)]);
    assert_eq!(records[3].row.as_ref().map(named), Some(last.clone()));
    assert!(records.iter().all(|record| record.patch.is_none()), "what leaves is whole");
    assert_eq!(
        contents(&store).await.iter().map(|(_, row)| named(row)).collect::<Vec<_>>(),
        std::slice::from_ref(&last)
    );
    // Again, also one by one after a restart: the same.
    for record in batch() {
        store.apply(vec![record]).await.unwrap();
    }
    assert_eq!(
        contents(&store).await.iter().map(|(_, row)| named(row)).collect::<Vec<_>>(),
        std::slice::from_ref(&last)
    );
    // Nothing stored, a deleted document, a path that leads nowhere: parked, never half a document.
    apply(&store, vec![put(Op::Create, 5, 2, 10, "b"), delete(6, 2)]).await;
    for bad in [patch(7, 3, "note", "c".into()), patch(8, 2, "note", "c".into()), patch(9, 1, "note.x", Value::Null)] {
        let applied = store.apply(vec![bad]).await.unwrap();
        assert_eq!(
            applied.rejects.iter().map(|(_, reject)| reject.code).collect::<Vec<_>>(),
            ["row.patch_without_base"]
        );
    }
    assert_eq!(contents(&store).await.iter().map(|(_, row)| named(row)).collect::<Vec<_>>(), [last]);
}

async fn a_key_change_is_a_delete_and_a_create(engine: &Engine) {
    let store = engine.open().await;
    apply(&store, vec![put(Op::Create, 1, 1, 10, "a")]).await;
    let batch = || vec![delete(2, 1), put(Op::Create, 3, 2, 10, "a")];
    apply(&store, batch()).await;
    apply(&store, batch()).await;
    assert_eq!(contents(&store).await, [(id(2), account(2, 10, "a"))]);
}

/// A changed key is a delete and a create of one place in the source's log, in any two partitions.
async fn a_changed_key_takes_along_what_was_not_sent(engine: &Engine) {
    let store = engine.open().await;
    let moved = |from, to, position| Record {
        before: Some(id(from)),
        ..record(Op::Create, id(to), Some(account(to, 1, Value::Unchanged)), position)
    };
    let rows = [1, 2, 3]
        .map(|n| record(Op::Create, id(n), Some(account(n, 1, &*format!("large {n}"))), pg(0, n, 10 * n as u64)));
    apply(&store, rows.to_vec()).await;
    apply(&store, vec![record(Op::Delete, id(1), None, pg(0, 4, 50))]).await;
    let (kept, _) = apply(&store, vec![moved(1, 11, pg(1, 0, 50))]).await;
    assert_eq!(kept[0].row, Some(account(11, 1, "large 1")));
    assert_eq!(note(&store, 11).await, Some("large 1".into()));
    // Both in one batch; and again after a crash.
    for _ in 0..2 {
        let batch = vec![record(Op::Delete, id(2), None, pg(0, 5, 60)), moved(2, 12, pg(1, 1, 60))];
        assert_eq!(apply(&store, batch).await.0[1].row, Some(account(12, 1, "large 2")));
    }
    // Before the delete was read, changes of the row may be unread, too; and another delete is no change of the key.
    for (from, lsn) in [(3, 70), (1, 71), (9, 72)] {
        let applied = store.apply(vec![moved(from, 13, pg(1, 2, lsn))]).await.unwrap();
        assert_eq!(applied.rejects[0].1.code, "row.unchanged_without_base", "{from}");
    }
    apply(&store, vec![record(Op::Delete, id(3), None, pg(0, 6, 70)), moved(3, 13, pg(1, 2, 70))]).await;
    assert_eq!(note(&store, 13).await, Some("large 3".into()), "tried again");
}

async fn truncate_removes_what_is_older(engine: &Engine) {
    let store = engine.open().await;
    apply(&store, vec![put(Op::Create, 1, 1, 10, "a"), put(Op::Create, 2, 2, 10, "b"), delete(3, 2)]).await;
    apply(&store, vec![put(Op::Create, 4, 3, 10, "c"), put(Op::Create, 9, 4, 10, "newer")]).await;
    let (gone, _) = apply(&store, vec![truncate(at(0, 5))]).await;
    let keys: Vec<_> = gone.iter().map(|r| (r.op, r.key.clone(), r.position.offset)).collect();
    assert_eq!(keys, [(Op::Delete, id(1), 5), (Op::Delete, id(3), 5)]);
    assert_eq!(contents(&store).await, [(id(4), account(4, 10, "newer"))]);
    // Again: the same deletes leave, so that derived documents are deleted even after a crash in between.
    let (again, _) = apply(&store, vec![truncate(at(0, 5))]).await;
    assert_eq!(again.len(), 2);
    assert_eq!(contents(&store).await.len(), 1);
    // And in one batch with the rows around it.
    let (records, _) =
        apply(&store, vec![put(Op::Create, 10, 5, 1, "x"), truncate(at(0, 11)), put(Op::Create, 12, 5, 1, "y")]).await;
    assert_eq!(records.iter().map(|r| r.op).collect::<Vec<_>>(), [Op::Create, Op::Delete, Op::Delete, Op::Create]);
    assert_eq!(contents(&store).await, [(id(5), account(5, 1, "y"))]);
    // Of another partition, and without a place in the source's log.
    apply(&store, vec![record(Op::Create, id(6), Some(account(6, 1, "x")), at(1, 70))]).await;
    let (gone, _) = apply(&store, vec![truncate(at(2, 3))]).await;
    let versions: Vec<_> = gone.iter().map(|r| (r.key.clone(), r.version)).collect();
    assert_eq!(versions, [(id(5), behind(12)), (id(6), behind(70))], "each before what follows in its own partition");
}

async fn truncate_holds_against_late_rows(engine: &Engine) {
    let store = engine.open().await;
    let row = |n, position| record(Op::Create, id(n), Some(account(n, 1, "x")), position);
    apply(&store, vec![truncate(pg(0, 5, 100))]).await;
    // Read later, from another partition, but written before the truncate.
    let (_, stale) = apply(&store, vec![row(1, pg(1, 70, 90)), row(2, pg(1, 71, 110))]).await;
    assert_eq!(stale, 1);
    assert_eq!(contents(&store).await, [(id(2), account(2, 1, "x"))]);
}

fn by_owner() -> Index {
    Index { table: "account".into(), column: "owner".into() }
}

async fn owned(store: &SharedStore, owner: i64) -> Vec<Row> {
    let mut snapshot = store.snapshot().await.unwrap();
    let found = snapshot.find("account", "owner", &[Value::Null, Value::Int(owner)]).await.unwrap();
    assert!(found.iter().all(|(i, stored)| *i == 1 && stored.row.get("owner") == Some(&Value::Int(owner))));
    found.into_iter().map(|(_, stored)| stored.key).collect()
}

async fn links(store: &SharedStore, n: i64) -> Vec<i64> {
    let mut snapshot = store.snapshot().await.unwrap();
    let links = snapshot.links_of("account", "owner", &[id(404), id(n)]).await.unwrap();
    let mut owners: Vec<_> = links
        .into_iter()
        .map(|(i, value)| match value {
            Value::Int(owner) if i == 1 => owner,
            other => panic!("key {i}: {other:?}"),
        })
        .collect();
    owners.sort_unstable();
    owners
}

async fn lookups_follow_changes(engine: &Engine) {
    let store = engine.open().await;
    store.ensure_indexes(&[by_owner()]).await.unwrap();
    apply(&store, (0..6).map(|n| put(Op::Read, n, n, n % 2, "a")).collect()).await;
    assert_eq!(owned(&store, 0).await, [id(0), id(2), id(4)]);
    apply(&store, vec![put(Op::Update, 10, 2, 1, "moved"), delete(11, 4)]).await;
    assert_eq!(owned(&store, 0).await, [id(0)]);
    assert_eq!(owned(&store, 1).await, [id(1), id(2), id(3), id(5)]);
    assert_eq!(owned(&store, 7).await, [] as [Row; 0]);
}

async fn links_are_never_forgotten(engine: &Engine) {
    let store = engine.open().await;
    store.ensure_indexes(&[by_owner()]).await.unwrap();
    apply(&store, vec![put(Op::Create, 1, 1, 10, "a"), put(Op::Update, 2, 1, 11, "a")]).await;
    assert_eq!(links(&store, 1).await, [10, 11]);
    // Back and forth, deleted, revived elsewhere, after a restart: every parent is still known.
    apply(&store, vec![put(Op::Update, 3, 1, 10, "a"), put(Op::Update, 4, 1, 11, "b")]).await;
    apply(&store, vec![delete(5, 1)]).await;
    assert_eq!(links(&store, 1).await, [10, 11]);
    apply(&store, vec![put(Op::Create, 6, 1, 12, "c")]).await;
    let store = engine.open().await;
    assert_eq!(links(&store, 1).await, [10, 11, 12]);
    apply(&store, vec![truncate(at(0, 7))]).await;
    assert_eq!(links(&store, 1).await, [10, 11, 12]);
    // A key column needs no index.
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.links_of("account", "id", &[id(3)]).await.unwrap(), [(0, Value::Int(3))]);
}

async fn indexes_are_filled_from_rows_that_are_there(engine: &Engine) {
    let store = engine.open().await;
    apply(&store, (0..5).map(|n| put(Op::Read, n, n, n % 2, "a")).collect()).await;
    let by_id = || Index { table: "account".into(), column: "note".into() };
    store.ensure_indexes(&[by_owner(), by_id(), by_owner()]).await.unwrap();
    store.ensure_indexes(&[by_owner()]).await.unwrap();
    assert_eq!(owned(&store, 1).await, [id(1), id(3)]);
    apply(&store, vec![put(Op::Update, 9, 1, 5, "b")]).await;
    assert_eq!(links(&store, 1).await, [1, 5]);
    // Looking up by a column without an index is a mistake of the program, not an empty answer.
    let mut snapshot = store.snapshot().await.unwrap();
    assert!(snapshot.find("account", "id", &[Value::Int(1)]).await.is_err());
    assert!(snapshot.find("nowhere", "id", &[Value::Int(1)]).await.unwrap().is_empty());
}

async fn snapshots_are_isolated(engine: &Engine) {
    let store = engine.open().await;
    apply(&store, vec![put(Op::Create, 1, 1, 10, "before")]).await;
    let mut old = store.snapshot().await.unwrap();
    apply(&store, vec![put(Op::Update, 2, 1, 10, "after"), put(Op::Create, 3, 2, 10, "x")]).await;
    assert_eq!(all(&mut *old, "account").await, [(id(1), account(1, 10, "before"))]);
    assert_eq!(old.get("account", &[id(2), id(1)]).await.unwrap(), [None, Some(account(1, 10, "before"))]);
    let mut new = store.snapshot().await.unwrap();
    assert!(new.version() > old.version());
    assert_eq!(all(&mut *new, "account").await.len(), 2);
}

async fn versions_only_grow(engine: &Engine) {
    let store = engine.open().await;
    let mut last = store.snapshot().await.unwrap().version();
    for offset in 0..5 {
        apply(&store, vec![put(Op::Update, offset, 1, offset, "a")]).await;
        let version = store.snapshot().await.unwrap().version();
        assert!(version > last, "{version} after {last}");
        last = version;
    }
    let store = engine.open().await;
    assert!(store.snapshot().await.unwrap().version() >= last);
}

async fn scans_resume(engine: &Engine) {
    let store = engine.open().await;
    apply(&store, (0..25).map(|n| put(Op::Read, n, n, 1, "a")).chain([delete(30, 7), delete(31, 24)]).collect()).await;
    let mut snapshot = store.snapshot().await.unwrap();
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let page = snapshot.scan("account", after.as_ref(), 10).await.unwrap();
        keys.extend(page.iter().map(|stored| stored.key.clone()));
        after = page.last().map(|stored| stored.key.clone());
        if page.len() < 10 {
            break;
        }
    }
    assert_eq!(keys, (0..24).filter(|n| *n != 7).map(id).collect::<Vec<_>>());
}

async fn committed_rows_survive_reopening(engine: &Engine) {
    let store = engine.open().await;
    store.ensure_indexes(&[by_owner()]).await.unwrap();
    apply(&store, vec![put(Op::Create, 1, 1, 10, "a"), put(Op::Create, 2, 2, 10, "b"), delete(3, 2)]).await;
    let id_before = store.id().to_string();
    // Not dropped first: the way a killed process leaves a store.
    let store = engine.open().await;
    assert_eq!(store.id(), id_before);
    assert_eq!(contents(&store).await, [(id(1), account(1, 10, "a"))]);
    let (_, stale) = apply(&store, vec![put(Op::Create, 2, 2, 10, "b")]).await;
    assert_eq!(stale, 1);
    assert_eq!(owned(&store, 10).await, [id(1)]);
}

async fn tables_without_keys_are_multisets(engine: &Engine) {
    let store = engine.open().await;
    let row = |owner| Some(account(0, owner, "same"));
    let insert = |offset, owner| record(Op::Create, Row::empty(), row(owner), at(0, offset));
    let remove = |offset, owner| Record { before: row(owner), ..record(Op::Delete, Row::empty(), None, at(0, offset)) };
    let change =
        |offset, from, to| Record { before: row(from), ..record(Op::Update, Row::empty(), row(to), at(0, offset)) };
    let batch = || vec![insert(1, 1), insert(2, 1), insert(3, 2), remove(4, 1), change(5, 2, 3)];
    let owners = async |store: &SharedStore| {
        let rows = contents(store).await;
        rows.iter().map(|(_, row)| row.get("owner").unwrap().clone()).collect::<Vec<_>>()
    };
    let (first, _) = apply(&store, batch()).await;
    assert_eq!(owners(&store).await, [Value::Int(1), Value::Int(3)]);
    // What leaves has a key of its own, so that a sink can delete what it wrote.
    assert!(first.iter().all(|r| !r.key.is_empty()));
    let key_of = |op, offset| first.iter().find(|r| r.op == op && r.position.offset == offset).unwrap().key.clone();
    assert_eq!(key_of(Op::Delete, 4), key_of(Op::Create, 1));
    assert_eq!(key_of(Op::Delete, 5), key_of(Op::Create, 3));
    for from in 0..5 {
        apply(&store, batch().split_off(from)).await;
        assert_eq!(owners(&store).await, [Value::Int(1), Value::Int(3)], "again from record {from}");
    }
    let applied = store.apply(vec![remove(9, 77)]).await.unwrap();
    assert_eq!(applied.rejects[0].1.code, "keyless.no_match");
    apply(&store, vec![truncate(at(0, 10))]).await;
    assert_eq!(owners(&store).await, [] as [Value; 0]);
}

async fn values_are_exact(engine: &Engine) {
    let store = engine.open().await;
    let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
    let values = [
        Value::Int(i64::MIN),
        Value::UInt(u64::MAX),
        Value::Float(0.1),
        Value::Float(f64::INFINITY),
        decimal("12345678901234567890123456789012345678901234567890.123456789000"),
        decimal("-0.10"),
        decimal("NaN"),
        Value::Bool(true),
        Value::Null,
        Value::from("quote \" slash \\ nul \0 漢"),
        Value::Bytes(vec![0, 255, 7].into()),
        Value::Date(headwater::record::Date::INFINITY),
        Value::Time(headwater::record::Time { nanos: 86_400_000_000_000 }),
        Value::Timestamp(headwater::record::Timestamp { secs: -62_200_000_000, nanos: 1 }),
        Value::TimestampTz(headwater::record::Timestamp { secs: 1_700_000_000, nanos: 123_456_789 }),
        Value::Json("{\"a\":  1.10}".into()),
        Value::List(vec![Value::Null, Value::Float(1.0), decimal("1.0"), Value::Int(1)]),
        Value::Map(vec![("$decimal".into(), Value::from("x")), ("a".into(), Value::Int(1))]),
    ];
    let kinds = ["any", "text", "decimal", "timestamptz(6)", "int64", "json", "any[]"];
    for (n, kind) in kinds.iter().enumerate() {
        let kind: Kind = kind.parse().unwrap();
        let columns = (0..values.len()).map(|i| (format!("c{i}"), kind.clone()));
        let row = Row::new(Arc::new(TableSchema::new(columns)), values.to_vec());
        let position = at(0, n as i64);
        apply(&store, vec![record(Op::Create, id(n as i64), Some(row.clone()), position)]).await;
        let mut snapshot = store.snapshot().await.unwrap();
        let stored = snapshot.get("account", &[id(n as i64)]).await.unwrap().pop().flatten().unwrap();
        assert_eq!(stored, row, "kind {kind}");
        assert_eq!(stored.to_json(), row.to_json(), "kind {kind}, to the last digit");
    }
}

async fn keys_of_every_shape(engine: &Engine) {
    let store = engine.open().await;
    let keys = [
        Row::of([("k", Value::Int(-1))]),
        Row::of([("k", Value::from("1"))]),
        Row::of([("k", Value::from("a\"b'c\0"))]),
        Row::of([("k", Value::UInt(u64::MAX))]),
        Row::of([("k", Value::Decimal("1.50".parse().unwrap()))]),
        Row::of([("k", Value::Bytes(vec![0, 1].into()))]),
        Row::of([("k", Value::Bool(true))]),
        Row::of([("k", Value::Date(headwater::record::Date { days: 3 }))]),
        Row::of([("a", Value::Int(1)), ("b", Value::from("x"))]),
        Row::of([("a", Value::Int(1)), ("b", Value::Null)]),
    ];
    let rows =
        || keys.iter().enumerate().map(|(i, key)| record(Op::Create, key.clone(), Some(key.clone()), at(0, i as i64)));
    apply(&store, rows().collect()).await;
    let mut snapshot = store.snapshot().await.unwrap();
    let found = snapshot.get("account", &keys).await.unwrap();
    assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), keys);
    for stored in snapshot.scan("account", None, 100).await.unwrap() {
        assert_eq!(stored.key, stored.row);
    }
    let (_, stale) = apply(&store, rows().collect()).await;
    assert_eq!(stale, 0);
    assert_eq!(contents(&store).await.len(), keys.len());
}

async fn names_of_every_shape(engine: &Engine) {
    let store = engine.open().await;
    let tables =
        ["Account", "account", "sqlite_x", "headwater_meta", "select", "we\"ird '; --", "système", "a.b", "$x"];
    let columns = ["Note", "note", "row", "key", "ix_note", "a\"b", "$c.d", "commit"];
    let indexes: Vec<_> = tables
        .iter()
        .flat_map(|table| columns.iter().map(|column| Index { table: (*table).into(), column: (*column).into() }))
        .collect();
    store.ensure_indexes(&indexes).await.unwrap();
    let row = Row::of(columns.iter().enumerate().map(|(i, name)| (*name, Value::Int(i as i64))));
    for table in tables {
        let row = record(Op::Create, id(1), Some(row.clone()), at(0, 1));
        apply(&store, vec![Record { table: table.into(), ..row }]).await;
    }
    let mut snapshot = store.snapshot().await.unwrap();
    for table in tables {
        for (i, column) in columns.iter().enumerate() {
            let found = snapshot.find(table, column, &[Value::Int(i as i64)]).await.unwrap();
            assert_eq!(found.len(), 1, "{table}.{column}");
            assert_eq!(found[0].1.row, row, "{table}.{column}");
        }
    }
    let mut names: Vec<_> = store.tables().await.unwrap();
    names.sort();
    let mut expected = tables.map(|table| (table.to_string(), 1));
    expected.sort();
    assert_eq!(names, expected);
}

async fn parking_is_idempotent(engine: &Engine) {
    let store = engine.open().await;
    let parked = |offset: i64, pipeline: &str, reason: &str| Parked {
        id: format!("t:0:{offset:03}"),
        pipeline: pipeline.into(),
        stage: "debezium".into(),
        code: "json.syntax".into(),
        reason: reason.into(),
        table: (offset % 2 == 0).then(|| "account".into()),
        parked_at_ms: 5,
        message: Message {
            topic: "t".into(),
            epoch: Epoch::default(),
            partition: 0,
            offset,
            timestamp_ms: Some(7),
            key: None,
            value: Some(vec![0xff, 0, b'{'].into()),
            headers: vec![("h".into(), Some(vec![1, 255].into())), ("h".into(), None)],
        },
    };
    let entries = [parked(1, "p", "a"), parked(2, "q", "b"), parked(3, "p", "c")];
    store.park(&entries).await.unwrap();
    store.park(&[parked(1, "p", "again")]).await.unwrap();
    let store = engine.open().await;
    let found = store.parked(None, None, 10).await.unwrap();
    assert_eq!(found.iter().map(|p| &*p.reason).collect::<Vec<_>>(), ["again", "b", "c"]);
    for (found, entry) in found.iter().zip(&entries) {
        assert_eq!((&found.message, &found.table, &found.id), (&entry.message, &entry.table, &entry.id));
    }
    let page = store.parked(Some("p"), Some("t:0:001"), 10).await.unwrap();
    assert_eq!(page.iter().map(|p| &*p.id).collect::<Vec<_>>(), ["t:0:003"]);
    assert_eq!(store.parked(None, None, 2).await.unwrap().len(), 2);
    let gone = store.unpark(&["t:0:001".into(), "t:0:999".into()]).await.unwrap();
    assert_eq!(gone, 1);
    assert_eq!(store.parked(Some("p"), None, 10).await.unwrap().len(), 1);
}

async fn positions_are_committed_with_rows(engine: &Engine) {
    let store = engine.open().await;
    let row = |position| record(Op::Create, id(1), Some(account(1, 1, "a")), position);
    apply(&store, vec![row(at(1, 4)), row(at(0, 9)), row(at(0, 8))]).await;
    apply(&store, vec![row(at(0, 3))]).await;
    let topic = "bank.public.account".to_string();
    let store = engine.open().await;
    assert_eq!(store.positions().await.unwrap(), [(topic.clone(), 0, 9), (topic, 1, 4)]);
}

async fn a_topic_created_anew_is_newer(engine: &Engine) {
    let store = engine.open().await;
    let life = |incarnation| Epoch { incarnation, growth: 0 };
    let anew = |offset| Position { epoch: life(1), ..at(0, offset) };
    let row = |n, note: &str, position| record(Op::Read, id(n), Some(account(n, 1, note)), position);
    apply(&store, vec![row(1, "old", at(0, 500)), row(2, "kept", at(0, 501)), delete(502, 3)]).await;
    // Lower offsets, and one that comes back from the dead.
    let (kept, stale) = apply(&store, vec![row(1, "new", anew(0)), row(3, "new", anew(1))]).await;
    assert_eq!((kept.len(), stale), (2, 0));
    // What a lane still held of the earlier life.
    let (_, stale) = apply(&store, vec![row(1, "old", at(0, 500)), delete(502, 3)]).await;
    assert_eq!(stale, 2);
    let store = engine.open().await;
    let notes = [note(&store, 1).await, note(&store, 2).await, note(&store, 3).await];
    assert_eq!(notes, [Some("new".into()), Some("kept".into()), Some("new".into())]);
    assert_eq!(store.positions().await.unwrap(), [("bank.public.account".to_string(), 0, 1)]);
    // Rows without a key are stored under their place: the same offset is another place now.
    let loose = |note: &str, position| Record {
        table: "loose".into(),
        ..record(Op::Create, Row::empty(), Some(account(0, 0, note)), position)
    };
    apply(&store, vec![loose("a", at(0, 7)), loose("b", anew(7))]).await;
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(all(&mut *snapshot, "loose").await.len(), 2);
}

async fn changed_keys_may_arrive_in_any_order(engine: &Engine) {
    let store = engine.open().await;
    let put = |n, note: &str, position| record(Op::Create, id(n), Some(account(n, 1, note)), position);
    let gone = |n, position| record(Op::Delete, id(n), None, position);
    // 1 becomes 5 and then 1 again: two partitions, read in every order that keeps each one's own.
    let one = [put(1, "first", pg(0, 0, 10)), gone(1, pg(0, 1, 20)), put(1, "back", pg(0, 2, 30))];
    let five = [put(5, "moved", pg(1, 0, 20)), gone(5, pg(1, 1, 30))];
    for order in 0..1 << 5 {
        if u32::count_ones(order) != 2 {
            continue;
        }
        let (mut ones, mut fives) = (one.iter(), five.iter());
        let table: std::sync::Arc<str> = format!("table_{order}").into();
        for step in 0..5 {
            let next = if order >> step & 1 == 1 { fives.next() } else { ones.next() };
            apply(&store, vec![Record { table: table.clone(), ..next.unwrap().clone() }]).await;
        }
        let mut snapshot = store.snapshot().await.unwrap();
        assert_eq!(all(&mut *snapshot, &table).await, [(id(1), account(1, 1, "back"))], "order {order:05b}");
    }
}

async fn compacted_topics_begin_with_any_change(engine: &Engine) {
    let store = engine.open().await;
    let (records, _) = apply(&store, vec![put(Op::Update, 4, 1, 10, "u first"), delete(9, 2), delete(12, 1)]).await;
    assert_eq!(records.len(), 3, "a delete of what was never seen leaves, too: a sink may have it");
    assert!(contents(&store).await.is_empty());
    apply(&store, vec![put(Op::Update, 20, 2, 10, "back")]).await;
    assert_eq!(contents(&store).await, [(id(2), account(2, 10, "back"))]);
}

async fn a_second_snapshot_in_mid_topic_counts_by_its_place(engine: &Engine) {
    let store = engine.open().await;
    let read = |offset, n, note: &str| put(Op::Read, offset, n, 10, note);
    apply(&store, vec![read(0, 1, "a"), read(1, 2, "b"), put(Op::Update, 2, 1, 10, "c"), delete(3, 2)]).await;
    // Read again is not insert-only: known rows change, deleted ones come back.
    apply(&store, vec![read(10, 1, "c again"), read(11, 2, "b again"), read(12, 3, "new")]).await;
    let rows = [(1, "c again"), (2, "b again"), (3, "new")].map(|(n, note)| (id(n), account(n, 10, note)));
    assert_eq!(contents(&store).await, rows);
    // A chunk of an incremental snapshot has no place in the source's log: it applies as it arrives, and what was streamed
    // before it and comes again does not take it back.
    let chunk = record(Op::Read, id(4), Some(account(4, 1, "chunk")), at(1, 8));
    let streamed = record(Op::Update, id(4), Some(account(4, 1, "streamed")), pg(1, 7, 300));
    apply(&store, vec![streamed.clone(), chunk]).await;
    let (_, stale) = apply(&store, vec![streamed]).await;
    assert_eq!((note(&store, 4).await, stale), (Some("chunk".into()), 1));
    // From another partition a snapshot's row that lies before the streamed one is old, wherever it arrives.
    let late = record(Op::Read, id(5), Some(account(5, 1, "snapshot")), pg(3, 90, 100));
    apply(&store, vec![record(Op::Update, id(5), Some(account(5, 1, "streamed")), pg(2, 1, 150)), late]).await;
    assert_eq!(note(&store, 5).await, Some("streamed".into()));
}

async fn truncates_of_another_partition_spare_what_is_newer(engine: &Engine) {
    let store = engine.open().await;
    let row = |n, position| record(Op::Create, id(n), Some(account(n, 1, "x")), position);
    apply(&store, vec![row(1, pg(1, 70, 90)), row(2, pg(1, 71, 110)), row(3, pg(2, 5, 95))]).await;
    let (gone, _) = apply(&store, vec![truncate(pg(0, 5, 100))]).await;
    assert_eq!(gone.iter().map(|r| r.key.clone()).collect::<Vec<_>>(), [id(1), id(3)]);
    // Targets know no more than versions: newer than the row, older than what follows in its partition.
    assert_eq!(gone.iter().map(|r| r.version).collect::<Vec<_>>(), [behind(70), behind(5)]);
    let (again, _) = apply(&store, vec![truncate(pg(0, 5, 100))]).await;
    assert_eq!(again, gone, "so that what is derived follows after a crash");
    assert_eq!(contents(&store).await, [(id(2), account(2, 1, "x"))]);
    let (_, stale) = apply(&store, vec![row(1, pg(1, 70, 90)), row(3, pg(2, 5, 95))]).await;
    assert_eq!(stale, 2, "what was read again is still gone");
    // A row between an older tombstone and the truncate.
    apply(&store, vec![record(Op::Delete, id(7), None, pg(1, 80, 50)), truncate(pg(0, 6, 200))]).await;
    let (_, stale) = apply(&store, vec![row(7, pg(1, 81, 150)), row(2, pg(1, 82, 210))]).await;
    assert_eq!((stale, contents(&store).await), (1, vec![(id(2), account(2, 1, "x"))]));
}

async fn facts_are_replaced_only_where_they_are_known(engine: &Engine) {
    let store = engine.open().await;
    assert!(store.replace_fact("kafka/t", None, "1").await.unwrap());
    assert!(!store.replace_fact("kafka/t", None, "2").await.unwrap());
    assert!(!store.replace_fact("kafka/t", Some("0"), "2").await.unwrap());
    assert!(store.replace_fact("kafka/t", Some("1"), "2").await.unwrap());
    store.remember(&[("kafka/t/0".into(), "a".into()), ("kafka/u".into(), "b".into())]).await.unwrap();
    store.remember(&[("kafka/t/0".into(), "c".into())]).await.unwrap();
    let store = engine.open().await;
    let facts = store.facts("kafka/t").await.unwrap();
    assert_eq!(facts, [("kafka/t".to_string(), "2".to_string()), ("kafka/t/0".into(), "c".into())].into());
    assert_eq!(store.facts("kafka/t/").await.unwrap().len(), 1);
    assert!(store.facts("nothing").await.unwrap().is_empty());
}
/// Of two rows that are computed from snapshots, that of the later one stays; where the log stands they do not touch.
async fn derived_rows_have_no_place_in_a_log(engine: &Engine) {
    let store = engine.open().await;
    let row = |version, note: &str| record(Op::Update, id(1), Some(account(1, 1, note)), Position::derived(version));
    apply(&store, vec![record(Op::Create, id(1), Some(account(1, 1, "log")), at(0, 9))]).await;
    apply(&store, vec![row(20, "late")]).await;
    assert_eq!(apply(&store, vec![row(19, "early")]).await.1, 1);
    assert_eq!(note(&store, 1).await, Some("late".into()));
    assert_eq!(store.positions().await.unwrap(), [("bank.public.account".to_string(), 0, 9)]);
    let scanned = store.snapshot().await.unwrap().scan("account", None, 10).await.unwrap();
    assert_eq!(scanned[0].position, Position::derived(20));
}

async fn remembering_is_a_commit(engine: &Engine) {
    let store = engine.open().await;
    let mut last = store.snapshot().await.unwrap().version();
    for _ in 0..3 {
        store.remember(&[("a".to_string(), "b".to_string())]).await.unwrap();
        let version = store.snapshot().await.unwrap().version();
        assert!(version > last, "{version} after {last}");
        last = version;
    }
}

async fn a_sweep_takes_what_one_partition_wrote_before_a_place(engine: &Engine) {
    let store = engine.open().await;
    let row = |n, position| record(Op::Read, id(n), Some(account(n, 1, "x")), position);
    let rows =
        [row(1, pg(0, 1, 10)), row(2, pg(0, 2, 20)), row(3, pg(1, 3, 10)), row(4, at(0, 4)), row(5, pg(0, 5, 60))];
    apply(&store, rows.to_vec()).await;
    apply(&store, vec![row(2, pg(0, 7, 50))]).await;
    let place = SourcePosition::Postgres { incarnation: 7, commit_lsn: 50, lsn: 50 };
    let sweep = |within: Option<&str>| {
        let within = within.map(|name| [name.to_string()].into());
        store.sweep(Sweep { table: "account".into(), than: place, within })
    };
    let gone = sweep(Some("bank.public.account:0")).await.unwrap();
    let keys: Vec<_> = gone.iter().map(|r| (r.op, r.key.clone(), r.position.offset)).collect();
    assert_eq!(keys, [(Op::Delete, id(1), 1)], "another partition, no place, and what lies behind it stay");
    assert_eq!(gone[0].version, behind(1));
    assert_eq!(contents(&store).await.len(), 4);
    assert_eq!(
        sweep(Some("bank.public.account:0")).await.unwrap(),
        gone,
        "again the same, so that what is derived follows"
    );
    assert_eq!(sweep(None).await.unwrap().len(), 2, "now the other partition, too");
    assert_eq!(contents(&store).await.len(), 3);
    // What was swept stays so when it is read again; what comes behind it in its partition is newer.
    let (_, stale) = apply(&store, vec![row(1, pg(0, 1, 10))]).await;
    assert_eq!((stale, contents(&store).await.len()), (1, 3));
    apply(&store, vec![row(1, pg(0, 10, 50))]).await;
    assert_eq!(contents(&store).await.len(), 4);
}

/// What a store remembers of its own writes never stands before what another process has written since.
async fn views_hold_what_other_processes_wrote(engine: &Engine) {
    let (one, other) = (engine.open().await, engine.open().await);
    apply(
        &one,
        vec![put(Op::Create, 0, 1, 1, "one"), put(Op::Create, 1, 2, 1, "one"), put(Op::Create, 2, 3, 1, "one")],
    )
    .await;
    let mut earlier = one.snapshot().await.unwrap();
    apply(&other, vec![put(Op::Update, 3, 1, 1, "other"), delete(4, 2)]).await;
    let seen = [Some(account(1, 1, "other")), None, Some(account(3, 1, "one"))];
    let keys = [id(1), id(2), id(3)];
    for writes in 0..3 {
        for store in [&one, &other] {
            assert_eq!(store.snapshot().await.unwrap().get("account", &keys).await.unwrap(), seen, "{writes}");
        }
        apply(&one, vec![put(Op::Create, 10 + writes, 10 + writes, 1, "one")]).await;
    }
    let before = [Some(account(1, 1, "one")), Some(account(2, 1, "one")), Some(account(3, 1, "one"))];
    assert_eq!(earlier.get("account", &keys).await.unwrap(), before, "an earlier view stays as it was");
}
