//! A trained model in memory, and its answer to one row.

use serde::{Deserialize, Serialize};

use super::calibrate::{Calibration, Curve};
use super::facts::Facts;
use super::features::{FEATURE_VERSION, FeatureSpec, Scratch};
use super::memo::Memo;
use super::memory::{self, Memory};
use super::normalize::NORMALIZER_VERSION;
use super::weights::{Candidate, MAX_CLASSES, Scores, Weights};

/// Everything about a model that is not a table of numbers: the header of its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Info {
    /// The model's name: that of its folder.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Rules by which texts were normalized.
    pub normalizer: u16,
    /// Rules by which features were hashed.
    pub features_version: u16,
    /// Which features.
    pub features: FeatureSpec,
    /// Category names, in the order of the weights.
    pub classes: Vec<String>,
    /// Below this confidence the answer is `uncategorized`.
    pub threshold: f32,
    /// Confidence.
    pub calibration: Calibration,
    /// How it was trained: settings, counts and checksums of the data.
    pub training: serde_json::Value,
}

impl Info {
    /// What is wrong with a header that was read from a file, if anything.
    pub fn check(&self) -> Result<(), String> {
        self.features.check()?;
        self.calibration.check()?;
        if self.normalizer != NORMALIZER_VERSION || self.features_version != FEATURE_VERSION {
            return Err(format!(
                "made for normalizer {} and features {}, this program has {NORMALIZER_VERSION} and {FEATURE_VERSION}; train it again",
                self.normalizer, self.features_version
            ));
        }
        if self.classes.is_empty() || self.classes.len() > MAX_CLASSES {
            return Err(format!("expected 1 to {MAX_CLASSES} categories, found {}", self.classes.len()));
        }
        let mut distinct = self.classes.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != self.classes.len() || distinct.iter().any(String::is_empty) {
            return Err("categories must be distinct and not empty".to_string());
        }
        if (0.0..=1.0).contains(&self.threshold) { Ok(()) } else { Err("the threshold must lie in 0 to 1".to_string()) }
    }
}

/// A trained model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What it is.
    pub info: Info,
    pub(super) weights: Weights,
    pub(super) memory: Memory,
}

/// How far from home a row was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Familiarity {
    /// The text itself was labelled in training.
    Text,
    /// The text is new, its merchant is not.
    Merchant,
    /// Nothing of it was labelled in training.
    Unknown,
    /// There was no text.
    Empty,
}

/// The answer to one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// The three best categories with calibrated confidences; unused places have confidence 0.
    pub top: [Candidate; 3],
    /// What the confidence rests on.
    pub familiarity: Familiarity,
}

impl Answer {
    /// The answer to no text.
    pub const NONE: Answer = Answer { top: [(0, 0.0); 3], familiarity: Familiarity::Empty };

    /// The best category.
    pub fn best(&self) -> Candidate {
        let [best, ..] = self.top;
        best
    }
}

/// Buffers of one worker.
#[derive(Debug, Default)]
pub struct Buffers {
    /// Texts and features of the row.
    pub scratch: Scratch,
    scores: Scores,
    /// Answers to texts met before.
    pub(super) memo: Memo,
}

impl Model {
    /// The answer to the texts that are set in `buffers`.
    pub fn answer(&self, buffers: &mut Buffers, facts: &Facts) -> Answer {
        let normal = buffers.scratch.normal_text();
        if normal.is_empty() {
            return Answer::NONE;
        }
        let known = self.memory.text(memory::text_hash(normal)).copied();
        if let Some(known) = known {
            let confidence = f32::from(known.confidence) / f32::from(u16::MAX) * self.info.calibration.memory_trust;
            let best = (known.class, confidence.min(1.0));
            if best.1 >= self.info.threshold {
                return Answer { top: [best, (0, 0.0), (0, 0.0)], familiarity: Familiarity::Text };
            }
            let others = self.guess(buffers, facts, self.info.calibration.temperature_known);
            return Answer { top: merge(best, others), familiarity: Familiarity::Text };
        }
        let calibration = &self.info.calibration;
        if self.memory.knows_merchant(memory::merchant_key(normal)) {
            let top = self.guess(buffers, facts, calibration.temperature_known);
            return Answer { top, familiarity: Familiarity::Merchant };
        }
        let top = self.guess(buffers, facts, calibration.temperature_unknown);
        Answer { top: straightened(top, &calibration.curve_unknown), familiarity: Familiarity::Unknown }
    }

    /// The scorer alone: the three best of the texts set in `buffers`.
    pub fn guess(&self, buffers: &mut Buffers, facts: &Facts, temperature: f32) -> [Candidate; 3] {
        self.margins(buffers, facts);
        buffers.scores.softmax(temperature);
        buffers.scores.top3()
    }

    /// Margins of all classes for the texts set in `buffers`.
    pub fn margins<'b>(&self, buffers: &'b mut Buffers, facts: &Facts) -> &'b Scores {
        let features = buffers.scratch.extract(&self.info.features, facts);
        self.weights.score(features, &mut buffers.scores);
        &buffers.scores
    }

    /// Whether the text set in `buffers` was labelled in training.
    pub fn knows_text(&self, normal: &[u8]) -> bool {
        self.memory.text(memory::text_hash(normal)).is_some()
    }

    /// Words of the text set in `scratch`, and how many of them training never saw. None at all where training has filled nearly
    /// all slots: whatever a new word is made of then falls on something known. Looks at the words alone, so that it
    /// costs as much as an answer: for those who watch (`drift`).
    pub fn new_words(&self, scratch: &Scratch) -> (u64, u64) {
        let vocabulary = self.weights.vocabulary();
        if vocabulary.rows() > self.info.features.slots() / 10 * 9 {
            return (0, 0);
        }
        scratch.new_words(&self.info.features, |feature| vocabulary.find(feature.slot()).is_some())
    }

    /// The name of a class.
    pub fn class(&self, class: u16) -> &str {
        self.info.classes.get(usize::from(class)).map_or("", String::as_str)
    }
}

/// The best with the confidence that the curve gives it; the others share the rest as before, and stay behind the best.
fn straightened(top: [Candidate; 3], curve: &Curve) -> [Candidate; 3] {
    let [(class, confidence), second, third] = top;
    let best = curve.apply(confidence);
    let share = (1.0 - best) / (1.0 - confidence).max(f32::MIN_POSITIVE);
    let other = |(class, p): Candidate| (class, (p * share).min(best));
    [(class, best), other(second), other(third)]
}

/// The known class first, then the best of the others.
fn merge(best: Candidate, guesses: [Candidate; 3]) -> [Candidate; 3] {
    let mut others = guesses.into_iter().filter(|c| c.0 != best.0).map(|(c, p)| (c, p.min(best.1)));
    [best, others.next().unwrap_or((0, 0.0)), others.next().unwrap_or((0, 0.0))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Settings;
    use crate::model::testing::{dataset, settings, trained, tsv};

    fn model(calibration: Calibration) -> Model {
        let model = trained(&dataset(&tsv()), &settings());
        Model { info: Info { calibration, ..model.info.clone() }, ..model }
    }

    fn ask(model: &Model, text: &str, temperature: f32) -> (Answer, [Candidate; 3]) {
        let mut buffers = Buffers::default();
        buffers.scratch.set_texts([text]);
        let answer = model.answer(&mut buffers, &Facts::default());
        (answer, model.guess(&mut buffers, &Facts::default(), temperature))
    }

    /// Half as sure as the softmax.
    fn halved() -> Curve {
        let rows = (0..1_000u16).map(|i| (f32::from(i) / 1_000.0, i % 100 < i / 20, 1.0));
        Curve::fit(rows.collect())
    }

    #[test]
    fn merchants_and_strangers_have_temperatures_of_their_own_and_only_strangers_a_curve() {
        let calibration = Calibration {
            temperature_known: 5.0,
            temperature_unknown: 2.0,
            curve_unknown: halved(),
            ..Calibration::default()
        };
        let model = model(calibration);
        let (answer, guessed) = ask(&model, "PIZZA PALACE UPTOWN", 5.0);
        assert_eq!((answer.familiarity, answer.top), (Familiarity::Merchant, guessed));
        let (answer, guessed) = ask(&model, "PIZZA CORNER", 2.0);
        let ([best, second, third], [raw, raw_second, raw_third]) = (answer.top, guessed);
        assert_eq!(answer.familiarity, Familiarity::Unknown);
        assert!(
            raw.1 > 0.5 && best == (raw.0, halved().apply(raw.1)) && best.1 < 0.6 * raw.1 + 0.05,
            "{best:?} {raw:?}"
        );
        // What the best has lost the others share, as long as they stay behind it.
        let share = (1.0 - best.1) / (1.0 - raw.1);
        for (other, raw) in [(second, raw_second), (third, raw_third)] {
            assert_eq!(other.0, raw.0);
            assert!((other.1 - (raw.1 * share).min(best.1)).abs() < 1e-6 && other.1 <= best.1 && other.1 > raw.1);
        }
    }

    #[test]
    fn a_known_text_is_as_sure_as_its_labels_and_names_others_when_that_is_not_enough() {
        let trust = |memory_trust| Calibration { memory_trust, ..Calibration::default() };
        let (sure, _) = ask(&model(trust(1.0)), "JOE'S PIZZA #1", 1.0);
        assert_eq!(sure.familiarity, Familiarity::Text);
        assert!(sure.top[0].1 > 0.9 && sure.top[1].1 == 0.0, "{sure:?}");
        let (unsure, _) = ask(&model(trust(0.4)), "JOE'S PIZZA #1", 1.0);
        assert_eq!(unsure.top[0].0, sure.top[0].0);
        assert!((unsure.top[0].1 - 0.4 * sure.top[0].1).abs() < 1e-6);
        assert!(unsure.top[1].1 > 0.0 && unsure.top[1].0 != unsure.top[0].0, "{unsure:?}");
    }

    #[test]
    fn words_that_training_never_saw_are_told_from_those_in_any_order() {
        let model = model(Calibration::default());
        let mut scratch = Scratch::default();
        let mut words = |texts: &[&str]| {
            scratch.set_texts(texts.iter().copied());
            model.new_words(&scratch)
        };
        assert_eq!(words(&["Pizza Joe's #12", "CAFE"]), (4, 0));
        assert_eq!(words(&["PIZZA XYLOPHONKOWSKI"]), (2, 1));
        assert_eq!(words(&["Wunderbaumverkauf", "Zwirnerei Qoppa"]), (3, 3));
        assert_eq!(words(&["", " "]), (0, 0));
        // A hash space that is full knows everything, so it is not asked.
        let features = FeatureSpec { bits: 8, ..settings().features };
        let full = trained(&dataset(&tsv()), &Settings { features, folds: 0, holdout: 0.0, ..settings() });
        scratch.set_texts(["Zwirnerei Qoppa"]);
        assert_eq!(full.new_words(&scratch), (0, 0));
    }

    #[test]
    fn impossible_calibrations_are_refused_in_a_file_that_is_otherwise_whole() {
        let fine = Calibration::default();
        assert!(Model::from_bytes(&model(fine).to_bytes().unwrap()).is_ok());
        for wrong in [
            Calibration { temperature_known: 0.0, ..fine },
            Calibration { temperature_unknown: -1.0, ..fine },
            Calibration { memory_trust: 1e9, ..fine },
        ] {
            let refused = Model::from_bytes(&model(wrong).to_bytes().unwrap()).unwrap_err();
            assert!(refused.contains("temperatures"), "{refused}");
        }
        let falling: Curve = serde_json::from_str(
            "[[0.0,0.9],[0.1,0.8],[0.2,0.8],[0.3,0.8],[0.4,0.8],[0.5,0.8],[0.6,0.8],[0.7,0.8],[0.8,0.8],[0.9,0.8]]",
        )
        .unwrap();
        let falling = Calibration { curve_unknown: falling, ..fine };
        assert!(Model::from_bytes(&model(falling).to_bytes().unwrap()).unwrap_err().contains("curve"));
    }
}
