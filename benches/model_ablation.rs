//! What each part of the shipped model's input is worth: the splits of `models/spending/train.toml` without and with it.
//!
//! `cargo bench --bench model_ablation -- FILE.tsv.gz...` (the files that the card names) prints a table. Confidence is not
//! calibrated here: it changes no answer.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::{Path, PathBuf};

use headwater::model::{Dataset, FeatureSpec, Lexicon, Settings, TrainConfig, evaluate, train};

/// One line of the table.
struct Variant {
    name: &'static str,
    /// Words of `words.tsv` are learned.
    words: bool,
    /// Names of codes, of the rows that are learned.
    hints: bool,
    features: FeatureSpec,
}

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/spending");
    let files: Vec<PathBuf> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).map(PathBuf::from).collect();
    let mut config = TrainConfig::read(&folder.join("train.toml")).unwrap();
    config.data.amount = Some("amount".to_string());
    config.data.date = Some("date".to_string());
    config.data.mcc = Some("mcc".to_string());
    let words = Lexicon::parse(&std::fs::read_to_string(folder.join("words.tsv")).unwrap()).unwrap();
    println!("| input | split | accuracy | macro-F1 | known texts | new texts, known merchants | unknown merchants |");
    println!("|---|---|---|---|---|---|---|");
    for variant in variants(&config.train.features) {
        let mut columns = config.data.clone();
        if !variant.hints {
            columns.hints.clear();
        }
        let mut data = Dataset::read(&files, &columns).unwrap();
        if variant.words {
            data.teach(words.pairs()).unwrap();
        }
        let settings = Settings { features: variant.features, holdout: 0.0, folds: 0, ..config.train.clone() };
        for division in config.splits.divide(&data) {
            let model = train("ablation", "0.0.0", &data, &division.train, &settings, &mut |_, _| {}).unwrap();
            let e = evaluate(&model, &data, &division.test);
            let [known, merchant, unknown] =
                [e.known_texts, e.known_merchants, e.unknown].map(|part| match part.rows {
                    0 => "-".to_string(),
                    rows => format!("{:.4} of {rows}", part.accuracy),
                });
            println!(
                "| {} | {} | {:.4} | {:.4} | {known} | {merchant} | {unknown} |",
                variant.name, division.name, e.accuracy, e.macro_f1
            );
        }
    }
}

fn variants(shipped: &FeatureSpec) -> [Variant; 6] {
    let of = |name, words, hints, features| Variant { name, words, hints, features };
    let text = || shipped.clone();
    [
        of("as shipped", true, true, text()),
        of("without `words.tsv`", false, true, text()),
        of("without `words.tsv` and names of codes", false, false, text()),
        of("as shipped, and amount", true, true, FeatureSpec { amount: true, ..text() }),
        of("as shipped, and day of month", true, true, FeatureSpec { day: true, ..text() }),
        of("as shipped, and MCC (the label's own source)", true, true, FeatureSpec { mcc: true, ..text() }),
    ]
}
