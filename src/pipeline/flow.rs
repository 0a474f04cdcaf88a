//! What is known, before anything runs, about the records between two stages: tables, their fields, where each field
//! came from. The currency of `check`, `explain`, lineage and governance.
//!
//! Invariant: pure data, made without I/O.

use std::collections::BTreeMap;

use super::{Problem, Spanned, Transactions};
use crate::record::Kind;

/// The records that flow between two stages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flow {
    /// Known tables by name.
    pub tables: BTreeMap<String, TableFlow>,
    /// Whether tables that are not listed may occur too.
    pub open: bool,
    /// The raw store that the records have been put into, once a `raw` stage has passed.
    pub store: Option<String>,
    /// Everything in the raw store of this pipeline: source tables and derived ones (`categorize … into`).
    pub stored: BTreeMap<String, TableFlow>,
    /// Secondary indexes that later stages ask of the raw store: (table, column).
    pub indexes: Vec<(String, String)>,
    /// What to do when the columns of a table change.
    pub on_schema_change: OnSchemaChange,
    /// What is allowed and yet probably not meant: `check` tells it, nothing is refused.
    pub warnings: Vec<Problem>,
    /// Tables of categories in the raw store.
    pub results: Vec<ResultTable>,
    /// The topics that the source reads; none where it cannot say.
    pub topics: Vec<Spanned<String>>,
    /// Transactions that readers of the targets are to see whole.
    pub transactions: Option<Transactions>,
    /// Whether a stage has told of each message which transaction it is part of.
    pub tells_transactions: bool,
}

/// What to do when the columns of a table change while the pipeline runs: by table, and for all others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OnSchemaChange {
    /// Tables that have a policy of their own.
    pub tables: BTreeMap<String, SchemaPolicy>,
    /// All others.
    pub others: SchemaPolicy,
}

/// What to do when the columns of one table change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SchemaPolicy {
    /// Nothing. Where nothing else was said: the shape of rows may be no table's.
    #[default]
    Ignore,
    /// Go on; stop only where a column that the pipeline uses has gone or has become of another type.
    Evolve,
    /// Stop at every change, until a person has accepted it.
    Pause,
}

impl OnSchemaChange {
    /// The policy of `table`.
    pub fn of(&self, table: &str) -> SchemaPolicy {
        self.tables.get(table).copied().unwrap_or(self.others)
    }
}

/// A table of categories and what they are made from.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultTable {
    /// Its name in the raw store.
    pub name: String,
    /// The categorized table.
    pub of: String,
    /// The folder of the model.
    pub model: String,
    /// The table that counts what was answered, if drift is watched.
    pub drift: Option<String>,
}

/// One table (or document stream) in a [`Flow`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableFlow {
    /// Fields in order. Names of nested document fields are dotted paths.
    pub fields: Vec<Field>,
    /// Whether fields that are not listed may occur too (nothing was declared).
    pub open: bool,
    /// Whether these are documents: a dot in a field's name then leads into a nested one. A source's column may have a
    /// dot in its name, too, and is flat.
    pub nested: bool,
    /// Key columns, when known.
    pub key: Vec<String>,
}

/// One field and its history.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Name, or dotted path in a document.
    pub name: String,
    /// What its values are.
    pub kind: Kind,
    /// The source fields that it was made from, as `table.column`, sorted.
    pub origin: Vec<String>,
    /// Governance tags, sorted.
    pub tags: Vec<String>,
}

impl Flow {
    /// The table called `name` in the stream; `None` when it is not known but may occur.
    pub fn check_table(&self, name: &Spanned<String>) -> Result<Option<&TableFlow>, Problem> {
        find_table(&self.tables, self.open, name, "in the stream")
    }

    /// The table called `name` in the raw store; `None` when it is not known but may occur.
    pub fn check_stored(&self, name: &Spanned<String>) -> Result<Option<&TableFlow>, Problem> {
        find_table(&self.stored, self.open, name, "in the raw store")
    }
}

fn find_table<'a>(
    tables: &'a BTreeMap<String, TableFlow>,
    open: bool,
    name: &Spanned<String>,
    place: &str,
) -> Result<Option<&'a TableFlow>, Problem> {
    match tables.get(&name.value) {
        None if !open => {
            let known = tables.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let message = format!("there is no table `{}` {place}; known: {known}", name.value);
            Err(name.problem("table.unknown", message).suggest(name, tables.keys().map(String::as_str)))
        }
        found => Ok(found),
    }
}

impl TableFlow {
    /// The field called `name`; `None` when it is not known but may occur.
    pub fn check_field(&self, name: &Spanned<String>) -> Result<Option<&Field>, Problem> {
        match self.field(&name.value) {
            None if !self.open => {
                let known = || self.fields.iter().map(|f| f.name.as_str());
                let list = known().collect::<Vec<_>>().join(", ");
                let message = format!("there is no field `{}`; known: {list}", name.value);
                Err(name.problem("field.unknown", message).suggest(name, known()))
            }
            found => Ok(found),
        }
    }

    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}
