//! How far what a model sees has moved from what it was trained on: counts of a window of time, and what they mean.
//!
//! The category mix is compared by the population stability index, Σ (found − expected) · ln(found / expected) over the
//! categories' shares: below 0.1 nothing has moved, above 0.25 the model answers questions that it was not trained on.
//! Half a row is added to each category, so that one that is missing is not infinitely far away.
//!
//! Invariants: counting allocates nothing and takes no lock; counts of windows add up in any order. What corrections
//! change is not counted: it is the model that is watched. Rows that are delivered again count again; shares bear it.

use serde::{Deserialize, Serialize};

use super::categorizer::{Categorizer, UNCATEGORIZED, Verdict};
use super::trained::{Answer, Familiarity, Model};

/// Bins of the confidence's histogram.
pub const BINS: usize = 10;

/// Fewer rows say nothing about the mix: with 30 categories chance alone makes an index of 0.03.
pub const FEWEST_ROWS: u64 = 1_000;

/// What was answered in one window of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// Rows.
    pub rows: u64,
    /// Rows that nothing was sure enough about.
    pub uncategorized: u64,
    /// Rows that the model was asked about and that had a text.
    pub asked: u64,
    /// Of these, rows whose text was not labelled in training.
    pub unseen: u64,
    /// Words of the texts that the model was asked about.
    pub words: u64,
    /// Of these, words that training never saw.
    pub new_words: u64,
    /// Sum of confidences in ten-thousandths, over the rows that the model was asked about.
    pub confidence: u64,
    /// The same rows by confidence, in steps of a tenth.
    pub histogram: [u64; BINS],
    /// Rows by category, in the order of the model's classes; behind them those of other categories.
    pub mix: Vec<u64>,
}

impl Window {
    /// An empty window for a model with so many classes.
    pub fn new(classes: usize) -> Self {
        Window { mix: vec![0; classes + 1], ..Window::default() }
    }

    /// Counts a verdict of the model that the window was made for.
    pub fn add(&mut self, model: &Categorizer, verdict: &Verdict<'_>) {
        let said = *verdict.category != *UNCATEGORIZED;
        match &verdict.answer {
            Some(answer) => self.add_answer(answer, said),
            None => {
                self.rows += 1;
                self.uncategorized += u64::from(!said);
                let class = model.classes().iter().position(|class| class == verdict.category);
                self.count(class.unwrap_or(model.classes().len()));
            }
        }
    }

    /// Counts an answer of the trained model alone, and whether it was sure enough to be said.
    pub fn add_answer(&mut self, answer: &Answer, said: bool) {
        self.rows += 1;
        self.uncategorized += u64::from(!said);
        if answer.familiarity == Familiarity::Empty {
            return;
        }
        // The best category counts, also when it is not sure enough to be said.
        let (class, confidence) = answer.best();
        self.asked += 1;
        self.unseen += u64::from(answer.familiarity != Familiarity::Text);
        let confidence = confidence.clamp(0.0, 1.0);
        self.confidence += (f64::from(confidence) * 10_000.0).round() as u64;
        let bin = ((confidence * BINS as f32) as usize).min(BINS - 1);
        if let Some(bin) = self.histogram.get_mut(bin) {
            *bin += 1;
        }
        self.count(usize::from(class));
    }

    /// Counts the words of a text that the model was asked about, and how many of them training never saw: see
    /// [`Model::new_words`].
    pub fn add_words(&mut self, (words, new): (u64, u64)) {
        self.words += words;
        self.new_words += new;
    }

    fn count(&mut self, class: usize) {
        if let Some(rows) = self.mix.get_mut(class) {
            *rows += 1;
        }
    }

    /// Adds the counts of another window.
    pub fn merge(&mut self, other: &Window) {
        self.rows += other.rows;
        self.uncategorized += other.uncategorized;
        self.asked += other.asked;
        self.unseen += other.unseen;
        self.words += other.words;
        self.new_words += other.new_words;
        self.confidence += other.confidence;
        self.histogram.iter_mut().zip(&other.histogram).for_each(|(bin, more)| *bin += more);
        self.mix.resize(self.mix.len().max(other.mix.len()), 0);
        self.mix.iter_mut().zip(&other.mix).for_each(|(rows, more)| *rows += more);
    }

    /// The counts as shares.
    pub fn shares(&self, training: Option<&[u64]>) -> Shares {
        let share = |part: u64, of: u64| if of > 0 { part as f64 / of as f64 } else { 0.0 };
        Shares {
            rows: self.rows,
            uncategorized: share(self.uncategorized, self.rows),
            unseen: share(self.unseen, self.asked),
            new_words: (self.words > 0).then(|| share(self.new_words, self.words)),
            confidence: share(self.confidence, self.asked) / 10_000.0,
            psi: training.filter(|_| self.rows >= FEWEST_ROWS).map(|training| psi(training, &self.mix)),
        }
    }
}

/// A window in figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shares {
    /// Rows.
    pub rows: u64,
    /// Share of rows that nothing was sure enough about.
    pub uncategorized: f64,
    /// Share of texts that were not labelled in training.
    pub unseen: f64,
    /// Share of words that training never saw; `None` when there was no word, or when the model cannot tell.
    pub new_words: Option<f64>,
    /// Mean confidence of the model.
    pub confidence: f64,
    /// Distance of the category mix from the one of training; `None` when the model does not tell that one, or when the
    /// window has too few rows.
    pub psi: Option<f64>,
}

impl Model {
    /// Rows of the last year of training by class; `None` in models that do not tell.
    pub fn training_mix(&self) -> Option<Vec<u64>> {
        let mix = self.info.training.get("mix")?.as_array()?;
        let mix: Option<Vec<u64>> = mix.iter().map(serde_json::Value::as_u64).collect();
        mix.filter(|mix| mix.len() == self.info.classes.len())
    }
}

/// The population stability index of two mixes; a category that only one of them has counts as empty in the other.
pub fn psi(expected: &[u64], found: &[u64]) -> f64 {
    let categories = expected.len().max(found.len());
    let sum = |mix: &[u64]| mix.iter().map(|rows| *rows as f64).sum::<f64>() + 0.5 * categories as f64;
    let (all_expected, all_found) = (sum(expected), sum(found));
    let share = |mix: &[u64], at: usize, all: f64| (mix.get(at).copied().unwrap_or(0) as f64 + 0.5) / all;
    let part = |at| {
        let (e, f) = (share(expected, at, all_expected), share(found, at, all_found));
        (f - e) * (f / e).ln()
    };
    (0..categories).map(part).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_zero_for_the_same_mix_and_grows_with_the_distance() {
        assert!(psi(&[100, 200, 700], &[10, 20, 70]).abs() < 0.01);
        let near = psi(&[1_000, 2_000, 7_000], &[1_200, 2_000, 6_800]);
        let far = psi(&[1_000, 2_000, 7_000], &[5_000, 2_000, 3_000]);
        assert!(near < 0.01 && far > 0.5, "{near} {far}");
        // By hand: shares 0.2/0.8 and 0.4/0.6.
        let by_hand = 0.2 * (2f64).ln() + -0.2 * (0.75f64).ln();
        assert!((psi(&[200_000, 800_000], &[400_000, 600_000]) - by_hand).abs() < 1e-5);
        assert!(psi(&[1_000, 0], &[0, 1_000]).is_finite());
        assert!(psi(&[u64::MAX, u64::MAX], &[1_000, 1_000]).abs() < 1e-9, "as a foreign file may say");
    }

    #[test]
    fn windows_add_up() {
        let window = |n: u64| Window { rows: n, asked: n, unseen: n / 2, mix: vec![n, 0], ..Window::default() };
        let mut sum = window(2_000);
        sum.merge(&window(1_000));
        assert_eq!((sum.rows, sum.unseen, &*sum.mix), (3_000, 1_500, &[3_000, 0][..]));
        assert_eq!(sum.shares(None).psi, None);
        assert_eq!(window(FEWEST_ROWS - 1).shares(Some(&[1, 1])).psi, None);
        assert_eq!(sum.shares(Some(&[5, 0])).unseen, 0.5);
    }
}
