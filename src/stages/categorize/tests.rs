//! The stage on rules alone and on a small trained model, with and without a raw store.

use std::path::Path;

use super::super::testing::{flow, plan, plan_behind, record};
use super::*;
use crate::record::{Op, Record, Value};
use crate::stores::Stores;

const RULES: &str = "pattern\tcategory\tmatch\twhen\nMIETE\thousing.rent\tword\tout\nREWE\tfood\tcontains\n*\tother\n";

fn rules_folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.tsv"), RULES).unwrap();
    dir
}

fn lane(dir: &Path) -> LaneContext {
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

fn row(id: i64, note: Value, amount: &str) -> Row {
    let amount = Value::Decimal(amount.parse().unwrap());
    Row::of([("id", Value::Int(id)), ("status", "booked".into()), ("amount", amount), ("note", note)])
}

fn yaml(model: &Path, rest: &str) -> String {
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

/// The stage behind a raw store that lives in `dir`.
async fn stage_with_store(model: &Path, dir: &Path) -> (Box<dyn Stage>, SharedStore) {
    let input = Flow { store: Some("bank".into()), stored: flow().tables, ..flow() };
    let (mut stage, _) = plan_behind(make, &yaml(model, "into: c"), input).unwrap();
    let lane = lane(dir);
    stage.open(&lane).await.unwrap();
    (stage, lane.stores.get("bank").await.unwrap())
}

async fn stored(store: &SharedStore) -> Vec<Row> {
    let mut snapshot = store.snapshot().await.unwrap();
    snapshot.scan("c", None, 100).await.unwrap().into_iter().map(|r| r.row).collect()
}

#[tokio::test]
async fn results_share_key_and_position_and_follow_the_batch() {
    let dir = rules_folder();
    let (mut stage, store) = stage_with_store(dir.path(), dir.path()).await;
    let mut first = record("t", row(1, "REWE".into(), "-1"));
    (first.position.offset, first.version) = (7, 8);
    let mut second = record("t", row(2, "x".into(), "1"));
    second.position.offset = 8;
    let strange = record("t", row(3, Value::Bool(true), "1"));
    let other = record("u", row(9, "REWE".into(), "1"));
    let records = vec![first.clone(), strange, second.clone(), other.clone()];
    let batch = stage.process(Batch { records: records.clone(), ..Batch::default() }).await.unwrap();
    assert_eq!(batch.records[..3], [first.clone(), second.clone(), other]);
    assert_eq!(batch.rejects.len(), 1);
    let [result, _] = &batch.records[3..] else { panic!("two results expected, found {}", batch.records.len() - 3) };
    assert_eq!((&*result.table, &result.key, &result.position, result.version), ("c", &first.key, &first.position, 8));
    let id = Categorizer::load(dir.path()).unwrap().id;
    let expected = [Value::Int(1), "food".into(), Value::Float(1.0), Value::Null, Value::Text(id), "rule".into()];
    let rows = stored(&store).await;
    assert_eq!(rows[0].values(), expected);
    assert_eq!(rows.len(), 2);

    // Again is the same as once, and goes behind the batch again.
    let again = stage.process(Batch { records, ..Batch::default() }).await.unwrap();
    assert_eq!(again.records, batch.records);
    assert_eq!(stored(&store).await, rows);

    // A result goes with its row.
    (second.op, second.row, second.position.offset) = (Op::Delete, None, 9);
    stage.process(Batch { records: vec![second], ..Batch::default() }).await.unwrap();
    assert_eq!(stored(&store).await, rows[..1]);
}
