//! `debezium`: change events become records of tables.
//!
//! ```yaml
//! - debezium:
//!     format: debezium             # or flattened (ExtractNewRecordState), mongodb
//!     names: table                 # or qualified: schema.table
//!     decimals: base64             # or text: what strings in declared decimal columns are (decimal.handling.mode)
//!     before: false                # true: keep the row before the change wherever the source sends it
//!     unavailable: __debezium_unavailable_value
//!     signal_table: debezium_signal
//!     on_schema_change: evolve     # or pause, ignore: when columns are added, dropped or retyped while events flow
//!     registry: { url: "http://registry:8081", username: u, password: "${REGISTRY_PASSWORD}" }   # Avro, JSON
//!     tables:                      # types for JSON without a schema, and for `check`
//!       transaction: { key: [id], on_schema_change: pause, columns: { id: int64, amount: "decimal(18,2)", booked_at: timestamptz } }
//!       audit_log: { key: none }
//! ```
//!
//! With a `registry`, messages that name a schema in it are read by that schema, keys and values each for itself; others
//! stay JSON. What cannot be decoded is rejected with a reason and parked; the rest goes on. Heartbeats, transaction metadata,
//! schema changes, notifications, logical messages and signals are no data and end here.

mod registry;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::cdc::{
    Base64, Config, DeclaredColumn, DeclaredKey, DeclaredTable, Decoder, Event, Format, Names, Unavailable,
};
use crate::error::Result;
use crate::pipeline::{Field, Flow, Node, OnSchemaChange, Problem, SchemaPolicy, Section, Spanned, TableFlow};
use crate::record::{Batch, KIND_NAMES, Reject};
use crate::stage::Stage;
use registry::Registry;

/// The component.
pub struct DebeziumStage {
    config: Config,
    decoder: Decoder,
    registry: Option<Registry>,
    on_schema_change: OnSchemaChange,
}

/// Makes the stage from its section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Stage> {
    let format = match section.choice("format", &["debezium", "mongodb", "flattened"]) {
        "mongodb" => Format::Mongodb,
        "flattened" => Format::Flattened,
        _ => Format::Debezium,
    };
    let names = match section.choice("names", &["table", "qualified"]) {
        "qualified" => Names::Qualified,
        _ => Names::Table,
    };
    let decimals = match section.choice("decimals", &["base64", "text"]) {
        "text" => Base64::Never,
        _ => Base64::Unless,
    };
    let keep_before = section.flag("before", false);
    let unavailable = section.text("unavailable").map_or_else(Unavailable::default, |text| Unavailable::new(&text));
    let signal_table = section.text("signal_table").map(|name| name.value);
    // Documents of MongoDB have fields of their own each.
    let others = match format {
        Format::Mongodb => section.choice("on_schema_change", &["ignore", "evolve", "pause"]),
        _ => section.choice("on_schema_change", &["evolve", "pause", "ignore"]),
    };
    let (tables, policies) = tables(section, others);
    let on_schema_change = OnSchemaChange { tables: policies, others: policy(others) };
    let registry = section.section("registry", Registry::read);
    let registry_id_bytes = registry.as_ref().map_or(0, |registry| registry.id_bytes);
    let config = Config { format, names, tables, decimals, unavailable, keep_before, registry_id_bytes, signal_table };
    Box::new(DebeziumStage { decoder: Decoder::new(config.clone()), config, registry, on_schema_change })
}

/// The policy that a choice names.
fn policy(choice: &str) -> SchemaPolicy {
    match choice {
        "pause" => SchemaPolicy::Pause,
        "ignore" => SchemaPolicy::Ignore,
        _ => SchemaPolicy::Evolve,
    }
}

type Tables = (BTreeMap<String, Arc<DeclaredTable>>, BTreeMap<String, SchemaPolicy>);

fn tables(section: &mut Section<'_>, others: &'static str) -> Tables {
    let (mut tables, mut policies) = (BTreeMap::new(), BTreeMap::new());
    for (name, node) in section.entries("tables") {
        let table = section.nested(node, |section| {
            // Absent, it is what all others have.
            let choices: Vec<_> = [others]
                .into_iter()
                .chain(["evolve", "pause", "ignore"].into_iter().filter(|c| *c != others))
                .collect();
            policies.insert(name.value.clone(), policy(section.choice("on_schema_change", &choices)));
            table(section, &name)
        });
        tables.insert(name.value, Arc::new(table));
    }
    (tables, policies)
}

fn table(section: &mut Section<'_>, name: &str) -> DeclaredTable {
    let key = section.texts("key");
    let entries = section.entries("columns");
    let columns: Vec<_> = entries.iter().filter_map(|(name, node)| column(section, name, node)).collect();
    if !columns.is_empty() {
        for missing in key.iter().filter(|k| k.value != "none" && !columns.iter().any(|c| *c.name == *k.value)) {
            let problem = missing.problem("field.unknown", format!("key column `{}` is not declared", missing.value));
            section.problem(problem.suggest(missing, columns.iter().map(|c| &*c.name)));
        }
    }
    DeclaredTable { name: name.into(), key: declared_key(&key), columns }
}

fn declared_key(key: &[Spanned<String>]) -> DeclaredKey {
    match key {
        [] => DeclaredKey::FromMessage,
        [none] if none.value == "none" => DeclaredKey::None,
        columns => DeclaredKey::Columns(columns.iter().map(|column| column.value.as_str().into()).collect()),
    }
}

fn column(section: &mut Section<'_>, name: &str, node: &Node) -> Option<DeclaredColumn> {
    let Some(text) = node.as_text() else {
        section.problem(node.problem("type.wrong", format!("expected a type, found {}", node.kind_name())));
        return None;
    };
    let column = DeclaredColumn::new(name, text);
    if let Err(reason) = &column {
        let problem = node.problem("value.unknown", format!("`{text}` is no type: {reason}"));
        section.problem(problem.suggest(text, KIND_NAMES.iter().copied().chain(["geometry"])));
    }
    column.ok()
}

#[async_trait]
impl Stage for DebeziumStage {
    fn plan(&mut self, input: Flow) -> Result<Flow, Vec<Problem>> {
        let on_schema_change = self.on_schema_change.clone();
        let mut flow = Flow { open: true, on_schema_change, ..input };
        for (name, table) in &self.config.tables {
            flow.tables.insert(name.clone(), table_flow(name, table));
        }
        Ok(flow)
    }

    async fn process(&mut self, mut batch: Batch) -> Result<Batch> {
        if let Some(registry) = &mut self.registry {
            for id in self.decoder.schemas().missing(&batch.messages) {
                let schema = registry.schema(id).await?;
                self.decoder.schemas().insert(id, schema);
            }
        }
        batch.records.reserve(batch.messages.len());
        for (origin, message) in batch.messages.iter().enumerate() {
            let origin = u32::try_from(origin).unwrap_or(u32::MAX);
            match self.decoder.decode(message, origin) {
                Ok(Event::Change(record)) => batch.records.push(record),
                Ok(Event::Control(_)) => {}
                Err(fault) => {
                    let (code, reason) = (fault.code, fault.reason.into_owned());
                    let table = self.decoder.table_of(message).map(str::to_string);
                    batch.rejects.push(Reject { origin, table, code, reason });
                }
            }
        }
        Ok(batch)
    }
}

/// A table whose columns are declared is closed; one whose key alone is declared is open.
fn table_flow(name: &str, table: &DeclaredTable) -> TableFlow {
    let field = |column: &DeclaredColumn| Field {
        name: column.name.to_string(),
        kind: column.kind.clone(),
        origin: vec![format!("{name}.{}", column.name)],
        tags: Vec::new(),
    };
    let key = match &table.key {
        DeclaredKey::Columns(columns) => columns.iter().map(ToString::to_string).collect(),
        DeclaredKey::FromMessage | DeclaredKey::None => Vec::new(),
    };
    TableFlow { fields: table.columns.iter().map(field).collect(), open: table.columns.is_empty(), key }
}
