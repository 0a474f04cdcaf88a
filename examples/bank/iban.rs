//! IBANs with valid check digits (ISO 13616, ISO 7064 MOD 97-10) in the length that each country prescribes.
//!
//! The account part is drawn at random: the extra check digits that some countries keep inside it are not computed.

use rand::rngs::StdRng;

use crate::chance::digits;

/// An account number of the country.
pub fn iban(rng: &mut StdRng, country: &str) -> String {
    let account = match country {
        "DE" => format!("50099900{}", digits(rng, 10)),
        "FR" => format!("30999{}", digits(rng, 18)),
        "NL" => format!("HEAD0{}", digits(rng, 9)),
        "ES" => format!("2999{}", digits(rng, 16)),
        "IT" => format!("X0999{}", digits(rng, 18)),
        "AT" => format!("19990{}", digits(rng, 11)),
        _ => format!("999{}", digits(rng, 9)),
    };
    let check = 98 - remainder(&format!("{account}{country}00"));
    format!("{country}{check:02}{account}")
}

/// The bank that keeps the bank's own accounts in the country: its BIC.
pub fn bic(country: &str) -> String {
    format!("HEAD{country}2XXXX")
}

/// The text as a number, letters counting from A = 10, modulo 97.
fn remainder(text: &str) -> u32 {
    text.chars().filter_map(|sign| sign.to_digit(36)).fold(0, |rest, value| {
        let shift = if value < 10 { 10 } else { 100 };
        (rest * shift + value) % 97
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn check_digits_are_valid_and_a_known_iban_passes() {
        let valid = |iban: &str| remainder(&format!("{}{}", &iban[4..], &iban[..4])) == 1;
        assert!(valid("DE89370400440532013000"), "the example of the standard");
        assert!(!valid("DE88370400440532013000"));
        let mut rng = StdRng::seed_from_u64(1);
        for (country, length) in [("DE", 22), ("FR", 27), ("NL", 18), ("ES", 24), ("IT", 27), ("AT", 20), ("BE", 16)] {
            let drawn = iban(&mut rng, country);
            assert!(valid(&drawn), "{drawn}");
            assert_eq!(drawn.len(), length, "{drawn}");
        }
    }
}
