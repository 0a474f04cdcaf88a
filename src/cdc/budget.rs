//! How many values one message of a binary encoding may have. What takes no bytes (nulls, empty records, fields that are
//! left out) could be told any number of times by a few: lists of lists of it, records of records of it.

use std::cell::Cell;

use super::Fault;

/// So many whatever the message's size: more than the rows before and after a change of any table have.
const FIXED: usize = 10_000;
/// And so many for each of its bytes: fields of small structs that are mostly left out. `fuzz/src/check.rs` holds what that
/// takes to its limit of memory for a byte.
const PER_BYTE: usize = 4;

/// What is left of it while a message is read.
pub struct Budget(Cell<usize>);

impl Budget {
    /// For a message of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Budget(Cell::new(FIXED.saturating_add(bytes.saturating_mul(PER_BYTE))))
    }

    /// Takes so many values.
    pub fn take(&self, values: usize) -> Result<(), Fault> {
        let left = self.0.get().checked_sub(values).ok_or_else(exceeded)?;
        self.0.set(left);
        Ok(())
    }
}

#[cold]
fn exceeded() -> Fault {
    Fault::new("value.count", "the message has far more values than bytes: is it of another schema?")
}
