//! One suite for all sinks and for every way in which the MongoDB sink can write: whatever the plan, the laws hold.

#[path = "sinks/lab.rs"]
mod lab;
#[path = "sinks/mongodb_faults.rs"]
mod mongodb_faults;
#[path = "sinks/mongodb_transactions.rs"]
mod mongodb_transactions;
#[path = "sinks/mongodb_values.rs"]
mod mongodb_values;
#[path = "sinks/proxy.rs"]
mod proxy;
#[path = "sinks/sqlite_file.rs"]
mod sqlite_file;

use std::collections::BTreeMap;

use headwater::record::{Op, Record, Row, Value};
use lab::{Lab, Mongo, SqliteFile, create, delete, held, offer, put, record, update, write};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

async fn again_is_the_same_as_once(lab: &dyn Lab) {
    let schedule = || {
        [
            vec![create(1, "a", 1), create(2, "b", 2), create(3, "c", 3)],
            vec![update(1, "a2", 4), delete(2, 5), put(Op::Read, 4, "d", 6)],
            vec![update(4, "d2", 7), update(4, "d3", 8), delete(9, 9)],
        ]
    };
    let expected = held([(1, "a2", 4), (3, "c", 3), (4, "d3", 8)]);
    let mut sink = lab.sink().await;
    for records in schedule().into_iter().chain(schedule()) {
        write(&mut sink, records).await;
    }
    assert_eq!(lab.documents().await, expected);
    // A new instance knows nothing of what the first one saw.
    let mut sink = lab.sink().await;
    for suffix in 0..3 {
        for records in schedule().into_iter().skip(suffix) {
            write(&mut sink, records).await;
        }
        assert_eq!(lab.documents().await, expected);
    }
}

async fn an_older_version_never_wins(lab: &dyn Lab) {
    let mut sink = lab.sink().await;
    write(&mut sink, vec![create(1, "new", 10), create(2, "two", 5)]).await;
    write(&mut sink, vec![update(1, "old", 9), create(1, "older", 3), update(2, "newer", 6)]).await;
    write(&mut sink, vec![delete(1, 8), put(Op::Read, 2, "snapshot", 1)]).await;
    write(&mut sink, vec![update(3, "second", 20), create(3, "first", 19)]).await;
    assert_eq!(lab.documents().await, held([(1, "new", 10), (2, "newer", 6), (3, "second", 20)]));
}

/// Both targets say the same of it: whoever derives something else from the same rows has to give it a higher version,
/// as the `document` stage does from each start on (see `rebuild.rs`).
async fn the_same_version_is_the_same_document(lab: &dyn Lab) {
    let mut sink = lab.sink().await;
    write(&mut sink, vec![create(1, "first", 5), create(2, "first", 5), create(3, "first", 5)]).await;
    for mut sink in [sink, lab.sink().await] {
        write(&mut sink, vec![create(1, "second", 5), update(2, "second", 5), delete(3, 5)]).await;
        assert_eq!(lab.documents().await, held([(1, "first", 5), (2, "first", 5), (3, "first", 5)]));
    }
    let mut sink = lab.sink().await;
    write(&mut sink, vec![create(1, "second", 6), update(2, "second", 6), delete(3, 6)]).await;
    assert_eq!(lab.documents().await, held([(1, "second", 6), (2, "second", 6)]));
}

async fn what_is_deleted_stays_deleted(lab: &dyn Lab) {
    let mut sink = lab.sink().await;
    write(&mut sink, vec![create(1, "a", 1), create(2, "b", 2)]).await;
    write(&mut sink, vec![delete(1, 10), delete(3, 10)]).await;
    for late in [create, update] {
        write(&mut sink, vec![late(1, "late", 9), late(3, "late", 9)]).await;
        assert_eq!(lab.documents().await, held([(2, "b", 2)]));
    }
    let mut other = lab.sink().await;
    write(&mut other, vec![create(1, "late", 9), create(3, "late", 9), create(4, "d", 11)]).await;
    assert_eq!(lab.documents().await, held([(2, "b", 2), (4, "d", 11)]));
    write(&mut other, vec![delete(1, 7)]).await;
    write(&mut other, vec![create(1, "back", 11), create(3, "late", 9)]).await;
    assert_eq!(lab.documents().await, held([(1, "back", 11), (2, "b", 2), (4, "d", 11)]));
}

/// Two writers that know nothing of each other bring pieces of one log, in any order and repeatedly, at the same time.
async fn any_schedule_ends_as_the_fold(lab: &dyn Lab) {
    for seed in 0..12 {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let first_id = seed as i64 * 100;
        let log: Vec<Record> = (1..=60u64)
            .map(|version| {
                let id = first_id + random.gen_range(0..8);
                let name = format!("v{version}");
                match random.gen_range(0..10) {
                    0..=2 => delete(id, version),
                    3..=5 => create(id, &name, version),
                    _ => update(id, &name, version),
                }
            })
            .collect();
        let mut newest: BTreeMap<String, &Record> = BTreeMap::new();
        for record in &log {
            newest.insert(record.key.values()[0].to_json(), record);
        }
        let mut writers = Vec::new();
        for _ in 0..2 {
            let mut pieces: Vec<Vec<Record>> = Vec::new();
            for _ in 0..6 {
                let start = random.gen_range(0..log.len());
                let end = random.gen_range(start..=log.len()).min(start + 20);
                pieces.push(log[start..end].to_vec());
            }
            pieces.extend(log.chunks(7).map(<[Record]>::to_vec));
            pieces.shuffle(&mut random);
            let mut sink = lab.sink().await;
            writers.push(async move {
                for piece in pieces {
                    write(&mut sink, piece).await;
                }
            });
        }
        futures::future::join_all(writers).await;
        let live = newest.iter().filter_map(|(id, record)| {
            let name = record.row.as_ref()?.get("name")?.as_str()?.to_string();
            Some((id.clone(), (name, record.version as i64)))
        });
        let found = lab.documents().await;
        let ours = |id: &String| (first_id..first_id + 100).contains(&id.parse::<i64>().unwrap());
        assert_eq!(
            found.into_iter().filter(|(id, _)| ours(id)).collect::<BTreeMap<_, _>>(),
            live.collect::<BTreeMap<_, _>>(),
            "seed {seed}"
        );
    }
}

async fn large_batches_arrive_whole(lab: &dyn Lab) {
    let mut sink = lab.sink().await;
    let count = 10_000;
    write(&mut sink, (0..count).map(|id| create(id, "first", 1)).collect()).await;
    write(&mut sink, (0..count).step_by(2).map(|id| update(id, "second", 2)).collect()).await;
    write(&mut sink, (0..count).step_by(10).map(|id| delete(id, 3)).collect()).await;
    let found = lab.documents().await;
    assert_eq!(found.len(), 9_000);
    assert!(found.iter().all(|(id, (name, version))| {
        let even = id.parse::<i64>().unwrap() % 2 == 0;
        (name.as_str(), *version) == if even { ("second", 2) } else { ("first", 1) }
    }));
}

async fn what_cannot_be_written_is_rejected_alone(lab: &dyn Lab) {
    let mut sink = lab.sink().await;
    let row = |value| Some(Row::of([("id", Value::Int(7)), ("name", value)]));
    let key = || Row::of([("id", Value::Int(7))]);
    let rejects = offer(
        &mut sink,
        vec![
            create(1, "one", 1),
            record(Op::Update, key(), row(Value::Unchanged), 2),
            record(Op::Truncate, Row::empty(), None, 3),
            record(Op::Create, Row::empty(), row(Value::from("x")), 4),
            create(2, "two", 5),
            Record { table: "".into(), ..create(3, "three", 6) },
        ],
    )
    .await;
    let codes: Vec<_> = rejects.iter().map(|reject| reject.code).collect();
    assert_eq!(codes[..3], ["value.unchanged", "op.truncate", "key.missing"]);
    assert!(codes[3].ends_with(".name"));
    assert_eq!(lab.documents().await, held([(1, "one", 1), (2, "two", 5)]));
}

async fn composite_keys_tell_rows_apart(lab: &dyn Lab) {
    let mut sink = lab.sink().await;
    let of = |op, a: i64, b: &str, name: &str, version| {
        let key = Row::of([("a", Value::Int(a)), ("b", Value::from(b))]);
        let row = Row::of([("a", Value::Int(a)), ("b", Value::from(b)), ("name", Value::from(name))]);
        record(op, key, Some(row).filter(|_| op != Op::Delete), version)
    };
    write(&mut sink, vec![of(Op::Create, 1, "x", "1x", 1), of(Op::Create, 1, "y", "1y", 2)]).await;
    write(&mut sink, vec![of(Op::Update, 1, "x", "1x again", 3), of(Op::Create, 2, "x", "2x", 4)]).await;
    write(&mut sink, vec![of(Op::Delete, 1, "y", "", 5), of(Op::Create, 1, "y", "late", 4)]).await;
    let names: Vec<_> = lab.documents().await.into_values().map(|(name, _)| name).collect();
    assert_eq!(names, ["1x again", "2x"]);
}

macro_rules! conformance {
    ($name:ident, $lab:expr) => {
        mod $name {
            use super::*;
            conformance!(@each $lab =>
                again_is_the_same_as_once, an_older_version_never_wins, the_same_version_is_the_same_document, what_is_deleted_stays_deleted,
                any_schedule_ends_as_the_fold, large_batches_arrive_whole, what_cannot_be_written_is_rejected_alone,
                composite_keys_tell_rows_apart);
        }
    };
    (@each $lab:expr => $($law:ident),*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $law() {
            let lab: Option<Box<dyn Lab>> = $lab;
            if let Some(lab) = lab {
                super::$law(&*lab).await;
                lab.close().await;
            }
        })*
    };
}

async fn mongo(plan: &'static str) -> Option<Box<dyn Lab>> {
    Mongo::new(plan).await.map(|lab| Box::new(lab) as Box<dyn Lab>)
}

conformance!(mongodb_auto, mongo("auto").await);
conformance!(mongodb_insert, mongo("insert").await);
conformance!(mongodb_probe, mongo("probe").await);
conformance!(mongodb_guarded, mongo("guarded").await);
conformance!(mongodb_together, mongo("together").await);
conformance!(sqlite, Some(Box::new(SqliteFile(tempfile::tempdir().unwrap()))));
