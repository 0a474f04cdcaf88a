//! The sparse scorer: integer weights, integer sums, one pass, no allocation.
//!
//! Trained weights are rounded to 16 bits with one scale for all. A row's scores are sums of integers, so that they are
//! the same on every platform and in any order of the features; 32 classes are one 64-byte cache line per slot.

use super::features::{Feature, FeatureSpec};

/// Classes scored together: one block per slot and 32 classes.
pub const LANES: usize = 32;

/// Most classes that a model may have.
pub const MAX_CLASSES: usize = 256;

/// Weights of all slots and classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// `blocks` blocks per slot.
    cells: Vec<[i16; LANES]>,
    blocks: usize,
    classes: usize,
    /// A weight is its integer times this.
    scale: f32,
}

impl Weights {
    /// Rounds `weights` (per slot one of each class) to 16 bits.
    pub fn quantize(weights: &[f32], classes: usize) -> Self {
        let largest = weights.iter().fold(0f32, |m, w| m.max(w.abs()));
        let scale = if largest > 0.0 { largest / f32::from(i16::MAX) } else { 1.0 };
        let blocks = classes.div_ceil(LANES).max(1);
        let mut cells = Vec::with_capacity(weights.len() / classes.max(1) * blocks);
        for slot in weights.chunks_exact(classes.max(1)) {
            let mut rounded = slot.iter().map(|w| (w / scale).round() as i16);
            for _ in 0..blocks {
                cells.push(std::array::from_fn(|_| rounded.next().unwrap_or(0)));
            }
        }
        Weights { cells, blocks, classes, scale }
    }

    /// Weights from the bytes of a model file.
    pub fn from_bytes(bytes: &[u8], spec: &FeatureSpec, classes: usize, scale: f32) -> Result<Self, String> {
        let blocks = classes.div_ceil(LANES);
        if classes == 0 || classes > MAX_CLASSES || !scale.is_finite() || scale <= 0.0 {
            return Err("impossible number of classes or scale".to_string());
        }
        let (blocks_of_bytes, rest) = bytes.as_chunks::<{ 2 * LANES }>();
        if blocks_of_bytes.len() != spec.slots() * blocks || !rest.is_empty() {
            return Err(format!(
                "expected {} bytes of weights, found {}",
                spec.slots() * blocks * 2 * LANES,
                bytes.len()
            ));
        }
        let cell = |block: &[u8; 2 * LANES]| {
            let mut pairs = block.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair));
            std::array::from_fn(|_| pairs.next().unwrap_or(0))
        };
        Ok(Weights { cells: blocks_of_bytes.iter().map(cell).collect(), blocks, classes, scale })
    }

    /// The bytes of a model file: little-endian, slot by slot.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend(self.cells.iter().flatten().flat_map(|w| w.to_le_bytes()));
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// A weight is its integer times this.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Fills `scores` with one margin per class: the sum of the features' weights over the root of their number.
    pub fn score(&self, features: &[Feature], scores: &mut Scores) {
        scores.len = self.classes;
        let norm = self.scale / (features.len().max(1) as f32).sqrt();
        for (block, out) in scores.values.as_chunks_mut::<LANES>().0.iter_mut().enumerate().take(self.blocks) {
            let mut sums = [0i32; LANES];
            for feature in features {
                if let Some(cell) = self.cells.get(feature.slot() * self.blocks + block) {
                    // 0 or -1: (w ^ sign) - sign negates without a branch.
                    let sign = -i32::from(feature.is_negative());
                    for (sum, &weight) in sums.iter_mut().zip(cell) {
                        *sum += (i32::from(weight) ^ sign) - sign;
                    }
                }
            }
            for (value, sum) in out.iter_mut().zip(sums) {
                *value = sum as f32 * norm;
            }
        }
    }

    /// The signed weight of one feature for one class, before the norm.
    pub fn weight(&self, feature: Feature, class: usize) -> f32 {
        let cell = self.cells.get(feature.slot() * self.blocks + class / LANES);
        let weight = cell.and_then(|c| c.get(class % LANES)).copied().unwrap_or(0);
        let weight = f32::from(weight) * self.scale;
        if feature.is_negative() { -weight } else { weight }
    }
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

    #[test]
    fn scores_equal_the_plain_sum_for_any_number_of_classes() {
        for classes in [1, 2, 31, 32, 33, 64, 200] {
            let plain = noise(spec().slots() * classes);
            let weights = Weights::quantize(&plain, classes);
            let mut scratch = Scratch::default();
            scratch.set_texts(["JOE'S PIZZA 12", "dinner"]);
            let features = scratch.extract(&spec(), None);
            let mut scores = Scores::default();
            weights.score(features, &mut scores);
            for class in 0..classes {
                let sum: f32 = features
                    .iter()
                    .map(|f| plain[f.slot() * classes + class] * if f.is_negative() { -1.0 } else { 1.0 })
                    .sum();
                let expected = sum / (features.len() as f32).sqrt();
                assert!((scores.values()[class] - expected).abs() < 1e-3, "{classes} classes, class {class}");
            }
        }
    }

    #[test]
    fn bytes_round_trip_and_wrong_lengths_are_refused() {
        let weights = Weights::quantize(&noise(spec().slots() * 40), 40);
        let mut bytes = Vec::new();
        weights.write_to(&mut bytes);
        assert_eq!(Weights::from_bytes(&bytes, &spec(), 40, weights.scale()).unwrap(), weights);
        assert!(Weights::from_bytes(&bytes, &spec(), 30, weights.scale()).is_err());
        assert!(Weights::from_bytes(&bytes[1..], &spec(), 40, weights.scale()).is_err());
        assert!(Weights::from_bytes(&bytes, &spec(), 40, f32::NAN).is_err());
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
        let mut scores = Scores { len: 5, ..Scores::default() };
        scores.values[..5].copy_from_slice(&[1.0, 3.0, 3.0, -2.0, 2.0]);
        scores.softmax(1.0);
        assert!((scores.values().iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(scores.top3().map(|c| c.0), [1, 2, 4]);
    }
}
