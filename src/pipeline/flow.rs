//! What is known, before anything runs, about the records between two stages: tables, their fields, where each field
//! came from. The currency of `check`, `explain`, lineage and governance.
//!
//! Invariant: pure data, made without I/O.

use std::collections::BTreeMap;

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
}

/// One table (or document stream) in a [`Flow`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableFlow {
    /// Fields in order. Names of nested document fields are dotted paths.
    pub fields: Vec<Field>,
    /// Whether fields that are not listed may occur too (nothing was declared).
    pub open: bool,
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

impl TableFlow {
    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}
