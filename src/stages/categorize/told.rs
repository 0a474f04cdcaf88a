//! Drift's counts as metrics of the process: counters, so that whoever collects them chooses the span of time, and the
//! distance of the newest window's category mix from the one of training.
//!
//! Counts grow once a batch, not once a row. Deliberately absent: a metric for each window; those are in the raw store, for
//! `headwater model drift`.

use metrics::{counter, gauge};

use crate::model::Categorizer;
use crate::model::drift::{BINS, Window};
use crate::stage::LaneContext;

/// Where metrics of one stage are counted.
pub(super) struct Told {
    pipeline: String,
    lane: usize,
    table: String,
}

type Labels = Vec<(&'static str, String)>;

impl Told {
    /// Metrics about the results in `table`.
    pub(super) fn new(lane: &LaneContext, table: &str) -> Self {
        Told { pipeline: lane.pipeline.to_string(), lane: lane.lane, table: table.to_string() }
    }

    /// Adds what a window has counted of `model` since it was `before`.
    pub(super) fn add(&self, model: &Categorizer, before: &Window, now: &Window) {
        let labels = self.labels(&model.id);
        let grown = |of: fn(&Window) -> u64| of(now).saturating_sub(of(before));
        counter!("headwater_model_rows_total", &labels).increment(grown(|w| w.rows));
        counter!("headwater_model_uncategorized_total", &labels).increment(grown(|w| w.uncategorized));
        counter!("headwater_model_asked_total", &labels).increment(grown(|w| w.asked));
        counter!("headwater_model_unseen_texts_total", &labels).increment(grown(|w| w.unseen));
        counter!("headwater_model_words_total", &labels).increment(grown(|w| w.words));
        counter!("headwater_model_new_words_total", &labels).increment(grown(|w| w.new_words));
        for (bin, rows) in differences(&before.histogram, &now.histogram) {
            let upper = format!("{:.1}", (bin + 1) as f64 / BINS as f64);
            counter!("headwater_model_confidence_total", &with(&labels, "upper", upper)).increment(rows);
        }
        for (class, rows) in differences(&before.mix, &now.mix) {
            let category = model.classes().get(class).map_or("other", |class| class).to_string();
            counter!("headwater_model_answers_total", &with(&labels, "category", category)).increment(rows);
        }
    }

    /// Sets how far the newest window's mix, as this lane has seen it, is from the one of training.
    pub(super) fn set_psi(&self, model: &Categorizer, psi: f64) {
        let labels = with(&self.labels(&model.id), "lane", self.lane.to_string());
        gauge!("headwater_model_psi", &labels).set(psi);
    }

    fn labels(&self, model: &str) -> Labels {
        vec![("pipeline", self.pipeline.clone()), ("table", self.table.clone()), ("model", model.to_string())]
    }
}

fn with(labels: &Labels, name: &'static str, value: String) -> Labels {
    labels.iter().cloned().chain([(name, value)]).collect()
}

/// What has grown, by place.
fn differences(before: &[u64], now: &[u64]) -> impl Iterator<Item = (usize, u64)> {
    let grown = |(at, now): (usize, &u64)| (at, now.saturating_sub(before.get(at).copied().unwrap_or(0)));
    now.iter().enumerate().map(grown).filter(|(_, rows)| *rows > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_grown_is_told() {
        let grown: Vec<_> = differences(&[1, 2], &[1, 5, 7, 0]).collect();
        assert_eq!(grown, [(1, 3), (2, 7)]);
    }
}
