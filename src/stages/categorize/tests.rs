//! The stage on rules alone and on a small trained model, with and without a raw store.

use std::path::Path;
use std::sync::Arc;

use super::super::testing::{flow, plan, plan_behind, record};
use super::*;
use crate::record::{Op, Record, Value};
use crate::stores::{SharedStore, Stores};

const RULES: &str = "pattern\tcategory\tmatch\twhen\nMIETE\thousing.rent\tword\tout\nREWE\tfood\tcontains\n*\tother\n";

fn rules_folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.tsv"), RULES).unwrap();
    dir
}

pub(super) fn lane(dir: &Path) -> LaneContext {
    LaneContext {
        pipeline: "p".into(),
        lane: 0,
        lanes: 1,
        batch: crate::pipeline::BatchLimits::default(),
        data_dir: dir.to_path_buf(),
        stores: Arc::new(Stores::new(dir)),
        shutdown: tokio_util::sync::CancellationToken::new(),
        until_end: true,
        state: "state".into(),
        accepted: Default::default(),
    }
}

pub(super) fn row(id: i64, note: Value, amount: &str) -> Row {
    let amount = Value::Decimal(amount.parse().unwrap());
    Row::of([("id", Value::Int(id)), ("status", "booked".into()), ("amount", amount), ("note", note)])
}

pub(super) fn yaml(model: &Path, rest: &str) -> String {
    format!("{{ table: t, model: '{}', text: [note], amount: amount, {rest} }}", model.display())
}

#[tokio::test]
async fn rules_alone_add_three_columns() {
    let dir = rules_folder();
    let (mut stage, flow) = plan(make, &yaml(dir.path(), "add: category")).unwrap();
    stage.open(&lane(dir.path())).await.unwrap();
    let rows = [
        row(1, "an REWE 12".into(), "-3.50"),
        row(2, "Miete Mai".into(), "-900"),
        row(3, "Miete Mai".into(), "900.00"),
        row(4, Value::Null, "1"),
        row(5, Value::Unchanged, "1"),
        row(6, Value::Int(5), "1"),
    ];
    let mut records: Vec<Record> = rows.into_iter().map(|r| record("t", r)).collect();
    records.push(record("u", row(7, "REWE".into(), "1")));
    let batch = stage.process(Batch { records, ..Batch::default() }).await.unwrap();
    let column = |name: &str| -> Vec<Option<Value>> {
        batch.records.iter().map(|r| r.row.as_ref().unwrap().get(name).cloned()).collect()
    };
    let text = |t: &str| Some(Value::from(t));
    let unchanged = Some(Value::Unchanged);
    let expected = [text("food"), text("housing.rent"), text("other"), text("other"), unchanged.clone(), None];
    assert_eq!(column("category"), expected);
    assert_eq!(
        column("category_source"),
        [text("rule"), text("rule"), text("default"), text("default"), unchanged, None]
    );
    assert_eq!(column("category_confidence")[0], Some(Value::Float(1.0)));
    assert_eq!(batch.rejects.len(), 1);
    assert_eq!(batch.rejects[0].reason, "column `note` holds int64, expected text");
    let field = flow.tables["t"].field("category").unwrap();
    assert_eq!(field.origin, ["t.amount", "t.note"]);
}

#[test]
fn wrong_sections_are_refused_with_a_reason() {
    let code = |yaml: &str| plan(make, yaml).map(|_| ()).unwrap_err()[0].code;
    assert_eq!(code("{ table: t, model: m, text: [note] }"), "key.missing");
    assert_eq!(code("{ table: t, model: m, text: [note], add: a, into: b }"), "key.missing");
    assert_eq!(code("{ table: t, model: m, add: a }"), "key.missing");
    assert_eq!(code("{ table: tt, model: m, text: [note], add: a }"), "table.unknown");
    assert_eq!(code("{ table: t, model: m, text: [nota], add: a }"), "field.unknown");
    assert_eq!(code("{ table: t, model: m, text: [amount], add: a }"), "type.wrong");
    assert_eq!(code("{ table: t, model: m, text: [note], amount: status, add: a }"), "type.wrong");
    for fact in ["direction", "mcc", "day"] {
        let yaml = |column: &str| format!("{{ table: t, model: m, text: [note], {fact}: {column}, add: a }}");
        assert_eq!(code(&yaml("amount")), "type.wrong", "{fact}");
        assert_eq!(code(&yaml("amuont")), "field.unknown", "{fact}");
        assert!(plan(make, &yaml("status")).is_ok(), "{fact}");
    }
    assert_eq!(code("{ table: t, model: m, text: [note], add: status }"), "field.duplicate");
    assert_eq!(code("{ table: t, model: m, text: [note], into: c }"), "store.missing");
}

#[test]
fn results_are_a_table_of_the_raw_store() {
    let input = Flow { store: Some("bank".into()), stored: flow().tables, ..flow() };
    let (_, flow) = plan_behind(make, "{ table: t, model: m, text: [note], into: c }", input.clone()).unwrap();
    let names: Vec<_> = flow.stored["c"].fields.iter().map(|f| (f.name.as_str(), f.kind.to_string())).collect();
    let expected = [
        ("id", "int64"),
        ("category", "text"),
        ("confidence", "float64"),
        ("top3", "map[]"),
        ("model", "text"),
        ("source", "text"),
    ];
    assert_eq!(names, expected.map(|(name, kind)| (name, kind.to_string())));
    assert_eq!(flow.stored["c"].key, ["id"]);
    assert_eq!(flow.tables["c"], flow.stored["c"]);
    let problems = plan_behind(make, "{ table: t, model: m, text: [note], into: u }", input).map(|_| ()).unwrap_err();
    assert_eq!(problems[0].code, "table.duplicate");
}

/// A raw store in `dir`, and the stage behind it.
pub(super) struct Lab {
    raw: Box<dyn Stage>,
    stage: Box<dyn Stage>,
    store: SharedStore,
}

impl Lab {
    pub(super) async fn open(model: &Path, dir: &Path, rest: &str) -> Lab {
        let (mut raw, behind) = plan(crate::stages::raw::make, "bank").unwrap();
        let (mut stage, _) = plan_behind(make, &yaml(model, rest), behind).unwrap();
        let lane = lane(dir);
        raw.open(&lane).await.unwrap();
        stage.open(&lane).await.unwrap();
        Lab { raw, stage, store: lane.stores.get("bank").await.unwrap() }
    }

    pub(super) async fn process(&mut self, records: Vec<Record>) -> Batch {
        let batch = self.raw.process(Batch { records, ..Batch::default() }).await.unwrap();
        self.stage.process(batch).await.unwrap()
    }

    pub(super) async fn stored(&self) -> Vec<Row> {
        let mut snapshot = self.store.snapshot().await.unwrap();
        snapshot.scan("c", None, 100).await.unwrap().into_iter().map(|r| r.row).collect()
    }
}

#[tokio::test]
async fn results_have_the_rows_key_and_follow_the_batch() {
    let dir = rules_folder();
    let mut lab = Lab::open(dir.path(), dir.path(), "into: c").await;
    let mut first = record("t", row(1, "REWE".into(), "-1"));
    first.position.offset = 7;
    let mut second = record("t", row(2, "x".into(), "1"));
    second.position.offset = 8;
    let strange = record("t", row(3, Value::Bool(true), "1"));
    let other = record("u", row(9, "REWE".into(), "1"));
    let records = vec![first.clone(), strange, second.clone(), other.clone()];
    let batch = lab.process(records.clone()).await;
    assert_eq!(batch.records[..3], [first.clone(), second.clone(), other]);
    assert_eq!(batch.rejects.len(), 1);
    let [result, _] = &batch.records[3..] else { panic!("two results expected, found {}", batch.records.len() - 3) };
    let version = lab.store.snapshot().await.unwrap().version();
    assert_eq!((&*result.table, &result.key, result.position.is_derived()), ("c", &first.key, true));
    assert!(result.version < version, "made from the snapshot before");
    let id = Categorizer::load(dir.path()).unwrap().id;
    let expected = [Value::Int(1), "food".into(), Value::Float(1.0), Value::Null, Value::Text(id), "rule".into()];
    let rows = lab.stored().await;
    assert_eq!(rows[0].values(), expected);
    assert_eq!(rows.len(), 2);

    // Again is the same as once, and goes behind the batch again.
    let again = lab.process(records).await;
    let told = |batch: &Batch| batch.records.iter().map(|r| (r.table.clone(), r.row.clone())).collect::<Vec<_>>();
    assert_eq!(told(&again), told(&batch));
    assert_eq!(lab.stored().await, rows);

    // A result goes with its row.
    (second.op, second.row, second.position.offset) = (Op::Delete, None, 9);
    lab.process(vec![second]).await;
    assert_eq!(lab.stored().await, rows[..1]);
}

#[tokio::test]
async fn results_of_an_older_snapshot_are_stale() {
    let dir = rules_folder();
    let mut lab = Lab::open(dir.path(), dir.path(), "into: c").await;
    let batch = lab.process(vec![record("t", row(1, "REWE".into(), "-1"))]).await;
    let late = batch.records.into_iter().find(|r| &*r.table == "c").unwrap();
    let mut changed = record("t", row(1, "x".into(), "-1"));
    (changed.op, changed.position.offset) = (Op::Update, 1);
    lab.process(vec![changed]).await;
    let applied = lab.store.apply(vec![Record { op: Op::Update, ..late }]).await.unwrap();
    assert_eq!(applied.stale, 1);
    assert_eq!(lab.stored().await[0].get("category"), Some(&"other".into()));
}

#[tokio::test]
async fn results_say_what_decided() {
    let dir = rules_folder();
    let mut lab = Lab::open(dir.path(), dir.path(), "into: c, explain: true").await;
    lab.process(vec![record("t", row(1, "Miete Mai".into(), "-1")), record("t", row(2, "x".into(), "1"))]).await;
    let because = |row: &Row| row.get("because").unwrap().to_json();
    let rows: Vec<String> = lab.stored().await.iter().map(because).collect();
    assert_eq!(rows, [r#"[{"word":"MIETE","weight":1.0}]"#, "[]"]);
}

#[test]
fn corrections_are_checked() {
    let columns = [("id", "int64"), ("of", "int64"), ("shop", "text"), ("category", "text"), ("at", "timestamp")];
    let tables = [super::super::testing::table("k", &columns)];
    let tables: std::collections::BTreeMap<_, _> = flow().tables.into_iter().chain(tables).collect();
    let input = Flow { store: Some("bank".into()), stored: tables.clone(), tables, ..flow() };
    let code = |corrections: &str| {
        let yaml = format!("{{ table: t, model: m, text: [note], into: c, corrections: {corrections} }}");
        plan_behind(make, &yaml, input.clone()).map(|_| "").unwrap_or_else(|problems| problems[0].code)
    };
    assert_eq!(code("{ table: k, on: { id: of }, text: shop }"), "");
    assert_eq!(code("{ table: k, on: { id: of } }"), "");
    assert_eq!(code("{ table: k, text: shop, category: shop }"), "");
    assert_eq!(code("{ table: k }"), "key.missing");
    assert_eq!(code("{ table: kk, text: shop }"), "table.unknown");
    assert_eq!(code("{ table: k, text: shopp }"), "field.unknown");
    assert_eq!(code("{ table: k, text: of }"), "type.wrong");
    assert_eq!(code("{ table: k, text: shop, category: at }"), "type.wrong");
    assert_eq!(code("{ table: k, on: { note: shop } }"), "key.wrong");
    let add = "{ table: t, model: m, text: [note], add: a, corrections: { table: k, text: shop } }";
    assert_eq!(plan_behind(make, add, input.clone()).map(|_| ()).unwrap_err()[0].code, "key.missing");
}
