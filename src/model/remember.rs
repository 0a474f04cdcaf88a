//! What a model remembers of its training: texts with their label, and the merchants behind them.

use super::dataset::{Dataset, Sample};
use super::memory::{self, Known, Memory};

/// How much a label weighs by its age, so that a merchant whose code has changed is known by its new one, while a few odd
/// labels do not outvote many.
#[derive(Debug, Clone, Copy)]
pub struct Aging {
    /// The weight halves in so many periods; 0: all labels weigh the same.
    pub half_life: f64,
    /// It never falls below this share of a new label's.
    pub floor: f64,
}

/// Remembers each text with the label that weighs most.
pub fn remember(data: &Dataset, rows: &[Sample], aging: Aging) -> Memory {
    let weights = weights_of_periods(data, rows, aging);
    let order = |row: &Sample| (data.text(row), row.class, row.period);
    let mut sorted: Vec<Sample> = rows.iter().filter(|row| !data.text(row).is_empty()).copied().collect();
    sorted.sort_by(|a, b| order(a).cmp(&order(b)));
    let weigh = |rows: &[Sample]| -> f64 {
        rows.iter().map(|row| weights.get(row.period as usize).copied().unwrap_or(1.0)).sum()
    };
    let mut known: Vec<Known> = Vec::new();
    let mut keys: Vec<u64> = Vec::new();
    for of_text in sorted.chunk_by(|a, b| data.text(a) == data.text(b)) {
        let of_classes = of_text.chunk_by(|a, b| a.class == b.class).map(|rows| (rows, weigh(rows)));
        let all: f64 = of_classes.clone().map(|(_, weight)| weight).sum();
        // The first of those that weigh most: classes are in order.
        let most = of_classes.reduce(|most, next| if next.1 > most.1 { next } else { most });
        let Some(([row, ..], weight)) = most else { continue };
        let text = data.text(row);
        let confidence = (weight + 0.9) / (all + 1.0) * f64::from(u16::MAX);
        known.push(Known { hash: memory::text_hash(text), class: row.class, confidence: confidence as u16 });
        keys.push(memory::merchant_key(text));
    }
    known.sort_unstable_by_key(|k| k.hash);
    keys.sort_unstable();
    keys.dedup();
    Memory::new(&known, &keys)
}

/// By the number of the period; the latest period of `rows` weighs 1.
fn weights_of_periods(data: &Dataset, rows: &[Sample], aging: Aging) -> Vec<f64> {
    let Aging { half_life, floor } = aging;
    let mut occurring: Vec<&str> = rows.iter().map(|row| data.period(row)).collect();
    occurring.sort_unstable();
    occurring.dedup();
    let weight = |period: &String| {
        let later = occurring.len() - occurring.partition_point(|p| *p <= period.as_str());
        if half_life > 0.0 { floor + (1.0 - floor) * 0.5f64.powf(later as f64 / half_life) } else { 1.0 }
    };
    data.periods.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use crate::model::testing::dataset;
    use crate::model::{
        memory,
        remember::{Aging, remember},
    };

    #[test]
    fn the_newer_label_of_a_text_wins_unless_the_older_ones_are_many() {
        let old = "2024-01\tSHOP\t1\tfood\n".repeat(5);
        let new = "2024-12\tSHOP\t1\tbooks\n".repeat(3);
        let others: String = (2..12).map(|month| format!("2024-{month:02}\tOTHER\t1\tfuel\n")).collect();
        let data = dataset(&format!("period\tmerchant\tamount\tcategory\n{new}{others}{old}"));
        let label = |half_life, floor| {
            let memory = remember(&data, &data.rows, Aging { half_life, floor });
            let known = memory.text(memory::text_hash(b"SHOP\n")).unwrap();
            (data.classes[usize::from(known.class)].as_str(), f64::from(known.confidence) / 65_535.0)
        };
        let (class, confidence) = label(0.0, 0.0);
        assert!(class == "food" && (confidence - 5.9 / 9.0).abs() < 1e-4, "{class} {confidence}");
        // Eleven periods later than the old ones: 5 / 2^11 against 3.
        let (class, confidence) = label(1.0, 0.0);
        assert!(class == "books" && confidence > 0.96, "{class} {confidence}");
        // Five old labels of at least 0.9 each against three new ones.
        assert_eq!(label(1.0, 0.9).0, "food");
    }
}
