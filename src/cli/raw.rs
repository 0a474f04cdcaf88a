//! `headwater raw`: looks into a raw store. Reads only; a store that is being written by a run may be read.

use std::fmt::Write as _;

use clap::{Args as ClapArgs, Subcommand};
use serde_json::json;

use super::run::{block_on, stores};
use super::{Context, Outcome};
use crate::record::{Decimal, Row, Value};
use crate::{Error, Result};

/// Rows read at a time.
const PAGE_ROWS: usize = 1_000;

#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Names of the tables and how many live rows they have
    Tables {
        /// Store name, or mongodb:// URI
        store: String,
    },
    /// The live rows of a table as JSON lines, values exact
    Dump(Dump),
}

#[derive(ClapArgs)]
struct Dump {
    /// Store name, or mongodb:// URI
    store: String,
    /// Table name
    table: String,
    /// Only rows whose column equals the value; may be given several times
    #[arg(long = "where", value_name = "COLUMN=VALUE", value_parser = condition)]
    conditions: Vec<(String, String)>,
    /// At most this many rows
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

fn condition(text: &str) -> Result<(String, String), String> {
    let (column, value) = text.split_once('=').ok_or("expected COLUMN=VALUE")?;
    Ok((column.to_string(), value.to_string()))
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome> {
    match &args.what {
        What::Tables { store } => block_on(tables(store, context))?,
        What::Dump(args) => block_on(dump(args, context))?,
    }
}

async fn tables(store: &str, context: &Context) -> Result<Outcome> {
    let tables = stores(context).existing(store).await?.tables().await?;
    let width = tables.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, rows) in &tables {
        let _ = writeln!(text, "{name:width$}  {rows}");
    }
    let result: Vec<_> = tables.iter().map(|(name, rows)| json!({ "table": name, "rows": rows })).collect();
    Ok(Outcome { text, summary: format!("{} tables", tables.len()), result: json!({ "tables": result }), error: None })
}

/// Prints rows as they are read. With `--output json` the rows come first, one object a line, the outcome last.
async fn dump(args: &Dump, context: &Context) -> Result<Outcome> {
    let store = stores(context).existing(&args.store).await?;
    let known: Vec<String> = store.tables().await?.into_iter().map(|(name, _)| name).collect();
    if !known.contains(&args.table) {
        let message = format!("there is no table `{}` in the store; known: {}", args.table, known.join(", "));
        return Err(Error::Config(message));
    }
    let mut snapshot = store.snapshot().await?;
    let (mut printed, mut after, mut line) = (0, None, String::new());
    loop {
        let page = snapshot.scan(&args.table, after.as_ref(), PAGE_ROWS).await?;
        for stored in page.iter().filter(|stored| matches(&stored.row, &args.conditions)) {
            if args.limit.is_some_and(|limit| printed >= limit) {
                break;
            }
            line.clear();
            stored.row.write_json(&mut line);
            context.out.line(&line);
            printed += 1;
        }
        let done = page.len() < PAGE_ROWS || args.limit.is_some_and(|limit| printed >= limit);
        match page.last() {
            Some(last) if !done => after = Some(last.key.clone()),
            _ => {
                return Ok(Outcome {
                    summary: format!("{printed} rows"),
                    result: json!({ "rows": printed }),
                    ..Outcome::default()
                });
            }
        }
    }
}

fn matches(row: &Row, conditions: &[(String, String)]) -> bool {
    conditions.iter().all(|(column, expected)| row.get(column).is_some_and(|value| equals(value, expected)))
}

/// Whether a person who writes `expected` means `value`: text as it is, numbers by value, the rest as its JSON.
fn equals(value: &Value, expected: &str) -> bool {
    match value {
        Value::Text(text) | Value::Json(text) => **text == *expected,
        Value::Int(_) | Value::UInt(_) | Value::Decimal(_) => {
            let number = |text: &str| text.parse::<Decimal>().ok();
            number(expected).is_some_and(|expected| number(&value.to_json()) == Some(expected))
        }
        Value::Float(n) => expected.parse() == Ok(*n),
        other => other.to_json().trim_matches('"') == expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_compare_values_as_people_write_them() {
        let decimal = Value::Decimal("1.50".parse().unwrap());
        for (value, yes, no) in [
            (Value::Int(5), "5", "6"),
            (decimal, "1.5", "1.51"),
            (Value::from("a=b"), "a=b", "a"),
            (Value::Bool(true), "true", "false"),
            (Value::Null, "null", ""),
            (Value::Date(crate::record::Date { days: 0 }), "1970-01-01", "1970-01-02"),
            (Value::Float(0.1), "0.1", "x"),
        ] {
            assert!(equals(&value, yes), "{yes}");
            assert!(!equals(&value, no), "{no}");
        }
        assert_eq!(condition("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(condition("a").is_err());
    }
}
