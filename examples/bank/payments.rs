//! Transactions: what is paid, to whom, and how the statement words it in each country.

use jiff::Timestamp;
use jiff::civil::DateTime;
use rand::Rng;
use rand::rngs::StdRng;

use crate::chance::{alphanumerics, cents, decimal, digits, percent, pick, uuid};
use crate::iban::iban;
use crate::merchants::Merchants;
use crate::monthly::{Profile, regular};
use crate::people::{Account, Customer};
use crate::places::{ABROAD, HOMES, home, printed};
use crate::tables::{Row, cell};

/// What sort of transaction it is; its name in the column `kind` is [`Kind::name`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A card at a terminal or in a shop on the net.
    #[default]
    Card,
    /// Cash from a machine.
    Cash,
    /// Money back from a merchant.
    Refund,
    /// The employer's monthly payment.
    Salary,
    /// The monthly rent.
    Rent,
    /// A monthly payment to the customer's own savings.
    StandingOrder,
    /// A bill that is collected: electricity, telephone, insurance.
    DirectDebit,
    /// To or from another person.
    Transfer,
    /// What the bank itself takes or gives.
    Fee,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Card => "card_payment",
            Self::Cash => "cash",
            Self::Refund => "refund",
            Self::Salary => "salary",
            Self::Rent => "rent",
            Self::StandingOrder => "standing_order",
            Self::DirectDebit => "direct_debit",
            Self::Transfer => "transfer",
            Self::Fee => "fee",
        }
    }

    /// One of the kinds that come at any time; the others are due on a day of the month.
    pub fn any_time(rng: &mut StdRng, account: &Account) -> Self {
        let lot = rng.gen_range(0..100);
        match lot {
            _ if !account.is_current => pick_savings(lot),
            0..77 => Self::Card,
            77..83 => Self::Cash,
            83..96 => Self::Transfer,
            96..99 => Self::Refund,
            _ => Self::Fee,
        }
    }
}

fn pick_savings(lot: i32) -> Kind {
    if lot < 85 { Kind::Transfer } else { Kind::Fee }
}

/// The parts of a row that depend on its kind; the rest is NULL.
#[derive(Default)]
pub struct Payment {
    /// In cents; negative when it leaves the account.
    pub amount: i64,
    /// Amount in another currency, that currency, and its units for one euro.
    pub original: Option<(String, &'static str, String)>,
    /// Who gets or gives.
    pub counterparty: String,
    /// Their account.
    pub counterparty_iban: Option<String>,
    /// What the statement says.
    pub description: String,
    /// Merchant category code (ISO 18245).
    pub mcc: Option<i32>,
    /// First six and last four digits of the card.
    pub card: Option<String>,
    /// Whether the card was held to the terminal.
    pub contactless: Option<bool>,
    /// What else the channel tells.
    pub details: Option<serde_json::Value>,
    /// Proof of the card, in PostgreSQL's notation of bytes.
    pub cryptogram: Option<String>,
}

/// The time in the bank's books: UTC.
pub fn local(at: Timestamp) -> DateTime {
    at.to_zoned(jiff::tz::TimeZone::UTC).datetime()
}

/// Makes transactions; holds what all of them need.
pub struct Desk {
    merchants: Merchants,
}

impl Desk {
    /// Reads the merchants.
    pub fn open() -> Result<Self, String> {
        let homes: Vec<&str> = HOMES.iter().map(|home| home.code).collect();
        let abroad: Vec<&str> = ABROAD.iter().map(|country| country.code).collect();
        Ok(Self { merchants: Merchants::read(&homes, &abroad)? })
    }

    /// The row of one transaction. A card payment is `pending` until the merchant has sent the bill.
    pub fn row(
        &self,
        rng: &mut StdRng,
        (id, kind, at, pending): (i64, Kind, Timestamp, bool),
        account: &Account,
        owner: &Customer,
        profile: &Profile,
    ) -> Row {
        let when = local(at);
        let payment = match kind {
            Kind::Card if percent(rng, 4.0) => self.card_abroad(rng, profile, when),
            Kind::Card => self.card(rng, owner, profile, when),
            Kind::Refund => self.refund(rng, owner, profile, when),
            Kind::Cash => cash(rng, owner, profile, when),
            Kind::Transfer => transfer(rng, owner),
            Kind::Fee => fee(rng, account, when),
            Kind::Salary | Kind::Rent | Kind::StandingOrder | Kind::DirectDebit => {
                regular(rng, kind, owner, profile, when)
            }
        };
        let (original, currency, rate) = match payment.original {
            Some((amount, currency, rate)) => (Some(amount), Some(currency.to_owned()), Some(rate)),
            None => (None, None, None),
        };
        let pending = pending && payment.card.is_some();
        let value_date =
            if pending || !percent(rng, 20.0) { when.date() } else { when.date().tomorrow().unwrap_or(when.date()) };
        vec![
            cell(id),
            cell(account.id),
            cell(kind.name()),
            cell(if pending { "pending" } else { "booked" }),
            cell(at),
            cell(value_date),
            cell(decimal(payment.amount)),
            cell("EUR"),
            original,
            currency,
            rate,
            cell(payment.counterparty),
            payment.counterparty_iban,
            cell(payment.description),
            payment.mcc.map(|mcc| mcc.to_string()),
            payment.card,
            payment.contactless.map(|contactless| contactless.to_string()),
            cell(uuid(rng)),
            payment.details.map(|details| details.to_string()),
            payment.cryptogram,
            cell(when),
        ]
    }

    fn card(&self, rng: &mut StdRng, owner: &Customer, profile: &Profile, when: DateTime) -> Payment {
        // Now and then somebody pays in another city of the country.
        let city = if percent(rng, 15.0) { pick(rng, home(&owner.country).cities).0 } else { owner.city.as_str() };
        let Some(merchant) = self.merchants.draw(rng, &owner.country) else { return Payment::default() };
        let text = merchant.printed(rng, city, &owner.country);
        let contactless = percent(rng, 70.0);
        Payment {
            amount: -cents(rng, merchant.low, merchant.high),
            counterparty: merchant.name.into(),
            description: statement(rng, &owner.country, &text, city, when, profile),
            mcc: Some(merchant.mcc),
            card: Some(profile.card.clone()),
            contactless: Some(contactless),
            details: Some(terminal(rng, city, &owner.country, if contactless { "contactless" } else { "chip" })),
            cryptogram: percent(rng, 30.0).then(|| format!("\\x{:016x}", rng.r#gen::<u64>())),
            ..Payment::default()
        }
    }

    fn card_abroad(&self, rng: &mut StdRng, profile: &Profile, when: DateTime) -> Payment {
        let country = pick(rng, ABROAD);
        let city = pick(rng, country.cities);
        let Some(merchant) = self.merchants.draw(rng, country.code) else { return Payment::default() };
        let original = cents(rng, merchant.low, merchant.high);
        let text = merchant.printed(rng, city, country.code);
        Payment {
            amount: -(original * 1_000_000 / country.per_euro_millionths.max(1)).max(1),
            // As people write it: no zeros at the end. The column has no scale to fill up to.
            original: Some((plain(original), country.currency, rate(country.per_euro_millionths))),
            counterparty: merchant.name.into(),
            description: format!("{text} {city} {} {} {}", country.code, country.currency, decimal(original)),
            mcc: Some(merchant.mcc),
            card: Some(profile.card.clone()),
            contactless: Some(false),
            details: Some(terminal(rng, &format!("{city} {}", when.year()), country.code, "chip")),
            ..Payment::default()
        }
    }

    fn refund(&self, rng: &mut StdRng, owner: &Customer, profile: &Profile, when: DateTime) -> Payment {
        let mut payment = self.card(rng, owner, profile, when);
        payment.amount = -payment.amount;
        payment.description =
            format!("{} {}", pick(rng, &["GUTSCHRIFT", "REFUND", "REMBOURSEMENT", "STORNO"]), payment.description);
        payment.contactless = None;
        payment.cryptogram = None;
        payment
    }
}

fn cash(rng: &mut StdRng, owner: &Customer, profile: &Profile, when: DateTime) -> Payment {
    let machine = digits(rng, 5);
    let word = match owner.country.as_str() {
        "FR" | "BE" => "RETRAIT DAB",
        "NL" => "GEA, Betaalpas Geldautomaat",
        "ES" => "REINTEGRO CAJERO",
        "IT" => "PRELIEVO BANCOMAT",
        _ => "BARGELDAUSZAHLUNG GA NR",
    };
    Payment {
        amount: -rng.gen_range(1..21) * 20_00,
        counterparty: pick(rng, &["Sparkasse", "Crédit Agricole", "Geldmaat", "Euronet", "Bankia"]).into(),
        description: format!("{word} {machine} {} {}", printed(&owner.city), when.strftime("%d.%m %H:%M")),
        mcc: Some(6011),
        card: Some(profile.card.clone()),
        contactless: Some(false),
        details: Some(terminal(rng, &owner.city, &owner.country, "chip")),
        ..Payment::default()
    }
}

fn transfer(rng: &mut StdRng, owner: &Customer) -> Payment {
    let country = home(pick(rng, &["DE", "FR", "NL", "ES", "IT", "AT", "BE"]));
    let country = if percent(rng, 80.0) { home(&owner.country) } else { country };
    let note = pick(
        rng,
        &[
            "Danke!",
            "Geschenk Oma",
            "Anniversaire Zoé 🎂",
            "Concert tickets",
            "Klassenkasse 7b",
            "Cena sabato",
            "",
            "Miete Garage",
        ],
    );
    let amount = cents(rng, 5_00, 900_00);
    Payment {
        amount: if percent(rng, 35.0) { amount } else { -amount },
        counterparty: format!("{} {}", pick(rng, country.first_names), pick(rng, country.last_names)),
        counterparty_iban: Some(iban(rng, country.code)),
        description: note.into(),
        details: Some(serde_json::json!({"end_to_end_id": "NOTPROVIDED", "instant": percent(rng, 40.0)})),
        ..Payment::default()
    }
}

fn fee(rng: &mut StdRng, account: &Account, when: DateTime) -> Payment {
    let (amount, description) = if account.is_current {
        (-pick(rng, &[4_90, 6_90, 1_50]), format!("Kontoführungsentgelt {}", when.strftime("%m/%Y")))
    } else {
        (rng.gen_range(1..90_00), format!("Habenzinsen {}", when.strftime("%m/%Y")))
    };
    Payment { amount, counterparty: "Headwater Bank".into(), description, ..Payment::default() }
}

/// How a bank of the country words a card payment on its statements.
fn statement(rng: &mut StdRng, country: &str, text: &str, city: &str, when: DateTime, profile: &Profile) -> String {
    let city = printed(city);
    let last = profile.card.get(12..).unwrap_or_default();
    match country {
        "FR" => format!("CARTE {} {text} {city}", when.strftime("%d/%m/%y")),
        "BE" => format!("ACHAT BANCONTACT {} {text} {city}", when.strftime("%d-%m")),
        "NL" => format!(
            "BEA, Betaalpas {text},PAS{} NR:{} {} {city}",
            digits(rng, 3),
            alphanumerics(rng, 6),
            when.strftime("%d.%m.%y/%H:%M")
        ),
        "ES" => format!("COMPRA TARJ. XXXXXXXXXXXX{last} {text}-{city}"),
        "IT" => format!("POS CARTA {last} DEL {} {text} {city} ITA", when.strftime("%d/%m/%y")),
        "AT" => format!("{text} K{} {} {city}", digits(rng, 3), when.strftime("%d.%m. %H:%M")),
        _ => format!("{text}//{city}/DE {} KFN {} VJ 2812", when.strftime("%Y-%m-%dT%H:%M"), rng.gen_range(0..3)),
    }
}

fn terminal(rng: &mut StdRng, city: &str, country: &str, entry: &str) -> serde_json::Value {
    serde_json::json!({
        "terminal": {"id": digits(rng, 8), "city": city, "country": country},
        "entry": entry,
        "authorisation": alphanumerics(rng, 6),
        "attempts": if percent(rng, 3.0) { 2 } else { 1 },
    })
}

/// Cents without the zeros at the end: `1200.00` is `1200`, `3.50` is `3.5`.
fn plain(cents: i64) -> String {
    trimmed(&decimal(cents))
}

fn rate(millionths: i64) -> String {
    trimmed(&format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000))
}

fn trimmed(number: &str) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}
