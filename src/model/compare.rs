//! Two models on the same rows: which is better, and whether that could be chance.
//!
//! McNemar's test (1947) on the discordant pairs: exact binomial when they are few, else chi-square with continuity
//! correction. Rows repeat, and repeated rows are not independent; so the test is made once over rows and once over
//! distinct (text, label) pairs, and the latter is the one to believe.

use std::collections::BTreeMap;

use serde::Serialize;

use super::dataset::{Dataset, Sample};
use super::evaluate::answer_all;
use super::trained::Model;

/// Discordant pairs up to which the exact test is made.
const EXACT_LIMIT: u64 = 1_000;

/// The result of a comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Over all rows.
    pub rows: Pairs,
    /// Over distinct (text, label) pairs.
    pub texts: Pairs,
    /// Where the two differ, most frequent first.
    pub differing: Vec<Difference>,
}

/// Right and wrong answers of both models.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq)]
pub struct Pairs {
    /// Both right.
    pub both_right: u64,
    /// Only the first one right.
    pub only_first: u64,
    /// Only the second one right.
    pub only_second: u64,
    /// Both wrong.
    pub both_wrong: u64,
    /// Probability of a difference at least this large if the two were equally good.
    pub p_value: f64,
}

/// A text for which the two have different answers.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Difference {
    /// Normal text.
    pub text: String,
    /// The label.
    pub label: String,
    /// Category of the first model.
    pub first: String,
    /// Category of the second model.
    pub second: String,
    /// How many rows.
    pub rows: u64,
}

impl Pairs {
    fn count(&mut self, first: bool, second: bool) {
        *match (first, second) {
            (true, true) => &mut self.both_right,
            (true, false) => &mut self.only_first,
            (false, true) => &mut self.only_second,
            (false, false) => &mut self.both_wrong,
        } += 1;
    }

    fn tested(mut self) -> Self {
        self.p_value = mcnemar(self.only_first, self.only_second);
        self
    }
}

/// Compares two models on `rows`.
pub fn compare(first: &Model, second: &Model, data: &Dataset, rows: &[Sample]) -> Comparison {
    let (of_first, of_second) = (answer_all(first, data, rows), answer_all(second, data, rows));
    let (mut all, mut distinct) = (Pairs::default(), Pairs::default());
    let mut seen: BTreeMap<(u32, u16), u64> = BTreeMap::new();
    let mut differing: BTreeMap<(u32, u16, u16, u16), u64> = BTreeMap::new();
    for ((row, a), b) in rows.iter().zip(&of_first).zip(&of_second) {
        let pair = (a.label.is_some() && a.right(), b.label.is_some() && b.right());
        all.count(pair.0, pair.1);
        let times = seen.entry((row.text, row.class)).or_default();
        *times += 1;
        if *times == 1 {
            distinct.count(pair.0, pair.1);
        }
        let (one, other) = (a.answer.best().0, b.answer.best().0);
        if first.class(one) != second.class(other) {
            *differing.entry((row.text, row.class, one, other)).or_default() += 1;
        }
    }
    let describe = |((text, class, one, other), rows): ((u32, u16, u16, u16), u64)| Difference {
        text: data.texts.get(text as usize).map_or(String::new(), |t| String::from_utf8_lossy(t).trim().to_string()),
        label: data.classes.get(usize::from(class)).cloned().unwrap_or_default(),
        first: first.class(one).to_string(),
        second: second.class(other).to_string(),
        rows,
    };
    let mut differing: Vec<Difference> = differing.into_iter().map(describe).collect();
    differing.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.text.cmp(&b.text)));
    Comparison { rows: all.tested(), texts: distinct.tested(), differing }
}

/// Two-sided p-value of `a` against `b` discordant pairs.
fn mcnemar(a: u64, b: u64) -> f64 {
    let n = a + b;
    if n == 0 {
        return 1.0;
    }
    if n <= EXACT_LIMIT {
        // 2 · P(X ≤ min) for X binomial with n and 1/2, by logarithms of the terms.
        let mut log_term = -(n as f64) * std::f64::consts::LN_2;
        let mut tail = log_term.exp();
        for i in 1..=a.min(b) {
            log_term += ((n - i + 1) as f64 / i as f64).ln();
            tail += log_term.exp();
        }
        return (2.0 * tail).min(1.0);
    }
    let difference = (a.abs_diff(b) as f64 - 1.0).max(0.0);
    erfc((difference * difference / n as f64 / 2.0).sqrt())
}

/// The complementary error function for x ≥ 0, absolute error below 1.5e-7 (Abramowitz and Stegun 7.1.26).
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    series * (-x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mcnemar_agrees_with_the_tables() {
        // Exact: 2 · (1 + 10 + 45) / 1024.
        assert!((mcnemar(2, 8) - 112.0 / 1_024.0).abs() < 1e-12);
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(5, 5), 1.0);
        // Chi-square of (100 - 1)² / 2000 = 4.9005: p = 0.02685.
        assert!((mcnemar(950, 1_050) - 0.026_85).abs() < 1e-4);
        assert!(mcnemar(0, 5_000) < 1e-6);
    }
}
