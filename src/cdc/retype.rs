//! Rows whose schema is made once and shared by all rows after: rows in the declared types, rows without some columns.

use std::sync::Arc;

use super::column::retyped;
use super::decoder::DeclaredTable;
use super::form::{Base64, Form, Handling};
use super::{Fault, Unavailable};
use crate::record::{Column, Kind, Row, TableSchema, Value};

/// Rows of a binary encoding in the types that the pipeline declares, where their own schema gives no more than a
/// primitive: Protobuf has no semantic types at all, Avro has none for decimals that are sent as text.
#[derive(Debug, Default)]
pub struct Retype {
    from: Option<Arc<TableSchema>>,
    to: Option<(Arc<TableSchema>, Vec<Option<Form>>)>,
}

impl Retype {
    /// `row` in the declared types.
    pub fn row(
        &mut self,
        row: Row,
        declared: Option<&DeclaredTable>,
        handling: Handling,
        unavailable: &Unavailable,
    ) -> Result<Row, Fault> {
        let Some(declared) = declared else { return Ok(row) };
        if !self.from.as_ref().is_some_and(|from| Arc::ptr_eq(from, row.schema())) {
            self.to = plan(row.schema(), declared, handling);
            self.from = Some(row.schema().clone());
        }
        let Some((to, forms)) = &self.to else { return Ok(row) };
        let values =
            row.into_values().into_iter().zip(forms).zip(&to.columns).map(|((value, form), column)| match form {
                Some(form) => retyped(value, form, unavailable).map_err(|fault| fault.in_column(&column.name)),
                None => Ok(value),
            });
        Ok(Row::new(to.clone(), values.collect::<Result<_, _>>()?))
    }
}

/// The schema of rows in the declared types, and the forms of columns that change; `None` when none does.
fn plan(
    schema: &TableSchema,
    declared: &DeclaredTable,
    handling: Handling,
) -> Option<(Arc<TableSchema>, Vec<Option<Form>>)> {
    let (mut columns, mut forms) = (Vec::new(), Vec::new());
    for column in &schema.columns {
        let declared = declared.columns.iter().find(|declared| declared.name == column.name);
        match declared.filter(|declared| declared.kind != column.kind && is_bare(&column.kind)) {
            Some(declared) => {
                let decimals = if column.kind == Kind::Text { Base64::Never } else { Base64::Unless };
                columns.push(Column { name: column.name.clone(), kind: declared.kind.clone() });
                forms.push(Some(declared.form(Handling { decimals, ..handling })));
            }
            None => {
                columns.push(column.clone());
                forms.push(None);
            }
        }
    }
    forms.iter().any(Option::is_some).then(|| (Arc::new(TableSchema { columns }), forms))
}

/// Whether a kind may stand for another meaning.
fn is_bare(kind: &Kind) -> bool {
    match kind {
        Kind::Any | Kind::Int64 | Kind::UInt64 | Kind::Float64 | Kind::Text | Kind::Bytes => true,
        Kind::List(of) => is_bare(of),
        _ => false,
    }
}

/// Rows without some of their columns.
#[derive(Debug, Default)]
pub struct Without {
    from: Option<Arc<TableSchema>>,
    to: Option<(Arc<TableSchema>, Vec<bool>)>,
}

impl Without {
    /// `row` without the columns of which `is_extra` holds.
    pub fn row(&mut self, row: Row, is_extra: impl Fn(&str) -> bool) -> Row {
        if !self.from.as_ref().is_some_and(|from| Arc::ptr_eq(from, row.schema())) {
            let kept: Vec<bool> = row.schema().columns.iter().map(|column| !is_extra(&column.name)).collect();
            let columns = row.schema().columns.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(c, _)| c.clone());
            let schema = Arc::new(TableSchema { columns: columns.collect() });
            self.to = kept.contains(&false).then_some((schema, kept));
            self.from = Some(row.schema().clone());
        }
        let Some((to, kept)) = &self.to else { return row };
        let values = row.into_values().into_iter().zip(kept).filter(|(_, kept)| **kept).map(|(value, _)| value);
        Row::new(to.clone(), values.collect::<Vec<Value>>())
    }
}
