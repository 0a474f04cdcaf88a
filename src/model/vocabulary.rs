//! The slots that training saw: where their weights lie and how rare they are.
//!
//! A feature counts the more the fewer texts have it: `1 + ln((1 + texts) / (1 + texts with it))`, in sixteenths, so that
//! it fits a byte and is the same number in training and in use. A slot that training never saw counts nothing, neither
//! in a sum nor in its norm. Only slots that were seen have weights: a hash space wide enough to keep features apart
//! costs four bytes a slot, not a row of weights.

use super::features::Features;

/// Rarity is counted in this many parts of one.
const PARTS: f64 = 16.0;

/// Slot → row of weights and rarity.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    /// Per slot: the row's number above the lowest byte, in which stands the rarity; 0 for a slot never seen.
    entries: Vec<u32>,
    rows: usize,
}

impl Vocabulary {
    /// Counts in how many of `texts` each of `slots` occurs.
    pub fn of<'f>(texts: impl Iterator<Item = &'f Features>, slots: usize) -> Vocabulary {
        let mut counts = vec![0u32; slots];
        let mut last = vec![0u32; slots];
        let mut all = 0u32;
        for features in texts {
            all += 1;
            for feature in features.all() {
                if let (Some(count), Some(last)) = (counts.get_mut(feature.slot()), last.get_mut(feature.slot()))
                    && *last != all
                {
                    (*count, *last) = (*count + 1, all);
                }
            }
        }
        let rarity = |count: u32| match count {
            0 => 0,
            n => ((1.0 + (f64::from(1 + all) / f64::from(1 + n)).ln()) * PARTS).round().clamp(1.0, 255.0) as u8,
        };
        Vocabulary::new(counts.into_iter().map(rarity))
    }

    /// A vocabulary of the rarities of all slots, 0 for those never seen. There are at most 2^20 slots: a row's number
    /// and the rarity fit 32 bits.
    pub fn new(rarities: impl Iterator<Item = u8>) -> Vocabulary {
        let mut rows = 0u32;
        let entry = |rarity: u8| {
            let entry = if rarity == 0 { 0 } else { rows << 8 | u32::from(rarity) };
            rows += u32::from(rarity != 0);
            entry
        };
        let entries: Vec<u32> = rarities.map(entry).collect();
        Vocabulary { entries, rows: rows as usize }
    }

    /// Row and rarity of a slot that training saw.
    pub fn find(&self, slot: usize) -> Option<(usize, u32)> {
        let entry = self.entries.get(slot).copied().filter(|entry| *entry != 0)?;
        Some(((entry >> 8) as usize, entry & 0xff))
    }

    /// Number of slots that training saw.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The rarities of all slots.
    pub fn rarities(&self) -> impl Iterator<Item = u8> + '_ {
        self.entries.iter().map(|entry| (entry & 0xff) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::features::{FeatureSpec, Scratch};

    #[test]
    fn what_is_rare_counts_more_and_what_was_never_seen_nothing() {
        let spec = FeatureSpec { gram_min: 7, gram_max: 7, pairs: false, ..FeatureSpec::default() };
        let mut scratch = Scratch::default();
        let mut features = |text: &str| {
            scratch.set_texts([text]);
            scratch.extract(&spec, &Default::default()).clone()
        };
        let texts: Vec<Features> = ["CITY A", "CITY B", "CITY CITY", "X"].map(&mut features).into();
        let vocabulary = Vocabulary::of(texts.iter(), spec.slots());
        assert_eq!(vocabulary.rows(), 4);
        let mut rarity = |text: &str| features(text).all().next().and_then(|f| vocabulary.find(f.slot())).map(|f| f.1);
        // 16 · (1 + ln(5 / 4)) and 16 · (1 + ln(5 / 2)).
        assert_eq!((rarity("CITY"), rarity("A"), rarity("Y")), (Some(20), Some(31), None));
        assert_eq!(Vocabulary::new(vocabulary.rarities()), vocabulary);
    }
}
