//! Where a pipeline keeps what it could not read or apply, and how much of it stops the pipeline.

use std::time::Duration;

use super::Section;

/// The parking part of a pipeline file.
#[derive(Debug, Clone, PartialEq)]
pub struct Parking {
    /// The store's name or `mongodb://` URI. May hold a password: not for printing.
    pub store: String,
    /// Above this, the pipeline stops and says why.
    pub stop_above: StopAbove,
}

/// Both limits must be passed within one window: many rejects, and a noticeable part of all records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StopAbove {
    /// Rejects.
    pub records: u64,
    /// Rejects per record, 0 to 1.
    pub share: f64,
    /// The window.
    pub within: Duration,
}

impl Default for Parking {
    /// A store without a name stands for the raw stage's, or the pipeline's own.
    fn default() -> Self {
        Parking { store: String::new(), stop_above: StopAbove::default() }
    }
}

impl Default for StopAbove {
    fn default() -> Self {
        StopAbove { records: 100, share: 0.01, within: Duration::from_secs(300) }
    }
}

impl Parking {
    /// Reads `{ store, stop_above: { records, share, within } }`.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let store = section.text("store").map_or_else(String::new, |store| store.value);
        let stop_above = section.section("stop_above", StopAbove::read).unwrap_or_default();
        Parking { store, stop_above }
    }

    /// The same with `store` where none was given.
    pub(super) fn in_store(self, store: String) -> Self {
        let store = if self.store.is_empty() { store } else { self.store };
        Parking { store, ..self }
    }
}

impl StopAbove {
    fn read(section: &mut Section<'_>) -> Self {
        let default = StopAbove::default();
        let records = section.number("records").map_or(default.records, |n| n.value);
        let share = section.float("share");
        let within = section.duration("within");
        if let Some(share) = share.as_ref().filter(|s| !(0.0..=1.0).contains(&s.value)) {
            section.problem(share.problem("value.range", "expected a share from 0 to 1"));
        }
        if let Some(within) = within.as_ref().filter(|w| w.value < Duration::from_secs(1)) {
            section.problem(within.problem("value.range", "expected at least 1s"));
        }
        StopAbove {
            records,
            share: share.map_or(default.share, |s| s.value),
            within: within.map_or(default.within, |w| w.value),
        }
    }
}
