//! The answers given last, by text: payments repeat, and the answer of a model depends on the normal text (for some models
//! on other facts, too) and on nothing else.
//!
//! Each text has one place, found by its 64-bit hash; another text may take it. Two texts of one hash among all that a
//! bank has are as unlikely as in [`memory`](super::memory).
//!
//! Invariant: all entries are answers of one categorizer; another one starts with none.

use super::memory::text_hash;
use super::trained::Answer;

/// 400 KB a lane. The normal texts of a bank's payments are a few thousand: digits are gone from them.
const PLACES: usize = 8_192;

/// Answers of one worker.
#[derive(Debug, Default)]
pub struct Memo {
    /// The number of the categorizer that gave them.
    of: u64,
    places: Vec<(u64, Answer)>,
}

/// What an answer depends on: the text, and the facts that the model looks at, as one number (0 for none).
pub fn key(normal_text: &[u8], facts: u64) -> u64 {
    (text_hash(normal_text) ^ facts).max(1)
}

impl Memo {
    /// The answer that the categorizer numbered `of` gave to `key`.
    pub fn get(&self, of: u64, key: u64) -> Option<Answer> {
        let (known, answer) = self.places.get(place(key)).filter(|_| self.of == of)?;
        (*known == key).then_some(*answer)
    }

    /// Remembers an answer.
    pub fn put(&mut self, of: u64, key: u64, answer: Answer) {
        if self.of != of {
            *self = Memo { of, places: vec![(0, Answer::NONE); PLACES] };
        }
        if let Some(place) = self.places.get_mut(place(key)) {
            *place = (key, answer);
        }
    }
}

fn place(key: u64) -> usize {
    // The upper bits are the better ones.
    (key >> 40) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trained::Familiarity;

    fn answer(class: u16) -> Answer {
        Answer { top: [(class, 1.0), (0, 0.0), (0, 0.0)], familiarity: Familiarity::Text }
    }

    #[test]
    fn answers_are_kept_by_text_facts_and_categorizer() {
        let mut memo = Memo::default();
        let text = key(b"REWE", 0);
        assert_eq!(memo.get(1, text), None);
        memo.put(1, text, answer(7));
        assert_eq!(memo.get(1, text), Some(answer(7)));
        assert_eq!(memo.get(1, key(b"REWE", 1 << 40)), None);
        assert_ne!(key(b"REWE", 1 << 40), key(b"REWE", 3 << 40));
        assert_eq!(memo.get(2, text), None, "another version may think otherwise");
        memo.put(2, key(b"ARAL", 0), answer(8));
        assert_eq!(memo.get(2, text), None);
        assert_eq!(memo.get(1, text), None);
    }
}
