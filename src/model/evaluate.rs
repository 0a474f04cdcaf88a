//! How good a model is on labelled rows: one pass, all measures.
//!
//! Macro-F1 is the mean of the classes' F1 over the labels that occur (not linfa's harmonic mean of macro precision and
//! macro recall). ECE is the expected calibration error with 15 equal-width bins (Guo et al. 2017); there is no agreed
//! number of bins, so it is said with the figure. Accuracy is that of the best category, whatever the threshold.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;
use serde::Serialize;

use super::dataset::{Dataset, Sample};
use super::fit::split_mix;
use super::memory::merchant_key;
use super::trained::{Answer, Buffers, Familiarity, Model};

/// Bins of confidence.
const BINS: usize = 15;

/// All measures of one model on one set of rows.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Evaluation {
    /// Rows.
    pub rows: u64,
    /// Share of rows whose best category is the label.
    pub accuracy: f64,
    /// Mean F1 of the labels that occur.
    pub macro_f1: f64,
    /// F1 of the labels, weighted by their rows.
    pub weighted_f1: f64,
    /// Share of rows whose label is among the three best.
    pub top3_accuracy: f64,
    /// Expected calibration error, 15 equal-width bins.
    pub ece15: f64,
    /// The same when every merchant counts once, however many rows it has.
    pub ece15_by_merchant: f64,
    /// What `ece15` would be on average for a confidence that is exactly right, if all rows of a merchant are right or wrong
    /// together: the error that these rows cannot tell from none.
    pub ece15_of_chance: f64,
    /// Mean confidence of the best category.
    pub mean_confidence: f64,
    /// Rows whose text was labelled in training.
    pub known_texts: Part,
    /// Rows with a new text of a known merchant.
    pub known_merchants: Part,
    /// Rows of merchants never seen, and rows without a text.
    pub unknown: Part,
    /// The model's own threshold.
    pub threshold: Covered,
    /// Coverage and accuracy at thresholds 0, 0.05, … 0.95, 0.99.
    pub curve: Vec<Covered>,
    /// Where at least 98.5 % of what is answered is right, with the largest coverage.
    pub best_coverage_at_985: Option<Covered>,
    /// Confidence against truth.
    pub reliability: Vec<Bin>,
    /// Each label.
    pub classes: Vec<ClassScore>,
    /// Label, best category, rows; only pairs that occur, wrong ones, most frequent first.
    pub confusions: Vec<(String, String, u64)>,
}

/// A part of the rows.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq)]
pub struct Part {
    /// How many.
    pub rows: u64,
    /// Share that is right.
    pub accuracy: f64,
    /// Mean confidence of the best category.
    pub mean_confidence: f64,
    /// Expected calibration error, 15 equal-width bins.
    pub ece15: f64,
    /// The same when every merchant counts once.
    pub ece15_by_merchant: f64,
    /// What it would be on average for a confidence that is exactly right.
    pub ece15_of_chance: f64,
}

/// What is answered at a threshold.
#[derive(Debug, Clone, Copy, Serialize, PartialEq)]
pub struct Covered {
    /// Least confidence.
    pub threshold: f64,
    /// Share of rows that is answered.
    pub coverage: f64,
    /// Share of the answers that is right.
    pub accuracy: f64,
}

/// A bin of the reliability diagram.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq)]
pub struct Bin {
    /// Rows whose confidence lies in it.
    pub rows: u64,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share that is right.
    pub accuracy: f64,
}

/// Scores of one label.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct ClassScore {
    /// The label.
    pub name: String,
    /// Rows with it.
    pub rows: u64,
    /// Rows that got it.
    pub predicted: u64,
    /// Share of the rows that got it and have it.
    pub precision: f64,
    /// Share of the rows with it that got it.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
}

/// The answers of a model to rows, as evaluation and comparison need them.
pub struct Answered {
    /// Best class, its confidence, whether it is the label.
    pub answer: Answer,
    /// The label's number in the model; `None` when the model does not know it.
    pub label: Option<u16>,
    /// The merchant's key.
    pub merchant: u64,
}

impl Answered {
    /// Whether the best category is the label.
    pub fn right(&self) -> bool {
        self.label == Some(self.answer.best().0)
    }
}

/// Answers to all rows, in their order. Equal texts are answered once where nothing but the text counts.
pub fn answer_all(model: &Model, data: &Dataset, rows: &[Sample]) -> Vec<Answered> {
    let label_of: Vec<Option<u16>> =
        data.classes.iter().map(|name| model.info.classes.iter().position(|c| c == name).map(|i| i as u16)).collect();
    let mut memo: Vec<Option<Answer>> = vec![None; data.texts.len()];
    let mut buffers = Buffers::default();
    let mut answer = |row: &Sample| {
        let place = memo.get_mut(row.text as usize).filter(|_| !model.info.features.reads_facts());
        if let Some(Some(answer)) = place {
            return *answer;
        }
        buffers.scratch.set_normal(data.text(row));
        let answer = model.answer(&mut buffers, &data.facts(row));
        if let Some(place) = place {
            *place = Some(answer);
        }
        answer
    };
    let label = |row: &Sample| label_of.get(usize::from(row.class)).copied().flatten();
    let merchants: Vec<u64> = data.texts.iter().map(|text| merchant_key(text)).collect();
    let merchant = |row: &Sample| merchants.get(row.text as usize).copied().unwrap_or(0);
    rows.iter().map(|row| Answered { answer: answer(row), label: label(row), merchant: merchant(row) }).collect()
}

/// Measures `model` on `rows` of `data`.
pub fn evaluate(model: &Model, data: &Dataset, rows: &[Sample]) -> Evaluation {
    let answered = answer_all(model, data, rows);
    let total = answered.len().max(1) as f64;
    let share = |count: usize| count as f64 / total;
    let right = |a: &&Answered| a.right();
    let in_top3 = |a: &&Answered| a.answer.top.iter().any(|(class, p)| *p > 0.0 && Some(*class) == a.label);
    let of = |wanted: &[Familiarity]| {
        part(&answered.iter().filter(|a| wanted.contains(&a.answer.familiarity)).collect::<Vec<_>>())
    };
    let all: Vec<&Answered> = answered.iter().collect();
    let reliability = reliability(answered.iter());
    let classes = class_scores(model, data, rows, &answered);
    let occurring = classes.iter().filter(|c| c.rows > 0);
    let thresholds = (0..20).map(|i| f64::from(i) * 0.05).chain([0.99]);
    Evaluation {
        rows: answered.len() as u64,
        accuracy: share(answered.iter().filter(right).count()),
        macro_f1: occurring.clone().map(|c| c.f1).sum::<f64>() / occurring.clone().count().max(1) as f64,
        weighted_f1: occurring.map(|c| c.f1 * c.rows as f64).sum::<f64>() / total,
        top3_accuracy: share(answered.iter().filter(in_top3).count()),
        ece15: calibration_error(&reliability),
        ece15_by_merchant: error_by_merchant(&all),
        ece15_of_chance: error_of_chance(&all),
        mean_confidence: answered.iter().map(|a| f64::from(a.answer.best().1)).sum::<f64>() / total,
        known_texts: of(&[Familiarity::Text]),
        known_merchants: of(&[Familiarity::Merchant]),
        unknown: of(&[Familiarity::Unknown, Familiarity::Empty]),
        threshold: covered(&answered, f64::from(model.info.threshold)),
        curve: thresholds.map(|t| covered(&answered, t)).collect(),
        best_coverage_at_985: best_coverage(&answered, 0.985),
        confusions: confusions(model, data, rows, &answered),
        reliability,
        classes,
    }
}

fn covered(answered: &[Answered], threshold: f64) -> Covered {
    let sure: Vec<&Answered> = answered.iter().filter(|a| f64::from(a.answer.best().1) >= threshold).collect();
    let right = sure.iter().filter(|a| a.right()).count();
    Covered {
        threshold,
        coverage: sure.len() as f64 / answered.len().max(1) as f64,
        accuracy: right as f64 / sure.len().max(1) as f64,
    }
}

/// The largest coverage at which the answers are right at least as often as `wanted`.
fn best_coverage(answered: &[Answered], wanted: f64) -> Option<Covered> {
    let mut sorted: Vec<(f32, bool)> = answered.iter().map(|a| (a.answer.best().1, a.right())).collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut best = None;
    let mut right = 0u64;
    for (i, (confidence, is_right)) in sorted.iter().enumerate() {
        right += u64::from(*is_right);
        let last_of_its_confidence = sorted.get(i + 1).is_none_or(|next| next.0 < *confidence);
        let accuracy = right as f64 / (i + 1) as f64;
        if last_of_its_confidence && accuracy >= wanted {
            let coverage = (i + 1) as f64 / sorted.len() as f64;
            best = Some(Covered { threshold: f64::from(*confidence), coverage, accuracy });
        }
    }
    best
}

fn part(answered: &[&Answered]) -> Part {
    let bins = reliability(answered.iter().copied());
    let rows = bins.iter().map(|b| b.rows).sum::<u64>();
    let mean = |of: fn(&Bin) -> f64| bins.iter().map(|b| of(b) * b.rows as f64).sum::<f64>() / rows.max(1) as f64;
    Part {
        rows,
        accuracy: mean(|b| b.accuracy),
        mean_confidence: mean(|b| b.confidence),
        ece15: calibration_error(&bins),
        ece15_by_merchant: error_by_merchant(answered),
        ece15_of_chance: error_of_chance(answered),
    }
}

/// The bin of a confidence.
fn bin_of(confidence: f64) -> usize {
    ((confidence * BINS as f64) as usize).min(BINS - 1)
}

/// Expected calibration error when every merchant counts once.
fn error_by_merchant(answered: &[&Answered]) -> f64 {
    let mut rows: HashMap<u64, f64, FxBuildHasher> = HashMap::default();
    for a in answered {
        *rows.entry(a.merchant).or_default() += 1.0;
    }
    let mut gaps = [0.0; BINS];
    for a in answered {
        let confidence = f64::from(a.answer.best().1);
        let right = f64::from(u8::from(a.right()));
        if let (Some(gap), Some(rows)) = (gaps.get_mut(bin_of(confidence)), rows.get(&a.merchant)) {
            *gap += (confidence - right) / rows;
        }
    }
    gaps.iter().map(|gap| gap.abs()).sum::<f64>() / rows.len().max(1) as f64
}

/// Draws of [`error_of_chance`].
const DRAWS: u64 = 100;

/// The mean of the error over draws in which an answer is right with the probability that it claims, all answers of a
/// merchant by the same draw.
fn error_of_chance(answered: &[&Answered]) -> f64 {
    let mut sorted: Vec<(u64, f64)> = answered.iter().map(|a| (a.merchant, f64::from(a.answer.best().1))).collect();
    sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut random = 0u64;
    let mut errors = 0.0;
    for _ in 0..DRAWS {
        let mut gaps = [0.0; BINS];
        for of_merchant in sorted.chunk_by(|a, b| a.0 == b.0) {
            let drawn = (split_mix(&mut random) >> 11) as f64 / (1u64 << 53) as f64;
            for (_, confidence) in of_merchant {
                if let Some(gap) = gaps.get_mut(bin_of(*confidence)) {
                    *gap += confidence - f64::from(u8::from(drawn < *confidence));
                }
            }
        }
        errors += gaps.iter().map(|gap| gap.abs()).sum::<f64>() / sorted.len().max(1) as f64;
    }
    errors / DRAWS as f64
}

fn calibration_error(bins: &[Bin]) -> f64 {
    let rows = bins.iter().map(|b| b.rows).sum::<u64>().max(1) as f64;
    bins.iter().map(|b| b.rows as f64 / rows * (b.confidence - b.accuracy).abs()).sum()
}

fn reliability<'a>(answered: impl Iterator<Item = &'a Answered>) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); BINS];
    for a in answered {
        let confidence = f64::from(a.answer.best().1);
        if let Some(bin) = bins.get_mut(bin_of(confidence)) {
            bin.rows += 1;
            bin.confidence += confidence;
            bin.accuracy += f64::from(u8::from(a.right()));
        }
    }
    for bin in &mut bins {
        bin.confidence /= bin.rows.max(1) as f64;
        bin.accuracy /= bin.rows.max(1) as f64;
    }
    bins
}

fn class_scores(model: &Model, data: &Dataset, rows: &[Sample], answered: &[Answered]) -> Vec<ClassScore> {
    let mut names: Vec<&str> = model.info.classes.iter().chain(&data.classes).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let mut counts = vec![(0u64, 0u64, 0u64); names.len()];
    for (row, a) in rows.iter().zip(answered) {
        let label = data.classes.get(usize::from(row.class)).map_or("", String::as_str);
        let guess = model.class(a.answer.best().0);
        if let Some((has, _, both)) = names.binary_search(&label).ok().and_then(|i| counts.get_mut(i)) {
            *has += 1;
            *both += u64::from(label == guess);
        }
        if let Some((_, got, _)) = names.binary_search(&guess).ok().and_then(|i| counts.get_mut(i)) {
            *got += 1;
        }
    }
    let ratio = |a: u64, b: u64| a as f64 / b.max(1) as f64;
    let score = |(name, (has, got, both)): (&&str, (u64, u64, u64))| ClassScore {
        name: (*name).to_string(),
        rows: has,
        predicted: got,
        precision: ratio(both, got),
        recall: ratio(both, has),
        f1: ratio(2 * both, has + got),
    };
    names.iter().zip(counts).map(score).collect()
}

fn confusions(model: &Model, data: &Dataset, rows: &[Sample], answered: &[Answered]) -> Vec<(String, String, u64)> {
    let mut pairs: std::collections::BTreeMap<(u16, u16), u64> = std::collections::BTreeMap::new();
    for (row, a) in rows.iter().zip(answered).filter(|(_, a)| !a.right()) {
        *pairs.entry((row.class, a.answer.best().0)).or_default() += 1;
    }
    let label = |class: u16| data.classes.get(usize::from(class)).cloned().unwrap_or_default();
    let named = |((label_of, guess), n): ((u16, u16), u64)| (label(label_of), model.class(guess).to_string(), n);
    let mut named: Vec<_> = pairs.into_iter().map(named).collect();
    named.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.cmp(b)));
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of merchants: how many, at which confidence, how many of them right.
    fn answered(merchants: &[(usize, f32, usize)]) -> Vec<Answered> {
        let rows = |(merchant, &(rows, confidence, right)): (usize, &(usize, f32, usize))| {
            let answer = Answer { top: [(1, confidence), (0, 0.0), (0, 0.0)], familiarity: Familiarity::Unknown };
            (0..rows).map(move |i| Answered { answer, label: Some(u16::from(i < right)), merchant: merchant as u64 })
        };
        merchants.iter().enumerate().flat_map(rows).collect()
    }

    fn errors(merchants: &[(usize, f32, usize)]) -> (f64, f64, f64) {
        let answered = answered(merchants);
        let part = part(&answered.iter().collect::<Vec<_>>());
        (part.ece15, part.ece15_by_merchant, part.ece15_of_chance)
    }

    #[test]
    fn a_frequent_merchant_counts_once_where_merchants_count() {
        // 90 rows of one merchant, all wrong at 0.5, and ten merchants with a row each, right as often as believed.
        let mut merchants = vec![(90, 0.5, 0)];
        merchants.extend((0..10).map(|i| (1, 0.5, i % 2)));
        let (by_rows, by_merchant, chance) = errors(&merchants);
        assert!((by_rows - 0.45).abs() < 1e-6, "{by_rows}");
        assert!((by_merchant - 0.5 / 11.0).abs() < 1e-6, "{by_merchant}");
        // The 90 rows are right or wrong together: always off by half.
        assert!((0.40..0.50).contains(&chance), "{chance}");
    }

    #[test]
    fn chance_shrinks_with_the_number_of_merchants_not_of_rows() {
        let chance = |merchants: usize, rows: usize| errors(&vec![(rows, 0.5, 0); merchants]).2;
        let (few, many) = (chance(16, 1), chance(1_600, 1));
        assert!((chance(16, 100) - few).abs() < 1e-6);
        // The mean of |share of heads − 0.5| among n is about 0.4 / √n.
        assert!((0.08..0.12).contains(&few) && (0.008..0.012).contains(&many), "{few} {many}");
        assert_eq!(errors(&[(5, 1.0, 5)]), (0.0, 0.0, 0.0));
        assert_eq!(errors(&[]), (0.0, 0.0, 0.0));
    }

    #[test]
    fn coverage_is_the_largest_at_which_the_answers_are_right_often_enough() {
        let answered = answered(&[(90, 0.9, 90), (10, 0.8, 5), (5, 0.7, 5)]);
        let best = best_coverage(&answered, 0.95).unwrap();
        assert!((best.coverage - 105.0 / 105.0).abs() < 1e-9 && best.threshold < 0.71, "{best:?}");
        let best = best_coverage(&answered, 0.96).unwrap();
        assert!((best.coverage - 90.0 / 105.0).abs() < 1e-9 && best.accuracy == 1.0, "{best:?}");
        assert_eq!(best_coverage(&answered[90..100], 0.96), None);
    }
}
