//! A new version of a model under load: published while changes flow, results computed again from the raw store by a
//! second process, both processes killed again and again, corrections coming and going.
//!
//! Proven at rest: every document shows the correction that one SQL query over PostgreSQL finds, or else the answer of the
//! new version, which is asked here about each row of PostgreSQL; none is lost. Both versions are trained models with rules
//! in front, of other categories each. Sizes are set by environment variables; in full it is 200,000 transactions
//! (`HEADWATER_E2E_MODEL_TRANSACTIONS=200000 HEADWATER_E2E_MODEL_SECONDS=60`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headwater::model::{Buffers, Categorizer, Columns, Dataset, Facts, Settings, folder, train};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::canonical::{self, Leaves, difference};
use super::mongo::Mongo;
use super::road::{MongoTarget, SqliteTarget, Target, size};
use super::runner::{Runner, headwater};
use super::services::Services;
use super::world::World;

/// The normal form of a text without letters beyond ASCII, as SQL says it.
const NORMAL: &str =
    "upper(trim(regexp_replace(regexp_replace(TEXT, '[0-9]+', '0', 'g'), '[^A-Za-z0&''.*#]+', ' ', 'g')))";

#[test]
fn a_new_version_reaches_every_document_in_mongodb() {
    let Some(services) = Services::from_env("a_new_version_reaches_every_document_in_mongodb") else { return };
    let world = World::new(services, "models", 500, transactions());
    let mongo = Mongo::connect(&world.services.mongodb);
    let target = MongoTarget { mongo, raw_store: world.raw_store(), database: world.name.clone() };
    renew(&world, "categories-mongodb.yaml", &target);
}

/// Two processes write into one SQLite file here.
#[test]
fn a_new_version_reaches_every_document_in_embedded_stores() {
    let Some(services) = Services::from_env("a_new_version_reaches_every_document_in_embedded_stores") else { return };
    let world = World::new(services, "models_embedded", 500, transactions());
    let target = SqliteTarget { data_dir: world.path().join("data") };
    renew(&world, "categories-embedded.yaml", &target);
}

fn transactions() -> u32 {
    size("HEADWATER_E2E_MODEL_TRANSACTIONS", 10_000)
}

/// Rules in front of the model.
fn rules(version: u32) -> String {
    format!("pattern\tcategory\tmatch\nUber\tgroceries{version}\tcontains\nMIETE\trent{version}\tcontains\n")
}

/// A model of the example bank's merchants: the category is their code and the version. Of every third it learns nothing.
fn model(version: u32) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labelled.tsv");
    let mut labelled = "name\tprinted\tcategory\n".to_string();
    for (at, line) in include_str!("../../examples/bank/merchants.tsv").lines().enumerate() {
        if let ([name, printed, code, ..], true) = (&line.split('\t').collect::<Vec<_>>()[..], at % 3 > 0) {
            let printed =
                (1..10).fold(printed.to_string(), |text, digits| text.replace(&format!("{{d{digits}}}"), "7"));
            writeln!(labelled, "{name}\t{printed}\t{code}-{version}").unwrap();
        }
    }
    std::fs::write(&path, labelled).unwrap();
    let columns =
        Columns { text: vec!["name".into(), "printed".into()], label: "category".into(), ..Columns::default() };
    let data = Dataset::read(&[path], &columns).unwrap();
    let settings = Settings { epochs: 3, holdout: 0.0, folds: 0, threshold: 0.3, ..Settings::default() };
    let version = format!("{version}.0.0");
    train("shops", &version, &data, &data.rows, &settings, &mut |_, _| {}).unwrap().to_bytes().unwrap()
}

fn publish(models: &Path, version: u32) {
    std::fs::create_dir_all(models).unwrap();
    let files = [(folder::RULES, rules(version).into_bytes()), (folder::MODEL, model(version))];
    let files = files.map(|(name, bytes)| (name.to_string(), bytes)).into();
    let name = format!("{version}.0.0");
    folder::write_version(models, "shops", &name, "now", &files).unwrap();
    folder::set_current(models, &name).unwrap();
}

/// The same shop for all its rows, and single rows; some are changed and taken back later.
fn correct(client: &mut postgres::Client, from: u32) {
    let merchants = "INSERT INTO category_correction (merchant, category)
         SELECT lower(counterparty), 'merchant-' || $1::int4::text FROM transaction WHERE counterparty ~ '^[A-Za-z ]{3,}$'
         GROUP BY counterparty ORDER BY count(*) DESC, counterparty OFFSET $1::int4 LIMIT 3";
    client.execute(merchants, &[&(from as i32)]).unwrap();
    let rows = "INSERT INTO category_correction (transaction_id, category)
         SELECT id, 'row-' || $1::int4::text FROM transaction WHERE id % 97 = $1 LIMIT 50";
    client.execute(rows, &[&(from as i32)]).unwrap();
}

/// Every document: the correction, or what the version answers.
fn expected(client: &mut postgres::Client, version: &Categorizer) -> BTreeMap<String, Leaves> {
    let normal = |text: &str| NORMAL.replace("TEXT", text);
    let (shop, said) = (normal("coalesce(nullif(t.counterparty, ''), t.description)"), normal("c.merchant"));
    let sql = format!(
        "SELECT t.id::text, t.counterparty, t.description, coalesce(r.category, m.category)
         FROM transaction t
         LEFT JOIN (SELECT DISTINCT ON (transaction_id) transaction_id, category FROM category_correction
             WHERE transaction_id IS NOT NULL ORDER BY transaction_id, id DESC) r ON r.transaction_id = t.id
         LEFT JOIN (SELECT DISTINCT ON (text) text, category FROM (SELECT {said} AS text, c.id, c.category
             FROM category_correction c WHERE merchant IS NOT NULL) c ORDER BY text, id DESC) m ON m.text = {shop}"
    );
    let mut buffers = Buffers::default();
    let mut document = |row: postgres::Row| {
        let texts: [Option<String>; 2] = [row.get(1), row.get(2)];
        let verdict = version.decide(texts.iter().flatten().map(String::as_str), &Facts::default(), &mut buffers);
        let corrected: Option<String> = row.get(3);
        let (name, by) = corrected.map_or_else(
            || (verdict.category.to_string(), verdict.source.as_str()),
            |category| (category, "correction"),
        );
        let category = json!({ "name": name, "by": by, "model": &*version.id });
        let document = json!({ "counterparty": texts[0], "category": category }).to_string();
        (row.get(0), canonical::from_json(&document))
    };
    client.query(&sql, &[]).unwrap().into_iter().map(&mut document).collect()
}

/// `headwater recategorize`, throttled so that it can be killed on its way.
fn start(pipeline: &Path, world: &World, data_dir: &Path) -> Child {
    let mut command = headwater(data_dir);
    let rate = (transactions() / 8).to_string();
    command.args(["--output", "json", "recategorize", "--only", "changed", "--rate", &rate]).arg(pipeline);
    let log = std::fs::OpenOptions::new().create(true).append(true).open(world.path().join("again.log")).unwrap();
    command.envs(env(world)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap()
}

fn env(world: &World) -> Vec<(String, String)> {
    let model = world.path().join("shops").display().to_string();
    world.env().into_iter().chain([("MODEL".to_string(), model)]).collect()
}

fn renew(world: &World, pipeline: &str, target: &dyn Target) {
    let mut random = StdRng::seed_from_u64(u64::from(size("HEADWATER_E2E_SEED", std::process::id())));
    let (model, pipeline) = (world.path().join("shops"), world.pipeline(pipeline));
    publish(&model, 1);
    let mut bank = world.connect();
    let table = "CREATE TABLE category_correction (id bigserial PRIMARY KEY, transaction_id bigint, merchant text, category text NOT NULL)";
    bank.batch_execute(table).unwrap();
    correct(&mut bank, 0);
    world.capture_tables("public.transaction,public.category_correction");
    let mut runner = Runner::new(world.path(), &pipeline, env(world));
    runner.start();
    let begun = Instant::now();
    while target.count() < u64::from(transactions()) {
        assert!(begun.elapsed() < Duration::from_secs(600), "the initial load does not end:\n{}", runner.log_tail());
        std::thread::sleep(Duration::from_millis(500));
    }
    println!("initial load of {} transactions: {:.1} s", transactions(), begun.elapsed().as_secs_f64());

    let seconds = u64::from(size("HEADWATER_E2E_MODEL_SECONDS", 12));
    let mut live = world.live(100, seconds, 13);
    publish(&model, 2);
    let mut again = start(&pipeline, world, runner.data_dir());
    let (mut kills, mut round) = (0, 1);
    while live.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(random.gen_range(500..1_500)));
        if again.try_wait().unwrap().is_none() {
            again.kill().unwrap();
            again.wait().unwrap();
            kills += 1;
            again = start(&pipeline, world, runner.data_dir());
        }
        if round % 3 == 0 {
            runner.kill();
            kills += 1;
            runner.start();
        }
        correct(&mut bank, round);
        bank.batch_execute("DELETE FROM category_correction WHERE id % 7 = 3").unwrap();
        bank.batch_execute("UPDATE category_correction SET category = category || '!' WHERE id % 11 = 5").unwrap();
        round += 1;
    }
    assert!(live.wait().unwrap().success(), "the bank could not be kept alive");
    assert!(kills >= 5, "only {kills} kills: the schedule is too slow to prove anything");

    let output = again.wait_with_output().unwrap();
    let log = std::fs::read_to_string(world.path().join("again.log")).unwrap_or_default();
    assert!(output.status.success(), "recategorize: {}\n{log}", String::from_utf8_lossy(&output.stdout));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let report = &report["result"]["tables"][0];
    assert_eq!(report["complete"], true);
    println!("recategorize after {kills} kills: {report}");
    assert!(report["seen"].as_u64() >= Some(u64::from(transactions())), "every row was looked at");
    at_rest(&mut bank, &runner, target, &Categorizer::load(&model).unwrap());
    let drift = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .env("HEADWATER_DATA_DIR", runner.data_dir())
        .envs(env(world))
        .args(["model", "drift"])
        .arg(&pipeline)
        .output()
        .unwrap();
    assert!(drift.status.success(), "model drift: {}", String::from_utf8_lossy(&drift.stderr));
    assert!(String::from_utf8_lossy(&drift.stdout).contains("shops@2.0.0"), "the new version was counted");
    assert_eq!(runner.terminate(Duration::from_secs(35)), Some(0), "SIGTERM drains:\n{}", runner.log_tail());
}

/// Waits until the documents equal what SQL says.
fn at_rest(bank: &mut postgres::Client, runner: &Runner, target: &dyn Target, version: &Categorizer) {
    let begun = Instant::now();
    let expected = expected(bank, version);
    let mut last = String::new();
    while begun.elapsed() < Duration::from_secs(300) {
        match difference("documents", &expected, &target.documents()) {
            None => {
                let mut by: BTreeMap<&str, usize> = BTreeMap::new();
                expected.values().for_each(|document| *by.entry(&document["category.by"]).or_default() += 1);
                let decided = ["'correction'", "'model'"].map(|source| by.get(source).copied().unwrap_or(0));
                assert!(decided.iter().all(|rows| *rows > 100), "something was not tested: {by:?}");
                return println!("{} documents as SQL says, by {by:?}, {:?} after", expected.len(), begun.elapsed());
            }
            Some(text) => last = text,
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("never at rest: {last}\n{}", runner.log_tail());
}
