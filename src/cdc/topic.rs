//! What a lane has learned about a topic: embedded schemas, tables, the shapes of their rows and keys.
//!
//! Everything here is a cache: losing it costs time, never a different answer. All of it is bounded.

use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::Fault;
use super::connect::Schema;
use super::decoder::{Config, DeclaredTable, Format, Names};
use super::form::Form;
use super::json::Text;
use super::layout::Layouts;
use super::retype::{Retype, Without};
use super::source::{Source, SourceShape};
use crate::record::TableSchema;

/// How many schemas and tables of one topic, and how many topics, are remembered.
const SCHEMAS: usize = 16;
const TABLES: usize = 256;
const TOPICS: usize = 4_096;

/// All topics of a lane.
#[derive(Default)]
pub struct Topics {
    by_name: FxHashMap<Arc<str>, Topic>,
}

/// One topic.
#[derive(Default)]
pub struct Topic {
    /// Schemas embedded in values.
    pub values: Schemas,
    /// Schemas embedded in keys.
    pub keys: Schemas,
    /// Tables whose events it carries.
    pub tables: Vec<Table>,
    /// Index of the table of the last event.
    pub last: usize,
    /// Flattened rows without their metadata.
    pub without: Without,
    /// What its `source` blocks look like.
    pub source: SourceShape,
}

/// A table as its events describe it.
pub struct Table {
    identity: [Box<str>; 5],
    /// The name that pipelines use.
    pub name: Arc<str>,
    /// Fingerprint of the source.
    pub incarnation: u32,
    /// Whether a change was of this table, or it is remembered that one was. Else it is a guess by the topic's name.
    pub told: bool,
    /// Whether its rows are MongoDB's documents.
    pub documents: bool,
    /// What the pipeline declares about it.
    pub declared: Option<Arc<DeclaredTable>>,
    /// Rows without an embedded schema.
    pub rows: Layouts,
    /// Keys without an embedded schema.
    pub keys: Layouts,
    /// The declared key columns, as a schema, once a key was taken from a row.
    pub key_schema: Option<Arc<TableSchema>>,
    /// Rows of binary encodings in the declared types.
    pub retype: Retype,
}

impl Topics {
    /// The topic called `name`.
    pub fn get(&mut self, name: &Arc<str>) -> &mut Topic {
        if self.by_name.len() >= TOPICS && !self.by_name.contains_key(name) {
            self.by_name.clear();
        }
        self.by_name.entry(name.clone()).or_default()
    }
}

impl Topic {
    /// The table that `source` names, remembered as the last one; where it names none, that which `topic` is called after.
    pub fn table(&mut self, config: &Config, source: &Source<'_>, topic: &str) -> Result<usize, Fault> {
        let table = source.table.map_or("", |table| table.raw);
        let identity = [source.connector, source.name, source.db, source.schema, table];
        let same = |t: &Table| t.identity.iter().map(|part| &**part).eq(identity);
        if self.tables.get(self.last).is_some_and(same) {
            return Ok(self.last);
        }
        let at = self.tables.iter().position(same);
        self.last = match at {
            Some(at) => at,
            None => {
                let name = match source.table {
                    Some(table) => qualified(config, source, &table.resolve()?),
                    None => called_after(config, topic),
                };
                self.add(Table::new(config, identity.map(Box::from), &name, source.incarnation()))
            }
        };
        Ok(self.last)
    }

    /// The table whose rows are expected: the last one.
    pub fn expected(&mut self, config: &Config, topic: &str) -> Result<Option<&mut Table>, Fault> {
        if self.tables.get(self.last).is_none() {
            self.table(config, &Source::default(), topic)?;
        }
        Ok(self.tables.get_mut(self.last))
    }

    /// The table of a message that is a key and nothing else: the only one that changes of the topic were of, however
    /// differently they told their source; a guess by the topic's name before there was any. `route` is what topic routing
    /// wrote into the key, where several tables share a topic.
    pub fn table_of(&mut self, config: &Config, topic: &str, route: Option<&str>) -> Result<usize, Fault> {
        let mut told = self.tables.iter().enumerate().filter(|(_, table)| table.told);
        match told.next() {
            None => self.table(config, &Source::default(), topic),
            Some((first, one)) if told.all(|(_, other)| other.name == one.name) => {
                Ok(if self.tables.get(self.last).is_some_and(|last| last.told) { self.last } else { first })
            }
            Some(_) => {
                let routed = |table: &Table| table.told && route.is_some_and(|route| table.topic().eq(route));
                self.tables.iter().position(routed).ok_or_else(|| {
                    Fault::new(
                        "tombstone.table",
                        "the topic carries several tables, and the tombstone does not say which of them its key is of: \
                         let topic routing write it into the keys (`key.enforce.uniqueness`)",
                    )
                })
            }
        }
    }

    /// Learns that changes of the topic were of the table called `name`.
    pub fn learn(&mut self, config: &Config, topic: &str, name: &str) -> Result<(), Fault> {
        let mut source = Source::default();
        source.table = Some(Text::plain(name));
        let at = self.table(config, &source, topic)?;
        self.tables.get_mut(at).into_iter().for_each(|table| table.told = true);
        Ok(())
    }

    fn add(&mut self, table: Table) -> usize {
        if self.tables.len() >= TABLES {
            self.tables.clear();
        }
        self.tables.push(table);
        self.tables.len() - 1
    }
}

/// The name of the table that `source` names as `table`.
fn qualified(config: &Config, source: &Source<'_>, table: &str) -> String {
    match (config.names, source.schema, source.db) {
        (Names::Table, ..) | (_, "", "") => table.to_string(),
        (Names::Qualified, "", db) => format!("{db}.{table}"),
        (Names::Qualified, schema, _) => format!("{schema}.{table}"),
    }
}

/// The name of a table that only its topic's name tells.
fn called_after(config: &Config, topic: &str) -> String {
    let mut parts = topic.rsplit('.');
    let table = parts.next().unwrap_or(topic);
    match (config.names, parts.next()) {
        (Names::Qualified, Some(schema)) => format!("{schema}.{table}"),
        _ => table.to_string(),
    }
}

impl Table {
    /// The topic that the connector would have written to.
    fn topic(&self) -> String {
        let [_, name, db, schema, table] = &self.identity;
        format!("{name}.{}.{table}", if schema.is_empty() { db } else { schema })
    }

    fn new(config: &Config, identity: [Box<str>; 5], name: &str, incarnation: u32) -> Self {
        let declared = config.tables.get(name).cloned();
        let documents =
            identity.first().is_some_and(|connector| &**connector == "mongodb") || config.format == Format::Mongodb;
        let columns = declared.iter().flat_map(|table| &table.columns);
        let known = columns.map(|column| (column.name.clone(), column.form(config.handling), column.kind.clone()));
        let rows = if documents { Layouts::all(Form::Extended) } else { Layouts::new(known) };
        let keys = rows.of_same_columns();
        let name = declared.as_ref().map_or_else(|| name.into(), |table| table.name.clone());
        let retype = Retype::default();
        Table { identity, name, incarnation, told: false, documents, declared, rows, keys, key_schema: None, retype }
    }
}

/// Schemas that precede payloads, by the bytes that they are written in.
#[derive(Default)]
pub struct Schemas {
    known: Vec<Embedded>,
    last: usize,
}

/// One embedded schema: the bytes from the message's start to its payload, and what they mean.
pub struct Embedded {
    prefix: Bytes,
    /// Whether the payload stands in an object whose `}` has to follow it.
    in_object: bool,
    /// Whether its messages are events of Debezium's own and no rows.
    pub is_control: bool,
    /// Rows of this schema.
    pub rows: Layouts,
    /// Keys without a schema of their own, whose columns this schema tells.
    pub keys: Layouts,
}

impl Schemas {
    /// The schema that `message` begins with, where its payload begins, and whether that stands in an object.
    pub fn find(&mut self, message: &[u8]) -> Option<(usize, usize, bool)> {
        let fits = |e: &Embedded| message.starts_with(&e.prefix);
        if !self.known.get(self.last).is_some_and(fits) {
            self.last = self.known.iter().position(fits)?;
        }
        self.known.get(self.last).map(|e| (self.last, e.prefix.len(), e.in_object))
    }

    /// The schema of a registry behind whose frame, the first `at` bytes, `message` has its value; remembered.
    pub fn framed(&mut self, config: &Config, message: &[u8], at: usize, schema: &Schema) {
        if self.find(message).is_none() {
            let frame = message.get(..at).unwrap_or_default();
            self.add(config, frame, false, schema);
        }
    }

    /// A schema that does not stand right before its payload, known by its own text; `None` for `null`.
    pub fn embedded(&mut self, config: &Config, text: &str) -> Result<Option<usize>, Fault> {
        if let Some(at) = self.known.iter().position(|e| *e.prefix == *text.as_bytes()) {
            return Ok(Some(at));
        }
        Ok(Schema::parse(text)?.map(|schema| self.add(config, text.as_bytes(), false, &schema)))
    }

    /// The schema last seen.
    pub fn last(&mut self) -> Option<&mut Embedded> {
        self.known.get_mut(self.last)
    }

    /// The schema at `index`.
    pub fn get(&mut self, index: usize) -> Option<&mut Embedded> {
        self.known.get_mut(index)
    }

    /// Remembers the schema of messages that begin with `prefix`.
    pub fn add(&mut self, config: &Config, prefix: &[u8], in_object: bool, schema: &Schema) -> usize {
        let row = schema.field("after").or_else(|| schema.field("before")).unwrap_or(schema);
        let table = schema.table().and_then(|name| {
            let qualified = || config.tables.iter().find(|(known, _)| known.rsplit('.').next() == Some(name));
            config.tables.get(name).or_else(|| qualified().map(|(_, table)| table))
        });
        let columns =
            row.columns().into_iter().map(|column| column.declared(table.map(|table| &**table), config.handling));
        let rows = Layouts::new(columns.map(|c| (c.name, c.form, c.kind)));
        let keys = rows.of_same_columns();
        if self.known.len() >= SCHEMAS {
            self.known.remove(0);
        }
        // A copy: a slice would keep the whole batch of messages alive.
        let prefix = Bytes::copy_from_slice(prefix);
        self.known.push(Embedded { prefix, in_object, is_control: schema.is_control(), rows, keys });
        self.last = self.known.len() - 1;
        self.last
    }
}
