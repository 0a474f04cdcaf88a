//! `headwater model compare`.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::json;

use super::super::Outcome;
use super::{load_data, load_model};
use crate::model::{Comparison, Pairs, Sample, compare};
use crate::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// First model: folder, version folder or model.bin
    first: PathBuf,
    /// Second model
    second: PathBuf,
    /// Labelled data: TSV, CSV or JSON lines, plain or gzip
    #[arg(required = true)]
    data: Vec<PathBuf>,
    /// Training configuration that names the columns [default: train.toml beside the first model]
    #[arg(long, value_name = "FILE")]
    training: Option<PathBuf>,
    /// Only rows of this period and later
    #[arg(long, value_name = "PERIOD")]
    from: Option<String>,
    /// How many differing texts to print
    #[arg(long, default_value_t = 20)]
    show: usize,
}

pub fn run(args: &Args) -> Result<Outcome> {
    let (first, second) = (load_model(&args.first)?, load_model(&args.second)?);
    let (_, data) = load_data(&args.first, args.training.as_deref(), &args.data)?;
    let wanted = |row: &&Sample| args.from.as_deref().is_none_or(|from| data.period(row) >= from);
    let rows: Vec<Sample> = data.rows.iter().filter(wanted).copied().collect();
    if rows.is_empty() {
        return Err(Error::Config("no row lies in the given periods".to_string()));
    }
    let comparison = compare(&first, &second, &data, &rows);
    let mut text = String::new();
    let _ = describe(&mut text, &comparison, args.show);
    let Pairs { only_first, only_second, p_value, .. } = comparison.texts;
    let summary = format!(
        "of the texts, {only_first} only the first had right, {only_second} only the second; p = {p_value:.2e}"
    );
    Ok(Outcome { text, summary, result: json!(comparison), error: None })
}

fn describe(out: &mut String, comparison: &Comparison, show: usize) -> std::fmt::Result {
    writeln!(
        out,
        "{:15} {:>10} {:>11} {:>12} {:>10} {:>10}",
        "", "both right", "only first", "only second", "both wrong", "p"
    )?;
    for (name, p) in [("rows", comparison.rows), ("distinct texts", comparison.texts)] {
        writeln!(
            out,
            "{name:15} {:>10} {:>11} {:>12} {:>10} {:>10.2e}",
            p.both_right, p.only_first, p.only_second, p.both_wrong, p.p_value
        )?;
    }
    writeln!(out, "McNemar's test; rows of one text are not independent, so believe the second line.\n")?;
    for d in comparison.differing.iter().take(show) {
        writeln!(out, "{:>7}  {}  (label {}): {} → {}", d.rows, d.text, d.label, d.first, d.second)?;
    }
    let more = comparison.differing.len().saturating_sub(show);
    if more > 0 { writeln!(out, "and {more} more") } else { Ok(()) }
}
