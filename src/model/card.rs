//! `card.md`: what a model is, what it was trained on, how good it is, and where it is not.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::build::Judged;
use super::config::TrainConfig;
use super::evaluate::Evaluation;
use super::features::FeatureSpec;
use super::rules::Rules;
use super::trained::Model;

/// The card's text.
pub fn write(
    config: &TrainConfig,
    model: &Model,
    judged: &BTreeMap<&'static str, Judged>,
    rules: Option<&str>,
) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = sections(&mut out, config, model, judged, rules);
    out
}

fn sections(
    out: &mut String,
    config: &TrainConfig,
    model: &Model,
    judged: &BTreeMap<&'static str, Judged>,
    rules: Option<&str>,
) -> std::fmt::Result {
    let texts = &config.card;
    writeln!(out, "# {} {}\n\n{}\n", config.name, config.version, texts.summary)?;
    if !texts.date.is_empty() {
        writeln!(out, "Trained on {}.\n", texts.date)?;
    }
    for (title, text) in [("Intended use", &texts.intended_use), ("Out of scope", &texts.out_of_scope)] {
        writeln!(out, "## {title}\n\n{}\n", text.trim())?;
    }
    writeln!(out, "## Data\n\n{}\n\n{}\n", texts.data.trim(), texts.attribution)?;
    for file in model.info.training.pointer("/data/files").and_then(|f| f.as_array()).into_iter().flatten() {
        let text = |key: &str| file.get(key).and_then(|v| v.as_str()).unwrap_or_default();
        match text("table") {
            "" => writeln!(out, "- `{}`, SHA-256 `{}`", text("file"), text("sha256"))?,
            table => writeln!(out, "- table `{table}` of a raw store, labelled by `{}`", text("labels"))?,
        }
    }
    let number = |key: &str| model.info.training.pointer(key).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let (rows, distinct) = (number("/rows"), number("/data/texts"));
    writeln!(
        out,
        "\n{rows} labelled rows, {distinct} distinct normal texts, {} categories.\n",
        model.info.classes.len()
    )?;
    method(out, config, model, rules)?;
    scores(out, config, model, judged)?;
    for (title, text) in [("Limits", &texts.limits), ("Ethics", &texts.ethics)] {
        writeln!(out, "## {title}\n\n{}\n", text.trim())?;
    }
    let data = match &config.store {
        Some(_) => "` over the same tables gives",
        None => " --data FILES…` with the files above gives",
    };
    writeln!(
        out,
        "## How to repeat\n\n`headwater model train models/{}/train.toml{data} the same `model.bin` and the same figures, byte for \
         byte, on the same platform, whatever the number of threads.",
        config.name
    )
}

/// The facts that count, as part of a sentence.
fn facts(spec: &FeatureSpec) -> String {
    let all =
        [(spec.amount, "amount"), (spec.direction, "direction"), (spec.mcc, "MCC"), (spec.day, "day of the month")];
    all.iter().filter(|(counts, _)| *counts).map(|(_, name)| format!(", {name}")).collect()
}

fn method(out: &mut String, config: &TrainConfig, model: &Model, rules: Option<&str>) -> std::fmt::Result {
    let (f, t, c) = (&model.info.features, &config.train, &model.info.calibration);
    let number = |key: &str| model.info.training.pointer(key).and_then(serde_json::Value::as_u64).unwrap_or(0);
    writeln!(out, "## Method\n")?;
    writeln!(
        out,
        "Normal text (normalizer {}), character {}–{}-grams of each word{}{}{}, hashed with signs into 2^{} slots, counted by \
         rarity, n-grams and words normed apart; one logistic model per category (FTRL-proximal by linfa-ftrl: alpha {}, \
         beta {}, l1 {}, l2 {}, batches of {}), {} passes, seed {}. Texts labelled in training are answered from memory{}.\n",
        model.info.normalizer,
        f.gram_min,
        f.gram_max,
        if f.words { ", words" } else { "" },
        if f.pairs { ", pairs of words" } else { "" },
        facts(f),
        f.bits,
        t.ftrl.alpha,
        t.ftrl.beta,
        t.ftrl.l1,
        t.ftrl.l2,
        t.ftrl.batch,
        number("/passes"),
        t.seed,
        match t.memory_half_life {
            0.0 => String::new(),
            periods => format!(
                "; a label counts half as much as one {periods} periods younger, and never less than {} of a new one",
                t.memory_floor
            ),
        },
    )?;
    let (hints, words) = (number("/data/hints"), number("/data/words"));
    if hints > 0 {
        writeln!(
            out,
            "Besides rows, {hints} short texts that say what a category is were learned, {} times a pass: {words} words of \
             `words.tsv`, which name trades, goods and services{}.\n",
            t.hint_repeats,
            if config.data.hints.is_empty() { "" } else { ", and the names of the data's codes" }
        )?;
    }
    writeln!(
        out,
        "Confidence: softmax at temperature {:.3} for new texts of known merchants; {:.3} for merchants never seen, then a curve \
         that never falls, both fitted on folds without their merchants, each merchant weighing the same; \
         confidence of known texts times {:.4}. Below {} a row is `uncategorized`, with its three best categories kept.\n",
        c.temperature_known, c.temperature_unknown, c.memory_trust, model.info.threshold
    )?;
    if let Some(rules) = rules.and_then(|r| Rules::parse(r).ok()) {
        writeln!(
            out,
            "{} rules stand in front of the model (`rules.tsv`); no figure below counts them.\n",
            rules.len()
        )?;
    }
    Ok(())
}

fn scores(
    out: &mut String,
    config: &TrainConfig,
    model: &Model,
    judged: &BTreeMap<&'static str, Judged>,
) -> std::fmt::Result {
    let from = if model.info.features.reads_facts() { "from text and facts" } else { "from the text alone" };
    writeln!(
        out,
        "## Scores\n\nEach split's model learned nothing of the split's test rows; {from}. {}\n",
        config.card.caveats.trim()
    )?;
    for split in judged.keys() {
        writeln!(out, "- {split}: tested on {}.", config.splits.tested_on(split))?;
    }
    writeln!(
        out,
        "\n| split | trained on | tested on | accuracy | macro-F1 | among the best 3 | ECE | answered at 98.5 % accuracy |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for (split, j) in judged {
        let e = &j.evaluation;
        let best = e.best_coverage_at_985.map_or("-".to_string(), |c| format!("{:.1} %", c.coverage * 100.0));
        writeln!(
            out,
            "| {split} | {} | {} | {:.4} | {:.4} | {:.4} | {:.4} | {best} |",
            j.train_rows, e.rows, e.accuracy, e.macro_f1, e.top3_accuracy, e.ece15
        )?;
    }
    writeln!(
        out,
        "\nBy what training knew of a row. ECE: expected calibration error, 15 equal-width bins; by merchant: every merchant \
         counts once, however many rows it has; of chance: what a confidence that is exactly right would show on average, if \
         all rows of a merchant are right or wrong together.\n"
    )?;
    writeln!(out, "| split | training knew | rows | accuracy | mean confidence | ECE | by merchant | of chance |")?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for (split, j) in judged {
        let e = &j.evaluation;
        let parts = [("the text", e.known_texts), ("the merchant", e.known_merchants), ("nothing", e.unknown)];
        for (name, part) in parts.into_iter().filter(|(_, part)| part.rows > 0) {
            writeln!(
                out,
                "| {split} | {name} | {} | {:.4} | {:.4} | {:.4} | {:.4} | {:.4} |",
                part.rows,
                part.accuracy,
                part.mean_confidence,
                part.ece15,
                part.ece15_by_merchant,
                part.ece15_of_chance
            )?;
        }
    }
    writeln!(out)?;
    let worst = judged.get_key_value("time").or(judged.iter().next());
    worst.map_or(Ok(()), |(split, j)| classes(out, split, &j.evaluation))
}

fn classes(out: &mut String, split: &str, evaluation: &Evaluation) -> std::fmt::Result {
    writeln!(out, "By category (split {split}, {} rows):\n", evaluation.rows)?;
    writeln!(out, "| category | rows | precision | recall | F1 |\n|---|---|---|---|---|")?;
    for c in evaluation.classes.iter().filter(|c| c.rows > 0) {
        writeln!(out, "| {} | {} | {:.3} | {:.3} | {:.3} |", c.name, c.rows, c.precision, c.recall, c.f1)?;
    }
    writeln!(out)
}
