//! The rows of a batch whose results have to be computed again, each once.

use rustc_hash::FxHashMap;

use crate::record::Row;
use crate::stores::{Identity, identity};

/// A row whose result has to be computed again.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its key: as its own record has it, else as a correction names it.
    pub key: Row,
    /// The number of the last record that caused it.
    pub cause: usize,
    /// Whether its own record is among the causes. Only then a row that is gone takes its result along.
    pub own: bool,
}

/// Rows by key.
#[derive(Default)]
pub struct DueRows {
    rows: Vec<Due>,
    numbers: FxHashMap<Identity, usize>,
}

impl DueRows {
    /// Adds a row, or another cause to one that is due already.
    pub fn add(&mut self, key: Row, cause: usize, own: bool) {
        let number = *self.numbers.entry(identity(key.values())).or_insert(self.rows.len());
        match self.rows.get_mut(number) {
            Some(known) => {
                known.cause = known.cause.max(cause);
                if own && !known.own {
                    (known.key, known.own) = (key, true);
                }
            }
            None => self.rows.push(Due { key, cause, own }),
        }
    }

    /// The rows in the order in which they were added.
    pub fn into_rows(self) -> Vec<Due> {
        self.rows
    }
}
