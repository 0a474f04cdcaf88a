//! Customers and their accounts: who they are, where they live, what they opened.

use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::chance::{alphanumerics, decimal, digits, percent, pick, uuid};
use crate::iban::{bic, iban};
use crate::places::{HOMES, Home, home, printed};
use crate::tables::{Row, cell};

const DAY_MS: i64 = 86_400_000;

/// What the rest of the bank needs to know of a customer.
#[derive(Clone)]
pub struct Customer {
    /// Primary key.
    pub id: i64,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// ISO 3166 code of the country where the customer lives.
    pub country: String,
    /// Where the customer lives.
    pub city: String,
}

/// What the rest of the bank needs to know of an account.
#[derive(Clone)]
pub struct Account {
    /// Primary key.
    pub id: i64,
    /// Primary key of the owner.
    pub customer_id: i64,
    /// Cards and salaries belong to current accounts only.
    pub is_current: bool,
}

/// A street address.
pub struct Address {
    /// Street name.
    pub street: &'static str,
    /// Number, sometimes with a letter.
    pub house_number: String,
    /// Postal code.
    pub postal_code: &'static str,
    /// City.
    pub city: &'static str,
}

/// An address in the country.
pub fn address(rng: &mut StdRng, country: &Home) -> Address {
    let (city, postal_code) = pick(rng, country.cities);
    let letter = if percent(rng, 12.0) { pick(rng, &["a", "b", "/2", "-14"]) } else { "" };
    Address {
        street: pick(rng, country.streets),
        house_number: format!("{}{letter}", rng.gen_range(1..160)),
        postal_code,
        city,
    }
}

/// A phone number in the country.
pub fn phone(rng: &mut StdRng, country: &Home) -> String {
    format!("{} {} {}", country.dialling, pick(rng, &["151", "6 12", "49", "320"]), digits(rng, 7))
}

/// An e-mail address that fits the name; the domains are reserved for examples.
pub fn email(rng: &mut StdRng, first_name: &str, last_name: &str) -> String {
    let plain = |name: &str| printed(name).to_lowercase().replace([' ', '\''], "");
    let domain = pick(rng, &["example.com", "example.org", "example.net", "mail.example"]);
    format!("{}.{}{}@{domain}", plain(first_name), plain(last_name), rng.gen_range(1..99))
}

/// What an advisor wrote down over the years: several kilobytes for some customers.
pub fn advisor_notes(rng: &mut StdRng, today: Date) -> String {
    const NOTES: &[&str] = &[
        "Called about the mortgage offer; wants to compare with a fixed rate over fifteen years.",
        "Asked for a higher card limit before travelling, granted until the end of the month.",
        "Reported a lost card, new one ordered, PIN unchanged.",
        "Discussed savings plan for the children; brochure sent by post.",
        "Complained about the fee for foreign payments – refunded as a gesture of goodwill.",
        "Möchte künftig auf Deutsch angeschrieben werden.",
        "Préfère être contacté par courriel, jamais par téléphone.",
    ];
    let mut text = String::new();
    for _ in 0..rng.gen_range(24..60) {
        let day = today.saturating_sub(rng.gen_range(1..2000).days());
        text.push_str(&format!("{day} [{}] {}\n", alphanumerics(rng, 12), pick(rng, NOTES)));
    }
    text
}

/// A new customer: what others need to know, and the row.
pub fn customer(rng: &mut StdRng, id: i64, now: Timestamp) -> (Customer, Row) {
    let country = HOMES.choose_weighted(rng, |home| home.weight).copied().unwrap_or_default();
    let today = crate::payments::local(now).date();
    let first_name = pick(rng, country.first_names);
    let last_name = pick(rng, country.last_names);
    let address = address(rng, &country);
    let born = date(1935, 1, 1).saturating_add(rng.gen_range(0..26_500).days());
    let joined = now - rng.gen_range(30 * DAY_MS..6000 * DAY_MS).milliseconds();
    let channel = pick(rng, &["app", "branch", "post"]);
    let preferences = format!(
        r#"{{"language": "{}", "channel": "{channel}", "paperless": {}, "limits": {{"online": {}, "abroad": null}}}}"#,
        country.code.to_lowercase(),
        percent(rng, 70.0),
        rng.gen_range(1..30) * 100,
    );
    let tags: Vec<&str> = ["vip", "student", "\"early bird\"", "joint", "film & kino", "expat"]
        .into_iter()
        .filter(|_| percent(rng, 14.0))
        .collect();
    let notes = if percent(rng, 6.0) { Some(advisor_notes(rng, today)) } else { None };
    let row = vec![
        cell(id),
        cell(uuid(rng)),
        cell(first_name),
        cell(last_name),
        cell(born),
        if percent(rng, 92.0) { Some(email(rng, first_name, last_name)) } else { None },
        if percent(rng, 80.0) { Some(phone(rng, &country)) } else { None },
        cell(address.street),
        cell(&address.house_number),
        cell(address.postal_code),
        cell(address.city),
        cell(country.code),
        if percent(rng, 85.0) { cell(digits(rng, 11)) } else { None },
        cell(pick(rng, &["retail", "retail", "retail", "premium", "business", "youth"])),
        if percent(rng, 75.0) { cell(rng.gen_range(-5..1000)) } else { None },
        // No scale is prescribed: thousands, cents and tenths of a cent live side by side.
        if percent(rng, 60.0) { cell(income(rng)) } else { None },
        cell(percent(rng, 40.0)),
        cell(format!("{{{}}}", tags.join(","))),
        cell(preferences),
        notes,
        cell(joined.to_zoned(jiff::tz::TimeZone::UTC).datetime()),
        cell(joined),
    ];
    let known = Customer {
        id,
        first_name: first_name.into(),
        last_name: last_name.into(),
        country: country.code.into(),
        city: address.city.into(),
    };
    (known, row)
}

fn income(rng: &mut StdRng) -> String {
    let euros = rng.gen_range(9_000..180_000_i64);
    match rng.gen_range(0..3) {
        0 => (euros / 1000 * 1000).to_string(),
        1 => decimal(euros * 100 + rng.gen_range(0..100)),
        _ => format!("{euros}.{:04}", rng.gen_range(1..9999)),
    }
}

/// A new account of the customer.
pub fn account(rng: &mut StdRng, id: i64, owner: &Customer, is_current: bool, now: Timestamp) -> (Account, Row) {
    let country = home(&owner.country);
    let opened = now - rng.gen_range(DAY_MS..4000 * DAY_MS).milliseconds();
    let product = if is_current {
        pick(rng, &["Giro", "Giro Plus", "Giro Young"])
    } else {
        pick(rng, &["Tagesgeld", "Savings Flex"])
    };
    let row = vec![
        cell(id),
        cell(owner.id),
        cell(iban(rng, country.code)),
        cell(bic(country.code)),
        cell(product),
        cell("EUR"),
        cell(if is_current { decimal(rng.gen_range(0..40) * 25_000) } else { decimal(0) }),
        cell(pick(rng, if is_current { &["0", "-9.75", "-11.123456789"] } else { &["1.5", "0.001", "2.25"] })),
        if is_current { cell(rng.gen_range(2..50) * 100) } else { None },
        cell(percent(rng, 15.0)),
        cell("open"),
        cell(opened.to_zoned(jiff::tz::TimeZone::UTC).date()),
        None,
        cell(opened),
    ];
    (Account { id, customer_id: owner.id, is_current }, row)
}
