//! A row: values in the order of a shared schema.
//!
//! Invariants: `values.len() == schema.columns.len()`, kept by [`Row::new`] and [`Row::from_values`]; a row of one column,
//! as most keys are, owns no memory of its own.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Kind, TableSchema, Value};

/// The values of a row; a single one stands in the row itself.
pub type Values = SmallVec<[Value; 1]>;

/// Values of one row, key or document. Field names live in the shared schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    schema: Arc<TableSchema>,
    values: Values,
}

impl Row {
    /// A row of `schema`; missing values become null, surplus ones are cut.
    pub fn new(schema: Arc<TableSchema>, values: Vec<Value>) -> Self {
        Row::from_values(schema, values.into())
    }

    /// The same, for whoever collects values where the row will keep them.
    pub fn from_values(schema: Arc<TableSchema>, mut values: Values) -> Self {
        values.resize(schema.columns.len(), Value::Null);
        Row { schema, values }
    }

    /// A row without columns: the key of a truncate or of a keyless table.
    pub fn empty() -> Self {
        Row { schema: Arc::new(TableSchema { columns: Vec::new() }), values: Values::new() }
    }

    /// A row that makes its own schema; for tests and single rows, not for the data path.
    pub fn of<N: Into<Arc<str>>>(fields: impl IntoIterator<Item = (N, Value)>) -> Self {
        let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().map(|(n, v)| ((n, Kind::Any), v)).unzip();
        Row::new(Arc::new(TableSchema::new(names)), values)
    }

    /// The shared schema.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// All values, in column order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// All values, to change in place.
    pub fn values_mut(&mut self) -> &mut [Value] {
        &mut self.values
    }

    /// The values alone.
    pub fn into_values(self) -> Vec<Value> {
        self.values.into_vec()
    }

    /// The value of the column called `name`; `None` when the row has no such column.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.schema.index_of(name).and_then(|i| self.values.get(i))
    }

    /// Names and values in column order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Value)> {
        self.schema.columns.iter().map(|c| &c.name).zip(&self.values)
    }

    /// Whether the source left values out.
    pub fn is_partial(&self) -> bool {
        self.values.iter().any(|value| matches!(value, Value::Unchanged))
    }

    /// Whether the row has no columns at all.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}
