//! Calibrated confidence: how often answers of a given confidence are right, made equal to that confidence.
//!
//! Temperatures (Guo et al. 2017, "On Calibration of Modern Neural Networks") are fitted on answers to rows that the
//! model in question was not trained on, apart for texts of known merchants and for merchants never seen: one temperature
//! for both would be overconfident exactly where the model knows least. A [`Curve`] then straightens what a temperature
//! leaves bent for merchants never seen.

use super::weights::Scores;

/// Part of a model file.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Divides margins of new texts of known merchants.
    pub temperature_known: f32,
    /// Divides margins of merchants never seen.
    pub temperature_unknown: f32,
    /// Their confidence after that → how often it is right.
    pub curve_unknown: Curve,
    /// Multiplies the confidence of texts known by heart: labels change as time goes by.
    pub memory_trust: f32,
}

impl Default for Calibration {
    fn default() -> Self {
        Calibration {
            temperature_known: 1.0,
            temperature_unknown: 1.0,
            curve_unknown: Curve::default(),
            memory_trust: 1.0,
        }
    }
}

impl Calibration {
    /// What is wrong with the numbers, if anything.
    pub fn check(&self) -> Result<(), String> {
        let positive = |x: f32| x.is_finite() && (0.001..=1_000.0).contains(&x);
        if !positive(self.temperature_known) || !positive(self.temperature_unknown) || !positive(self.memory_trust) {
            return Err("temperatures must lie between 0.001 and 1000".to_string());
        }
        self.curve_unknown.check()
    }
}

/// Knots of a [`Curve`].
const KNOTS: usize = 10;

/// Confidence → calibrated confidence: straight lines between knots, level before the first and behind the last.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Curve([(f32, f32); KNOTS]);

impl Default for Curve {
    /// Changes nothing.
    fn default() -> Self {
        Curve(std::array::from_fn(|i| {
            let at = i as f32 / (KNOTS - 1) as f32;
            (at, at)
        }))
    }
}

impl Curve {
    /// The curve through the parts of `believed`, each a confidence, whether it was right, and a weight: ten parts of equal
    /// weight by rising confidence, each a knot at its means; where the share that is right falls from one part to the
    /// next, both take their mean (pool adjacent violators), so that the curve never falls.
    pub fn fit(mut believed: Vec<(f32, bool, f64)>) -> Curve {
        believed.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all: f64 = believed.iter().map(|b| b.2).sum();
        if believed.len() < KNOTS || all <= 0.0 {
            return Curve::default();
        }
        let mut sums = [(0.0f64, 0.0f64, 0.0f64); KNOTS];
        let mut before = 0.0;
        for (confidence, right, weight) in believed {
            let part = ((before + weight / 2.0) / all * KNOTS as f64) as usize;
            before += weight;
            if let Some((confidences, rights, weights)) = sums.get_mut(part.min(KNOTS - 1)) {
                *confidences += weight * f64::from(confidence);
                *rights += if right { weight } else { 0.0 };
                *weights += weight;
            }
        }
        if sums.iter().any(|(_, _, weights)| *weights <= 0.0) {
            return Curve::default();
        }
        let heights = never_falling(&sums.map(|(_, rights, weights)| (rights / weights, weights)));
        Curve(std::array::from_fn(|i| {
            let (confidences, _, weights) = sums.get(i).copied().unwrap_or((0.0, 0.0, 1.0));
            ((confidences / weights) as f32, heights.get(i).copied().unwrap_or(0.0) as f32)
        }))
    }

    /// The calibrated confidence.
    pub fn apply(&self, confidence: f32) -> f32 {
        let mut left: Option<(f32, f32)> = None;
        for &(x, y) in &self.0 {
            if confidence < x {
                return match left {
                    Some((from, low)) => low + (y - low) * (confidence - from) / (x - from),
                    None => y,
                };
            }
            left = Some((x, y));
        }
        left.map_or(confidence, |(_, y)| y)
    }

    fn check(&self) -> Result<(), String> {
        let lies_in = |x: f32| (0.0..=1.0).contains(&x);
        let rises = self.0.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1);
        if rises && self.0.iter().all(|(x, y)| lies_in(*x) && lies_in(*y)) {
            Ok(())
        } else {
            Err("the curve of confidence must rise within 0 to 1".to_string())
        }
    }
}

/// The closest heights that never fall (pool adjacent violators).
fn never_falling(heights: &[(f64, f64)]) -> Vec<f64> {
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for &(height, weight) in heights {
        let mut pool = (height, weight, 1);
        while let Some(last) = pools.pop_if(|last| last.0 > pool.0) {
            let weight = last.1 + pool.1;
            pool = ((last.0 * last.1 + pool.0 * pool.1) / weight, weight, last.2 + pool.2);
        }
        pools.push(pool);
    }
    pools.into_iter().flat_map(|(height, _, len)| std::iter::repeat_n(height, len)).collect()
}

/// An answer to a held-out row.
pub struct HeldOut {
    /// Margins before any temperature.
    pub margins: Scores,
    /// The label.
    pub class: u16,
    /// How many rows this stands for.
    pub weight: f64,
}

impl HeldOut {
    /// Negative log-likelihood of the label at a temperature, times the weight.
    pub fn loss(&self, temperature: f32) -> f64 {
        let mut scores = self.margins.clone();
        scores.softmax(temperature);
        let p = scores.values().get(usize::from(self.class)).copied().unwrap_or(0.0);
        -f64::from(p.max(1e-9)).ln() * self.weight
    }
}

/// The temperature at which the held-out labels are most probable (least mean negative log-likelihood), found by golden
/// section over log T in [0.02, 50]; 1 when there is nothing to fit.
pub fn fit_temperature(held_out: &[HeldOut]) -> f32 {
    if held_out.is_empty() {
        return 1.0;
    }
    let loss = |log_t: f64| {
        let temperature = log_t.exp() as f32;
        held_out.iter().map(|row| row.loss(temperature)).sum::<f64>()
    };
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (0.02f64.ln(), 50f64.ln());
    let (mut a, mut b) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut loss_a, mut loss_b) = (loss(a), loss(b));
    for _ in 0..40 {
        if loss_a < loss_b {
            (high, b, loss_b) = (b, a, loss_a);
            a = high - ratio * (high - low);
            loss_a = loss(a);
        } else {
            (low, a, loss_a) = (a, b, loss_b);
            b = low + ratio * (high - low);
            loss_b = loss(b);
        }
    }
    f64::midpoint(low, high).exp() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_says_how_often_confidence_is_right_and_never_falls() {
        let row = |i: u32, right: bool| (i as f32 / 1_000.0, right, 1.0);
        // Of every hundred half as many are right as believed, but none of those between 0.5 and 0.6.
        let right = |i: u32| i % 100 < i / 20 && !(500..600).contains(&i);
        let curve = Curve::fit((0..1_000).map(|i| row(i, right(i))).collect());
        curve.check().unwrap();
        let at = |x: f32| curve.apply(x);
        assert!((at(0.85) - 0.42).abs() < 0.02 && (at(0.25) - 0.12).abs() < 0.02, "{curve:?}");
        assert!((at(0.4495) - at(0.5495)).abs() < 1e-6, "pooled: {curve:?}");
        assert!(at(0.55) < at(0.65));
        assert_eq!((at(-1.0), at(2.0)), (at(0.0), at(1.0)));
        assert_eq!(Curve::fit(Vec::new()), Curve::default());
        assert_eq!([0.0, 0.25, 1.0].map(|x| Curve::default().apply(x)), [0.0, 0.25, 1.0]);
    }

    #[test]
    fn a_curve_that_falls_or_leaves_0_to_1_is_refused() {
        let mut falling = Curve::default();
        falling.0[4].1 = 0.2;
        let mut outside = Curve::default();
        outside.0[9].1 = 1.5;
        let mut nothing = Curve::default();
        nothing.0[3].0 = f32::NAN;
        assert!([falling, outside, nothing].iter().all(|curve| curve.check().is_err()));
    }

    #[test]
    fn heavy_rows_decide_the_temperature() {
        let margins = |right: bool| {
            let mut scores = Scores::default();
            scores.set(&[3.0, 0.0]);
            HeldOut { margins: scores, class: u16::from(!right), weight: if right { 9.0 } else { 1.0 } }
        };
        // Nine of ten: the confidence of margin 3 at the temperature has to be 0.9, so T = 3 / ln 9.
        let temperature = fit_temperature(&[margins(true), margins(false)]);
        assert!((temperature - 3.0 / 9f32.ln()).abs() < 1e-3, "{temperature}");
        assert_eq!(fit_temperature(&[]), 1.0);
    }
}
