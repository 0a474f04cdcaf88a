//! Labelled rows → weights: distinct rows, shuffled passes, one thread per group of classes.
//!
//! Invariants: the order of rows and the number of threads change nothing; the same seed gives the same weights.

use super::dataset::{Dataset, Sample};
use super::features::{Features, Group};
use super::ftrl::{ClassGroup, SparseRow};
use super::train::{Settings, counted};
use super::trained::Buffers;
use super::vocabulary::Vocabulary;
use super::weights::Weights;

/// Trains on the rows and on the hints of `data`.
pub fn fit(data: &Dataset, rows: &[Sample], settings: &Settings) -> Result<Weights, String> {
    let repeated = repeated(data, rows, settings);
    let mut buffers = Buffers::default();
    let mut features = |row: &Sample| {
        buffers.scratch.set_normal(data.text(row));
        buffers.scratch.extract(&settings.features, row.amount()).clone()
    };
    let features: Vec<Features> = repeated.iter().map(|(row, _)| features(row)).collect();
    let vocabulary = Vocabulary::of(features.iter(), settings.features.slots());
    let distinct: Vec<SparseRow> = features
        .iter()
        .zip(&repeated)
        .map(|(features, (row, _))| SparseRow { cells: cells(features, &vocabulary), class: row.class })
        .collect();
    drop(features);
    let order = places(&repeated);
    let classes = data.classes.len();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(classes);
    let width = classes.div_ceil(threads);
    let groups: Vec<(usize, usize)> =
        (0..classes).step_by(width).map(|first| (first, width.min(classes - first))).collect();
    let fit_group = |(first, width): (usize, usize)| {
        let mut random = settings.seed;
        let mut group = ClassGroup::new(settings.ftrl, vocabulary.rows(), first, width);
        let mut order = order.clone();
        for _ in 0..settings.epochs {
            shuffle(&mut order, &mut random);
            group.pass(order.iter().filter_map(|i| distinct.get(*i as usize)))?;
        }
        group.weights()
    };
    let trained: Vec<Result<Vec<f32>, String>> = std::thread::scope(|scope| {
        let handles: Vec<_> = groups.iter().map(|g| scope.spawn(|| fit_group(*g))).collect();
        let failed = |_| Err("a training thread ended early".to_string());
        handles.into_iter().map(|h| h.join().unwrap_or_else(failed)).collect()
    });
    let trained = trained.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::with_capacity(vocabulary.rows() * classes);
    for row in 0..vocabulary.rows() {
        for ((_, width), weights) in groups.iter().zip(&trained) {
            all.extend_from_slice(weights.get(row * width..(row + 1) * width).unwrap_or_default());
        }
    }
    Ok(Weights::quantize(vocabulary, &all, classes))
}

/// What a pass consists of: distinct rows and hints, each with how often it comes.
fn repeated(data: &Dataset, rows: &[Sample], settings: &Settings) -> Vec<(Sample, u32)> {
    let rows = counted(data, rows).into_iter().map(|(row, count)| (row, 1 + (count as u64).max(1).ilog2()));
    rows.chain(data.hints.iter().map(|hint| (*hint, settings.hint_repeats))).collect()
}

fn places(repeated: &[(Sample, u32)]) -> Vec<u32> {
    let repeat = |(i, (_, times)): (usize, &(Sample, u32))| std::iter::repeat_n(i as u32, *times as usize);
    repeated.iter().enumerate().flat_map(repeat).collect()
}

/// The values of a row in training: each feature counts its rarity over the root of the sum of its group's squared
/// rarities, as in the scorer.
pub(super) fn cells(features: &Features, vocabulary: &Vocabulary) -> Vec<(u32, f32)> {
    let mut cells: Vec<(u32, f32)> = Vec::new();
    for group in [Group::Grams, Group::Words] {
        let found = || features.group(group).iter().filter_map(|f| Some((vocabulary.find(f.slot())?, f.is_negative())));
        let squares: u32 = found().map(|((_, rarity), _)| rarity * rarity).sum();
        let norm = 1.0 / (squares.max(1) as f32).sqrt();
        let value = |rarity: u32, negative: bool| if negative { -(rarity as f32) * norm } else { rarity as f32 * norm };
        cells.extend(found().map(|((row, rarity), negative)| (row as u32, value(rarity, negative))));
    }
    cells.sort_by_key(|(row, _)| *row);
    cells.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    cells.retain(|(_, value)| *value != 0.0);
    cells
}

/// Fisher and Yates' shuffle with SplitMix64 (Steele et al. 2014).
fn shuffle(order: &mut [u32], state: &mut u64) {
    for i in (1..order.len()).rev() {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        order.swap(i, ((z ^ z >> 31) % (i as u64 + 1)) as usize);
    }
}

/// The rows of all passes in the order of training: what another trainer has to be given to come to the same weights.
#[cfg(test)]
pub(super) fn passes(data: &Dataset, rows: &[Sample], settings: &Settings) -> Vec<Sample> {
    let repeated = repeated(data, rows, settings);
    let mut random = settings.seed;
    let mut places = places(&repeated);
    let mut passes = Vec::new();
    for _ in 0..settings.epochs {
        shuffle(&mut places, &mut random);
        passes.extend(places.iter().map(|i| repeated[*i as usize].0));
    }
    passes
}
