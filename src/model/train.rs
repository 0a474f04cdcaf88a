//! Training: labelled rows → a calibrated model. Seeded; the same rows in any order give the same bytes.
//!
//! Steps: (1) hold out the last months, train on what is before them: the answers to texts known by heart and to new texts
//! of known merchants show how far confidence can be trusted as time goes by; (2) train once per fold without a fifth of
//! the merchants: the answers to those fifths show what the model is worth on merchants never seen; (3) train on all.
//! Rows repeat: distinct (text, label) rows are trained on, each 1 + ⌊log2 n⌋ times per pass.

use serde::{Deserialize, Serialize};

use super::calibrate::{Calibration, HeldOut, fit_temperature};
use super::dataset::{Dataset, Sample};
use super::features::{FEATURE_VERSION, FeatureSpec};
use super::ftrl::{ClassGroup, FtrlSettings, SparseRow};
use super::memory::{self, Known, Memory};
use super::normalize::NORMALIZER_VERSION;
use super::trained::{Buffers, Info, Model};
use super::weights::Weights;

/// What decides the weights, besides the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which features.
    pub features: FeatureSpec,
    /// FTRL-proximal.
    pub ftrl: FtrlSettings,
    /// Passes over the data.
    pub epochs: usize,
    /// Seed of the shuffle.
    pub seed: u64,
    /// How many times all passes are made, each with another shuffle; the weights are averaged.
    pub averaged: usize,
    /// Share of the rows, the latest, that calibration of known texts and merchants is fitted on.
    pub holdout: f64,
    /// Folds over merchants that calibration of unknown merchants is fitted on; 0 for none.
    pub folds: usize,
    /// Below this confidence the answer is `uncategorized`.
    pub threshold: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            features: FeatureSpec::default(),
            ftrl: FtrlSettings::default(),
            epochs: 8,
            seed: 1,
            averaged: 1,
            holdout: 0.1,
            folds: 5,
            threshold: 0.5,
        }
    }
}

impl Settings {
    /// What is wrong with the numbers, if anything.
    pub fn check(&self) -> Result<(), String> {
        self.features.check()?;
        if !(1..=1_000).contains(&self.epochs) || !(1..=4_096).contains(&self.ftrl.batch) {
            return Err("epochs must be 1 to 1000 and batch 1 to 4096".to_string());
        }
        if !(1..=100).contains(&self.averaged) {
            return Err("averaged must be 1 to 100".to_string());
        }
        if !(0.0..=0.5).contains(&self.holdout) || self.folds == 1 || self.folds > 20 {
            return Err("holdout must be 0 to 0.5 and folds 0 or 2 to 20".to_string());
        }
        if (0.0..=1.0).contains(&self.threshold) { Ok(()) } else { Err("threshold must be 0 to 1".to_string()) }
    }
}

/// Where training stands: fits done, of how many.
pub type Progress<'p> = &'p mut dyn FnMut(usize, usize);

/// Trains on `rows` of `data`.
pub fn train(
    name: &str,
    version: &str,
    data: &Dataset,
    rows: &[Sample],
    settings: &Settings,
    progress: Progress<'_>,
) -> Result<Model, String> {
    settings.check()?;
    let fits = 1 + settings.folds + usize::from(settings.holdout > 0.0);
    let mut done = 0;
    let mut step = || {
        done += 1;
        progress(done, fits);
    };
    let mut calibration = Calibration::default();
    if settings.holdout > 0.0 {
        (calibration.memory_trust, calibration.temperature_known) = trust_over_time(data, rows, settings)?;
        step();
    }
    if settings.folds > 0 {
        let mut held_out = Vec::new();
        for fold in 0..settings.folds {
            held_out.extend(fold_answers(data, rows, settings, fold)?);
            step();
        }
        calibration.temperature_unknown = fit_temperature(&held_out);
    }
    let weights = fit(data, rows, settings)?;
    step();
    let info = Info {
        name: name.to_string(),
        version: version.to_string(),
        normalizer: NORMALIZER_VERSION,
        features_version: FEATURE_VERSION,
        features: settings.features.clone(),
        classes: data.classes.clone(),
        threshold: settings.threshold,
        calibration,
        training: serde_json::json!({ "rows": rows.len(), "mix": mix(data, rows), "settings": settings }),
    };
    Ok(Model { info, weights, memory: remember(data, rows) })
}

/// Months whose category mix stands for what the model knows.
const MIX_MONTHS: usize = 12;

/// Rows by class in the last year of the data, or in all of it where it has no periods: what drift is measured from. Older
/// rows teach texts, but their mix is history: against it, the first month of use would look like drift.
fn mix(data: &Dataset, rows: &[Sample]) -> Vec<u64> {
    let month = |row: &Sample| data.period(row).get(..7).unwrap_or_default();
    let mut months: Vec<&str> = rows.iter().map(month).collect();
    months.sort_unstable();
    months.dedup();
    let first = months.iter().rev().nth(MIX_MONTHS - 1).copied().unwrap_or_default();
    let mut mix = vec![0; data.classes.len()];
    for row in rows.iter().filter(|row| month(row) >= first) {
        if let Some(count) = mix.get_mut(usize::from(row.class)) {
            *count += 1;
        }
    }
    mix
}

/// A model without calibration, for the steps of calibration itself.
fn uncalibrated(data: &Dataset, rows: &[Sample], settings: &Settings) -> Result<Model, String> {
    let plain = Settings { holdout: 0.0, folds: 0, ..settings.clone() };
    train("", "", data, rows, &plain, &mut |_, _| {})
}

/// Step 1: (trust in known texts, temperature for new texts of known merchants).
fn trust_over_time(data: &Dataset, rows: &[Sample], settings: &Settings) -> Result<(f32, f32), String> {
    let (before, after) = split_latest(data, rows, settings);
    let model = uncalibrated(data, &before, settings)?;
    let mut buffers = Buffers::default();
    let (mut right, mut believed) = (1.0, 1.0);
    let mut held_out = Vec::new();
    for (row, count) in counted(data, &after) {
        let text = data.text(&row);
        if let Some(known) = model.memory.text(memory::text_hash(text)) {
            believed += count * f64::from(known.confidence) / f64::from(u16::MAX);
            right += if known.class == row.class { count } else { 0.0 };
        } else if model.memory.knows_merchant(memory::merchant_key(text)) {
            held_out.push(held(&model, &mut buffers, text, &row, count));
        }
    }
    Ok(((right / believed) as f32, fit_temperature(&held_out)))
}

/// Step 2: the answers of a model that never saw the merchants of `fold` to their rows.
fn fold_answers(data: &Dataset, rows: &[Sample], settings: &Settings, fold: usize) -> Result<Vec<HeldOut>, String> {
    let in_fold = |row: &&Sample| {
        let key = memory::merchant_key(data.text(row));
        (key >> 32) as usize % settings.folds == fold
    };
    let outside: Vec<Sample> = rows.iter().filter(|r| !in_fold(r)).copied().collect();
    let inside: Vec<Sample> = rows.iter().filter(in_fold).copied().collect();
    let model = uncalibrated(data, &outside, settings)?;
    let mut buffers = Buffers::default();
    let answer = |(row, count): (Sample, f64)| held(&model, &mut buffers, data.text(&row), &row, count.sqrt());
    Ok(counted(data, &inside).into_iter().map(answer).collect())
}

fn held(model: &Model, buffers: &mut Buffers, text: &[u8], row: &Sample, weight: f64) -> HeldOut {
    buffers.scratch.set_normal(text);
    HeldOut { margins: model.margins(buffers, row.amount()).clone(), class: row.class, weight }
}

/// Rows of the last periods, about the share that is held out, and the rows before them. Data without periods is split
/// by a hash of row and text.
fn split_latest(data: &Dataset, rows: &[Sample], settings: &Settings) -> (Vec<Sample>, Vec<Sample>) {
    let mut periods: Vec<&str> = rows.iter().map(|r| data.period(r)).collect();
    periods.sort_unstable();
    let cut = ((rows.len() as f64 * (1.0 - settings.holdout)) as usize).min(periods.len().saturating_sub(1));
    let first_late = periods.get(cut).copied().unwrap_or_default();
    if periods.first() == Some(&first_late) {
        let every = (1.0 / settings.holdout) as usize;
        let (late, early): (Vec<_>, Vec<_>) = rows.iter().enumerate().partition(|(i, _)| i % every == 0);
        let rows = |picked: Vec<(usize, &Sample)>| picked.into_iter().map(|(_, r)| *r).collect();
        return (rows(early), rows(late));
    }
    rows.iter().partition(|row| data.period(row) < first_late)
}

/// Distinct rows with their counts, in an order that the order of `rows` does not touch.
fn counted(data: &Dataset, rows: &[Sample]) -> Vec<(Sample, f64)> {
    let order = |row: &Sample| (data.text(row), row.class, row.amount.to_bits());
    let mut sorted: Vec<Sample> = rows.to_vec();
    sorted.sort_by(|a, b| order(a).cmp(&order(b)));
    let same = |a: &Sample, b: &Sample| a.text == b.text && a.class == b.class;
    sorted.chunk_by(same).filter_map(|group| group.first().map(|row| (*row, group.len() as f64))).collect()
}

/// Step 3: weights, per slot one of each class.
fn fit(data: &Dataset, rows: &[Sample], settings: &Settings) -> Result<Weights, String> {
    let mut buffers = Buffers::default();
    let mut distinct = Vec::new();
    let mut order: Vec<u32> = Vec::new();
    for (row, count) in counted(data, rows) {
        let times = 1 + (count as u64).max(1).ilog2();
        order.extend(std::iter::repeat_n(distinct.len() as u32, times as usize));
        distinct.push(sparse(data.text(&row), &row, settings, &mut buffers));
    }
    let classes = data.classes.len();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(classes);
    let width = classes.div_ceil(threads);
    let groups: Vec<(usize, usize)> =
        (0..classes).step_by(width).map(|first| (first, width.min(classes - first))).collect();
    let fit_group = |(first, width): (usize, usize)| {
        let mut random = settings.seed;
        let mut sum = vec![0.0; settings.features.slots() * width];
        for _ in 0..settings.averaged {
            let mut group = ClassGroup::new(settings.ftrl, settings.features.slots(), first, width);
            let mut order = order.clone();
            for _ in 0..settings.epochs {
                shuffle(&mut order, &mut random);
                group.pass(order.iter().filter_map(|i| distinct.get(*i as usize)))?;
            }
            let share = 1.0 / settings.averaged as f32;
            sum.iter_mut().zip(group.weights()?).for_each(|(sum, weight)| *sum += weight * share);
        }
        Ok(sum)
    };
    let trained: Vec<Result<Vec<f32>, String>> = std::thread::scope(|scope| {
        let handles: Vec<_> = groups.iter().map(|g| scope.spawn(|| fit_group(*g))).collect();
        let failed = |_| Err("a training thread ended early".to_string());
        handles.into_iter().map(|h| h.join().unwrap_or_else(failed)).collect()
    });
    let trained = trained.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::with_capacity(settings.features.slots() * classes);
    for slot in 0..settings.features.slots() {
        for ((_, width), weights) in groups.iter().zip(&trained) {
            all.extend_from_slice(weights.get(slot * width..(slot + 1) * width).unwrap_or_default());
        }
    }
    Ok(Weights::quantize(&all, classes))
}

/// The values of a row's slots: each feature counts ±1 / √(number of features), as in the scorer.
fn sparse(text: &[u8], row: &Sample, settings: &Settings, buffers: &mut Buffers) -> SparseRow {
    buffers.scratch.set_normal(text);
    let features = buffers.scratch.extract(&settings.features, row.amount());
    let norm = 1.0 / (features.len().max(1) as f32).sqrt();
    let mut cells: Vec<(u32, f32)> =
        features.iter().map(|f| (f.slot() as u32, if f.is_negative() { -norm } else { norm })).collect();
    cells.sort_by_key(|(slot, _)| *slot);
    cells.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    cells.retain(|(_, value)| *value != 0.0);
    SparseRow { cells, class: row.class }
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

/// Texts with their most frequent label, and the merchants behind them.
fn remember(data: &Dataset, rows: &[Sample]) -> Memory {
    let mut known: Vec<Known> = Vec::new();
    let mut keys: Vec<u64> = Vec::new();
    for group in counted(data, rows).chunk_by(|a, b| a.0.text == b.0.text) {
        let all: f64 = group.iter().map(|(_, n)| n).sum();
        // The first of the most frequent ones: classes are in order.
        let best = group.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((row, count)) = best else { continue };
        let text = data.text(row);
        if text.is_empty() {
            continue;
        }
        let confidence = (count + 0.9) / (all + 1.0) * f64::from(u16::MAX);
        known.push(Known { hash: memory::text_hash(text), class: row.class, confidence: confidence as u16 });
        keys.push(memory::merchant_key(text));
    }
    known.sort_unstable_by_key(|k| k.hash);
    keys.sort_unstable();
    keys.dedup();
    Memory::new(&known, &keys)
}

/// The rows of all passes in the order of training: what another trainer has to be given to come to the same weights.
#[cfg(test)]
pub(super) fn passes(data: &Dataset, rows: &[Sample], settings: &Settings) -> Vec<Sample> {
    let mut order = Vec::new();
    for (row, count) in counted(data, rows) {
        order.extend(std::iter::repeat_n(row, 1 + (count as usize).ilog2() as usize));
    }
    let mut random = settings.seed;
    let mut places: Vec<u32> = (0..order.len() as u32).collect();
    let mut passes = Vec::new();
    for _ in 0..settings.epochs {
        shuffle(&mut places, &mut random);
        passes.extend(places.iter().map(|i| order[*i as usize]));
    }
    passes
}
