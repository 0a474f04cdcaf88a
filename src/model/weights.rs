//! The sparse scorer: integer weights, integer sums, one pass, no allocation.
//!
//! Trained weights times their feature's rarity are rounded to 16 bits with one scale for all, and of those to the 8
//! leading bits that the largest weight of the slot needs: a file holds a byte a weight. A row's sums are sums of
//! integers, so that they are the same on every platform and in any order of the features; 32 classes are one 64-byte
//! cache line per slot.

use super::features::{Feature, FeatureSpec, Features, Group};
use super::vocabulary::Vocabulary;

/// Classes scored together: one block per slot and 32 classes.
pub const LANES: usize = 32;

/// Most classes that a model may have.
pub const MAX_CLASSES: usize = 256;

/// The largest weight that leaves 8 significant bits in 16: 127 · 2^8.
const LARGEST: f32 = 32_512.0;

/// The largest scale of a file: sums of weights times this stay finite, at any temperature.
const LARGEST_SCALE: f32 = 1e6;

/// Most bits that a file leaves out at the end of a weight.
const MAX_SHIFT: u8 = 8;

/// Weights of all slots that training saw, and classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    vocabulary: Vocabulary,
    /// `blocks` blocks per row of the vocabulary.
    cells: Vec<[i16; LANES]>,
    blocks: usize,
    classes: usize,
    /// A weight is its integer times this.
    scale: f32,
}

impl Weights {
    /// Rounds `weights` (per row of the vocabulary one of each class).
    pub fn quantize(vocabulary: Vocabulary, weights: &[f32], classes: usize) -> Self {
        let rows = weights.chunks_exact(classes.max(1));
        let rarities: Vec<f32> = vocabulary.rarities().filter(|r| *r > 0).map(f32::from).collect();
        let folded = || rows.clone().zip(rarities.iter().copied());
        let largest =
            folded().flat_map(|(row, rarity)| row.iter().map(move |w| (w * rarity).abs())).fold(0f32, f32::max);
        let scale = if largest > 0.0 { largest / LARGEST } else { 1.0 };
        let blocks = classes.div_ceil(LANES).max(1);
        let mut cells = Vec::with_capacity(vocabulary.rows() * blocks);
        for (row, rarity) in folded() {
            let mut fine = row.iter().map(|w| w * rarity / scale);
            for _ in 0..blocks {
                let block: [f32; LANES] = std::array::from_fn(|_| fine.next().unwrap_or(0.0));
                let shift = shift_of(block.iter().fold(0f32, |m, w| m.max(w.abs())));
                let step = f32::from(1u16 << shift);
                cells.push(block.map(|w| ((w / step).round() as i16) << shift));
            }
        }
        Weights { vocabulary, cells, blocks, classes, scale }
    }

    /// Weights from the parts of a model file.
    pub fn from_parts(parts: &Stored<'_>, spec: &FeatureSpec, classes: usize, scale: f32) -> Result<Self, String> {
        if classes == 0 || classes > MAX_CLASSES || !(f32::MIN_POSITIVE..=LARGEST_SCALE).contains(&scale) {
            return Err("impossible number of classes or scale".to_string());
        }
        if parts.rarities.len() != spec.slots() {
            return Err(format!("expected {} slots, found {}", spec.slots(), parts.rarities.len()));
        }
        let vocabulary = Vocabulary::new(parts.rarities.iter().copied());
        let blocks = classes.div_ceil(LANES);
        let expected = vocabulary.rows() * blocks;
        let (bytes, rest) = parts.cells.as_chunks::<LANES>();
        if bytes.len() != expected || parts.shifts.len() != expected || !rest.is_empty() {
            return Err(format!("expected weights of {expected} blocks, found {}", bytes.len()));
        }
        if parts.shifts.iter().any(|shift| *shift > MAX_SHIFT) {
            return Err("a weight has more than 16 bits".to_string());
        }
        let cell = |(block, shift): (&[u8; LANES], &u8)| block.map(|b| i16::from(b.cast_signed()) << shift);
        let cells = bytes.iter().zip(parts.shifts).map(cell).collect();
        Ok(Weights { vocabulary, cells, blocks, classes, scale })
    }

    /// The parts of a model file: rarities of all slots; bits left out of each block; the other bits, a byte each.
    pub fn to_parts(&self) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let shift =
            |cell: &[i16; LANES]| shift_of(f32::from(cell.iter().map(|w| w.saturating_abs()).max().unwrap_or(0)));
        let shifts: Vec<u8> = self.cells.iter().map(shift).collect();
        let narrow = |(cell, shift): (&[i16; LANES], &u8)| cell.map(|w| (w >> shift) as u8);
        let cells = self.cells.iter().zip(&shifts).flat_map(narrow).collect();
        (self.vocabulary.rarities().collect(), shifts, cells)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// A weight is its integer times this.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Which slots have weights.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Fills `scores` with one margin per class: for each group of features the sum of their weights over the root of
    /// the sum of their squared rarities.
    pub fn score(&self, features: &Features, scores: &mut Scores) {
        scores.len = self.classes;
        for (block, out) in scores.values.as_chunks_mut::<LANES>().0.iter_mut().enumerate().take(self.blocks) {
            *out = [0.0; LANES];
            for group in [Group::Grams, Group::Words] {
                self.add(features.group(group), block, out);
            }
        }
    }

    fn add(&self, features: &[Feature], block: usize, out: &mut [f32; LANES]) {
        let mut sums = [0i32; LANES];
        let mut squares = 0u32;
        for feature in features {
            let Some((row, rarity)) = self.vocabulary.find(feature.slot()) else { continue };
            let Some(cell) = self.cells.get(row * self.blocks + block) else { continue };
            squares += rarity * rarity;
            // 0 or -1: (w ^ sign) - sign negates without a branch.
            let sign = -i32::from(feature.is_negative());
            for (sum, &weight) in sums.iter_mut().zip(cell) {
                *sum += (i32::from(weight) ^ sign) - sign;
            }
        }
        let norm = self.norm(squares);
        for (value, sum) in out.iter_mut().zip(sums) {
            *value += sum as f32 * norm;
        }
    }

    /// What a group's sums are multiplied by, given the sum of its features' squared rarities.
    fn norm(&self, squares: u32) -> f32 {
        self.scale / (squares.max(1) as f32).sqrt()
    }

    /// What one integer of a group's sum is worth in margins.
    pub fn group_norm(&self, features: &[Feature]) -> f32 {
        let found = features.iter().filter_map(|f| self.vocabulary.find(f.slot()));
        self.norm(found.map(|(_, rarity)| rarity * rarity).sum())
    }

    /// The signed integer weight of one feature for one class.
    pub fn weight(&self, feature: Feature, class: usize) -> i32 {
        let row = self.vocabulary.find(feature.slot()).map(|(row, _)| row);
        let cell = row.and_then(|row| self.cells.get(row * self.blocks + class / LANES));
        let weight = i32::from(cell.and_then(|c| c.get(class % LANES)).copied().unwrap_or(0));
        if feature.is_negative() { -weight } else { weight }
    }
}

/// The parts of [`Weights`] as a model file holds them.
pub struct Stored<'b> {
    /// Of all slots; 0 for those never seen.
    pub rarities: &'b [u8],
    /// Bits left out at the end of each block's weights.
    pub shifts: &'b [u8],
    /// The other bits, signed.
    pub cells: &'b [u8],
}

/// The least number of bits to leave out so that `largest` fits 8 bits with its sign.
fn shift_of(largest: f32) -> u8 {
    (0..MAX_SHIFT).find(|shift| (largest / f32::from(1u16 << shift)).round() <= 127.0).unwrap_or(MAX_SHIFT)
}

/// One number per class, in place.
#[derive(Debug, Clone)]
pub struct Scores {
    values: [f32; MAX_CLASSES],
    len: usize,
}

impl Default for Scores {
    fn default() -> Self {
        Scores { values: [0.0; MAX_CLASSES], len: 0 }
    }
}

/// A class and its probability.
pub type Candidate = (u16, f32);

impl Scores {
    /// The numbers.
    pub fn values(&self) -> &[f32] {
        self.values.get(..self.len).unwrap_or_default()
    }

    /// Takes these numbers.
    #[cfg(test)]
    pub(super) fn set(&mut self, values: &[f32]) {
        self.len = values.len();
        self.values[..values.len()].copy_from_slice(values);
    }

    /// Margins → probabilities: softmax of margin / `temperature`.
    pub fn softmax(&mut self, temperature: f32) {
        let values = self.values.get_mut(..self.len).unwrap_or_default();
        let top = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        let inverse = temperature.recip();
        for value in values.iter_mut() {
            *value = exp((*value - top) * inverse);
        }
        for value in values.iter() {
            sum += *value;
        }
        let share = 1.0 / sum;
        for value in values.iter_mut() {
            *value *= share;
        }
    }

    /// The three largest, largest first; of equal ones the lower class first. Unused places repeat class 0 with 0.
    pub fn top3(&self) -> [Candidate; 3] {
        let mut top = [(0u16, f32::NEG_INFINITY); 3];
        for (class, &value) in self.values().iter().enumerate() {
            let [first, second, third] = &mut top;
            if value > third.1 {
                *third = (class as u16, value);
                if third.1 > second.1 {
                    std::mem::swap(second, third);
                    if second.1 > first.1 {
                        std::mem::swap(first, second);
                    }
                }
            }
        }
        top.map(|(class, value)| if value.is_finite() { (class, value) } else { (0, 0.0) })
    }
}

/// e^x for x ≤ 0, with a relative error below (3 + |x|)·1e-7: the same bits on every platform (the C library's `expf` is
/// not), and simple enough for the compiler to do several at once. 2^(x·log2 e) = 2^whole · 2^fraction, the latter by its
/// Taylor series.
fn exp(x: f32) -> f32 {
    let y = (x * std::f32::consts::LOG2_E).max(-126.0);
    let whole = (y + 0.5).floor();
    let t = (y - whole) * std::f32::consts::LN_2;
    let series = 1.0
        + t * (1.0
            + t * (0.5
                + t * (1.0 / 6.0 + t * (1.0 / 24.0 + t * (1.0 / 120.0 + t * (1.0 / 720.0 + t * (1.0 / 5040.0)))))));
    f32::from_bits(((whole as i32 + 127) as u32) << 23) * series
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::features::Scratch;

    fn spec() -> FeatureSpec {
        FeatureSpec { bits: 10, ..FeatureSpec::default() }
    }

    fn noise(len: usize) -> Vec<f32> {
        (0..len as u64).map(|i| ((i * 2_654_435_761) % 2_001) as f32 / 500.0 - 2.0).collect()
    }

    fn quantized(classes: usize) -> (Weights, Vec<f32>) {
        let vocabulary = Vocabulary::new((0..spec().slots()).map(|slot| (slot % 41) as u8));
        let plain = noise(vocabulary.rows() * classes);
        (Weights::quantize(vocabulary, &plain, classes), plain)
    }

    #[test]
    fn scores_equal_the_plain_sum_for_any_number_of_classes() {
        for classes in [1, 2, 31, 32, 33, 64, 200] {
            let (weights, plain) = quantized(classes);
            let mut scratch = Scratch::default();
            scratch.set_texts(["JOE'S PIZZA 12", "dinner"]);
            let features = scratch.extract(&spec(), &Default::default());
            let mut scores = Scores::default();
            weights.score(features, &mut scores);
            for class in 0..classes {
                let margin = |group: Group| {
                    let (mut sum, mut squares) = (0.0, 0.0);
                    for f in features.group(group) {
                        let Some((row, rarity)) = weights.vocabulary().find(f.slot()) else { continue };
                        let sign = if f.is_negative() { -1.0 } else { 1.0 };
                        sum += plain[row * classes + class] * sign * rarity as f32;
                        squares += (rarity * rarity) as f32;
                    }
                    sum / squares.sqrt()
                };
                let expected = margin(Group::Grams) + margin(Group::Words);
                assert!((scores.values()[class] - expected).abs() < 0.05, "{classes} classes, class {class}");
                let signed =
                    |group: Group| -> i32 { features.group(group).iter().map(|f| weights.weight(*f, class)).sum() };
                let again =
                    [Group::Grams, Group::Words].map(|g| signed(g) as f32 * weights.group_norm(features.group(g)));
                assert!((scores.values()[class] - again.iter().sum::<f32>()).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn parts_round_trip_and_wrong_lengths_are_refused() {
        let (weights, _) = quantized(40);
        let (mut rarities, mut shifts, cells) = weights.to_parts();
        let read = |rarities: &[u8], shifts: &[u8], cells: &[u8], classes, scale| {
            Weights::from_parts(&Stored { rarities, shifts, cells }, &spec(), classes, scale)
        };
        assert_eq!(read(&rarities, &shifts, &cells, 40, weights.scale()).unwrap(), weights);
        assert!(read(&rarities, &shifts, &cells, 30, weights.scale()).is_err());
        assert!(read(&rarities, &shifts, &cells[1..], 40, weights.scale()).is_err());
        assert!(read(&rarities, &shifts[1..], &cells, 40, weights.scale()).is_err());
        assert!(read(&rarities[1..], &shifts, &cells, 40, weights.scale()).is_err());
        for scale in [f32::NAN, f32::INFINITY, 0.0, -1.0, 3e38] {
            assert!(read(&rarities, &shifts, &cells, 40, scale).is_err(), "{scale}");
        }
        rarities[0] = 1;
        assert!(read(&rarities, &shifts, &cells, 40, weights.scale()).is_err(), "a row without weights");
        rarities[0] = 0;
        shifts[0] = 9;
        assert!(read(&rarities, &shifts, &cells, 40, weights.scale()).is_err());
    }

    #[test]
    fn exp_is_close_to_the_real_one() {
        for i in 0..4_000 {
            let x = -(i as f32) / 50.0;
            let real = f64::from(x).exp();
            assert!((f64::from(exp(x)) - real).abs() <= (3.0 - f64::from(x)) * 1e-7 * real + 1e-37, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 1e-37);
    }

    #[test]
    fn softmax_sums_to_one_and_top3_is_sorted() {
        let mut scores = Scores::default();
        scores.set(&[1.0, 3.0, 3.0, -2.0, 2.0]);
        scores.softmax(1.0);
        assert!((scores.values().iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(scores.top3().map(|c| c.0), [1, 2, 4]);
    }
}
