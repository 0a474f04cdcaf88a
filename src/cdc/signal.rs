//! Rows of the table through which the connector takes its orders. Where it is captured, its rows are events too; they
//! are no business data.

use super::decoder::Config;
use super::topic::Table;
use crate::record::{Row, Value};

/// Signals of Debezium, “Sending signals to a Debezium connector”.
const TYPES: &[&str] = &[
    "log",
    "schema-changes",
    "execute-snapshot",
    "stop-snapshot",
    "pause-snapshot",
    "resume-snapshot",
    "snapshot-window-open",
    "snapshot-window-close",
];

/// Whether a change is of the signal table: by its name, or by its columns `id`, `type`, `data` and a known signal.
pub fn is_signal(config: &Config, table: &Table, row: Option<&Row>) -> bool {
    let name = config.signal_table.as_deref().unwrap_or("debezium_signal");
    if *table.name == *name {
        return true;
    }
    let Some(row) = row.filter(|row| table.declared.is_none() && row.values().len() == 3) else { return false };
    let names = row.iter().map(|(name, _)| &**name).eq(["id", "type", "data"]);
    let kind = row.get("type").and_then(Value::as_str);
    names && kind.is_some_and(|kind| TYPES.contains(&kind))
}
