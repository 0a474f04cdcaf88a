//! What a batch calls for to be computed again, results or documents: rows by key, each once.

use rustc_hash::FxHashMap;

use crate::record::Row;
use crate::stores::{Identity, identity};

/// A row from which something has to be computed again.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its key: as its own record has it, else as the row that links to it names it.
    pub key: Row,
    /// The number of the last record that caused it.
    pub cause: usize,
    /// Whether its own record is among the causes. Only then what was computed goes with a row that is gone: a link may
    /// name rows that never were.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Value;

    #[test]
    fn a_row_is_due_once_under_the_key_of_its_own_record() {
        let mut due = DueRows::default();
        let key = |value: Value| Row::of([("id", value)]);
        let own = Value::Decimal("7.00".parse().unwrap());
        due.add(key(Value::Int(7)), 1, false);
        due.add(key(own.clone()), 0, true);
        due.add(key(Value::Int(7)), 3, false);
        due.add(key(Value::Int(8)), 2, false);
        let told: Vec<_> = due.into_rows().into_iter().map(|due| (due.key, due.cause, due.own)).collect();
        assert_eq!(told, [(key(own), 3, true), (key(Value::Int(8)), 2, false)]);
    }
}
