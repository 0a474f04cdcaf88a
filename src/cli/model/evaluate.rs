//! `headwater model evaluate`.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::super::Outcome;
use super::{load_data, load_model};
use crate::model::{Evaluation, Sample, evaluate, html};
use crate::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Model folder, version folder or model.bin
    model: PathBuf,
    /// Labelled data: TSV, CSV or JSON lines, plain or gzip
    #[arg(required = true)]
    data: Vec<PathBuf>,
    /// Training configuration that names the columns [default: train.toml beside the model]
    #[arg(long, value_name = "FILE")]
    training: Option<PathBuf>,
    /// Only rows of this period and later
    #[arg(long, value_name = "PERIOD")]
    from: Option<String>,
    /// Only rows before this period
    #[arg(long, value_name = "PERIOD")]
    before: Option<String>,
    /// Write a report with plots, one self-contained file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<Outcome> {
    let model = load_model(&args.model)?;
    let (_, data) = load_data(&args.model, args.training.as_deref(), &args.data)?;
    let wanted = |row: &&Sample| {
        let period = data.period(row);
        args.from.as_deref().is_none_or(|from| period >= from) && args.before.as_deref().is_none_or(|to| period < to)
    };
    let rows: Vec<Sample> = data.rows.iter().filter(wanted).copied().collect();
    if rows.is_empty() {
        return Err(Error::Config("no row lies in the given periods".to_string()));
    }
    let start = Instant::now();
    let evaluation = evaluate(&model, &data, &rows);
    let seconds = start.elapsed().as_secs_f64();
    let id = format!("{} {}", model.info.name, model.info.version);
    if let Some(path) = &args.html {
        let page = html::page(&id, &evaluation);
        std::fs::write(path, page)
            .map_err(|e| Error::Unavailable(format!("{}: cannot be written: {e}", path.display())))?;
    }
    let mut text = String::new();
    let _ = describe(&mut text, &id, &evaluation);
    let summary =
        format!("accuracy {:.4}, macro-F1 {:.4} on {} rows", evaluation.accuracy, evaluation.macro_f1, evaluation.rows);
    Ok(Outcome {
        text,
        summary,
        result: json!({ "model": id, "seconds": seconds, "evaluation": evaluation }),
        error: None,
    })
}

fn describe(out: &mut String, id: &str, e: &Evaluation) -> std::fmt::Result {
    writeln!(out, "{id} on {} rows", e.rows)?;
    writeln!(
        out,
        "accuracy {:.4}  macro-F1 {:.4}  weighted F1 {:.4}  top-3 {:.4}",
        e.accuracy, e.macro_f1, e.weighted_f1, e.top3_accuracy
    )?;
    writeln!(
        out,
        "ECE (15 bins) {:.4}, by merchant {:.4}, of chance {:.4}  mean confidence {:.4}",
        e.ece15, e.ece15_by_merchant, e.ece15_of_chance, e.mean_confidence
    )?;
    for (name, part) in [("known texts", e.known_texts), ("known merchants", e.known_merchants), ("unknown", e.unknown)]
    {
        writeln!(
            out,
            "{name:16} {:>7} rows  accuracy {:.4}  mean confidence {:.4}  ECE {:.4}, by merchant {:.4}, of chance {:.4}",
            part.rows, part.accuracy, part.mean_confidence, part.ece15, part.ece15_by_merchant, part.ece15_of_chance
        )?;
    }
    let t = e.threshold;
    writeln!(out, "at threshold {:.2}: {:.1} % answered, {:.4} right", t.threshold, t.coverage * 100.0, t.accuracy)?;
    if let Some(c) = e.best_coverage_at_985 {
        writeln!(out, "98.5 % right at threshold {:.3}: {:.1} % answered", c.threshold, c.coverage * 100.0)?;
    }
    writeln!(out, "\n{:>11} {:>7} {:>11} {:>7}", "confidence", "rows", "mean", "right")?;
    for (i, bin) in e.reliability.iter().enumerate().filter(|(_, bin)| bin.rows > 0) {
        let [from, to] = [i, i + 1].map(|i| i as f64 / e.reliability.len() as f64);
        writeln!(out, "{from:>5.2}–{to:.2} {:>8} {:>11.4} {:>7.4}", bin.rows, bin.confidence, bin.accuracy)?;
    }
    writeln!(out, "\n{:>11} {:>10} {:>8}", "threshold", "answered", "right")?;
    for c in &e.curve {
        writeln!(out, "{:>11.2} {:>8.1} % {:>8.4}", c.threshold, c.coverage * 100.0, c.accuracy)?;
    }
    categories(out, e)
}

fn categories(out: &mut String, e: &Evaluation) -> std::fmt::Result {
    writeln!(out, "\n{:32} {:>7} {:>9} {:>7} {:>7}", "category", "rows", "precision", "recall", "F1")?;
    for c in &e.classes {
        writeln!(out, "{:32} {:>7} {:>9.3} {:>7.3} {:>7.3}", c.name, c.rows, c.precision, c.recall, c.f1)?;
    }
    writeln!(out, "\nmost frequent confusions (label → answer)")?;
    for (label, answer, rows) in e.confusions.iter().take(15) {
        writeln!(out, "{rows:>7}  {label} → {answer}")?;
    }
    Ok(())
}
