//! When a source closes a batch: the bound on what a lane keeps in memory and on how long a record waits for company.

use std::time::Duration;

use super::Section;

/// A batch is closed by whichever of these is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most messages in a batch.
    pub records: usize,
    /// Most bytes of messages in a batch; a single larger message travels alone.
    pub bytes: usize,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits { records: 2_000, bytes: 8 << 20, linger: Duration::from_millis(5) }
    }
}

impl BatchLimits {
    const MAX_RECORDS: u64 = 100_000;
    const MAX_BYTES: u64 = 256 << 20;
    const MAX_LINGER: Duration = Duration::from_secs(60);

    /// Reads `{ records, bytes, linger }`; absent keys have their defaults.
    pub fn read(section: &mut Section<'_>) -> Self {
        let default = BatchLimits::default();
        let records = section.number_in("records", 1..=Self::MAX_RECORDS, default.records as u64);
        let bytes = section.bytes("bytes");
        let linger = section.duration("linger");
        if let Some(n) = bytes.as_ref().filter(|n| n.value < 1_024 || n.value > Self::MAX_BYTES) {
            section.problem(n.problem("value.range", "expected 1KB to 256MB"));
        }
        if let Some(n) = linger.as_ref().filter(|n| n.value > Self::MAX_LINGER) {
            section.problem(n.problem("value.range", "expected at most 60s"));
        }
        BatchLimits {
            records: records as usize,
            bytes: bytes.map_or(default.bytes, |n| n.value as usize),
            linger: linger.map_or(default.linger, |n| n.value),
        }
    }
}
