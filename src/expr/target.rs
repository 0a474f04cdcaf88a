//! Rows as expressions see them: only the fields that are read are converted.

use std::collections::BTreeSet;

use vrl::value::{ObjectMap, Value as VrlValue};

use super::{Expression, to_vrl};
use crate::record::Row;

/// Which top-level fields a group of expressions touches.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    all: bool,
    names: BTreeSet<String>,
}

impl Touched {
    /// The fields that `expressions` read or assign.
    pub fn by<'a>(expressions: impl IntoIterator<Item = &'a Expression>) -> Self {
        let mut touched = Touched::default();
        for path in expressions.into_iter().flat_map(|e| e.reads().iter().chain(e.writes())) {
            touched.add(path);
        }
        touched
    }

    /// The fields below `name` that `expressions` read; `None` when they do not touch `name`.
    pub fn below<'a>(name: &str, expressions: impl IntoIterator<Item = &'a Expression>) -> Option<Self> {
        let mut below = None;
        for path in expressions.into_iter().flat_map(Expression::reads) {
            match path.split_first() {
                Some((first, rest)) if first == name => below.get_or_insert_with(Touched::default).add(rest),
                Some(_) => {}
                None => below.get_or_insert_with(Touched::default).all = true,
            }
        }
        below
    }

    fn add(&mut self, path: &[String]) {
        match path.first() {
            Some(name) => _ = self.names.insert(name.clone()),
            None => self.all = true,
        }
    }

    /// Whether `name` is touched.
    pub fn contains(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }

    /// The touched fields of `row`; an error names the field that expressions cannot hold.
    pub fn object(&self, row: &Row) -> Result<ObjectMap, String> {
        let mut object = ObjectMap::new();
        for (name, value) in row.iter().filter(|(name, _)| self.contains(name)) {
            let value = to_vrl(value).map_err(|what| format!("`{name}` is {what}"))?;
            object.insert((&**name).into(), value);
        }
        Ok(object)
    }

    /// Like [`Touched::object`], as an expression's target.
    pub fn target(&self, row: &Row) -> Result<VrlValue, String> {
        self.object(row).map(VrlValue::Object)
    }
}
