//! The shops and services where cards are used, read from `merchants.tsv` beside this file, and the text that their
//! terminals put on a statement.

use rand::distributions::{Distribution, WeightedIndex};
use rand::rngs::StdRng;

use crate::chance::{alphanumerics, digits, pick};
use crate::places::{home, printed};

/// One line of `merchants.tsv`.
pub struct Merchant {
    /// The company's name.
    pub name: &'static str,
    /// What its terminal prints, with placeholders.
    text: &'static str,
    /// Merchant category code (ISO 18245).
    pub mcc: i32,
    countries: &'static str,
    /// Smallest amount in cents of the country's currency.
    pub low: i64,
    /// Largest amount in cents of the country's currency.
    pub high: i64,
    weight: u32,
}

/// All merchants, ready to be drawn by country.
pub struct Merchants {
    by_country: Vec<(&'static str, Vec<Merchant>, WeightedIndex<u32>)>,
}

impl Merchants {
    /// Reads the list for the given countries; those outside the euro area do not get what is marked `*`.
    pub fn read(euro: &[&'static str], others: &[&'static str]) -> Result<Self, String> {
        let lines = || include_str!("merchants.tsv").lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
        let mut by_country = Vec::new();
        for (country, in_euro_area) in euro.iter().map(|c| (*c, true)).chain(others.iter().map(|c| (*c, false))) {
            let mut here = Vec::new();
            for (number, line) in lines() {
                let merchant =
                    parse(line).ok_or_else(|| format!("merchants.tsv:{}: seven fields expected", number + 1))?;
                let everywhere = in_euro_area && merchant.countries == "*";
                if everywhere || merchant.countries.split(',').any(|code| code == country) {
                    here.push(merchant);
                }
            }
            let weights = WeightedIndex::new(here.iter().map(|merchant| merchant.weight))
                .map_err(|error| format!("merchants.tsv: no merchant for {country}: {error}"))?;
            by_country.push((country, here, weights));
        }
        Ok(Self { by_country })
    }

    /// A merchant of the country, often visited ones more often.
    pub fn draw(&self, rng: &mut StdRng, country: &str) -> Option<&Merchant> {
        let (_, merchants, weights) = self.by_country.iter().find(|(code, ..)| *code == country)?;
        merchants.get(weights.sample(rng))
    }
}

fn parse(line: &'static str) -> Option<Merchant> {
    let mut fields = line.split('\t');
    let merchant = Merchant {
        name: fields.next()?,
        text: fields.next()?,
        mcc: fields.next()?.parse().ok()?,
        countries: fields.next()?,
        low: fields.next()?.replace('.', "").parse().ok()?,
        high: fields.next()?.replace('.', "").parse().ok()?,
        weight: fields.next()?.parse().ok()?,
    };
    fields.next().is_none().then_some(merchant)
}

impl Merchant {
    /// The terminal's text with its placeholders filled in.
    pub fn printed(&self, rng: &mut StdRng, city: &str, country: &str) -> String {
        let mut text = String::with_capacity(self.text.len() + 16);
        let mut rest = self.text;
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            let count = name.get(1..).and_then(|count| count.parse().ok()).unwrap_or(4);
            match name {
                "CITY" => text.push_str(&printed(city)),
                "CC" => text.push_str(country),
                "SURNAME" => text.push_str(&printed(pick(rng, home(country).last_names))),
                _ if name.starts_with('x') => text.push_str(&alphanumerics(rng, count)),
                _ => text.push_str(&digits(rng, count)),
            }
            rest = after;
        }
        text.push_str(rest);
        text
    }
}
