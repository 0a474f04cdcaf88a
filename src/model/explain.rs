//! Why the model chose a category: what each word of the text added to the category's margin.
//!
//! A feature's contribution is its weight times its group's norm, as in the scorer; it is known while the text is hashed,
//! so nothing has to be looked up backwards. A word owns its n-grams and itself and half of each pair
//! that it is part of; the amount stands as `amount`.
//!
//! Invariant: the contributions of all words sum up to the margin. Deliberately absent: speed. It runs
//! only where `explain: true` asks for it.

use bytestring::ByteString;

use super::features::{Features, Group, Scratch};
use super::trained::Model;

/// Most words that an explanation names.
pub const MOST_WORDS: usize = 3;

/// One word: where it stands in the normal text, and what it added.
struct Word {
    start: usize,
    end: usize,
    weight: f32,
}

impl Model {
    /// The words of the text set in `scratch` that spoke most for `class`, strongest first.
    pub fn explain(&self, scratch: &Scratch, amount: Option<f64>, class: u16) -> Vec<(ByteString, f32)> {
        let (mut words, amount_weight) = self.contributions(scratch, amount, class);
        words.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.start.cmp(&b.start)));
        let text = scratch.normal_text();
        let word = |w: &Word| (shown(text.get(w.start..w.end).unwrap_or_default()), w.weight);
        let mut spoke: Vec<(ByteString, f32)> = words.iter().map(word).collect();
        if self.info.features.amount {
            spoke.push((ByteString::from_static("amount"), amount_weight));
            spoke.sort_by(|a, b| b.1.total_cmp(&a.1));
        }
        spoke.retain(|(_, weight)| *weight > 0.0);
        spoke.truncate(MOST_WORDS);
        spoke
    }

    /// What each word and the amount added to the margin of `class`.
    fn contributions(&self, scratch: &Scratch, amount: Option<f64>, class: u16) -> (Vec<Word>, f32) {
        let mut words = words(scratch.normal_text());
        let mut features = Features::default();
        scratch.explain(&self.info.features, amount, &mut |group, feature, _| features.push(group, feature));
        let [grams, whole] = [Group::Grams, Group::Words].map(|group| self.weights.group_norm(features.group(group)));
        let mut by_amount = 0.0;
        scratch.explain(&self.info.features, amount, &mut |group, feature, (start, end)| {
            let norm = if group == Group::Grams { grams } else { whole };
            let weight = self.weights.weight(feature, usize::from(class)) as f32 * norm;
            if end == 0 {
                by_amount += weight;
                return;
            }
            let mut touched = words.iter_mut().filter(|word| word.start < end && start < word.end);
            let (first, second) = (touched.next(), touched.next());
            let share = if second.is_some() { weight / 2.0 } else { weight };
            first.into_iter().chain(second).for_each(|word| word.weight += share);
        });
        (words, by_amount)
    }
}

/// The words of a normal text.
fn words(text: &[u8]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = 0;
    for (at, _) in text.iter().enumerate().filter(|(_, byte)| matches!(byte, b' ' | b'\n')) {
        if at > start {
            words.push(Word { start, end: at, weight: 0.0 });
        }
        start = at + 1;
    }
    words
}

/// Normal text for people: fields are parted by a space.
pub fn shown(normal: &[u8]) -> ByteString {
    String::from_utf8_lossy(normal).trim_end().replace('\n', " ").into()
}
