//! Normal text → hashed features: character n-grams per word, whole words, word pairs, and a token
//! for each of the row's [`Facts`] that the model asks for.
//!
//! The hash is our own and part of the model format ([`FEATURE_VERSION`]). An n-gram of at most 7 bytes is packed into one
//! 64-bit integer with its length in the top byte; words are hashed by FNV-1a (64 bit); a pair joins the hashes of its
//! words. Each goes with its kind through two multiply-xorshift rounds ([`mix`]); the top `bits` bits are the slot, the
//! next bit the sign (feature hashing with signs: Weinberger et al. 2009, so that collisions cancel on average).
//!
//! N-grams and words are kept apart ([`Group`]): they are normed apart, so that the many n-grams of a long text do not
//! drown its few words.
//!
//! Invariants: no allocation once the buffers have grown; at most [`MAX_FEATURES`] features a row and group; integers
//! only, thus the same on every platform (golden vectors in the tests).

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::normalize::normalize;

/// Version of hash and n-gram rules; stored in every model.
pub const FEATURE_VERSION: u16 = 2;

/// More than this many features of one row and group are cut: texts are bounded, so this is a guard, not a limit met in practice.
pub const MAX_FEATURES: usize = 8_192;

/// Ends one text and starts the next in [`Scratch`]: pairs do not reach across it.
const FIELD_END: u8 = b'\n';

/// Which features a model uses. Part of the model file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeatureSpec {
    /// Slots are numbered by this many bits: D = 2^bits, 8 to 20.
    pub bits: u8,
    /// Shortest character n-gram, at least 1.
    pub gram_min: u8,
    /// Longest character n-gram, at most 7.
    pub gram_max: u8,
    /// Whole words.
    pub words: bool,
    /// Pairs of neighbouring words.
    pub pairs: bool,
    /// A token for sign and magnitude of the amount.
    pub amount: bool,
    /// A token for the direction.
    pub direction: bool,
    /// A token for the merchant category code.
    pub mcc: bool,
    /// A token for the day of the month.
    pub day: bool,
    /// Starts the hash.
    pub seed: u64,
}

impl Default for FeatureSpec {
    fn default() -> Self {
        FeatureSpec {
            bits: 18,
            gram_min: 2,
            gram_max: 5,
            words: true,
            pairs: true,
            amount: false,
            direction: false,
            mcc: false,
            day: false,
            seed: 0x6865_6164,
        }
    }
}

impl FeatureSpec {
    /// Number of slots.
    pub fn slots(&self) -> usize {
        1 << self.bits
    }

    /// Whether anything but the texts counts.
    pub fn reads_facts(&self) -> bool {
        self.amount || self.direction || self.mcc || self.day
    }

    /// What is wrong with the numbers, if anything.
    pub fn check(&self) -> Result<(), String> {
        if !(8..=20).contains(&self.bits) {
            return Err(format!("feature bits must be 8 to 20, found {}", self.bits));
        }
        if self.gram_min < 1 || self.gram_max > 7 || self.gram_min > self.gram_max {
            return Err(format!("n-gram range must lie in 1 to 7, found {} to {}", self.gram_min, self.gram_max));
        }
        Ok(())
    }
}

/// One hashed feature: slot and sign in one integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature(u32);

impl Feature {
    /// The slot, below [`FeatureSpec::slots`].
    pub fn slot(self) -> usize {
        (self.0 >> 1) as usize
    }

    /// Whether the feature counts −1 instead of +1.
    pub fn is_negative(self) -> bool {
        self.0 & 1 == 1
    }
}

/// What a feature was made of. The groups are normed apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// A character n-gram.
    Grams,
    /// A word, a pair of words, or a fact.
    Words,
}

/// The features of one row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    grams: Vec<Feature>,
    words: Vec<Feature>,
}

impl Features {
    /// The features of one group, in the order of the text.
    pub fn group(&self, group: Group) -> &[Feature] {
        match group {
            Group::Grams => &self.grams,
            Group::Words => &self.words,
        }
    }

    /// All features, n-grams first.
    pub fn all(&self) -> impl Iterator<Item = Feature> + '_ {
        self.grams.iter().chain(&self.words).copied()
    }

    fn clear(&mut self) {
        self.grams.clear();
        self.words.clear();
    }

    pub(super) fn push(&mut self, group: Group, feature: Feature) {
        let list = match group {
            Group::Grams => &mut self.grams,
            Group::Words => &mut self.words,
        };
        if list.len() < MAX_FEATURES {
            list.push(feature);
        }
    }
}

/// Buffers of one worker, reused from row to row.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Normal texts of the row, each followed by [`FIELD_END`].
    text: Vec<u8>,
    features: Features,
}

/// Kinds of features, mixed into the hash. N-grams carry their length (1 to 7) in the same place; facts have 0x12 to 0x15.
const KIND_WORD: u64 = 0x10 << 56;
const KIND_PAIR: u64 = 0x11 << 56;

impl Scratch {
    /// Normalizes the texts of a row. Empty texts and a text that repeats the one before it count once.
    pub fn set_texts<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) {
        self.text.clear();
        let mut last = 0;
        for text in texts {
            let start = self.text.len();
            if normalize(text, &mut self.text) {
                self.text.push(FIELD_END);
                let repeats = start > last && self.text.get(last..start) == self.text.get(start..);
                if repeats { self.text.truncate(start) } else { last = start }
            }
        }
    }

    /// Takes a text that is normal already, as [`Scratch::normal_text`] gave it.
    pub fn set_normal(&mut self, normal: &[u8]) {
        self.text.clear();
        self.text.extend_from_slice(normal);
    }

    /// The normal text: fields end with a line feed.
    pub fn normal_text(&self) -> &[u8] {
        &self.text
    }

    /// Hashes the features of the texts set before, and of the facts.
    pub fn extract(&mut self, spec: &FeatureSpec, facts: &Facts) -> &Features {
        self.features.clear();
        let features = &mut self.features;
        visit(spec, &self.text, facts, &mut |group, feature, _origin| features.push(group, feature));
        &self.features
    }

    /// Hands each feature to `each` with what it was made of.
    pub fn explain(&self, spec: &FeatureSpec, facts: &Facts, each: &mut impl FnMut(Group, Feature, Origin)) {
        visit(spec, &self.text, facts, each);
    }

    /// The features extracted last.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Words of the texts set before, and how many of them have a feature that `known` does not know. A word that training
    /// saw has none: all that is made of it was learned.
    pub fn new_words(&self, spec: &FeatureSpec, known: impl Fn(Feature) -> bool) -> (u64, u64) {
        let (mut words, mut new) = (0, 0);
        for word in self.text.split(|byte| matches!(*byte, b' ' | FIELD_END)).filter(|word| !word.is_empty()) {
            let mut all = true;
            grams(spec, word, 0, &mut |_, feature, _| all &= known(feature));
            all &= !spec.words || known(feature(spec, fnv1a(word.iter().copied()) ^ KIND_WORD));
            words += 1;
            new += u64::from(!all);
        }
        (words, new)
    }
}

/// What a feature was made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Origin {
    /// These bytes of [`Scratch::normal_text`].
    Text(usize, usize),
    /// The fact of this name.
    Fact(&'static str),
}

fn visit(spec: &FeatureSpec, text: &[u8], facts: &Facts, each: &mut impl FnMut(Group, Feature, Origin)) {
    let mut start = 0;
    let mut previous: Option<(u64, usize)> = None;
    for (at, &byte) in text.iter().enumerate() {
        if byte != b' ' && byte != FIELD_END {
            continue;
        }
        let word = text.get(start..at).unwrap_or_default();
        grams(spec, word, start, each);
        if spec.words || spec.pairs {
            let hash = fnv1a(word.iter().copied());
            if spec.words {
                each(Group::Words, feature(spec, hash ^ KIND_WORD), Origin::Text(start, at));
            }
            if let (true, Some((before, from))) = (spec.pairs, previous) {
                let pair = before.rotate_left(23).wrapping_add(hash);
                each(Group::Words, feature(spec, pair ^ KIND_PAIR), Origin::Text(from, at));
            }
            previous = Some((hash, start));
        }
        if byte == FIELD_END {
            previous = None;
        }
        start = at + 1;
    }
    for (token, name) in facts.tokens(spec) {
        each(Group::Words, feature(spec, token), Origin::Fact(name));
    }
}

/// The n-grams of one word with a space before and after it.
fn grams(spec: &FeatureSpec, word: &[u8], start: usize, each: &mut impl FnMut(Group, Feature, Origin)) {
    let mut window = u64::from(b' ');
    let padded = word.iter().chain(std::iter::once(&b' '));
    for (i, &byte) in padded.enumerate() {
        window = window << 8 | u64::from(byte);
        // `i + 2` bytes have been seen, the space before the word included.
        let longest = usize::from(spec.gram_max).min(i + 2);
        for n in usize::from(spec.gram_min)..=longest {
            let gram = window & ((1 << (8 * n)) - 1) | (n as u64) << 56;
            let end = (start + i + 1).min(start + word.len());
            let from = (start + i + 2).saturating_sub(n + 1).max(start);
            each(Group::Grams, feature(spec, gram), Origin::Text(from, end));
        }
    }
}

fn feature(spec: &FeatureSpec, key: u64) -> Feature {
    Feature((mix(key ^ spec.seed) >> (63 - u32::from(spec.bits))) as u32)
}

/// Two multiply-xorshift rounds; the upper bits of the result are good.
fn mix(key: u64) -> u64 {
    let x = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (x ^ x >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// FNV-1a, 64 bit.
pub(super) fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}
