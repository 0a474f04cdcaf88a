//! Rows: which columns a table's messages carry, in which order, and how each is read.
//!
//! The rows of one table look alike, so a layout remembers the order of the columns: the common row is read by comparing
//! each name with the expected one, without a map and without naming anything again. A row of another shape makes (or
//! finds) another layout; a column that a message lacks is absent from its layout, not null.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Fault;
use super::column::Reader;
use super::form::Form;
use super::json::Cursor;
use crate::record::{Column, Kind, Row, TableSchema, Values};

/// How many shapes of one table are remembered, and the widest that is.
const SHAPES: usize = 64;
const WIDEST: usize = 4_096;
/// Room behind the values of a row, so that a stage which adds some columns need not move them all.
const SPARE: usize = 4;

/// The columns of one shape of row.
#[derive(Debug)]
pub struct Layout {
    schema: Arc<TableSchema>,
    forms: Vec<Form>,
}

impl Layout {
    /// Reads a row of exactly this shape; `None` when the names differ.
    fn read<'a>(&self, reader: Reader<'a>, cursor: &mut Cursor<'a>) -> Result<Option<Row>, Fault> {
        let mut values = self.values();
        let mut more = cursor.open_object()?;
        for (column, form) in self.schema.columns.iter().zip(&self.forms) {
            if !more || !cursor.try_key(&column.name) {
                return Ok(None);
            }
            values.push(reader.column(cursor, form).map_err(|fault| fault.in_column(&column.name))?);
            more = cursor.more_fields()?;
        }
        Ok((!more).then(|| Row::from_values(self.schema.clone(), values)))
    }

    /// Reads a row whose names are known to be these.
    fn read_values<'a>(&self, reader: Reader<'a>, cursor: &mut Cursor<'a>) -> Result<Row, Fault> {
        let mut values = self.values();
        let mut more = cursor.open_object()?;
        for (column, form) in self.schema.columns.iter().zip(&self.forms) {
            if !more {
                break;
            }
            cursor.key()?;
            values.push(reader.column(cursor, form).map_err(|fault| fault.in_column(&column.name))?);
            more = cursor.more_fields()?;
        }
        Ok(Row::from_values(self.schema.clone(), values))
    }

    /// Room for a row's values; none of its own for a single one.
    fn values(&self) -> Values {
        match self.forms.len() {
            ..=1 => Values::new(),
            columns => Values::with_capacity(columns + SPARE),
        }
    }
}

/// What is known about one table's columns, and the shapes seen so far.
#[derive(Debug, Default)]
pub struct Layouts {
    known: FxHashMap<Arc<str>, (Form, Kind)>,
    others: Form,
    shapes: Vec<Arc<Layout>>,
    last: usize,
}

impl Layouts {
    /// Nothing seen; columns that are not among `known` are taken as JSON says.
    pub fn new(known: impl IntoIterator<Item = (Arc<str>, Form, Kind)>) -> Self {
        let known = known.into_iter().map(|(name, form, kind)| (name, (form, kind))).collect();
        Layouts { known, ..Layouts::default() }
    }

    /// Documents whose fields all have one form.
    pub fn all(form: Form) -> Self {
        Layouts { others: form, ..Layouts::default() }
    }

    /// The same columns, no shapes.
    pub fn of_same_columns(&self) -> Self {
        Layouts { known: self.known.clone(), others: self.others.clone(), ..Layouts::default() }
    }

    /// Takes a row.
    pub fn read<'a>(&mut self, reader: Reader<'a>, cursor: &mut Cursor<'a>) -> Result<Row, Fault> {
        if let Some(layout) = self.shapes.get(self.last) {
            let mut attempt = *cursor;
            if let Some(row) = layout.read(reader, &mut attempt)? {
                *cursor = attempt;
                return Ok(row);
            }
        }
        let mut ahead = *cursor;
        let names = names(&mut ahead)?;
        self.shape(&names).read_values(reader, cursor)
    }

    /// The layout of rows with these columns, remembered for the next row.
    fn shape(&mut self, names: &[String]) -> Arc<Layout> {
        let same = |l: &Arc<Layout>| l.schema.columns.iter().map(|c| &*c.name).eq(names.iter().map(String::as_str));
        if let Some(at) = self.shapes.iter().position(same) {
            self.last = at;
        } else {
            let layout = Arc::new(self.make(names));
            if names.len() > WIDEST {
                return layout;
            }
            if self.shapes.len() >= SHAPES {
                self.shapes.remove(0);
            }
            self.last = self.shapes.len();
            self.shapes.push(layout);
        }
        self.shapes.get(self.last).cloned().unwrap_or_else(|| Arc::new(self.make(names)))
    }

    fn make(&self, names: &[String]) -> Layout {
        let column = |name: &String| match self.known.get_key_value(name.as_str()) {
            Some((name, (form, kind))) => (Column { name: name.clone(), kind: kind.clone() }, form.clone()),
            None => (Column { name: name.as_str().into(), kind: Kind::Any }, self.others.clone()),
        };
        let (columns, forms) = names.iter().map(column).unzip();
        Layout { schema: Arc::new(TableSchema { columns }), forms }
    }
}

/// The names of an object's fields.
fn names(cursor: &mut Cursor<'_>) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    let mut more = cursor.open_object()?;
    while more {
        names.push(cursor.key()?.resolve()?.into_owned());
        cursor.skip()?;
        more = cursor.more_fields()?;
    }
    let distinct: FxHashSet<_> = names.iter().collect();
    if distinct.len() < names.len() {
        return Err(Fault::new("json.duplicate", "a column occurs twice in one row"));
    }
    Ok(names)
}
