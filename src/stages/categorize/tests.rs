//! The stage on rules alone and on a small trained model, with and without a raw store.

use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;

use super::super::testing::{flow, plan, plan_behind, record};
use super::*;
use crate::record::{Op, Record, Value};
use crate::stores::{Applied, Index, Parked, RawStore, Snapshot, Stores};

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
        accept_gap: false,
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

/// A store that keeps what was applied and says that all of it was new.
#[derive(Default)]
struct Recorder(Mutex<Vec<Record>>);

#[async_trait]
impl RawStore for Recorder {
    fn id(&self) -> &str {
        "recorder"
    }
    async fn apply(&self, records: Vec<Record>) -> Result<Applied> {
        self.0.lock().unwrap().extend(records.iter().cloned());
        Ok(Applied { records, ..Applied::default() })
    }
    async fn ensure_indexes(&self, _: &[Index]) -> Result<()> {
        Ok(())
    }
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Err(Error::Broken("not read here".into()))
    }
    async fn tables(&self) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }
    async fn positions(&self) -> Result<Vec<(String, i32, i64)>> {
        Ok(Vec::new())
    }
    async fn park(&self, _: &[Parked]) -> Result<()> {
        Ok(())
    }
    async fn parked(&self, _: Option<&str>, _: Option<&str>, _: usize) -> Result<Vec<Parked>> {
        Ok(Vec::new())
    }
    async fn unpark(&self, _: &[String]) -> Result<u64> {
        Ok(0)
    }
}

fn stage_with_store(model: &Path) -> (Categorize, Arc<Recorder>) {
    let store = Arc::new(Recorder::default());
    let text = |t: &str| crate::pipeline::parse(t).unwrap().spanned(t.to_string());
    let columns = Columns { text: vec!["note".into()], amount: Some("amount".into()), add: None };
    let stage = Categorize {
        table: text("t"),
        path: model.to_path_buf(),
        text: vec![text("note")],
        amount: None,
        into: Some(text("c")),
        add: None,
        store_name: None,
        store: Some(store.clone()),
        shapes: Shapes::new(columns),
        results: Results::new("c"),
        model: Some(Categorizer::shared(model).unwrap()),
        buffers: Buffers::default(),
        looked: Instant::now(),
        refused: None,
    };
    (stage, store)
}

#[tokio::test]
async fn results_share_key_and_position_and_follow_the_batch() {
    let dir = rules_folder();
    let (mut stage, store) = stage_with_store(dir.path());
    let mut gone = record("t", row(2, "x".into(), "1"));
    (gone.op, gone.row, gone.position.offset) = (Op::Delete, None, 8);
    let mut first = record("t", row(1, "REWE".into(), "-1"));
    (first.position.offset, first.version) = (7, 8);
    let strange = record("t", row(3, Value::Bool(true), "1"));
    let other = record("u", row(9, "REWE".into(), "1"));
    let records = vec![first.clone(), strange, gone.clone(), other.clone()];
    let batch = stage.process(Batch { records, ..Batch::default() }).await.unwrap();
    assert_eq!(batch.records[..3], [first.clone(), gone.clone(), other]);
    let applied = store.0.lock().unwrap().clone();
    assert_eq!(batch.records[3..], applied);
    assert_eq!(batch.rejects.len(), 1);
    let [result, deletion] = &applied[..] else { panic!("two results expected, found {}", applied.len()) };
    assert_eq!((&*result.table, &result.key, &result.position, result.version), ("c", &first.key, &first.position, 8));
    let row: Vec<_> = result.row.as_ref().unwrap().values().to_vec();
    let id = Categorizer::load(dir.path()).unwrap().id;
    assert_eq!(row, [Value::Int(1), "food".into(), Value::Float(1.0), Value::Null, Value::Text(id), "rule".into()]);
    assert_eq!((deletion.op, &deletion.row, &deletion.key), (Op::Delete, &None, &gone.key));
}
