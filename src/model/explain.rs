//! Why the model chose a category: what each word of the text added to the category's margin.
//!
//! A feature's contribution is its weight times its group's norm, as in the scorer; it is known while the text is hashed,
//! so nothing has to be looked up backwards. A word owns its n-grams and itself and half of each pair
//! that it is part of; a fact stands under its name, such as `amount`.
//!
//! Invariant: the contributions of all words and facts sum up to the margin. Deliberately absent: speed. It runs
//! only where `explain: true` asks for it.

use bytestring::ByteString;

use super::facts::Facts;
use super::features::{Features, Group, Origin, Scratch};
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
    pub fn explain(&self, scratch: &Scratch, facts: &Facts, class: u16) -> Vec<(ByteString, f32)> {
        let (mut words, by_facts) = self.contributions(scratch, facts, class);
        words.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.start.cmp(&b.start)));
        let text = scratch.normal_text();
        let word = |w: &Word| (shown(text.get(w.start..w.end).unwrap_or_default()), w.weight);
        let mut spoke: Vec<(ByteString, f32)> = words.iter().map(word).collect();
        spoke.extend(by_facts.into_iter().map(|(name, weight)| (ByteString::from_static(name), weight)));
        spoke.sort_by(|a, b| b.1.total_cmp(&a.1));
        spoke.retain(|(_, weight)| *weight > 0.0);
        spoke.truncate(MOST_WORDS);
        spoke
    }

    /// What each word and each fact added to the margin of `class`.
    fn contributions(&self, scratch: &Scratch, facts: &Facts, class: u16) -> (Vec<Word>, Vec<(&'static str, f32)>) {
        let mut words = words(scratch.normal_text());
        let mut features = Features::default();
        scratch.explain(&self.info.features, facts, &mut |group, feature, _| features.push(group, feature));
        let [grams, whole] = [Group::Grams, Group::Words].map(|group| self.weights.group_norm(features.group(group)));
        let mut by_facts = Vec::new();
        scratch.explain(&self.info.features, facts, &mut |group, feature, origin| {
            let norm = if group == Group::Grams { grams } else { whole };
            let weight = self.weights.weight(feature, usize::from(class)) as f32 * norm;
            let (start, end) = match origin {
                Origin::Text(start, end) => (start, end),
                Origin::Fact(name) => return by_facts.push((name, weight)),
            };
            let mut touched = words.iter_mut().filter(|word| word.start < end && start < word.end);
            let (first, second) = (touched.next(), touched.next());
            let share = if second.is_some() { weight / 2.0 } else { weight };
            first.into_iter().chain(second).for_each(|word| word.weight += share);
        });
        (words, by_facts)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{dataset, settings, trained, tsv};
    use crate::model::{Buffers, FeatureSpec, Settings};

    #[test]
    fn what_words_and_facts_added_sums_up_to_the_margin() {
        let plain = settings();
        let features = FeatureSpec { amount: true, day: true, ..plain.features.clone() };
        for settings in [Settings { features, ..settings() }, plain] {
            let model = trained(&dataset(&tsv()), &settings);
            let facts = Facts { amount: Some(3.5), ..Facts::default() };
            let mut buffers = Buffers::default();
            for texts in [vec!["PIZZA PALACE"], vec!["X"], vec!["GAS", "the book shelf of JOE'S"], vec!["", "q q q"]] {
                buffers.scratch.set_texts(texts.iter().copied());
                let margins = model.margins(&mut buffers, &facts).values().to_vec();
                let mut moved = false;
                for (class, margin) in margins.iter().enumerate() {
                    let (words, by_facts) = model.contributions(&buffers.scratch, &facts, class as u16);
                    let parts = words.iter().map(|w| w.weight).chain(by_facts.iter().map(|f| f.1));
                    let sum: f32 = parts.sum();
                    assert!(
                        (sum - margin).abs() < 1e-3 * margin.abs().max(1.0),
                        "{texts:?} {class}: {sum}, not {margin}"
                    );
                    moved |= margin.abs() > 0.1;
                    assert_eq!(by_facts.len(), if settings.features.reads_facts() { 2 } else { 0 });
                }
                assert!(moved || texts == ["X"], "{texts:?}: the comparison would be empty");
            }
        }
    }

    #[test]
    fn the_words_that_spoke_come_first_and_facts_under_their_name() {
        let mut lines = "period\tmerchant\tamount\tcategory\n".to_string();
        for i in 0..40 {
            let (amount, category) = if i % 2 == 0 { (2, "snack") } else { (900, "travel") };
            lines.push_str(&format!("2024-01\tAB{}\t{amount}\t{category}\n", char::from(b'A' + i)));
        }
        let features = FeatureSpec { amount: true, ..settings().features };
        let model = trained(&dataset(&lines), &Settings { features, ..settings() });
        let mut buffers = Buffers::default();
        buffers.scratch.set_texts(["ZZZ"]);
        let explained = |amount| model.explain(&buffers.scratch, &Facts::of_amount(Some(amount)), 1);
        assert_eq!(explained(900.0).first().map(|(name, _)| &**name), Some("amount"));
        assert!(explained(2.0).iter().all(|(name, _)| &**name != "amount"), "what speaks against is not named");
    }
}
