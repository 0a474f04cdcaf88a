//! How labelled rows are divided into those to learn from and those to be judged on.
//!
//! Three questions, three splits: rows like the ones learned (`random`), the months after them (`time`), merchants never
//! seen (`merchant`). All are deterministic: `time` and `merchant` depend on a row's content, `random` on its number in the
//! data, none on a random generator's state.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::dataset::{Dataset, Sample};
use super::memory::merchant_letters;

/// The splits of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// Rows of this period and later are the test of the time split.
    pub time_from: Option<String>,
    /// Starts the hash of the merchant split.
    #[serde(default = "default_seed")]
    pub merchant_seed: String,
    /// One merchant in this many is held out.
    #[serde(default = "five")]
    pub merchant_modulus: u32,
    /// Merchants with more rows are never held out: one of them would be the whole test.
    #[serde(default = "two_thousand")]
    pub merchant_max_rows: usize,
}

impl Default for Splits {
    fn default() -> Self {
        Splits {
            time_from: None,
            merchant_seed: default_seed(),
            merchant_modulus: five(),
            merchant_max_rows: two_thousand(),
        }
    }
}

fn default_seed() -> String {
    "ml-dev-1:".to_string()
}

fn five() -> u32 {
    5
}

fn two_thousand() -> usize {
    2_000
}

/// One division.
pub struct Division {
    /// `random`, `time` or `merchant`.
    pub name: &'static str,
    /// Rows to learn from.
    pub train: Vec<Sample>,
    /// Rows to be judged on.
    pub test: Vec<Sample>,
}

impl Splits {
    /// All divisions that the data allows, those without a test row left out.
    pub fn divide(&self, data: &Dataset) -> Vec<Division> {
        let mut divisions = vec![self.random(data)];
        if let Some(from) = &self.time_from {
            let (train, test) = data.rows.iter().partition(|row| data.period(row) < from.as_str());
            divisions.push(Division { name: "time", train, test });
        }
        divisions.push(self.merchant(data));
        divisions.retain(|d| !d.test.is_empty() && !d.train.is_empty());
        divisions
    }

    /// Which rows a division's test consists of, for people.
    pub fn tested_on(&self, division: &str) -> String {
        let Splits { time_from, merchant_seed, merchant_modulus, merchant_max_rows } = self;
        match division {
            "time" => format!("rows of {} and later", time_from.as_deref().unwrap_or_default()),
            "merchant" => format!(
                "all rows of the merchants whose key's SHA-256 (of `{merchant_seed}` and the first ten letters) is divisible \
                 by {merchant_modulus}, those with more than {merchant_max_rows} rows left out"
            ),
            _ => "rows whose number's SHA-256 begins with a byte below 51: a fifth".to_string(),
        }
    }

    /// Every fifth row on average, by a hash of its number.
    fn random(&self, data: &Dataset) -> Division {
        let held_out = |i: usize| {
            let digest = Sha256::digest(format!("random:{i}"));
            digest.first().is_some_and(|b| *b < 51)
        };
        let (test, train): (Vec<_>, Vec<_>) = data.rows.iter().enumerate().partition(|(i, _)| held_out(*i));
        let rows = |picked: Vec<(usize, &Sample)>| picked.into_iter().map(|(_, row)| *row).collect();
        Division { name: "random", train: rows(train), test: rows(test) }
    }

    /// Merchants whose key's SHA-256, as a number, is divisible by the modulus.
    fn merchant(&self, data: &Dataset) -> Division {
        let key = |text: &[u8]| -> String {
            let letters: String = merchant_letters(text).map(char::from).collect();
            if letters.is_empty() { "EMPTY".to_string() } else { letters }
        };
        let keys: Vec<String> = data.texts.iter().map(|text| key(text)).collect();
        let key_of = |row: &Sample| keys.get(row.text as usize).map_or("", String::as_str);
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for row in &data.rows {
            *counts.entry(key_of(row)).or_default() += 1;
        }
        let held_out: HashMap<&str, bool> =
            counts.iter().map(|(key, n)| (*key, *n <= self.merchant_max_rows && self.divisible(key))).collect();
        let is_out = |row: &&Sample| held_out.get(key_of(row)).copied().unwrap_or(false);
        let (test, train) = data.rows.iter().partition(is_out);
        Division { name: "merchant", train, test }
    }

    fn divisible(&self, key: &str) -> bool {
        let modulus = u64::from(self.merchant_modulus.max(2));
        let digest = Sha256::digest(format!("{}{key}", self.merchant_seed));
        digest.iter().fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % modulus) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{dataset, tsv};

    #[test]
    fn rows_of_the_first_test_period_are_tested_and_frequent_merchants_learned() {
        let data = dataset(&tsv());
        let splits = Splits { time_from: Some("2024-08".to_string()), merchant_modulus: 2, ..Splits::default() };
        let divisions = splits.divide(&data);
        let of = |divisions: &[Division], name: &str| -> (Vec<Sample>, Vec<Sample>) {
            let division = divisions.iter().find(|d| d.name == name).unwrap();
            assert_eq!(division.train.len() + division.test.len(), data.rows.len());
            (division.train.clone(), division.test.clone())
        };
        let (train, test) = of(&divisions, "time");
        assert_eq!(train.iter().map(|row| data.period(row)).max(), Some("2024-07"));
        assert_eq!(test.iter().map(|row| data.period(row)).min(), Some("2024-08"));
        let letters = |row: &Sample| merchant_letters(data.text(row)).map(char::from).collect::<String>();
        let (train, test) = of(&divisions, "merchant");
        let learned: std::collections::BTreeSet<String> = train.iter().map(letters).collect();
        assert!(test.iter().all(|row| !learned.contains(&letters(row))), "a merchant stands on both sides");
        let few = Splits { merchant_max_rows: 20, ..splits };
        let (_, test) = of(&few.divide(&data), "merchant");
        let mut rows: HashMap<String, usize> = HashMap::new();
        data.rows.iter().for_each(|row| *rows.entry(letters(row)).or_default() += 1);
        assert!(rows.values().any(|n| *n > 20) && test.iter().all(|row| rows[&letters(row)] <= 20));
    }
}
