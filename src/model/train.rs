//! Training: labelled rows → a calibrated model. Seeded; the same rows in any order give the same bytes.
//!
//! Steps: (0) with `patience`, find how many passes are best for the last months; (1) hold out the last months, train on
//! what is before them: the answers to texts known by heart and to new texts of known merchants show how far confidence can
//! be trusted as time goes by; (2) train once per fold without a fifth of the merchants: the answers to those fifths show
//! what the model is worth on merchants never seen; (3) train on all.
//! Rows repeat: distinct (text, label) rows are trained on, each 1 + ⌊log2 n⌋ times per pass, with facts spread as in the rows.

use std::collections::{BTreeMap, HashMap, HashSet};

use rustc_hash::FxBuildHasher;
use serde::{Deserialize, Serialize};

use super::calibrate::{Calibration, Curve, HeldOut, fit_temperature};
use super::dataset::{Dataset, Sample};
use super::features::{FEATURE_VERSION, FeatureSpec, Scratch};
use super::fit::{Fit, fit};
use super::ftrl::FtrlSettings;
use super::memory;
use super::normalize::NORMALIZER_VERSION;
use super::remember::{Aging, remember};
use super::trained::{Buffers, Info, Model};
use super::weights::Scores;

/// What decides the weights, besides the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which features.
    pub features: FeatureSpec,
    /// FTRL-proximal.
    pub ftrl: FtrlSettings,
    /// Passes over the data; with `patience`, at most.
    pub epochs: usize,
    /// Early stopping: passes end when so many in a row did not make held-out new texts more probable, and all fits take as
    /// many passes as did best. 0: always `epochs`.
    pub patience: usize,
    /// Times that rows of a label come in a pass, compared to those of other labels; 1 for those not named.
    pub class_weights: BTreeMap<String, f64>,
    /// Seed of the shuffle.
    pub seed: u64,
    /// How many times a text that says what a label means is learned in a pass.
    pub hint_repeats: u32,
    /// A label of a known text counts half as much as one that is this many periods younger: codes of merchants change.
    /// 0: all labels count the same.
    pub memory_half_life: f64,
    /// But an old label never counts less than this share of a new one: one odd label does not outvote many.
    pub memory_floor: f64,
    /// Share of the rows, the latest, that calibration of known texts and merchants is fitted on.
    pub holdout: f64,
    /// Folds over merchants that calibration of unknown merchants is fitted on; 0 for none.
    pub folds: usize,
    /// Merchants with more rows are no strangers anywhere: calibration of unknown merchants leaves them out, else a few
    /// of them would decide it.
    pub fold_max_rows: usize,
    /// Below this confidence the answer is `uncategorized`.
    pub threshold: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            features: FeatureSpec::default(),
            ftrl: FtrlSettings::default(),
            epochs: 8,
            patience: 0,
            class_weights: BTreeMap::new(),
            seed: 1,
            hint_repeats: 4,
            memory_half_life: 0.0,
            memory_floor: 0.0,
            holdout: 0.1,
            folds: 5,
            fold_max_rows: 2_000,
            threshold: 0.5,
        }
    }
}

impl Settings {
    /// How labels of known texts age.
    fn aging(&self) -> Aging {
        Aging { half_life: self.memory_half_life, floor: self.memory_floor }
    }

    /// Passes over data that a training takes, at most.
    pub(super) fn passes(&self) -> usize {
        let fits = 1 + self.folds + usize::from(self.holdout > 0.0) + usize::from(self.patience > 0);
        fits * self.epochs
    }

    /// What is wrong with the numbers, if anything.
    pub fn check(&self) -> Result<(), String> {
        self.features.check()?;
        self.ftrl.check()?;
        if !(1..=1_000).contains(&self.epochs) {
            return Err("epochs must be 1 to 1000".to_string());
        }
        if self.hint_repeats > 100 || !(0.0..=10_000.0).contains(&self.memory_half_life) {
            return Err("hint_repeats must be 0 to 100 and memory_half_life 0 to 10000".to_string());
        }
        if self.patience > 0 && self.holdout == 0.0 {
            return Err("patience needs a holdout above 0: early stopping is judged on it".to_string());
        }
        if self.class_weights.values().any(|weight| !(0.01..=100.0).contains(weight)) {
            return Err("class_weights must be 0.01 to 100".to_string());
        }
        if !(0.0..=1.0).contains(&self.memory_floor) {
            return Err("memory_floor must be 0 to 1".to_string());
        }
        if !(0.0..=0.5).contains(&self.holdout) || self.folds == 1 || self.folds > 20 {
            return Err("holdout must be 0 to 0.5 and folds 0 or 2 to 20".to_string());
        }
        if (0.0..=1.0).contains(&self.threshold) { Ok(()) } else { Err("threshold must be 0 to 1".to_string()) }
    }
}

/// Where training stands: passes over the data done, and of how many.
pub type Progress<'p> = &'p mut dyn FnMut(usize, usize);

/// Counts passes; early stopping saves some of those that were counted on.
struct Passes<'p> {
    done: usize,
    of: usize,
    progress: Progress<'p>,
}

impl Passes<'_> {
    fn step(&mut self) {
        self.done += 1;
        (self.progress)(self.done, self.of);
    }
}

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
    let mut passes = Passes { done: 0, of: settings.passes(), progress };
    let mut calibration = Calibration::default();
    let mut stopped = settings.clone();
    if settings.holdout > 0.0 {
        let (before, after) = split_latest(data, rows, settings);
        if settings.patience > 0 {
            stopped.epochs = best_passes(data, &before, &after, settings, &mut passes)?;
            stopped.patience = 0;
            passes.of = passes.done + stopped.passes();
        }
        (calibration.memory_trust, calibration.temperature_known) =
            trust_over_time(data, &before, &after, &stopped, &mut passes)?;
    }
    if settings.folds > 0 {
        let mut held_out = Vec::new();
        for fold in 0..settings.folds {
            held_out.extend(fold_answers(data, rows, &stopped, fold, &mut passes)?);
        }
        calibration.temperature_unknown = fit_temperature(&held_out);
        calibration.curve_unknown = curve(&held_out, calibration.temperature_unknown);
    }
    let weights = fit(data, rows, &stopped, &mut || passes.step())?;
    let info = Info {
        name: name.to_string(),
        version: version.to_string(),
        normalizer: NORMALIZER_VERSION,
        features_version: FEATURE_VERSION,
        features: settings.features.clone(),
        classes: data.classes.clone(),
        threshold: settings.threshold,
        calibration,
        training: serde_json::json!({ "rows": rows.len(), "mix": mix(data, rows), "settings": settings, "passes": stopped.epochs }),
    };
    Ok(Model { info, weights, memory: remember(data, rows, settings.aging()) })
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
fn uncalibrated(
    data: &Dataset,
    rows: &[Sample],
    settings: &Settings,
    passes: &mut Passes<'_>,
) -> Result<Model, String> {
    let plain = Settings { holdout: 0.0, folds: 0, patience: 0, ..settings.clone() };
    train("", "", data, rows, &plain, &mut |_, _| passes.step())
}

/// Early stopping: after how many passes over `before` the new texts of `after` were most probable.
fn best_passes(
    data: &Dataset,
    before: &[Sample],
    after: &[Sample],
    settings: &Settings,
    passes: &mut Passes<'_>,
) -> Result<usize, String> {
    let known: HashSet<u32, FxBuildHasher> = before.iter().map(|row| row.text).collect();
    let new: Vec<Sample> = after.iter().filter(|row| !known.contains(&row.text)).copied().collect();
    let new = counted(data, if new.is_empty() { after } else { &new }, &settings.features);
    let mut fit = Fit::new(data, before, settings)?;
    let mut scratch = Scratch::default();
    let (mut best, mut least) = (1, f64::INFINITY);
    for pass in 1..=settings.epochs {
        fit.pass()?;
        passes.step();
        let weights = fit.weights()?;
        let mut loss = 0.0;
        for (row, weight) in &new {
            scratch.set_normal(data.text(row));
            let mut margins = Scores::default();
            weights.score(scratch.extract(&settings.features, &data.facts(row)), &mut margins);
            loss += HeldOut { margins, class: row.class, weight: *weight }.loss(1.0);
        }
        if loss < least {
            (best, least) = (pass, loss);
        } else if pass - best >= settings.patience {
            break;
        }
    }
    Ok(best)
}

/// Step 1: (trust in known texts, temperature for new texts of known merchants).
fn trust_over_time(
    data: &Dataset,
    before: &[Sample],
    after: &[Sample],
    settings: &Settings,
    passes: &mut Passes<'_>,
) -> Result<(f32, f32), String> {
    let model = uncalibrated(data, before, settings, passes)?;
    let mut buffers = Buffers::default();
    let (mut right, mut believed) = (1.0, 1.0);
    let mut held_out = Vec::new();
    for (row, count) in counted(data, after, &settings.features) {
        let text = data.text(&row);
        if let Some(known) = model.memory.text(memory::text_hash(text)) {
            believed += count * f64::from(known.confidence) / f64::from(u16::MAX);
            right += if known.class == row.class { count } else { 0.0 };
        } else if model.memory.knows_merchant(memory::merchant_key(text)) {
            held_out.push(held(&model, &mut buffers, data, &row, count));
        }
    }
    Ok(((right / believed) as f32, fit_temperature(&held_out)))
}

/// Step 2: the answers of a model that never saw the merchants of `fold` to their rows. Every merchant weighs the same, however
/// often it comes: a few frequent ones would say by chance how far strangers can be trusted.
fn fold_answers(
    data: &Dataset,
    rows: &[Sample],
    settings: &Settings,
    fold: usize,
    passes: &mut Passes<'_>,
) -> Result<Vec<HeldOut>, String> {
    let in_fold = |row: &&Sample| {
        let key = memory::merchant_key(data.text(row));
        (key >> 32) as usize % settings.folds == fold
    };
    let outside: Vec<Sample> = rows.iter().filter(|r| !in_fold(r)).copied().collect();
    let mut of_merchant: HashMap<u64, usize, FxBuildHasher> = HashMap::default();
    for row in rows.iter().filter(in_fold) {
        *of_merchant.entry(memory::merchant_key(data.text(row))).or_default() += 1;
    }
    let strange = |row: &&Sample| {
        of_merchant.get(&memory::merchant_key(data.text(row))).is_some_and(|n| *n <= settings.fold_max_rows)
    };
    let inside: Vec<Sample> = rows.iter().filter(in_fold).filter(strange).copied().collect();
    let model = uncalibrated(data, &outside, settings, passes)?;
    let mut buffers = Buffers::default();
    let answer = |(row, count): (Sample, f64)| {
        let all = of_merchant.get(&memory::merchant_key(data.text(&row))).copied().unwrap_or(1).max(1);
        held(&model, &mut buffers, data, &row, count / all as f64)
    };
    Ok(counted(data, &inside, &settings.features).into_iter().map(answer).collect())
}

/// How often the answers to held-out rows are right, by their confidence at a temperature.
fn curve(held_out: &[HeldOut], temperature: f32) -> Curve {
    let believed = held_out.iter().map(|row| {
        let mut scores = row.margins.clone();
        scores.softmax(temperature);
        let [(class, confidence), ..] = scores.top3();
        (confidence, class == row.class, row.weight)
    });
    Curve::fit(believed.collect())
}

fn held(model: &Model, buffers: &mut Buffers, data: &Dataset, row: &Sample, weight: f64) -> HeldOut {
    let text = data.text(row);
    buffers.scratch.set_normal(text);
    HeldOut { margins: model.margins(buffers, &data.facts(row)).clone(), class: row.class, weight }
}

/// Rows of the last periods, about the share that is held out, and the rows before them. Of data without periods, every so
/// many of the rows in the order of their texts.
fn split_latest(data: &Dataset, rows: &[Sample], settings: &Settings) -> (Vec<Sample>, Vec<Sample>) {
    let mut periods: Vec<&str> = rows.iter().map(|r| data.period(r)).collect();
    periods.sort_unstable();
    let cut = ((rows.len() as f64 * (1.0 - settings.holdout)) as usize).min(periods.len().saturating_sub(1));
    let first_late = periods.get(cut).copied().unwrap_or_default();
    if periods.first() == Some(&first_late) {
        let every = (1.0 / settings.holdout) as usize;
        let rows = sorted(data, rows, &settings.features);
        let (late, early): (Vec<_>, Vec<_>) = rows.into_iter().enumerate().partition(|(i, _)| i % every == 0);
        let rows = |picked: Vec<(usize, Sample)>| picked.into_iter().map(|(_, row)| row).collect();
        return (rows(early), rows(late));
    }
    rows.iter().partition(|row| data.period(row) < first_late)
}

/// Distinct rows with their counts, rows being equal that the model cannot tell apart, in an order that the order of
/// `rows` does not touch.
fn counted(data: &Dataset, rows: &[Sample], spec: &FeatureSpec) -> Vec<(Sample, f64)> {
    let facts = |row: &Sample| data.facts(row).key(spec);
    let same = |a: &Sample, b: &Sample| a.text == b.text && a.class == b.class && facts(a) == facts(b);
    let sorted = sorted(data, rows, spec);
    sorted.chunk_by(same).filter_map(|group| group.first().map(|row| (*row, group.len() as f64))).collect()
}

/// Rows by text, label and the facts that count.
pub(super) fn sorted(data: &Dataset, rows: &[Sample], spec: &FeatureSpec) -> Vec<Sample> {
    let mut sorted: Vec<Sample> = rows.to_vec();
    sorted.sort_by_cached_key(|row| (row.class, data.facts(row).key(spec)));
    sorted.sort_by_key(|row| data.text(row));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Columns;
    use crate::model::testing::{columns, dataset, settings, trained, tsv};

    /// Rows of 24 months in the order of time: `food` in the first twelve, `fuel` after.
    fn two_years() -> Dataset {
        let mut text = "period\tmerchant\tamount\tcategory\n".to_string();
        for month in 0..24 {
            let category = if month < 12 { "food" } else { "fuel" };
            let (year, month) = (2020 + month / 12, 1 + month % 12);
            text.push_str(&format!("{year}-{month:02}\tSHOP {category}\t1\t{category}\n").repeat(5));
        }
        dataset(&text)
    }

    #[test]
    fn the_mix_is_that_of_the_last_year() {
        let data = two_years();
        assert_eq!(data.classes, ["food", "fuel"]);
        assert_eq!(mix(&data, &data.rows), [0, 60]);
        assert_eq!(mix(&data, &data.rows[..65]), [55, 5], "the last year of what was learned");
    }

    #[test]
    fn the_latest_rows_are_held_out() {
        let data = two_years();
        let settings = Settings { holdout: 0.25, ..settings() };
        let (before, after) = split_latest(&data, &data.rows, &settings);
        assert_eq!((before.len(), after.len()), (90, 30));
        assert!(before.iter().all(|row| data.period(row) < "2021-07"));
        // One period: nothing is later than anything.
        let (before, after) = split_latest(&data, &data.rows[..5], &settings);
        assert_eq!((before.len(), after.len()), (3, 2));
    }

    #[test]
    fn labels_that_change_take_trust_from_the_memory() {
        let steady = trained(&dataset(&tsv()), &settings()).info.calibration.memory_trust;
        let turned: String =
            tsv().lines().filter(|line| !line.starts_with("2024-10")).map(|line| format!("{line}\n")).collect();
        let last = tsv()
            .lines()
            .filter(|line| line.starts_with("2024-10"))
            .map(|line| line.replace("food", "books") + "\n")
            .collect::<String>();
        let turned = trained(&dataset(&(turned + &last)), &Settings { holdout: 0.1, ..settings() })
            .info
            .calibration
            .memory_trust;
        assert!(steady > 0.95 && turned < 0.8, "{steady} {turned}");
    }

    #[test]
    fn every_merchant_is_a_stranger_once_and_counts_once() {
        let data = dataset(&tsv());
        let folds = Settings { folds: 3, ..settings() };
        let answers_of = |settings: &Settings, fold| {
            let mut passes = Passes { done: 0, of: 0, progress: &mut |_, _| {} };
            fold_answers(&data, &data.rows, settings, fold, &mut passes).unwrap()
        };
        let merchants: HashSet<u64> = data.texts.iter().map(|text| memory::merchant_key(text)).collect();
        let mut weights = 0.0;
        for fold in 0..3 {
            let answers = answers_of(&folds, fold);
            weights += answers.iter().map(|answer| answer.weight).sum::<f64>();
        }
        assert!((weights - merchants.len() as f64).abs() < 1e-6, "{weights} of {} merchants", merchants.len());
        // Merchants that are no strangers anywhere do not say how far strangers can be trusted.
        let few = Settings { fold_max_rows: 1, ..folds };
        assert!((0..3).all(|fold| answers_of(&few, fold).is_empty()));
    }

    #[test]
    fn the_curve_of_strangers_is_fitted_on_folds() {
        let data = dataset(&tsv());
        let curve = |folds| trained(&data, &Settings { folds, ..settings() }).info.calibration.curve_unknown;
        assert_eq!(curve(0), Curve::default());
        assert_ne!(curve(2), Curve::default());
    }

    #[test]
    fn rows_that_are_not_learned_teach_nothing() {
        let with_hints = |test: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("data.tsv");
            let learned = "2024-01\tPIZZA\t1\tfood\tEATING PLACE\n2024-01\tGAS\t1\tfuel\tSERVICE STATION\n";
            let text = format!("period\tmerchant\tamount\tcategory\tcode\n{learned}2024-02\tBAR\t1\tfood\t{test}\n");
            std::fs::write(&path, text).unwrap();
            let data = Dataset::read(&[path], &Columns { hints: vec!["code".into()], ..columns() }).unwrap();
            fit(&data, &data.rows[..2], &settings(), &mut || {}).unwrap()
        };
        assert_eq!(with_hints("DRINKING PLACE"), with_hints(""));
        assert_eq!(with_hints("DRINKING PLACE").vocabulary().rows(), with_hints("").vocabulary().rows());
    }
}
