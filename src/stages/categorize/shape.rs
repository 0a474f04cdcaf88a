//! Where the columns that decide stand in rows of one schema; looked up once per schema, not per row.

use std::sync::Arc;

use crate::model;
use crate::record::{Column, Date, Decimal, Kind, Row, TableSchema, Value};

/// Shapes that a lane remembers; more mean that a program makes up names from values.
const MAX_SHAPES: usize = 64;

/// The columns that the stage reads and adds.
pub struct Columns {
    /// Text columns.
    pub text: Vec<Arc<str>>,
    /// What else counts.
    pub facts: Facts<Option<Arc<str>>>,
    /// Prefix of the added columns.
    pub add: Option<Arc<str>>,
    /// The date by whose month answers are counted.
    pub date: Option<Arc<str>>,
}

/// One thing for each fact that a model may ask for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<T> {
    /// The amount.
    pub amount: T,
    /// Debit or credit.
    pub direction: T,
    /// The merchant category code.
    pub mcc: T,
    /// The date of which the day of the month counts.
    pub day: T,
}

impl<T> Facts<T> {
    /// The same of something else.
    pub fn map<U>(&self, mut of: impl FnMut(&T) -> U) -> Facts<U> {
        Facts { amount: of(&self.amount), direction: of(&self.direction), mcc: of(&self.mcc), day: of(&self.day) }
    }
}

/// The places of the columns in one schema.
pub struct Shape {
    input: Arc<TableSchema>,
    /// The schema with the added columns.
    pub output: Arc<TableSchema>,
    texts: Vec<usize>,
    facts: Facts<Option<usize>>,
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
            facts: self.facts.map(|name| name.as_ref().and_then(|name| schema.index_of(name))),
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

    /// What is known of a row besides its texts. A column of another type than expected is a fact that is missing.
    pub fn facts(&self, row: &Row) -> model::Facts {
        let value = self.facts.map(|place| place.and_then(|at| row.values().get(at)));
        model::Facts {
            amount: value.amount.and_then(amount),
            direction: value.direction.and_then(direction),
            mcc: value.mcc.and_then(mcc),
            day: value.day.and_then(day),
        }
    }
}

/// An amount as a binary number: for its sign and magnitude alone.
fn amount(value: &Value) -> Option<f64> {
    let amount = match value {
        Value::Int(n) => *n as f64,
        Value::UInt(n) => *n as f64,
        Value::Float(x) => *x,
        Value::Decimal(Decimal::Small { unscaled, scale }) => *unscaled as f64 / 10f64.powi(*scale),
        Value::Decimal(decimal) => decimal.to_string().parse().ok()?,
        _ => return None,
    };
    (!amount.is_nan()).then_some(amount)
}

fn direction(value: &Value) -> Option<u64> {
    match value {
        Value::Text(text) => model::Facts::direction_of(text),
        Value::Bool(yes) => model::Facts::direction_of(if *yes { "true" } else { "false" }),
        _ => None,
    }
}

fn mcc(value: &Value) -> Option<u16> {
    match value {
        Value::Text(text) => model::Facts::mcc_of(text),
        Value::Int(code) => u16::try_from(*code).ok().filter(|code| (1..=9_999).contains(code)),
        Value::UInt(code) => u16::try_from(*code).ok().filter(|code| (1..=9_999).contains(code)),
        _ => None,
    }
}

fn day(value: &Value) -> Option<u8> {
    match value {
        Value::Text(text) => model::Facts::day_of(text),
        value => civil(value).and_then(|(_, _, day)| u8::try_from(day).ok()),
    }
}

/// Year, month and day of a date or a timestamp.
pub fn civil(value: &Value) -> Option<(i64, u32, u32)> {
    let date = match value {
        Value::Date(date) => *date,
        Value::Timestamp(at) | Value::TimestampTz(at) if at.is_finite() => {
            Date { days: i32::try_from(at.secs.div_euclid(86_400)).ok()? }
        }
        _ => return None,
    };
    Some(date.ymd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Timestamp;

    #[test]
    fn facts_of_every_type_of_column_and_none_of_others() {
        let date = Date::from_ymd(2020, 4, 17).unwrap();
        let at = Timestamp::from_millis(i64::from(date.days) * 86_400_000 + 5);
        assert_eq!(
            [Value::Date(date), Value::TimestampTz(at), "2020-04-17T10:00".into()].map(|v| day(&v)),
            [Some(17); 3]
        );
        assert_eq!([Value::Int(17), Value::Null, "".into()].map(|v| day(&v)), [None; 3]);
        assert_eq!([Value::Int(5_411), Value::UInt(5_411), "5411".into()].map(|v| mcc(&v)), [Some(5_411); 3]);
        assert_eq!([Value::Int(-1), Value::Int(0), Value::Int(70_000), Value::Bool(true)].map(|v| mcc(&v)), [None; 4]);
        assert_eq!(direction(&"debit".into()), direction(&"DEBIT".into()));
        assert_ne!(direction(&Value::Bool(true)), direction(&Value::Bool(false)));
        assert_eq!([Value::Null, Value::Int(1), "".into()].map(|v| direction(&v)), [None; 3]);
        assert_eq!(amount(&Value::Decimal("-12.50".parse().unwrap())), Some(-12.5));
        assert_eq!([Value::Float(f64::NAN), Value::Null, "1".into()].map(|v| amount(&v)), [None; 3]);
    }
}
