//! `headwater explain`: what a pipeline will do, from its checked plan alone.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Context, Outcome, report};
use crate::Result;
use crate::pipeline::{Field, Flow, Pipeline, ProcessVariables, TableFlow, load};

#[derive(clap::Args)]
pub struct Args {
    /// A pipeline file
    file: PathBuf,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let pipeline = match load(&args.file, &context.registry, &ProcessVariables) {
        Ok(pipeline) => pipeline,
        Err(failure) => return Ok(report::outcome(&[failure], context)),
    };
    let summary = format!("{}: {} stages, {} lanes", pipeline.name, pipeline.steps.len() - 1, pipeline.lanes);
    let text = pipeline.hide_secrets(&to_text(&pipeline));
    let mut result = to_json(&pipeline);
    hide(&mut result, &pipeline);
    Ok(Outcome { text, summary, result, error: None })
}

fn to_text(pipeline: &Pipeline) -> String {
    let mut text = String::new();
    let (batch, stop) = (pipeline.batch, pipeline.parking.stop_above);
    let _ = writeln!(text, "{}", pipeline.name);
    let _ = writeln!(text, "  lanes     {}", pipeline.lanes);
    let _ = writeln!(
        text,
        "  batches   up to {} records or {} bytes, waiting at most {:?}",
        batch.records, batch.bytes, batch.linger
    );
    let _ = writeln!(
        text,
        "  parking   store {}; stops above {} records and {} % within {:?}",
        printable_store(&pipeline.parking.store),
        stop.records,
        stop.share * 100.0,
        stop.within
    );
    if let Some(whole) = &pipeline.transactions {
        let _ = writeln!(
            text,
            "  seen      transactions of {} whole; up to {} events, {} bytes, {:?}",
            whole.topic.value, whole.events, whole.bytes, whole.age
        );
    }
    let mut before = Flow::default();
    for step in &pipeline.steps {
        let _ = writeln!(text, "\n{}", step.id);
        step_text(&mut text, &before, &step.flow);
        before = step.flow.clone();
    }
    text
}

/// What a step changes: tables in their new form, tables that end here, the store and its indexes.
fn step_text(text: &mut String, before: &Flow, after: &Flow) {
    if before == after {
        let _ = writeln!(text, "  passes on what it gets");
        return;
    }
    for (name, table) in &after.tables {
        match before.tables.get(name) {
            None => table_text(text, name, table),
            Some(old) if old != table => change_text(text, name, old, table),
            Some(_) => {}
        }
    }
    for name in before.tables.keys().filter(|name| !after.tables.contains_key(*name)) {
        let _ = writeln!(text, "  - {name}");
    }
    if after.open && !before.open {
        let _ = writeln!(text, "  any other table, as it comes");
    }
    if let Some(store) = after.store.as_deref().filter(|_| before.store != after.store) {
        let _ = writeln!(text, "  into raw store {}", printable_store(store));
    }
    for (name, table) in &after.stored {
        let is_stream = after.tables.get(name) == Some(table) || before.tables.get(name) == Some(table);
        if before.stored.get(name) != Some(table) && !is_stream {
            let _ = writeln!(text, "  stored:");
            table_text(text, name, table);
        }
    }
    for (table, column) in after.indexes.iter().filter(|index| !before.indexes.contains(index)) {
        let _ = writeln!(text, "  index on {table}.{column}");
    }
}

fn table_text(text: &mut String, name: &str, table: &TableFlow) {
    let key = if table.key.is_empty() { String::new() } else { format!(" (key {})", table.key.join(", ")) };
    let _ = writeln!(text, "  {name}{key}");
    fields_text(text, "", table.fields.iter());
    if table.open {
        let _ = writeln!(text, "    any other field, as it comes");
    }
}

/// What became of the fields of a table that was there before.
fn change_text(text: &mut String, name: &str, old: &TableFlow, new: &TableFlow) {
    let key = if old.key == new.key { String::new() } else { format!(" (key now {})", new.key.join(", ")) };
    let _ = writeln!(text, "  {name}{key}");
    fields_text(text, "+ ", new.fields.iter().filter(|f| old.field(&f.name) != Some(f)));
    for gone in old.fields.iter().filter(|f| new.field(&f.name).is_none()) {
        let _ = writeln!(text, "    - {}", gone.name);
    }
    match (old.open, new.open) {
        (false, true) => drop(writeln!(text, "    + any other field, as it comes")),
        (true, false) => drop(writeln!(text, "    - any other field")),
        _ => {}
    }
}

fn fields_text<'a>(text: &mut String, mark: &str, fields: impl Iterator<Item = &'a Field> + Clone) {
    let names = fields.clone().map(|f| f.name.chars().count()).max().unwrap_or_default();
    let kinds = fields.clone().map(|f| f.kind.to_string().len()).max().unwrap_or_default();
    for field in fields {
        let origin = if field.origin.is_empty() { String::new() } else { format!("  ← {}", field.origin.join(", ")) };
        let tags = if field.tags.is_empty() { String::new() } else { format!("  [{}]", field.tags.join(", ")) };
        let line = format!("    {mark}{:names$}  {:kinds$}{origin}{tags}", field.name, field.kind.to_string());
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// A store's name; of a URI only what is not secret.
fn printable_store(store: &str) -> &str {
    if store.contains("://") { "at a MongoDB URI" } else { store }
}

fn to_json(pipeline: &Pipeline) -> Value {
    let last = pipeline.steps.last().map(|step| &step.flow);
    let steps = pipeline.steps.iter().map(|step| {
        json!({
            "id": step.id,
            "tables": tables_json(&step.flow.tables),
            "other_tables": step.flow.open,
        })
    });
    json!({
        "name": &*pipeline.name,
        "lanes": pipeline.lanes,
        "consistency": if pipeline.transactions.is_some() { "transaction" } else { "key" },
        "batch": {
            "records": pipeline.batch.records,
            "bytes": pipeline.batch.bytes,
            "linger_ms": pipeline.batch.linger.as_millis() as u64,
        },
        "parking": {
            "store": printable_store(&pipeline.parking.store),
            "stop_above": {
                "records": pipeline.parking.stop_above.records,
                "share": pipeline.parking.stop_above.share,
                "within_ms": pipeline.parking.stop_above.within.as_millis() as u64,
            },
        },
        "steps": steps.collect::<Vec<_>>(),
        "store": last.and_then(|flow| flow.store.as_deref()).map(printable_store),
        "stored": last.map(|flow| tables_json(&flow.stored)),
        "indexes": last.map(|flow| flow.indexes.iter().map(|(t, c)| json!({ "table": t, "column": c })).collect::<Vec<_>>()),
    })
}

fn tables_json(tables: &std::collections::BTreeMap<String, TableFlow>) -> Value {
    let fields = |table: &TableFlow| {
        let field = table
            .fields
            .iter()
            .map(|f| json!({ "name": f.name, "type": f.kind.to_string(), "origin": f.origin, "tags": f.tags }));
        field.collect::<Vec<_>>()
    };
    let table = tables.iter().map(
        |(name, table)| json!({ "name": name, "key": table.key, "fields": fields(table), "other_fields": table.open }),
    );
    table.collect()
}

fn hide(value: &mut Value, pipeline: &Pipeline) {
    match value {
        Value::String(text) => *text = pipeline.hide_secrets(text),
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, pipeline)),
        Value::Object(entries) => entries.values_mut().for_each(|value| hide(value, pipeline)),
        _ => {}
    }
}
