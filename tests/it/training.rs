//! Models and the stream, by the real binary: labels and rows of a raw store become a model; a run says when what it sees
//! has moved from what its model learned.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Shops, and what they are.
const SHOPS: [(&str, &str); 8] = [
    ("PIZZA PALACE", "food"),
    ("BURGER BARN", "food"),
    ("NOODLE BAR", "food"),
    ("PETRO STATION", "fuel"),
    ("GAS PLUS", "fuel"),
    ("BOOK CITY", "books"),
    ("INDIGO BOOKS", "books"),
    ("PAGE ONE", "books"),
];

const TRAINING: &str = r#"
name = "shops"
version = "1.0.0"
[data]
text = ["shop"]
label = "category"
amount = "amount"
period = "month"
[splits]
time_from = "2024-09"
[train]
epochs = 3
folds = 2
holdout = 0.2
[train.features]
bits = 12
amount = true
"#;

const STORE: &str = r#"
[store]
name = "bank"
table = "payment"
labels = "opinion"
on = { id = "payment_id" }
"#;

fn headwater(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headwater"))
        .current_dir(directory)
        .args(arguments)
        .args(["--config", "/dev/null"])
        .env_remove("HEADWATER_LOG_FILTER")
        .output()
        .unwrap()
}

/// What the binary printed, results before log lines; it has to end with `code`.
fn printed(directory: &Path, arguments: &[&str], code: i32) -> String {
    let output = headwater(directory, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    text
}

fn event(table: &str, offset: usize, row: &Value) -> String {
    let source = json!({ "connector": "postgresql", "schema": "public", "table": table, "lsn": offset });
    let payload = json!({ "op": "c", "after": row, "source": source }).to_string();
    let key = json!({ "id": row["id"] }).to_string();
    let topic = format!("b.public.{table}");
    json!({ "topic": topic, "partition": 0, "offset": offset, "key": key, "payload": payload }).to_string()
}

/// Payments of ten months by `(id, month, shop, amount, category)`.
fn payments() -> Vec<(usize, String, String, f64, &'static str)> {
    let payment = |id: usize| {
        let (name, category) = SHOPS[id % SHOPS.len()];
        (id, format!("2024-{:02}", 1 + id / 16), format!("{name} #{id}"), 1.5 + (id % 7) as f64, category)
    };
    (0..160).map(payment).collect()
}

fn write_training(directory: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(directory.join(name)).unwrap();
    std::fs::write(directory.join(name).join("train.toml"), text).unwrap();
}

/// A model trained on the payments as a file, in `models/`.
fn train_on_file(directory: &Path) {
    let mut tsv = "month\tshop\tamount\tcategory\n".to_string();
    for (_, month, shop, amount, category) in payments() {
        writeln!(tsv, "{month}\t{shop}\t{amount}\t{category}").unwrap();
    }
    std::fs::write(directory.join("payments.tsv"), tsv).unwrap();
    write_training(directory, "models", TRAINING);
    printed(directory, &["model", "train", "models/train.toml", "--data", "payments.tsv", "--publish"], 0);
}

/// Runs a recording through `stages`.
fn run(directory: &Path, lines: &[String], stages: &str) -> String {
    std::fs::write(directory.join("recording.jsonl"), lines.join("\n")).unwrap();
    let tables = "tables: { payment: { columns: { id: int64, month: text, shop: text, amount: decimal } }, \
                  opinion: { columns: { id: int64, payment_id: int64, category: text } } }";
    let pipeline = format!(
        "name: p\nsource: {{ file: {{ path: recording.jsonl }} }}\nstages:\n  - debezium: {{ {tables} }}\n  - raw: \
         {{ store: bank }}\n{stages}"
    );
    std::fs::write(directory.join("p.yaml"), pipeline).unwrap();
    printed(directory, &["run", "p.yaml", "--until-end"], 0)
}

#[test]
fn tables_of_a_raw_store_train_the_model_that_a_file_of_the_same_rows_trains() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut lines = Vec::new();
    for (id, month, shop, amount, category) in payments() {
        let payment = json!({ "id": id, "month": month, "shop": shop, "amount": amount });
        lines.push(event("payment", lines.len(), &payment));
        if id % 5 == 0 {
            // An opinion that a later one overrules.
            let earlier = json!({ "id": 10_000 + id, "payment_id": id, "category": "nonsense" });
            lines.push(event("opinion", lines.len(), &earlier));
        }
        let opinion = json!({ "id": 20_000 + id, "payment_id": id, "category": category });
        lines.push(event("opinion", lines.len(), &opinion));
    }
    // Rows that nobody has an opinion on, and opinions on nothing.
    let unlabelled = json!({ "id": 900, "month": "2024-01", "shop": "UNKNOWN SHOP", "amount": 3 });
    let nothing = json!({ "id": 30_000, "payment_id": null, "category": "nonsense" });
    let nobodys = json!({ "id": 30_001, "payment_id": 901, "category": "nonsense" });
    lines.push(event("payment", lines.len(), &unlabelled));
    lines.push(event("opinion", lines.len(), &nothing));
    lines.push(event("opinion", lines.len(), &nobodys));
    run(directory, &lines, "");

    train_on_file(directory);
    write_training(directory, "stored", &format!("{TRAINING}{STORE}"));
    let told = printed(directory, &["model", "train", "stored/train.toml"], 0);
    for part in ["random", "time", "all rows"] {
        assert!(
            told.contains(&format!("training on {part}: ")) && told.contains(&format!("trained on {part} ")),
            "{told}"
        );
    }
    let read = |path: &str| std::fs::read_to_string(directory.join(path)).unwrap();
    assert_eq!(read("stored/1.0.0/metrics.json"), read("models/1.0.0/metrics.json"));
    assert!(read("models/1.0.0/metrics.json").contains("\"time\""));
    let info = |folder: &str| -> Value {
        let shown = headwater(directory, &["model", "show", folder, "--output", "json"]);
        serde_json::from_slice::<Value>(&shown.stdout).unwrap()["result"]["info"].take()
    };
    let (stored, file) = (info("stored/1.0.0"), info("models/1.0.0"));
    for same in ["classes", "calibration", "features"] {
        assert_eq!(stored[same], file[same]);
    }
    assert_eq!(stored["training"]["data"]["files"][0]["unlabelled_rows"], 1);
    assert!(read("stored/1.0.0/card.md").contains("table `payment` of a raw store, labelled by `opinion`"));
    // Trained again on the same rows, in a folder of its own: the same bytes.
    printed(directory, &["model", "train", "stored/train.toml", "--out", "again"], 0);
    for name in ["model.bin", "metrics.json", "card.md"] {
        let bytes = |folder: &str| std::fs::read(directory.join(folder).join("1.0.0").join(name)).unwrap();
        assert!(bytes("again") == bytes("stored"), "{name} differs");
    }
}

#[test]
fn training_input_is_named_once_and_exists() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    write_training(directory, "models", TRAINING);
    write_training(directory, "stored", &format!("{TRAINING}{STORE}"));
    let refused = |arguments: &[&str]| printed(directory, &[&["model", "train"], arguments].concat(), 2);
    assert!(refused(&["models/train.toml"]).contains("--data"));
    assert!(refused(&["stored/train.toml", "--data", "x.tsv"]).contains("leave one out"));
    assert!(refused(&["stored/train.toml"]).contains("there is no store `bank`"));
    assert!(!directory.join("headwater-data/bank.db").exists());
    write_training(directory, "dated", &format!("{TRAINING}[card]\ndate = \"yesterday\"\n"));
    assert!(refused(&["dated/train.toml", "--data", "x.tsv"]).contains("card.date"));
    let nothing = STORE.replace("{ id = \"payment_id\" }", "{}");
    write_training(directory, "joinless", &format!("{TRAINING}{nothing}"));
    assert!(refused(&["joinless/train.toml"]).contains("store.on"));
    write_training(directory, "still", &format!("{TRAINING}[train.ftrl]\nalpha = 0.0\n"));
    assert!(refused(&["still/train.toml", "--data", "x.tsv"]).contains("ftrl.alpha"));
    write_training(directory, "narrow", TRAINING);
    let taxonomy = "category\tgroup\tname\tlearned\tprimary\tcoicop\nfood\tfood\tFood\tyes\tFOOD_AND_DRINK\t01\n";
    std::fs::write(directory.join("narrow/taxonomy.tsv"), taxonomy).unwrap();
    std::fs::write(directory.join("x.tsv"), "month\tshop\tamount\tcategory\n2024-01\tGAS\t1\tfuel\n").unwrap();
    let told = refused(&["narrow/train.toml", "--data", "x.tsv"]);
    assert!(told.contains("category `fuel` is not in taxonomy.tsv"), "{told}");
    let payment = json!({ "id": 1, "month": "2024-01", "shop": "PIZZA", "amount": 3 });
    run(directory, &[event("payment", 0, &payment)], "");
    assert!(refused(&["stored/train.toml"]).contains("there is no table `opinion`"));
    // A text column that no row has would train a model of nothing.
    let opinion = json!({ "id": 1, "payment_id": 1, "category": "food" });
    run(directory, &[event("payment", 0, &payment), event("opinion", 1, &opinion)], "");
    write_training(directory, "misnamed", &format!("{TRAINING}{STORE}").replace("[\"shop\"]", "[\"merchnt\"]"));
    let told = refused(&["misnamed/train.toml"]);
    assert!(told.contains("no row has the column `merchnt`"), "{told}");
}

#[test]
fn a_run_says_when_what_it_sees_has_moved_from_training() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    train_on_file(directory);
    let stages = "  - categorize: { table: payment, model: models, text: [shop], amount: amount, into: category, \
                  drift: { date: month, limit: LIMIT } }\n";
    // More rows than the thousand below which an index would be noise.
    let categorized = |limit: &str, shops: &[&str]| {
        let _ = std::fs::remove_dir_all(directory.join("headwater-data"));
        let row = |id: usize| json!({ "id": id, "month": "2025-01", "shop": shops[id % shops.len()], "amount": 2 });
        let lines: Vec<String> = (0..1_200).map(|id| event("payment", id, &row(id))).collect();
        let text = run(directory, &lines, &stages.replace("LIMIT", limit));
        let figures = text.lines().filter(|line| line.contains("what the model answered")).collect::<Vec<_>>();
        assert_eq!(figures.len(), 1, "figures are told once a minute: {text}");
        for figure in ["uncategorized", "unseen", "new_words", "confidence", "psi", "2025-01"] {
            assert!(figures[0].contains(figure), "{figure}: {figures:?}");
        }
        text.matches("has drifted from the one of training").count()
    };
    let as_trained = SHOPS.map(|(name, _)| name);
    assert_eq!(categorized("0.25", &as_trained), 0);
    assert_eq!(categorized("0.25", &["GAS PLUS"]), 1, "one line a window");
    assert_eq!(categorized("1000", &["GAS PLUS"]), 0, "the limit is what is passed");
    let told = printed(directory, &["model", "drift", "p.yaml"], 0);
    assert!(told.contains("2025-01") && told.contains("new words"), "{told}");
    // Of a file: texts and words that training never saw.
    std::fs::write(directory.join("new.tsv"), "month\tshop\tamount\tcategory\n2026-01\tGAS QOPPAWUNDER\t1\tfuel\n")
        .unwrap();
    let told = headwater(directory, &["model", "drift", "models", "--data", "new.tsv", "--output", "json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let window = &told["result"]["windows"][0];
    assert_eq!((&window["unseen"], &window["new_words"]), (&json!(1.0), &json!(0.5)), "{told}");
}

#[test]
fn versions_are_listed_published_and_measured_only_as_what_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    train_on_file(directory);
    let model = |arguments: &[&str], code| printed(directory, &[&["model"], arguments].concat(), code);
    assert_eq!(model(&["list", "."], 0), model(&["list", "./models"], 0), "a folder of models, or one of these");
    assert!(model(&["list", "models"], 0).contains("models: 1.0.0 (in use)"));
    let told = model(&["publish", "models", "7.0.0"], 2);
    assert!(told.contains("no version 7.0.0") && told.contains("there are: 1.0.0"), "{told}");
    // A version that was made of another by hand.
    let copy = directory.join("models/1.0.1");
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(directory.join("models/1.0.0")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let manifest = std::fs::read_to_string(copy.join("manifest.json")).unwrap();
    std::fs::write(copy.join("manifest.json"), manifest.replace("\"1.0.0\"", "\"1.0.1\"")).unwrap();
    let foreign = "models/1.0.1/model.bin: is shops 1.0.0, not what manifest.json names";
    for arguments in [
        &["publish", "models", "1.0.1"][..],
        &["evaluate", "models/1.0.1", "payments.tsv"],
        &["compare", "models", "models/1.0.1", "payments.tsv"],
    ] {
        let told = model(arguments, 2);
        assert!(told.contains(foreign), "{arguments:?}: {told}");
    }
    std::fs::write(directory.join("models/current"), "9.9.9\n").unwrap();
    let told = model(&["publish", "models", "1.0.0"], 0);
    assert!(told.contains("before: 9.9.9") && told.contains("headwater recategorize"), "{told}");
    std::fs::write(directory.join("models/current"), "9.9.9\n").unwrap();
    assert!(model(&["list", "."], 0).contains("names a version that is not there"));
}

#[test]
fn what_is_no_whole_version_is_neither_published_nor_called_whole() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    train_on_file(directory);
    let told = printed(directory, &["model", "publish", "models", "1.0.1"], 2);
    assert!(told.contains("no version 1.0.1; there are: 1.0.0"), "{told}");
    // Half a copy, as a broken download leaves it.
    std::fs::create_dir(directory.join("models/1.0.1")).unwrap();
    std::fs::copy(directory.join("models/1.0.0/model.bin"), directory.join("models/1.0.1/model.bin")).unwrap();
    let told = printed(directory, &["model", "verify", "models"], 1);
    assert!(told.contains("ok models/1.0.0") && told.contains("bad models/1.0.1"), "{told}");
    assert!(printed(directory, &["model", "publish", "models", "1.0.1"], 2).contains("manifest.json"));
    assert_eq!(std::fs::read_to_string(directory.join("models/current")).unwrap(), "1.0.0\n");
}

#[test]
fn models_are_measured_on_data_without_hints_and_never_on_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    train_on_file(directory);
    let inside = ["model", "train", "train.toml", "--data", "../payments.tsv", "--set-version", "1.1.0"];
    printed(&directory.join("models"), &inside, 0);
    assert!(directory.join("models/1.1.0/manifest.json").exists(), "trained inside of the model's folder");
    let hints = TRAINING.replace("[splits]", "hints = [\"code\"]\n[splits]");
    std::fs::write(directory.join("models/train.toml"), hints).unwrap();
    let told = printed(directory, &["model", "evaluate", "models", "payments.tsv"], 0);
    assert!(told.contains("shops 1.0.0 on 160 rows"), "{told}");
    for table in ["category", "threshold   answered", "confidence    rows"] {
        assert!(told.contains(table), "{table}: {told}");
    }
    let page = ["model", "evaluate", "models", "payments.tsv", "--html", "report.html"];
    printed(directory, &page, 0);
    assert!(
        std::fs::read_to_string(directory.join("report.html")).unwrap().contains("<title>confusion matrix</title>")
    );
    let compare = ["model", "compare", "models", "models", "payments.tsv"];
    assert!(printed(directory, &compare, 0).contains("both right"));
    for verb in [&["model", "evaluate", "models", "payments.tsv"][..], &compare] {
        let told = printed(directory, &[verb, &["--from", "2099"]].concat(), 2);
        assert!(told.contains("no row lies in the given periods"), "{told}");
    }
}
