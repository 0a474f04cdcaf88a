//! The MongoDB sink while things break: before the effect, after it, between two steps, and between two writers.

use std::time::Duration;

use headwater::record::Record;
use headwater::stage::Stage;
use headwater::{Error, Result};
use mongodb::bson::{Document, doc};

use crate::sinks::lab::{Documents, Lab, Mongo, TABLE, TOGETHER, batch, create, delete, held, offer, update, write};
use crate::sinks::proxy::Proxy;

const PLANS: [&str; 5] = ["auto", "insert", "probe", "guarded", TOGETHER];
/// The server has one `failCommand` fail point: one test at a time.
pub static FAIL_POINT: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Arms the fail point for commands of the client called `app_name`.
pub async fn arm(lab: &Mongo, mode: Document, app_name: &str, mut data: Document) -> i64 {
    data.insert("appName", app_name);
    let command = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
    let reply = lab.client.database("admin").run_command(command).await;
    i64::from(reply.expect("mongod with --setParameter enableTestCommands=1").get_i32("count").unwrap())
}

/// Disarms it and tells how often it has fired since the server's start.
pub async fn disarm(lab: &Mongo) -> i64 {
    let command = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    let reply = lab.client.database("admin").run_command(command).await.unwrap();
    i64::from(reply.get_i32("count").unwrap())
}

async fn attempt(sink: &mut Box<dyn Stage>, records: Vec<Record>) -> Result<()> {
    sink.process(batch(records)).await.map(|batch| assert_eq!(batch.rejects, []))
}

/// A history that uses every kind of statement, and its end.
fn history() -> ([Vec<Record>; 2], Documents) {
    let first = vec![create(1, "alice", 1), create(2, "bob", 2), create(3, "carol", 3)];
    let second = vec![update(1, "alice2", 4), delete(2, 5), create(4, "dave", 6), update(9, "new", 7)];
    ([first, second], held([(1, "alice2", 4), (3, "carol", 3), (4, "dave", 6), (9, "new", 7)]))
}

/// Writes the history with one fault; whatever failed is sent again by a new instance, as a rebuilt lane does.
async fn survive(lab: &Mongo, what: &str, mode: Document, fault: Document) -> i64 {
    let ([first, second], expected) = history();
    let mut sink = lab.sink_at(&lab.uri, "faulty", &[]).await;
    write(&mut sink, first).await;
    let before = arm(lab, mode, "faulty", fault).await;
    let outcome = attempt(&mut sink, second.clone()).await;
    let fired = disarm(lab).await - before;
    match outcome {
        // A transaction is tried again at once where the server says that this may well succeed.
        Ok(()) => assert!(fired == 0 || lab.plan == TOGETHER, "{what}: the fault was swallowed"),
        Err(Error::Unavailable(text)) => {
            let secret = ["alice", "bob", "carol", "dave"].into_iter().find(|name| text.contains(name));
            assert_eq!(secret, None, "{what}: {text}");
            assert!(text.starts_with("mongodb 127.0.0.1"), "{what}: {text}");
        }
        Err(other) => panic!("{what}: {other}"),
    }
    let mut sink = lab.sink_at(&lab.uri, "faulty", &[]).await;
    write(&mut sink, second).await;
    assert_eq!(lab.documents().await, expected, "{what}");
    lab.client.database(&lab.database).drop().await.unwrap();
    fired
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_command_is_sent_again() {
    let _one = FAIL_POINT.lock().await;
    for plan in PLANS {
        let Some(lab) = Mongo::new(plan).await else { return };
        let mut fired = 0;
        for (index, command) in ["find", "insert", "update", "delete"].into_iter().enumerate() {
            // NotWritablePrimary; then InterruptedAtShutdown, ExceededTimeLimit, OutOfDiskSpace or one never heard of.
            for code in [10107, [11600, 262, 14031, 999_999][index]] {
                let fault = doc! { "failCommands": [command], "errorCode": code };
                fired += survive(&lab, &format!("{plan} {command} {code}"), doc! { "times": 1 }, fault).await;
            }
            let fault = doc! { "failCommands": [command], "closeConnection": true };
            fired += survive(&lab, &format!("{plan} {command} cut"), doc! { "times": 1 }, fault).await;
        }
        assert!(fired >= 9, "{plan}: the fail point fired only {fired} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_no_majority_confirmed_is_sent_again() {
    let _one = FAIL_POINT.lock().await;
    for plan in PLANS {
        let Some(lab) = Mongo::new(plan).await else { return };
        for skip in 0..3 {
            let concern = doc! { "code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting timed out" };
            let commands = ["insert", "update", "delete"];
            let fault = doc! { "failCommands": commands.to_vec(), "writeConcernError": concern };
            let fired = survive(&lab, &format!("{plan} after {skip}"), doc! { "skip": skip }, fault).await;
            assert!(fired > 0, "{plan}: no write after {skip} others");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_changes_nothing() {
    for plan in PLANS {
        let Some(lab) = Mongo::new(plan).await else { return };
        let server = lab.uri.split('/').nth(2).unwrap().to_string();
        let graves = format!("{TABLE}.tombstones");
        let mut lost = 0;
        for (verb, collection) in [("insert", TABLE), ("update", TABLE), ("update", &*graves), ("delete", TABLE)] {
            let proxy = Proxy::to(server.clone()).await;
            let uri = format!("mongodb://{}/?directConnection=true", proxy.address);
            let ([first, second], expected) = history();
            let mut sink = lab.sink_at(&uri, "proxied", &[]).await;
            write(&mut sink, first).await;
            proxy.lose_reply_to(verb, collection);
            let outcome = attempt(&mut sink, second.clone()).await;
            assert_eq!(outcome.is_err(), proxy.lost() == 1, "{plan} {verb} {collection}: {outcome:?}");
            lost += proxy.lost();
            write(&mut sink, second).await;
            assert_eq!(lab.documents().await, expected, "{plan} {verb} {collection}");
            lab.client.database(&lab.database).drop().await.unwrap();
        }
        assert!(lost >= 3, "{plan}: only {lost} replies were lost");
    }
}

/// What the awake writer does while the other one sleeps in the middle of its batch, and the right end of both.
struct Interleaving {
    what: &'static str,
    before: Vec<Record>,
    /// The sleeper's batch, and the command (upon the collection, or the tombstones) before which it sleeps.
    sleeper: Vec<Record>,
    asleep_before: (&'static str, bool),
    awake: Vec<Record>,
    expected: Documents,
}

fn interleavings() -> Vec<Interleaving> {
    let case = |what, before, sleeper, asleep_before, awake, expected: &[(i64, &'static str, i64)]| Interleaving {
        what,
        before,
        sleeper,
        asleep_before,
        awake,
        expected: held(expected.iter().copied()),
    };
    let old = || vec![create(1, "old", 1)];
    let (find, insert, update_, delete_) = (("find", false), ("insert", false), ("update", false), ("delete", false));
    let (look, bury) = (("find", true), ("update", true));
    vec![
        case("insert after a whole delete", vec![], old(), insert, vec![delete(1, 5)], &[]),
        case("upsert after a whole delete", vec![], old(), update_, vec![delete(1, 5)], &[]),
        case("insert, delete, then the look", vec![], old(), look, vec![delete(1, 5)], &[]),
        case("probe, then a newer insert", vec![], old(), insert, vec![create(1, "new", 5)], &[(1, "new", 5)]),
        case("before the probe, a newer insert", vec![], old(), find, vec![create(1, "new", 5)], &[(1, "new", 5)]),
        case(
            "update after a newer update",
            old(),
            vec![update(1, "mid", 3)],
            update_,
            vec![update(1, "new", 5)],
            &[(1, "new", 5)],
        ),
        case("update after a newer delete", old(), vec![update(1, "mid", 3)], update_, vec![delete(1, 5)], &[]),
        case(
            "update after an older delete",
            old(),
            vec![update(1, "new", 5)],
            update_,
            vec![delete(1, 3)],
            &[(1, "new", 5)],
        ),
        case(
            "insert after an older delete",
            old(),
            vec![create(1, "new", 5)],
            insert,
            vec![delete(1, 3)],
            &[(1, "new", 5)],
        ),
        case(
            "tombstone after a newer insert",
            old(),
            vec![delete(1, 3)],
            bury,
            vec![create(1, "new", 5)],
            &[(1, "new", 5)],
        ),
        case(
            "delete after a newer update",
            old(),
            vec![delete(1, 3)],
            delete_,
            vec![update(1, "new", 5)],
            &[(1, "new", 5)],
        ),
        case("delete after an older update", old(), vec![delete(1, 5)], delete_, vec![update(1, "mid", 3)], &[]),
        case("tombstone after an older update", old(), vec![delete(1, 5)], bury, vec![update(1, "mid", 3)], &[]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_paused_writer_does_no_harm_when_it_awakes() {
    let _one = FAIL_POINT.lock().await;
    for plan in PLANS {
        let Some(lab) = Mongo::new(plan).await else { return };
        let mut slept = 0;
        for case in interleavings() {
            let what = format!("{plan}: {}", case.what);
            let mut sleeper = lab.sink_at(&lab.uri, "sleeper", &[]).await;
            let mut awake = lab.sink_at(&lab.uri, "awake", &[]).await;
            write(&mut awake, case.before).await;
            write(&mut sleeper, vec![create(99, "opens the collection", 1)]).await;
            let (command, of_tombstones) = case.asleep_before;
            let collection = if of_tombstones { format!("{TABLE}.tombstones") } else { TABLE.to_string() };
            let namespace = format!("{}.{collection}", lab.database);
            let nap =
                doc! { "failCommands": [command], "namespace": namespace, "blockConnection": true, "blockTimeMS": 250 };
            let before = arm(&lab, doc! { "times": 1 }, "sleeper", nap).await;
            let asleep = tokio::spawn(async move { attempt(&mut sleeper, case.sleeper).await });
            tokio::time::sleep(Duration::from_millis(80)).await;
            attempt(&mut awake, case.awake).await.unwrap();
            asleep.await.unwrap().unwrap();
            slept += disarm(&lab).await - before;
            let mut found = lab.documents().await;
            found.remove("99");
            assert_eq!(found, case.expected, "{what}");
            lab.client.database(&lab.database).drop().await.unwrap();
        }
        assert!(slept >= 8, "{plan}: the sleeper slept only {slept} times");
    }
}

/// A crash between the write and the look for tombstones leaves a document that is dead; the repetition removes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_look_is_healed_by_the_repetition() {
    let _one = FAIL_POINT.lock().await;
    for plan in PLANS {
        let Some(lab) = Mongo::new(plan).await else { return };
        let mut sink = lab.sink_at(&lab.uri, "crashing", &[]).await;
        write(&mut sink, vec![delete(7, 5)]).await;
        // Put by hand what a writer leaves behind that wrote after the delete and never looked.
        let dead = doc! { "_id": 1i64, "name": "dead", "_headwater": { "v": 2i64 } };
        lab.collection(TABLE).insert_one(dead).await.unwrap();
        let grave = doc! { "_id": 1i64, "v": 5i64, "at": mongodb::bson::DateTime::now() };
        lab.collection(&format!("{TABLE}.tombstones")).insert_one(grave).await.unwrap();
        write(&mut sink, vec![create(1, "dead", 2)]).await;
        assert_eq!(lab.documents().await, held([]), "{plan}");
        Box::new(lab).close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_rewrites_no_document() {
    for plan in PLANS {
        let Some(lab) = Mongo::new(plan).await else { return };
        let ([first, second], expected) = history();
        for records in [first.clone(), second.clone()] {
            write(&mut lab.sink().await, records).await;
        }
        let oplog = lab.client.database("local").collection::<Document>("oplog.rs");
        // A transaction is one entry of its own.
        let namespace = doc! { "$regex": format!("^{}\\.", lab.database) };
        let ours = doc! { "$or": [{ "ns": &namespace }, { "o.applyOps.ns": namespace }] };
        let before = oplog.count_documents(ours.clone()).await.unwrap();
        assert!(before >= if plan == TOGETHER { 2 } else { 7 }, "the oplog tells what was written");
        let mut sink = lab.sink().await;
        for _ in 0..3 {
            write(&mut sink, second.clone()).await;
        }
        assert_eq!(oplog.count_documents(ours).await.unwrap(), before, "{plan}");
        assert_eq!(lab.documents().await, expected);
        Box::new(lab).close().await;
    }
}

/// Documents computed from a raw store come as updates, new ones too: the sink goes on asking for them and inserts what is
/// missing, which costs the server a sixth of an upsert. Where the records tell what is new, it soon asks no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_is_inserted_whatever_the_records_call_it() {
    let Some(lab) = Mongo::new("auto").await else { return };
    let database = lab.client.database(&lab.database);
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let profile = database.collection::<Document>("system.profile");
    let documents = format!("{}.{TABLE}", lab.database);
    let count = async |op: &str| profile.count_documents(doc! { "ns": &documents, "op": op }).await.unwrap();
    let mut sink = lab.sink().await;
    for batch in 0..5 {
        write(&mut sink, (0..10).map(|n| update(10 * batch + n, "new", 1)).collect()).await;
    }
    assert_eq!((count("insert").await, count("update").await, count("query").await), (5, 0, 5));
    for batch in 5..10 {
        write(&mut sink, (0..10).map(|n| create(10 * batch + n, "new", 1)).collect()).await;
    }
    assert_eq!((count("insert").await, count("update").await, count("query").await), (10, 0, 7));
    drop(sink);
    Box::new(lab).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_value_moves_but_is_not_shared() {
    for plan in PLANS {
        let Some(lab) = Mongo::new(plan).await else { return };
        let unique = mongodb::options::IndexOptions::builder().unique(true).build();
        let index = mongodb::IndexModel::builder().keys(doc! { "name": 1 }).options(unique).build();
        lab.collection(TABLE).create_index(index).await.unwrap();
        let mut sink = lab.sink().await;
        write(&mut sink, vec![create(1, "a", 1), create(2, "b", 2)]).await;
        // The value moves: whichever order the server takes, the batch's second try finds it free.
        write(&mut sink, vec![update(2, "a", 3), update(1, "c", 4), create(3, "b", 5)]).await;
        assert_eq!(lab.documents().await, held([(1, "c", 4), (2, "a", 3), (3, "b", 5)]), "{plan}");
        write(&mut sink, vec![update(1, "secret", 6)]).await;
        let rejects = offer(&mut sink, vec![create(4, "secret", 7), create(5, "d", 8)]).await;
        assert_eq!(rejects.iter().map(|reject| reject.code).collect::<Vec<_>>(), ["unique.violated"], "{plan}");
        assert!(!rejects[0].reason.contains("secret"));
        assert_eq!(lab.documents().await.len(), 4);
        Box::new(lab).close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_validator_refuses_is_rejected_alone() {
    for plan in PLANS {
        let Some(lab) = Mongo::new(plan).await else { return };
        let rule = doc! { "name": { "$ne": "secret" } };
        lab.client.database(&lab.database).create_collection(TABLE).validator(rule).await.unwrap();
        let mut sink = lab.sink().await;
        let rejects = offer(&mut sink, vec![create(1, "secret", 1), create(2, "b", 2)]).await;
        assert_eq!((rejects.len(), rejects[0].code), (1, "document.invalid"), "{plan}");
        assert!(!rejects[0].reason.contains("secret"));
        let rejects = offer(&mut sink, vec![update(2, "secret", 3), update(3, "c", 4)]).await;
        assert_eq!((rejects.len(), rejects[0].code), (1, "document.invalid"), "{plan}");
        assert_eq!(lab.documents().await, held([(2, "b", 2), (3, "c", 4)]), "{plan}");
        Box::new(lab).close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_document_is_stored_and_a_larger_one_rejected() {
    // What does not go together is written by key, with a mark that takes a few bytes.
    for plan in PLANS.into_iter().filter(|plan| *plan != TOGETHER) {
        let Some(lab) = Mongo::new(plan).await else { return };
        let mut sink = lab.sink().await;
        let limit = 16 * 1024 * 1024;
        let around = 13 + 12 + 11 + 43 + 5; // _id, id, name, _headwater, frame
        let largest = "x".repeat(limit - around);
        for (version, op) in [(1, create as fn(i64, &str, u64) -> Record), (2, update)] {
            let records =
                vec![op(1, "small", version), op(2, &largest, version), op(3, &format!("{largest}x"), version)];
            let rejects = offer(&mut sink, records).await;
            assert_eq!((rejects.len(), rejects[0].code), (1, "document.too_large"), "{plan}");
            let found = lab.find_all(TABLE).await;
            assert_eq!(found.len(), 2, "{plan}");
            assert_eq!(mongodb::bson::serialize_to_vec(&found[1]).unwrap().len(), limit);
        }
        Box::new(lab).close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tombstones_age_as_long_as_the_pipeline_says() {
    let Some(lab) = Mongo::new("auto").await else { return };
    for (keep, secs) in [("30d", 2_592_000), ("1h", 3_600)] {
        let mut sink = lab.sink_keeping(keep).await;
        write(&mut sink, vec![delete(1, 5)]).await;
        let mut indexes = lab.collection(&format!("{TABLE}.tombstones")).list_indexes().await.unwrap();
        let mut ages = Vec::new();
        while indexes.advance().await.unwrap() {
            ages.extend(indexes.deserialize_current().unwrap().options.unwrap().expire_after);
        }
        assert_eq!(ages, [Duration::from_secs(secs)]);
    }
    let grave = lab.find_all(&format!("{TABLE}.tombstones")).await.remove(0);
    assert_eq!(grave.get_i64("v").unwrap(), 5);
    let age_ms =
        mongodb::bson::DateTime::now().timestamp_millis() - grave.get_datetime("at").unwrap().timestamp_millis();
    assert!((0..600_000).contains(&age_ms), "a tombstone's age is the server's time of the delete");
    Box::new(lab).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_cannot_connect_is_told_why_without_secrets() {
    let Some(lab) = Mongo::new("auto").await else { return };
    let address = lab.uri.split('/').nth(2).unwrap().to_string();
    let cases = [
        (format!("mongodb://intruder:hunter2@{address}/?authSource=admin"), "authentication failed"),
        ("mongodb://user:hunter2@127.0.0.1:1/?serverSelectionTimeoutMS=300".to_string(), "no primary can be reached"),
    ];
    for (uri, expected) in cases {
        let error = lab.try_open(&uri).await.err().expect("a refusal");
        let text = error.to_string();
        assert!(matches!(error, Error::Unavailable(_)), "{text}");
        assert!(text.contains(expected) && text.contains("127.0.0.1") && !text.contains("hunter2"), "{text}");
    }
    let error = lab.try_open("mongodb://127.0.0.1:1/?tlsInsecure=hunter2").await.err().expect("a refusal");
    assert!(matches!(error, Error::Config(_)) && !error.to_string().contains("hunter2"), "{error}");
}
