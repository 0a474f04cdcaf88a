//! Labelled rows → weights: distinct rows, shuffled passes, one thread per group of classes.
//!
//! Invariants: the order of rows and the number of threads change nothing; the same seed gives the same weights.

use super::dataset::{Dataset, Sample};
use super::features::{Features, Group};
use super::ftrl::{ClassGroup, SparseRow};
use super::train::{Settings, sorted};
use super::trained::Buffers;
use super::vocabulary::Vocabulary;
use super::weights::Weights;

/// Trains on the rows and on the hints of `data`: so many passes as `settings` say; `passed` hears of each.
pub fn fit(data: &Dataset, rows: &[Sample], settings: &Settings, passed: &mut dyn FnMut()) -> Result<Weights, String> {
    let mut fit = Fit::new(data, rows, settings)?;
    for _ in 0..settings.epochs {
        fit.pass()?;
        passed();
    }
    fit.weights()
}

/// Weights in the making, pass by pass.
pub struct Fit {
    vocabulary: Vocabulary,
    distinct: Vec<SparseRow>,
    /// Places in `distinct`, each as often as it comes in a pass.
    order: Vec<u32>,
    random: u64,
    classes: usize,
    /// Classes of each group.
    width: usize,
    groups: Vec<ClassGroup>,
}

impl Fit {
    /// Nothing learned yet; passes will take a thread per core.
    pub fn new(data: &Dataset, rows: &[Sample], settings: &Settings) -> Result<Fit, String> {
        Self::on_threads(data, rows, settings, std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// The same for so many threads.
    pub(super) fn on_threads(
        data: &Dataset,
        rows: &[Sample],
        settings: &Settings,
        threads: usize,
    ) -> Result<Fit, String> {
        let repeated = repeated(data, rows, settings)?;
        let mut buffers = Buffers::default();
        let mut features = |row: &Sample| {
            buffers.scratch.set_normal(data.text(row));
            buffers.scratch.extract(&settings.features, &data.facts(row)).clone()
        };
        let features: Vec<Features> = repeated.iter().map(|(row, _)| features(row)).collect();
        let vocabulary = Vocabulary::of(features.iter(), settings.features.slots());
        let sparse = |(features, (row, _)): (&Features, &(Sample, u32))| SparseRow {
            cells: cells(features, &vocabulary),
            class: row.class,
        };
        let distinct = features.iter().zip(&repeated).map(sparse).collect();
        let classes = data.classes.len();
        let width = classes.div_ceil(threads).max(1);
        let group = |first| ClassGroup::new(settings.ftrl, vocabulary.rows(), first, width.min(classes - first));
        let groups = (0..classes).step_by(width).map(group).collect();
        Ok(Fit { distinct, order: places(&repeated), random: settings.seed, classes, width, groups, vocabulary })
    }

    /// One pass over all rows in an order of its own.
    pub fn pass(&mut self) -> Result<(), String> {
        shuffle(&mut self.order, &mut self.random);
        let (order, distinct) = (&self.order, &self.distinct);
        let rows = || order.iter().filter_map(|i| distinct.get(*i as usize));
        let failed = |_| Err("a training thread ended early".to_string());
        std::thread::scope(|scope| {
            let handles: Vec<_> = self.groups.iter_mut().map(|group| scope.spawn(move || group.pass(rows()))).collect();
            handles.into_iter().try_for_each(|handle| handle.join().unwrap_or_else(failed))
        })
    }

    /// The weights after the passes so far.
    pub fn weights(&self) -> Result<Weights, String> {
        let trained = self.groups.iter().map(ClassGroup::weights).collect::<Result<Vec<_>, _>>()?;
        let mut all = Vec::with_capacity(self.vocabulary.rows() * self.classes);
        for row in 0..self.vocabulary.rows() {
            for (group, weights) in trained.iter().enumerate() {
                let width = self.width.min(self.classes - group * self.width);
                all.extend_from_slice(weights.get(row * width..(row + 1) * width).unwrap_or_default());
            }
        }
        Ok(Weights::quantize(self.vocabulary.clone(), &all, self.classes))
    }
}

/// What a pass consists of: distinct rows and hints, each with how often it comes.
fn repeated(data: &Dataset, rows: &[Sample], settings: &Settings) -> Result<Vec<(Sample, u32)>, String> {
    let mut weights = vec![1.0; data.classes.len()];
    for (class, weight) in &settings.class_weights {
        let place = data.classes.iter().position(|name| name == class).and_then(|at| weights.get_mut(at));
        *place.ok_or_else(|| format!("class_weights: no row has the label `{class}`"))? = *weight;
    }
    let mut repeated: Vec<(Sample, u32)> = Vec::new();
    let alike = |a: &Sample, b: &Sample| data.facts(a).key(&settings.features) == data.facts(b).key(&settings.features);
    let rows_by_text = sorted(data, rows, &settings.features);
    for group in rows_by_text.chunk_by(|a, b| a.text == b.text && a.class == b.class) {
        let weight = group.first().and_then(|row| weights.get(usize::from(row.class))).copied().unwrap_or(1.0);
        let times = (f64::from(1 + group.len().ilog2()) * weight).round().max(1.0) as usize;
        let start = repeated.len();
        // Rows at equal distances: however many facts a text comes with, it comes as often in a pass.
        for row in (0..times).filter_map(|i| group.get((2 * i + 1) * group.len() / (2 * times))) {
            match repeated.get_mut(start..).and_then(|picked| picked.last_mut()) {
                Some((last, times)) if alike(last, row) => *times += 1,
                _ => repeated.push((*row, 1)),
            }
        }
    }
    repeated.extend(data.hints_of(rows).into_iter().map(|hint| (hint, settings.hint_repeats)));
    Ok(repeated)
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

/// Fisher and Yates' shuffle.
fn shuffle(order: &mut [u32], state: &mut u64) {
    for i in (1..order.len()).rev() {
        order.swap(i, (split_mix(state) % (i as u64 + 1)) as usize);
    }
}

/// The next number of SplitMix64 (Steele et al. 2014).
pub(super) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The rows of all passes in the order of training: what another trainer has to be given to come to the same weights.
#[cfg(test)]
pub(super) fn passes(data: &Dataset, rows: &[Sample], settings: &Settings) -> Vec<Sample> {
    let repeated = repeated(data, rows, settings).unwrap();
    let mut random = settings.seed;
    let mut places = places(&repeated);
    let mut passes = Vec::new();
    for _ in 0..settings.epochs {
        shuffle(&mut places, &mut random);
        passes.extend(places.iter().map(|i| repeated[*i as usize].0));
    }
    passes
}
