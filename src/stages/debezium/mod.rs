//! `debezium`: change events become records of tables.
//!
//! ```yaml
//! - debezium:
//!     format: debezium             # or flattened (ExtractNewRecordState), mongodb, outbox (EventRouter)
//!     names: table                 # or qualified: schema.table
//!     decimals: base64             # or text: what strings in declared decimal columns are (decimal.handling.mode)
//!     binary: base64               # or hex: what strings in declared binary columns are (binary.handling.mode)
//!     key_format: auto             # or text (StringConverter), integer (LongConverter): keys that JSON or the registry do not tell
//!     metadata: { prefix: __, names: { change: op } }   # flattened: columns and headers of add.fields, add.headers
//!     before: false                # true: keep the row before the change wherever the source sends it
//!     unavailable: __debezium_unavailable_value
//!     signal_table: debezium_signal
//!     on_schema_change: evolve     # or pause, ignore: when columns are added, dropped or retyped while events flow
//!     outbox: { table: outboxevent, aggregate_type: aggregatetype }   # a captured outbox table; id, aggregate_id, type, payload
//!     registry: { url: "http://registry:8081", username: u, password: "${REGISTRY_PASSWORD}" }   # Avro, Protobuf, JSON
//!     schemas: optional            # or required: JSON without its schema is parked
//!     tables:                      # types for JSON without a schema, and for `check`
//!       transaction: { key: [id], on_schema_change: pause, columns: { id: int64, amount: "decimal(18,2)", booked_at: timestamptz } }
//!       audit_log: { key: none }
//! ```
//!
//! With a `registry`, messages that name a schema in it are read by that schema, keys and values each for itself; others
//! stay JSON. What cannot be decoded is rejected with a reason and parked; the rest goes on. Heartbeats, transaction metadata,
//! schema changes, notifications, logical messages and signals are no data and end here; heartbeats and notifications
//! of the initial load become news of the source, which the pipeline's progress shows. With `consistency: transaction` in
//! the pipeline, messages say which transaction they are part of. Which tables a topic carries is remembered beyond a run
//! (`tables`): a tombstone alone does not tell.

mod registry;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::cdc::{
    Base64, Binary, Config, Control, DeclaredColumn, DeclaredKey, DeclaredTable, Decoder, Event, Fault, Format,
    Handling, KeyFormat, Metadata, Names, Outbox, Unavailable,
};
use crate::error::Result;
use crate::pipeline::{Field, Flow, Node, OnSchemaChange, Problem, SchemaPolicy, Section, Spanned, TableFlow};
use crate::record::{Batch, KIND_NAMES, Kind, Message, News, Reject};
use crate::stage::{LaneContext, Stage};
use registry::Registry;
use tables::TopicTables;

/// The component.
pub struct DebeziumStage {
    config: Config,
    decoder: Decoder,
    tables: TopicTables,
    registry: Option<Registry>,
    on_schema_change: OnSchemaChange,
    warnings: Vec<Problem>,
    here: Spanned<()>,
}

/// Makes the stage from its section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Stage> {
    let format = match section.choice("format", &["debezium", "mongodb", "flattened", "outbox"]) {
        "mongodb" => Format::Mongodb,
        "flattened" => Format::Flattened,
        "outbox" => Format::Outbox,
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
    let binary = match section.choice("binary", &["base64", "hex"]) {
        "hex" => Binary::Hex,
        _ => Binary::Base64,
    };
    let key_format = match section.choice("key_format", &["auto", "text", "integer"]) {
        "text" => KeyFormat::Text,
        "integer" => KeyFormat::Integer,
        _ => KeyFormat::Auto,
    };
    let handling = Handling { decimals, binary };
    let metadata = section.section("metadata", metadata).unwrap_or_default();
    let keep_before = section.flag("before", false);
    let unavailable = section.text("unavailable").map_or_else(Unavailable::default, |text| Unavailable::new(&text));
    let signal_table = section.text("signal_table").map(|name| name.value);
    let outbox = section.section("outbox", outbox);
    let schemas_required = section.choice("schemas", &["optional", "required"]) == "required";
    let registry = section.section("registry", Registry::read);
    let mut warnings = Vec::new();
    // Documents of MongoDB have fields of their own each.
    let others = match format {
        Format::Mongodb => section.choice("on_schema_change", &["ignore", "evolve", "pause"]),
        _ => section.choice("on_schema_change", &["evolve", "pause", "ignore"]),
    };
    let (tables, policies) = tables(section, others, &mut warnings);
    let on_schema_change = OnSchemaChange { tables: policies, others: policy(others) };
    let decimals_stay = handling.decimals == Base64::Unless && registry.is_none() && !schemas_required;
    warnings.retain(|_| decimals_stay && matches!(format, Format::Debezium | Format::Flattened));
    let registry_id_bytes = registry.as_ref().map_or(0, |registry| registry.id_bytes);
    let config = Config {
        format,
        names,
        tables,
        key_format,
        handling,
        metadata,
        unavailable,
        keep_before,
        schemas_required,
        registry_id_bytes,
        outbox,
        signal_table,
        transactions: false,
    };
    Box::new(DebeziumStage {
        decoder: Decoder::new(config.clone()),
        tables: TopicTables::default(),
        config,
        registry,
        on_schema_change,
        warnings,
        here: section.here(),
    })
}

fn outbox(section: &mut Section<'_>) -> Outbox {
    let mut outbox = Outbox::new(&section.required_text("table").value);
    for (key, place) in [
        ("id", &mut outbox.id),
        ("aggregate_type", &mut outbox.aggregate_type),
        ("aggregate_id", &mut outbox.aggregate_id),
        ("type", &mut outbox.kind),
        ("payload", &mut outbox.payload),
    ] {
        if let Some(name) = section.text(key) {
            *place = name.value;
        }
    }
    outbox
}

fn metadata(section: &mut Section<'_>) -> Metadata {
    let mut metadata = Metadata::default();
    if let Some(prefix) = section.text("prefix") {
        metadata.prefix = prefix.value;
    }
    for (name, node) in section.entries("names") {
        if let Some(told) = section.scalar(node) {
            metadata.names.insert(name.value, told.value);
        }
    }
    metadata
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

/// Declared tables. `warnings` hold only where messages carry no schema.
fn tables(section: &mut Section<'_>, others: &'static str, warnings: &mut Vec<Problem>) -> Tables {
    let (mut tables, mut policies) = (BTreeMap::new(), BTreeMap::new());
    let entries = section.entries("tables");
    if entries.is_empty() {
        let message = "no types are declared: in messages without a schema decimals and bytes stay base64, dates and times \
                       the numbers that count them";
        let help = "declare `tables:`, give a `registry:`, or say `schemas: required`: then such messages are parked";
        warnings.push(section.here().problem("tables.untyped", message).help(help));
    }
    for (name, node) in entries {
        let table = section.nested(node, |section| {
            // Absent, it is what all others have.
            let choices: Vec<_> = [others]
                .into_iter()
                .chain(["evolve", "pause", "ignore"].into_iter().filter(|c| *c != others))
                .collect();
            policies.insert(name.value.clone(), policy(section.choice("on_schema_change", &choices)));
            table(section, &name, warnings)
        });
        if table.columns.is_empty() {
            let message =
                format!("`{}` has no columns: without schemas in the messages decimals and bytes stay base64", *name);
            let help = "declare `columns:`, give a `registry:`, or say `schemas: required`";
            warnings.push(name.problem("table.untyped", message).help(help));
        }
        tables.insert(name.value, Arc::new(table));
    }
    (tables, policies)
}

fn table(section: &mut Section<'_>, name: &str, warnings: &mut Vec<Problem>) -> DeclaredTable {
    let key = section.texts("key");
    let entries = section.entries("columns");
    let columns: Vec<_> = entries.iter().filter_map(|(name, node)| column(section, name, node)).collect();
    for ((name, node), column) in entries.iter().zip(&columns) {
        if matches!(column.kind, Kind::Decimal { scale: None, .. }) && *column.name == *name.value {
            let message = format!("`{}` is a decimal without a scale: base64 digits of it cannot be read", **name);
            let help = "`decimal(precision,scale)`; without a scale only PostgreSQL's unlimited `numeric` arrives readable, \
                        or set `decimals: text` as the connector's decimal.handling.mode";
            warnings.push(node.problem("decimal.scale", message).help(help));
        }
    }
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
        let asked = input.transactions.is_some();
        if asked && self.config.format != Format::Debezium {
            let text = "rows of this format do not tell the transaction that they were changed in";
            let help = "leave the connector's envelope as it is, or leave `consistency: transaction` out";
            return Err(vec![self.here.problem("consistency.untold", text).help(help)]);
        }
        if asked {
            self.config.transactions = true;
            self.decoder = Decoder::new(self.config.clone());
        }
        let on_schema_change = self.on_schema_change.clone();
        let mut flow = Flow { open: true, on_schema_change, tells_transactions: asked, ..input };
        flow.warnings.append(&mut self.warnings);
        for (name, table) in &self.config.tables {
            flow.tables.insert(name.clone(), table_flow(name, table));
        }
        Ok(flow)
    }

    async fn open(&mut self, lane: &LaneContext) -> Result<()> {
        self.tables.open(lane).await
    }

    async fn process(&mut self, mut batch: Batch) -> Result<Batch> {
        self.decoder.schemas().forget_unusable();
        self.tables.begin();
        batch.records.reserve(batch.messages.len());
        for (origin, message) in batch.messages.iter().enumerate() {
            let origin = u32::try_from(origin).unwrap_or(u32::MAX);
            let decoded = self.decode(message, origin).await?;
            batch.members.extend(self.decoder.take_membership().map(|membership| (origin, membership)));
            match decoded {
                Ok(Event::Change(record)) => batch.records.push(record),
                Ok(Event::Control(control)) => batch.news.extend(news(self.config.names, &control)),
                Err(fault) => {
                    let (code, reason) = (fault.code, fault.reason.into_owned());
                    let table = self.decoder.table_of(message).map(str::to_string);
                    batch.rejects.push(Reject { origin, table, code, reason });
                }
            }
        }
        self.tables.note(self.decoder.take_named()).await?;
        Ok(batch)
    }
}

impl DebeziumStage {
    /// Decodes a message; schemas that it names and that are not known yet are fetched, and it is decoded again. So is a
    /// tombstone whose topic has not told its table to this lane.
    async fn decode(&mut self, message: &Message, origin: u32) -> Result<Result<Event, Fault>> {
        loop {
            let decoded = self.decoder.decode(message, origin);
            match (&mut self.registry, self.decoder.schemas().take_wanted()) {
                (Some(registry), Some(id)) => {
                    let schema = registry.schema(id).await?;
                    self.decoder.schemas().insert(id, schema);
                }
                _ if self.decoder.is_guess() => {
                    let tables = self.tables.of(message).await?;
                    if tables.is_empty() {
                        return Ok(self.tables.judge(message, decoded));
                    }
                    if let Err(fault) = self.decoder.learn(&message.topic, tables) {
                        return Ok(Err(fault));
                    }
                }
                _ => return Ok(decoded),
            }
        }
    }
}

/// What an event that is no change of a row tells about its source.
fn news(names: Names, control: &Control) -> Option<News> {
    match control {
        Control::Heartbeat { ts_ms } => ts_ms.map(|at_ms| News::Alive { at_ms }),
        Control::Notification { aggregate, kind, at_ms, details } if aggregate == "Initial Snapshot" => {
            if kind == "TABLE_SCAN_COMPLETED" {
                return scanned(names, (*at_ms)?, details);
            }
            let complete = matches!(kind.as_str(), "COMPLETED" | "SKIPPED");
            let connector = detail(details, "connector_name").unwrap_or_default().to_string();
            Some(News::InitialLoad { connector, complete })
        }
        _ => None,
    }
}

fn detail<'d>(details: &'d [(String, String)], name: &str) -> Option<&'d str> {
    details.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// How many rows a snapshot found in a table; nothing where two tables of the connector have the same name here.
fn scanned(names: Names, at_ms: i64, details: &[(String, String)]) -> Option<News> {
    let called = |collection: &str| {
        let mut parts = collection.trim().rsplit('.');
        let table = parts.next().unwrap_or_default();
        match (names, parts.next()) {
            (Names::Qualified, Some(schema)) => format!("{schema}.{table}"),
            _ => table.to_string(),
        }
    };
    let read = detail(details, "status").is_none_or(|status| matches!(status, "SUCCEEDED" | "EMPTY"));
    let table = detail(details, "scanned_collection").filter(|_| read).map(called)?;
    let all = detail(details, "data_collections").unwrap_or_default();
    let alone = all.split(',').filter(|other| called(other) == table).count() <= 1;
    let rows = detail(details, "total_rows_scanned")?.parse().ok().filter(|_| alone)?;
    Some(News::Scanned { table, at_ms, rows })
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
    TableFlow { fields: table.columns.iter().map(field).collect(), open: table.columns.is_empty(), nested: false, key }
}

#[cfg(test)]
mod tests {
    use super::super::testing::plan;
    use super::*;

    fn warnings(yaml: &str) -> Vec<&'static str> {
        plan(make, yaml).unwrap().1.warnings.iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn columns_that_would_stay_base64_are_warned_of() {
        let tables =
            "tables: { a: { key: [id] }, b: { columns: { id: int64, rate: decimal, amount: 'decimal(18,2)' } } }";
        assert_eq!(warnings(&format!("{{ {tables} }}")), ["table.untyped", "decimal.scale"]);
        for settled in
            ["decimals: text", "schemas: required", "registry: { url: 'http://localhost:1' }", "format: mongodb"]
        {
            assert_eq!(warnings(&format!("{{ {settled}, {tables} }}")), [""; 0], "{settled}");
            assert_eq!(warnings(&format!("{{ {settled} }}")), [""; 0], "{settled}");
        }
        assert_eq!(warnings("{}"), ["tables.untyped"]);
    }

    #[tokio::test]
    async fn heartbeats_and_notifications_become_news() {
        let (mut stage, _) = plan(make, "{}").unwrap();
        let message = |topic: &str, value: &str| Message {
            topic: topic.into(),
            epoch: Default::default(),
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: None,
            value: Some(bytes::Bytes::copy_from_slice(value.as_bytes())),
            headers: Vec::new(),
        };
        let notification = |kind: &str| {
            let value = format!(
                r#"{{"id":"x","aggregate_type":"Initial Snapshot","type":"{kind}","additional_data":{{"connector_name":"bank"}},"timestamp":1}}"#
            );
            message("notifications", &value)
        };
        let scan = |status: &str, all: &str| {
            let value = format!(
                r#"{{"id":"x","aggregate_type":"Initial Snapshot","type":"TABLE_SCAN_COMPLETED","additional_data":{{"scanned_collection":"public.a","total_rows_scanned":"3","status":"{status}","data_collections":"{all}"}},"timestamp":7}}"#
            );
            message("notifications", &value)
        };
        let messages = vec![
            message("__debezium-heartbeat.bank", r#"{"ts_ms":5}"#),
            notification("STARTED"),
            notification("COMPLETED"),
            scan("SUCCEEDED", "public.a,public.b"),
            scan("SQL_EXCEPTION", "public.a,public.b"),
            scan("SUCCEEDED", "public.a,other.a"),
            message("bank.transaction", r#"{"status":"BEGIN","id":"1:2","event_count":null,"data_collections":null}"#),
        ];
        let batch = stage.process(Batch::from_messages(messages)).await.unwrap();
        let load = |complete| News::InitialLoad { connector: "bank".into(), complete };
        let scanned = News::Scanned { table: "a".into(), at_ms: 7, rows: 3 };
        assert_eq!(batch.news, [News::Alive { at_ms: 5 }, load(false), load(true), scanned]);
        assert!(batch.records.is_empty() && batch.rejects.is_empty());
    }
}
