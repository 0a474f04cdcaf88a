//! What a model has seen: texts it knows by heart with their category, and the merchants behind them.
//!
//! A text that was labelled in training answers by itself. For all other texts the merchant's key says how far the model
//! is from home: confidence is calibrated apart for known and unknown merchants (see `calibrate`).
//!
//! Only 64-bit hashes are kept, no text; a foreign text hits one of 25,000 entries by accident once in 10^14.

use super::features::fnv1a;

/// A labelled text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    /// Hash of the normal text: [`text_hash`].
    pub hash: u64,
    /// Its most frequent class.
    pub class: u16,
    /// Confidence in 1/65535.
    pub confidence: u16,
}

/// Known texts and merchants, looked up by hash.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Open addressing, a power of two long, at most half full; hash 0 is an empty place.
    texts: Vec<Known>,
    keys: Vec<u64>,
}

const EMPTY: Known = Known { hash: 0, class: 0, confidence: 0 };

impl Memory {
    /// A memory of these texts and merchants.
    pub fn new(texts: &[Known], keys: &[u64]) -> Self {
        let places = |len: usize| (2 * len).next_power_of_two().max(2);
        let mut table = vec![EMPTY; places(texts.len())];
        for text in texts {
            put(&mut table, *text, |known| known.hash);
        }
        let mut merchants = vec![0u64; places(keys.len())];
        for key in keys {
            put(&mut merchants, *key, |key| *key);
        }
        Memory { texts: table, keys: merchants }
    }

    /// The entry of a text.
    pub fn text(&self, hash: u64) -> Option<&Known> {
        find(&self.texts, hash, |known| known.hash)
    }

    /// Whether a merchant was seen in training.
    pub fn knows_merchant(&self, key: u64) -> bool {
        find(&self.keys, key, |k| *k).is_some()
    }

    /// All texts in the order of their hashes.
    pub fn texts(&self) -> Vec<Known> {
        let mut texts: Vec<Known> = self.texts.iter().filter(|k| k.hash != 0).copied().collect();
        texts.sort_unstable_by_key(|k| k.hash);
        texts
    }

    /// All merchants in the order of their hashes.
    pub fn keys(&self) -> Vec<u64> {
        let mut keys: Vec<u64> = self.keys.iter().filter(|k| **k != 0).copied().collect();
        keys.sort_unstable();
        keys
    }
}

fn put<T: Copy>(table: &mut [T], entry: T, hash: impl Fn(&T) -> u64) {
    let mask = table.len() - 1;
    let mut at = hash(&entry) as usize & mask;
    while let Some(place) = table.get_mut(at) {
        if hash(place) == 0 || hash(place) == hash(&entry) {
            *place = entry;
            return;
        }
        at = (at + 1) & mask;
    }
}

fn find<T>(table: &[T], wanted: u64, hash: impl Fn(&T) -> u64) -> Option<&T> {
    let mask = table.len().checked_sub(1)?;
    let mut at = wanted as usize & mask;
    loop {
        let entry = table.get(at)?;
        match hash(entry) {
            0 => return None,
            found if found == wanted => return Some(entry),
            _ => at = (at + 1) & mask,
        }
    }
}

/// Hash of a normal text; never 0.
pub fn text_hash(normal: &[u8]) -> u64 {
    finish(fnv1a(normal.iter().copied()))
}

fn finish(hash: u64) -> u64 {
    let hash = hash ^ hash >> 32;
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1)
}

/// Payment facilitators that print themselves before the merchant, followed by `*`.
const FACILITATORS: [&[u8]; 15] = [
    b"SQ", b"PAYPAL", b"PP", b"TST", b"SP", b"PY", b"IN", b"EB", b"GOOGLE", b"FS", b"ZSK", b"CKE", b"BT", b"DNH",
    b"UBR",
];

/// Letters of a merchant's key.
const KEY_LETTERS: usize = 10;

/// Hash of the merchant's key in a normal text: its first ten letters A to Z, after a payment facilitator's prefix such
/// as `SQ *`. Shops of a chain share it, whatever number or city follows.
pub fn merchant_key(normal: &[u8]) -> u64 {
    finish(fnv1a(merchant_letters(normal)))
}

/// The letters of the merchant's key.
pub fn merchant_letters(normal: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let start = without_facilitator(normal);
    start.iter().copied().filter(u8::is_ascii_uppercase).take(KEY_LETTERS)
}

fn without_facilitator(text: &[u8]) -> &[u8] {
    let spaces = |text: &[u8]| text.iter().take_while(|b| **b == b' ').count();
    for name in FACILITATORS {
        let Some(rest) = text.strip_prefix(name) else { continue };
        let rest = rest.get(spaces(rest)..).unwrap_or_default();
        if let Some(rest) = rest.strip_prefix(b"*") {
            return rest;
        }
    }
    let square = text.strip_prefix(b"SQ ").map(|rest| rest.strip_prefix(b"SQ ").unwrap_or(rest));
    square.or(text.strip_prefix(b"PAYPAL ")).or(text.strip_prefix(b"EB ")).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(text: &str) -> String {
        merchant_letters(text.as_bytes()).map(char::from).collect()
    }

    #[test]
    fn shops_of_a_chain_share_a_key() {
        assert_eq!(letters("TIM HORTONS #0"), "TIMHORTONS");
        assert_eq!(letters("TIM HORTONS 0 QUEEN ST"), "TIMHORTONS");
        assert_eq!(letters("SQ *TIM HORTONS"), "TIMHORTONS");
        assert_eq!(letters("PAYPAL *EBAY 0"), "EBAY");
        assert_eq!(letters("SQUARE ONE"), "SQUAREONE");
        assert_eq!(letters("0"), "");
    }

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let known: Vec<Known> = (1..500u64)
            .map(|i| Known { hash: i.wrapping_mul(0x1234_5678_9abc_def1), class: i as u16, confidence: 9 })
            .collect();
        let memory = Memory::new(&known, &[7, 8]);
        assert!(known.iter().all(|k| memory.text(k.hash) == Some(k)));
        assert_eq!(memory.text(42), None);
        assert!(memory.knows_merchant(7) && !memory.knows_merchant(9));
        assert_eq!(Memory::new(&memory.texts(), &memory.keys()), memory);
        assert_eq!(Memory::default().text(1), None);
    }
}
