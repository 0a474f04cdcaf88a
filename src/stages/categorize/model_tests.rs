//! The stage with a trained model in front of a raw store: what unsure answers keep, what explains them, which version
//! answers, and that no value of a row stops it.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::testing::record;
use super::tests::{Lab, row};
use crate::model::testing::{dataset, settings, trained, tsv};
use crate::model::{Model, UNCATEGORIZED, folder};
use crate::record::{Record, Row, Value};

/// A version of a model of shops that has to be as sure as `threshold`, beside a rule for cash.
fn publish(models: &Path, version: &str, threshold: f32) {
    let mut model: Model = trained(&dataset(&tsv()), &settings());
    (model.info.version, model.info.threshold, model.info.calibration) =
        (version.to_string(), threshold, Default::default());
    let rules = b"pattern\tcategory\nCASH\tatm\n".to_vec();
    let files =
        BTreeMap::from([(folder::MODEL.to_string(), model.to_bytes().unwrap()), (folder::RULES.to_string(), rules)]);
    folder::write_version(models, "shops", version, "2024-01-01T00:00:00Z", &files).unwrap();
    folder::set_current(models, version).unwrap();
}

fn payment(id: i64, text: &str) -> Record {
    let mut payment = record("t", row(id, text.into(), "-1"));
    payment.position.offset = id;
    payment
}

fn text<'r>(result: &'r Row, column: &str) -> &'r str {
    result.get(column).and_then(Value::as_str).unwrap()
}

fn number(value: Option<&Value>) -> f64 {
    match value {
        Some(Value::Float(number)) => *number,
        other => panic!("{other:?}"),
    }
}

/// Names and numbers of a list of maps.
fn pairs(value: Option<&Value>) -> Vec<(String, f64)> {
    let Some(Value::List(items)) = value else { panic!("{value:?}") };
    let pair = |item: &Value| match item {
        Value::Map(entries) => (entries[0].1.as_str().unwrap().to_string(), number(Some(&entries[1].1))),
        other => panic!("{other:?}"),
    };
    items.iter().map(pair).collect()
}

#[tokio::test]
async fn an_unsure_answer_keeps_its_three_best_and_says_what_spoke_for_the_first() {
    let dir = tempfile::tempdir().unwrap();
    publish(&dir.path().join("models"), "1.0.0", 0.999);
    let mut lab = Lab::open(&dir.path().join("models"), dir.path(), "into: c, explain: true").await;
    lab.process(vec![payment(1, "Pizza Corner"), payment(2, "cash 50")]).await;
    let rows = lab.stored().await;
    let unsure = &rows[0];
    assert_eq!((text(unsure, "category"), text(unsure, "source")), (UNCATEGORIZED, "model"));
    let top = pairs(unsure.get("top3"));
    assert_eq!((top.len(), top[0].0.as_str()), (3, "food"));
    assert!(top[0].1 >= top[1].1 && top[1].1 >= top[2].1 && top[2].1 > 0.0, "{top:?}");
    assert_eq!(number(unsure.get("confidence")), top[0].1);
    let because = pairs(unsure.get("because"));
    assert_eq!(because[0].0, "PIZZA");
    assert!(because.iter().all(|(word, weight)| ["PIZZA", "CORNER"].contains(&word.as_str()) && *weight > 0.0));
    let by_rule = &rows[1];
    assert_eq!((text(by_rule, "category"), text(by_rule, "source")), ("atm", "rule"));
    assert_eq!(by_rule.get("top3"), Some(&Value::Null));
}

#[tokio::test]
async fn the_same_rows_are_sure_under_a_lower_threshold_and_known_texts_are_memory() {
    let dir = tempfile::tempdir().unwrap();
    publish(&dir.path().join("models"), "1.0.0", 0.3);
    let mut lab = Lab::open(&dir.path().join("models"), dir.path(), "into: c, explain: true").await;
    lab.process(vec![payment(1, "Pizza Corner"), payment(2, "JOE'S PIZZA #7"), payment(3, "")]).await;
    let rows = lab.stored().await;
    let told: Vec<_> = rows.iter().map(|row| (text(row, "category"), text(row, "source"))).collect();
    assert_eq!(told, [("food", "model"), ("food", "memory"), (UNCATEGORIZED, "model")]);
    assert_eq!(pairs(rows[1].get("because"))[0].0, "JOE'S PIZZA #0");
    assert!(pairs(rows[2].get("top3")).is_empty(), "no text, no candidate");
}

#[tokio::test]
async fn a_version_that_is_broken_is_not_taken_and_a_whole_one_is_at_the_next_batch() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    publish(&models, "1.0.0", 0.3);
    let mut lab = Lab::open(&models, dir.path(), "into: c").await;
    let mut answered_by = async |id: i64| {
        lab.process(vec![payment(id, "Pizza Corner")]).await;
        text(lab.stored().await.last().unwrap(), "model").to_string()
    };
    assert_eq!(answered_by(1).await, "shops@1.0.0");
    publish(&models, "1.0.1", 0.3);
    let file = models.join("1.0.1").join(folder::MODEL);
    let whole = std::fs::read(&file).unwrap();
    for broken in [&whole[..whole.len() / 2], &[], b"HWMODEL\n"] {
        std::fs::write(&file, broken).unwrap();
        assert_eq!(answered_by(2).await, "shops@1.0.0");
    }
    std::fs::write(models.join("current"), "7.0.0\n").unwrap();
    assert_eq!(answered_by(3).await, "shops@1.0.0", "a version that is not there");
    publish(&models, "1.0.2", 0.3);
    assert_eq!(answered_by(4).await, "shops@1.0.2");
    folder::set_current(&models, "1.0.0").unwrap();
    assert_eq!(answered_by(5).await, "shops@1.0.0", "and back");
    // A stage that is opened on a broken version does not start.
    std::fs::write(models.join("current"), "1.0.1\n").unwrap();
    let refused = crate::model::Categorizer::load(&models).unwrap_err().to_string();
    assert!(refused.contains("1.0.1/model.bin"), "{refused}");
}

/// Whatever stands in the columns, every row has a result or is rejected.
#[tokio::test]
async fn no_value_of_a_row_stops_the_stage() {
    let dir = tempfile::tempdir().unwrap();
    publish(&dir.path().join("models"), "1.0.0", 0.3);
    let mut lab = Lab::open(&dir.path().join("models"), dir.path(), "into: c, explain: true").await;
    let huge = "PIZZA ".repeat((10 << 20) / 6);
    let texts: Vec<Value> = ["", "\u{0}", "\u{feff}\u{200d}", "🍕🍕", "'''***###", &huge].map(Value::from).into();
    let values = texts.into_iter().chain([
        Value::Null,
        Value::Int(1),
        Value::Float(f64::NAN),
        Value::Bool(true),
        Value::List(Vec::new()),
    ]);
    let amounts = [
        Value::Float(f64::NAN),
        Value::Float(f64::NEG_INFINITY),
        Value::Null,
        Value::text("much"),
        Value::Decimal(format!("-{}.5", "9".repeat(400)).parse().unwrap()),
    ];
    let rows: Vec<Row> = values
        .zip(amounts.iter().cycle())
        .enumerate()
        .map(|(id, (note, amount))| {
            Row::of([("id", Value::Int(id as i64)), ("amount", amount.clone()), ("note", note)])
        })
        .collect();
    let all = rows.len();
    let mut records: Vec<Record> = rows.into_iter().map(|row| record("t", row)).collect();
    records.iter_mut().enumerate().for_each(|(at, record)| record.position.offset = at as i64);
    let batch = lab.process(records).await;
    let stored = lab.stored().await;
    assert_eq!(batch.rejects.len(), 4, "what is no text");
    assert!(batch.rejects.iter().all(|reject| reject.reason.contains("expected text")));
    assert_eq!(stored.len(), all - 4);
    assert!(stored.iter().all(|row| (0.0..=1.0).contains(&number(row.get("confidence")))));
}

/// The stage may run on several threads; what it counts here, it counts on this one.
#[tokio::test]
async fn what_the_model_answers_is_told_as_metrics_of_the_process() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let dir = tempfile::tempdir().unwrap();
    publish(&dir.path().join("models"), "1.0.0", 0.3);
    let mut lab = Lab::open(&dir.path().join("models"), dir.path(), "into: c, drift: {}").await;
    lab.process(vec![payment(1, "Pizza Corner"), payment(2, "cash 50")]).await;
    lab.process(vec![payment(3, "JOE'S PIZZA #7"), payment(4, "")]).await;
    let told = recorder.handle().render();
    let of = r#"pipeline="p",table="c",model="shops@1.0.0""#;
    for line in [
        format!("headwater_model_rows_total{{{of}}} 4"),
        format!("headwater_model_uncategorized_total{{{of}}} 1"),
        format!("headwater_model_asked_total{{{of}}} 2"),
        format!("headwater_model_unseen_texts_total{{{of}}} 1"),
        format!(r#"headwater_model_answers_total{{{of},category="food"}} 2"#),
        format!(r#"headwater_model_answers_total{{{of},category="other"}} 1"#),
    ] {
        assert!(told.lines().any(|found| found == line), "{line} is not in {told}");
    }
    let sure = told.lines().filter(|line| line.starts_with("headwater_model_confidence_total"));
    let rows = sure.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    assert_eq!(rows.sum::<u64>(), 2);
    assert!(!told.contains("PIZZA") && !told.contains("cash"), "a value of a row in {told}");
}
