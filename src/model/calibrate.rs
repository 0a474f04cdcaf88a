//! Calibrated confidence: how often answers of a given confidence are right, made equal to that confidence.
//!
//! Temperatures (Guo et al. 2017, "On Calibration of Modern Neural Networks") are fitted on answers to rows that the
//! model in question was not trained on, apart for texts of known merchants and for merchants never seen: one temperature
//! for both would be overconfident exactly where the model knows least.

use super::weights::Scores;

/// Part of a model file.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Divides margins of new texts of known merchants.
    pub temperature_known: f32,
    /// Divides margins of merchants never seen.
    pub temperature_unknown: f32,
    /// Multiplies the confidence of texts known by heart: labels change as time goes by.
    pub memory_trust: f32,
}

impl Default for Calibration {
    fn default() -> Self {
        Calibration { temperature_known: 1.0, temperature_unknown: 1.0, memory_trust: 1.0 }
    }
}

impl Calibration {
    /// What is wrong with the numbers, if anything.
    pub fn check(&self) -> Result<(), String> {
        let positive = |x: f32| x.is_finite() && (0.001..=1_000.0).contains(&x);
        if positive(self.temperature_known) && positive(self.temperature_unknown) && positive(self.memory_trust) {
            Ok(())
        } else {
            Err("temperatures must lie between 0.001 and 1000".to_string())
        }
    }
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

/// The temperature at which the held-out labels are most probable (least mean negative log-likelihood), found by golden
/// section over log T in [0.02, 50]; 1 when there is nothing to fit.
pub fn fit_temperature(held_out: &[HeldOut]) -> f32 {
    if held_out.is_empty() {
        return 1.0;
    }
    let loss = |log_t: f64| {
        let temperature = log_t.exp() as f32;
        held_out.iter().map(|row| row.weight * negative_log_likelihood(row, temperature)).sum::<f64>()
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

fn negative_log_likelihood(row: &HeldOut, temperature: f32) -> f64 {
    let mut scores = row.margins.clone();
    scores.softmax(temperature);
    let p = scores.values().get(usize::from(row.class)).copied().unwrap_or(0.0);
    -f64::from(p.max(1e-9)).ln()
}
