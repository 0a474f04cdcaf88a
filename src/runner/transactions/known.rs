//! Transactions that have left: a connector that goes back sends them again.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashSet;

/// How many are known.
const KEPT: usize = 20_000;

/// The last transactions that have left whole.
#[derive(Default)]
pub struct Known {
    ids: FxHashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl Known {
    /// One has left.
    pub fn insert(&mut self, id: &Arc<str>) {
        if self.ids.insert(id.clone()) {
            self.order.push_back(id.clone());
        }
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    /// Whether it has left.
    pub fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}
