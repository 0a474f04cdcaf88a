//! The MongoDB sink where documents are to be seen at once: what readers see, what the server refuses, what is too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use headwater::record::{Op, Record, Torn, Unity};
use headwater::stage::Stage;
use mongodb::bson::{Document, doc};
use mongodb::options::ReadConcern;

use super::lab::{Lab, Mongo, TOGETHER, Together, batch, create, delete, held, put, update, write, yaml};
use super::mongodb_faults::{FAIL_POINT, arm, disarm};

const WHOLE: Unity = Unity { together: true, torn: None, transactions: 1 };

fn torn(why: Torn) -> Unity {
    Unity { together: false, torn: Some(why), transactions: 1 }
}

async fn sink(lab: &Mongo, events: usize, bytes: usize) -> Together {
    sink_called("together", lab, events, bytes).await
}

async fn sink_called(app_name: &str, lab: &Mongo, events: usize, bytes: usize) -> Together {
    let uri = format!("{}&appName={app_name}", lab.uri);
    Together::open(yaml(&[("uri", &uri), ("database", &lab.database)]), lab.data_dir.path(), events, bytes).await
}

/// A record of another table.
fn of(table: &str, record: Record) -> Record {
    Record { table: table.into(), ..record }
}

async fn marks(lab: &Mongo, collection: &str) -> Vec<Option<String>> {
    let mark = |found: Document| found.get_document("_headwater").unwrap().get_str("torn").ok().map(str::to_string);
    lab.find_all(collection).await.into_iter().map(mark).collect()
}

/// All `name`s of two collections, as one snapshot has them; an error where the server asks to look again, as it does
/// around the creation of a collection.
async fn seen_at_once(lab: &Mongo) -> mongodb::error::Result<Vec<String>> {
    let mut session = lab.client.start_session().await?;
    session.start_transaction().read_concern(ReadConcern::snapshot()).await?;
    let mut names = Vec::new();
    for collection in ["account", "payment"] {
        let mut cursor = lab.collection(collection).find(doc! {}).session(&mut session).await?;
        while cursor.advance(&mut session).await? {
            names.push(cursor.deserialize_current()?.get_str("name").unwrap().to_string());
        }
    }
    session.abort_transaction().await?;
    Ok(names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_all_documents_of_a_batch_or_none() {
    let Some(lab) = Mongo::new(TOGETHER).await else { return };
    let lab = Arc::new(lab);
    let mut sink = sink(&lab, 1_000, 1 << 20).await;
    // A snapshot that begins with a collection that is not there is none of the others.
    write_as(&mut sink, vec![put(Op::Update, 0, "v0", 1), of("payment", put(Op::Update, 0, "v0", 1))], WHOLE).await;
    let (seen, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (at, count, until) = (lab.clone(), seen.clone(), done.clone());
    let reader = tokio::spawn(async move {
        while !until.load(Ordering::Relaxed) {
            let names = match seen_at_once(&at).await {
                Err(error) if error.contains_label(mongodb::error::TRANSIENT_TRANSACTION_ERROR) => continue,
                names => names.unwrap(),
            };
            assert!(names.windows(2).all(|pair| pair[0] == pair[1]), "parts of a batch: {names:?}");
            assert!(matches!(names.len(), 2 | 40), "{}", names.len());
            count.fetch_add(usize::from(names.len() > 2), Ordering::Relaxed);
        }
    });
    let mut version = 1;
    while seen.load(Ordering::Relaxed) < 20 && !reader.is_finished() {
        version += 1;
        let name = format!("v{version}");
        let accounts = (0..20).map(|id| put(Op::Update, id, &name, version));
        let payments = (0..20).map(|id| of("payment", put(Op::Update, id, &name, version)));
        write_as(&mut sink, accounts.chain(payments).collect(), WHOLE).await;
    }
    done.store(true, Ordering::Relaxed);
    reader.await.unwrap();
    Box::new(Arc::into_inner(lab).unwrap()).close().await;
}

async fn write_as(sink: &mut Together, records: Vec<Record>, unity: Unity) {
    let batch = sink.process(batch(records)).await.unwrap();
    assert_eq!((batch.rejects, sink.unity), (Vec::new(), unity));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_for_one_transaction_is_written_by_key_and_marked() {
    let Some(lab) = Mongo::new(TOGETHER).await else { return };
    let mut sink = sink(&lab, 3, 4_000).await;
    write_as(&mut sink, (0..4).map(|id| create(id, "a", 1)).collect(), torn(Torn::Events)).await;
    assert_eq!(marks(&lab, "account").await, vec![Some("events".to_string()); 4]);
    let big = "x".repeat(3_000);
    write_as(&mut sink, vec![update(0, &big, 2), update(1, &big, 2)], torn(Torn::Bytes)).await;
    write_as(&mut sink, vec![update(2, "b", 2)], WHOLE).await;
    let expected = [Some("bytes"), Some("bytes"), None, Some("events")].map(|mark| mark.map(str::to_string));
    assert_eq!(marks(&lab, "account").await, expected);
    // What is there already with its version keeps its mark: the same version is the same document.
    write_as(&mut sink, vec![update(0, &big, 2)], WHOLE).await;
    assert_eq!(marks(&lab, "account").await, expected);
    Box::new(lab).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_document_that_is_refused_does_not_take_the_others_with_it() {
    let Some(lab) = Mongo::new(TOGETHER).await else { return };
    let index = mongodb::IndexModel::builder()
        .keys(doc! { "name": 1 })
        .options(mongodb::options::IndexOptions::builder().unique(true).build())
        .build();
    lab.collection("account").create_index(index).await.unwrap();
    let mut sink = sink(&lab, 100, 1 << 20).await;
    write_as(&mut sink, vec![create(1, "a", 1)], WHOLE).await;
    let done = sink.process(batch(vec![create(2, "a", 2), create(3, "c", 2)])).await.unwrap();
    assert_eq!(done.rejects.iter().map(|reject| reject.code).collect::<Vec<_>>(), ["unique.violated"]);
    assert_eq!(sink.unity, torn(Torn::Refused));
    assert_eq!(lab.documents().await, held([(1, "a", 1), (3, "c", 2)]));
    assert_eq!(marks(&lab, "account").await, [None, Some("refused".to_string())]);
    Box::new(lab).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_asks_to_be_tried_again_is_tried_again() {
    let _one = FAIL_POINT.lock().await;
    let Some(lab) = Mongo::new(TOGETHER).await else { return };
    let mut sink = sink(&lab, 100, 1 << 20).await;
    let (write_conflict, primary_stepped_down, no_such_transaction) = (112, 189, 251);
    let mut version = 0;
    for (command, code, label) in [
        ("find", write_conflict, "TransientTransactionError"),
        ("insert", write_conflict, "TransientTransactionError"),
        ("update", no_such_transaction, "TransientTransactionError"),
        ("delete", write_conflict, "TransientTransactionError"),
        ("commitTransaction", no_such_transaction, "TransientTransactionError"),
        ("commitTransaction", primary_stepped_down, "UnknownTransactionCommitResult"),
    ] {
        version += 10;
        write_as(&mut sink, vec![put(Op::Create, 1, "a", version), create(2, "b", version)], WHOLE).await;
        let fault = doc! { "failCommands": [command], "errorCode": code, "errorLabels": [label] };
        let before = arm(&lab, doc! { "times": 2 }, "together", fault).await;
        let changes = vec![update(1, "a2", version + 1), delete(2, version + 1), create(version as i64, "c", version)];
        write_as(&mut sink, changes, WHOLE).await;
        assert!(disarm(&lab).await - before >= 2, "{command} {code}");
        let ours =
            lab.documents().await.into_iter().filter(|(id, _)| ["1", "2", &version.to_string()].contains(&&**id));
        assert_eq!(
            ours.collect::<super::lab::Documents>(),
            held([(1, "a2", version as i64 + 1), (version as i64, "c", version as i64)])
        );
    }
    Box::new(lab).close().await;
}

/// Its transaction would be open for a minute, and its documents locked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_killed_before_its_commit_does_not_hold_up_the_next() {
    let _one = FAIL_POINT.lock().await;
    let Some(lab) = Mongo::new(TOGETHER).await else { return };
    let mut killed = sink_called("killed", &lab, 100, 1 << 20).await;
    write_as(&mut killed, vec![create(1, "a", 1)], WHOLE).await;
    let nap = doc! { "failCommands": ["commitTransaction"], "blockConnection": true, "blockTimeMS": 20_000 };
    let before = arm(&lab, doc! { "times": 1 }, "killed", nap).await;
    let asleep = tokio::spawn(async move { killed.process(batch(vec![update(1, "b", 2)])).await });
    while count(&lab).await == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    asleep.abort();
    let mut next = sink(&lab, 100, 1 << 20).await;
    write_as(&mut next, vec![update(1, "c", 3)], WHOLE).await;
    assert_eq!(lab.documents().await, held([(1, "c", 3)]));
    disarm(&lab).await;
    Box::new(lab).close().await;
}

/// How often the fail point was met.
async fn count(lab: &Mongo) -> i64 {
    let command = doc! { "getParameter": 1, "failpoint.failCommand": 1 };
    let reply = lab.client.database("admin").run_command(command).await.unwrap();
    i64::from(reply.get_document("failpoint.failCommand").unwrap().get_i32("timesEntered").unwrap_or_default())
}

/// Several writers of the same keys, some key by key: nobody's old version wins, and the conflicts are got over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_meet_try_again() {
    let Some(lab) = Mongo::new(TOGETHER).await else { return };
    let mut writers = Vec::new();
    for writer in 0..3u64 {
        let mut sink: Box<dyn Stage> = match writer {
            0 => lab.sink_keeping("1h").await,
            _ => Box::new(sink(&lab, 100, 1 << 20).await),
        };
        writers.push(tokio::spawn(async move {
            for round in 0..40u64 {
                let version = round * 3 + writer + 1;
                let change = |id: i64| match (round + id as u64) % 5 {
                    0 => delete(id, version),
                    _ => update(id, &format!("v{version}"), version),
                };
                loop {
                    match sink.process(batch((0..8).map(change).collect())).await {
                        Ok(_) => break,
                        Err(headwater::Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    // The last round of the last writer has the highest version of all.
    let live = (0..8i64).filter(|id| (39 + id) % 5 != 0).map(|id| (id, "v120", 120));
    assert_eq!(lab.documents().await, held(live));
    let mut last = lab.sink().await;
    write(&mut last, vec![update(0, "late", 3)]).await;
    Box::new(lab).close().await;
}
