//! Labelled rows from a raw store: a table of rows, and a table that labels some of them.
//!
//! Invariants: both tables are read from one snapshot; memory holds the labels, not the rows; a row without a label is
//! left out and counted. Of several labels of one row the one with the highest key counts, as of corrections.

use std::collections::HashMap;

use serde_json::json;

use super::super::Context;
use super::super::run::{block_on, stores};
use crate::model::{Columns, Dataset, Reading, StoreTables};
use crate::record::{Row, Value};
use crate::stores::Snapshot;
use crate::{Error, Result};

/// Rows read at a time.
const PAGE_ROWS: usize = 10_000;

/// The data set, and what it consists of.
pub fn read(context: &Context, tables: &StoreTables, columns: &Columns) -> Result<(Dataset, serde_json::Value)> {
    block_on(gather(context, tables, columns))?
}

async fn gather(context: &Context, tables: &StoreTables, columns: &Columns) -> Result<(Dataset, serde_json::Value)> {
    let store = stores(context).existing(&tables.name).await?;
    let known: Vec<String> = store.tables().await?.into_iter().map(|(name, _)| name).collect();
    if let Some(missing) = [&tables.table, &tables.labels].into_iter().find(|table| !known.contains(table)) {
        let known = known.join(", ");
        return Err(Error::Config(format!(
            "there is no table `{missing}` in the store `{}`; known: {known}",
            tables.name
        )));
    }
    let mut snapshot = store.snapshot().await?;
    let mut labels: HashMap<String, String> = HashMap::new();
    each(snapshot.as_mut(), &tables.labels, |row| {
        let label = row.get(&columns.label).map(text).unwrap_or_default();
        if let (Some(key), false) = (joined(row, tables.on.values()), label.is_empty()) {
            labels.insert(key, label);
        }
        Ok(())
    })
    .await?;
    let (mut reading, mut unlabelled) = (Reading::default(), 0u64);
    each(snapshot.as_mut(), &tables.table, |row| {
        let Some(label) = joined(row, tables.on.keys()).and_then(|key| labels.get(&key)) else {
            unlabelled += 1;
            return Ok(());
        };
        let named = columns.names().filter_map(|name| Some((name, text(row.get(name)?))));
        let cells: HashMap<&str, String> = named.collect();
        let find = |name: &str| {
            if name == columns.label { Some(label.as_str()) } else { cells.get(name).map(String::as_str) }
        };
        reading.named_row(find, columns)
    })
    .await?;
    let about = json!([{ "table": tables.table, "labels": tables.labels, "unlabelled_rows": unlabelled }]);
    Ok((reading.finish()?, about))
}

/// Hands over every live row of a table, in key order.
async fn each(snapshot: &mut dyn Snapshot, table: &str, mut take: impl FnMut(&Row) -> Result<()>) -> Result<()> {
    let mut after: Option<Row> = None;
    loop {
        let page = snapshot.scan(table, after.as_ref(), PAGE_ROWS).await?;
        page.iter().try_for_each(|stored| take(&stored.row))?;
        match page.last() {
            Some(last) if page.len() == PAGE_ROWS => after = Some(last.key.clone()),
            _ => return Ok(()),
        }
    }
}

/// The values of the columns that join, as one text; `None` when one is missing or null.
fn joined<'c>(row: &Row, columns: impl Iterator<Item = &'c String>) -> Option<String> {
    let mut key = String::new();
    for column in columns {
        match row.get(column)? {
            Value::Null | Value::Unchanged => return None,
            value => {
                key.push_str(&value.to_json());
                key.push('\n');
            }
        }
    }
    Some(key)
}

/// A value as labelled files have it; null is empty.
fn text(value: &Value) -> String {
    match value {
        Value::Null | Value::Unchanged => String::new(),
        Value::Text(text) => text.to_string(),
        other => other.to_json().trim_matches('"').to_string(),
    }
}
