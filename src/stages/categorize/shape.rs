//! Where the columns that decide stand in rows of one schema; looked up once per schema, not per row.

use std::sync::Arc;

use crate::record::{Column, Decimal, Kind, Row, TableSchema, Value};

/// Shapes that a lane remembers; more mean that a program makes up names from values.
const MAX_SHAPES: usize = 64;

/// The columns that the stage reads and adds.
pub struct Columns {
    /// Text columns.
    pub text: Vec<Arc<str>>,
    /// The amount.
    pub amount: Option<Arc<str>>,
    /// Prefix of the added columns.
    pub add: Option<Arc<str>>,
    /// The date by whose month answers are counted.
    pub date: Option<Arc<str>>,
}

/// The places of the columns in one schema.
pub struct Shape {
    input: Arc<TableSchema>,
    /// The schema with the added columns.
    pub output: Arc<TableSchema>,
    texts: Vec<usize>,
    amount: Option<usize>,
    /// `Some(None)`: there is to be a date, but rows of this schema have none.
    date: Option<Option<usize>>,
}

/// The shapes met so far.
pub struct Shapes {
    columns: Columns,
    known: Vec<Arc<Shape>>,
}

impl Shapes {
    /// None met yet.
    pub fn new(columns: Columns) -> Self {
        Shapes { columns, known: Vec::new() }
    }

    /// The shape of rows of `schema`.
    pub fn of(&mut self, schema: &Arc<TableSchema>) -> Arc<Shape> {
        if let Some(shape) = self.known.iter().find(|shape| Arc::ptr_eq(&shape.input, schema)) {
            return shape.clone();
        }
        if self.known.len() >= MAX_SHAPES {
            self.known.clear();
        }
        let shape = Arc::new(self.columns.shape(schema));
        self.known.push(shape.clone());
        shape
    }
}

impl Columns {
    fn shape(&self, schema: &Arc<TableSchema>) -> Shape {
        let output = match &self.add {
            None => schema.clone(),
            Some(add) => {
                let mut columns = schema.columns.clone();
                columns.extend(added(add).map(|(name, kind)| Column { name: name.as_str().into(), kind }));
                Arc::new(TableSchema { columns })
            }
        };
        Shape {
            texts: self.text.iter().filter_map(|name| schema.index_of(name)).collect(),
            amount: self.amount.as_ref().and_then(|name| schema.index_of(name)),
            date: self.date.as_ref().map(|name| schema.index_of(name)),
            input: schema.clone(),
            output,
        }
    }
}

/// Names and kinds of the columns that `add: NAME` adds.
pub fn added(name: &str) -> [(String, Kind); 3] {
    [
        (name.to_string(), Kind::Text),
        (format!("{name}_confidence"), Kind::Float64),
        (format!("{name}_source"), Kind::Text),
    ]
}

impl Shape {
    /// Whether all texts are there to be read; an error names what is no text.
    pub fn check(&self, row: &Row) -> Result<bool, String> {
        let mut complete = true;
        for (&at, value) in self.texts.iter().filter_map(|at| Some((at, row.values().get(*at)?))) {
            match value {
                Value::Text(_) | Value::Null => {}
                Value::Unchanged => complete = false,
                other => {
                    let column = self.input.columns.get(at).map_or("", |c| &*c.name);
                    return Err(format!("column `{column}` holds {}, expected text", other.type_name()));
                }
            }
        }
        Ok(complete)
    }

    /// The texts of a row.
    pub fn texts<'r>(&'r self, row: &'r Row) -> impl Iterator<Item = &'r str> + Clone {
        self.texts.iter().filter_map(|at| row.values().get(*at)?.as_str())
    }

    /// The date of a row; null where it has none, `None` when no date column was asked for.
    pub fn date<'r>(&self, row: &'r Row) -> Option<&'r Value> {
        const NONE: &Value = &Value::Null;
        self.date.map(|at| at.and_then(|at| row.values().get(at)).unwrap_or(NONE))
    }

    /// The amount of a row as a binary number: for its sign and magnitude alone.
    pub fn amount(&self, row: &Row) -> Option<f64> {
        let amount = match row.values().get(self.amount?)? {
            Value::Int(n) => *n as f64,
            Value::UInt(n) => *n as f64,
            Value::Float(x) => *x,
            Value::Decimal(Decimal::Small { unscaled, scale }) => *unscaled as f64 / 10f64.powi(*scale),
            Value::Decimal(decimal) => decimal.to_string().parse().ok()?,
            _ => return None,
        };
        (!amount.is_nan()).then_some(amount)
    }
}
