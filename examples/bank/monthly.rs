//! What comes every month: salary, rent, savings and bills, each customer's own and the same from month to month.

use jiff::civil::DateTime;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::chance::{alphanumerics, cents, digits, percent, pick};
use crate::iban::iban;
use crate::payments::{Kind, Payment};
use crate::people::{Account, Customer};

/// Those who collect bills: name, what for, identifier of the creditor, from and to in cents.
const CREDITORS: &[(&str, &str, &str, i64, i64)] = &[
    ("Vattenfall Europe Sales GmbH", "STROM ABSCHLAG VK", "DE98ZZZ00000000011", 38_00, 142_00),
    ("EDF - Electricité de France", "PRLV EDF CLIENTS PARTICULIERS", "FR47EDF001007", 41_00, 168_00),
    ("Telekom Deutschland GmbH", "MOBILFUNK KUNDENKONTO", "DE93ZZZ00000078611", 19_95, 64_95),
    ("Orange España SAU", "RECIBO MOVIL Y FIBRA", "ES12000A82009812", 24_95, 71_00),
    ("Allianz Versicherungs-AG", "KFZ-VERSICHERUNG", "DE11ZZZ00000008101", 28_40, 119_00),
    ("Ziggo B.V.", "INTERNET EN TV", "NL65ZZZ390267530000", 42_50, 79_00),
    ("Wiener Stadtwerke", "WIEN ENERGIE TEILBETRAG", "AT57ZZZ00000000412", 44_00, 131_00),
    ("Rundfunk ARD, ZDF, DRadio", "RUNDFUNKBEITRAG", "DE2200100000185336", 18_36, 55_08),
    ("Techniker Krankenkasse", "KRANKENVERSICHERUNG BEITRAG", "DE48ZZZ00000000999", 96_00, 420_00),
];

const EMPLOYERS: &[&str] = &[
    "Siemens AG",
    "Université de Lyon",
    "Stichting Ziekenhuis Oost",
    "Bäckerei Hofmann GmbH & Co. KG",
    "Ayuntamiento de Sevilla",
    "Ferrovie Regionali S.p.A.",
    "Wiener Krankenanstaltenverbund",
    "Spedition Krüger & Söhne",
];

const LANDLORDS: &[&str] =
    &["Vonovia SE", "Foncia Gestion", "Stadgenoot", "Hausverwaltung Öztürk", "Immobiliare Rossi"];

/// What one customer pays and gets every month: the same on every call for the same account.
pub struct Profile {
    employer: &'static str,
    salary: i64,
    salary_day: i8,
    landlord: &'static str,
    rent: Option<i64>,
    savings: Option<i64>,
    bills: Vec<(usize, i64)>,
    iban_seed: u64,
    /// First six and last four digits of the card.
    pub card: String,
}

impl Profile {
    /// Derived from the account's key alone, so that filling and living agree on it.
    pub fn of(account: &Account) -> Self {
        let mut rng = StdRng::seed_from_u64(account.id.unsigned_abs());
        let salary = cents(&mut rng, 1_250_00, 7_900_00);
        let bills = (0..rng.gen_range(2..5))
            .map(|_| rng.gen_range(0..CREDITORS.len()))
            .collect::<std::collections::BTreeSet<_>>();
        Self {
            employer: pick(&mut rng, EMPLOYERS),
            salary,
            salary_day: rng.gen_range(24..=28),
            landlord: pick(&mut rng, LANDLORDS),
            rent: percent(&mut rng, 65.0).then(|| salary * rng.gen_range(24..38) / 100),
            savings: percent(&mut rng, 45.0).then(|| rng.gen_range(1..20) * 25_00),
            bills: bills
                .into_iter()
                .filter_map(|index| CREDITORS.get(index).map(|(.., low, high)| (index, rng.gen_range(*low..=*high))))
                .collect(),
            iban_seed: rng.r#gen(),
            card: format!("{}******{}", pick(&mut rng, &["535522", "402636", "516794"]), digits(&mut rng, 4)),
        }
    }

    /// Day of the month and kind of everything that is due each month.
    pub fn due(&self) -> Vec<(i8, Kind)> {
        let mut due = vec![(self.salary_day, Kind::Salary)];
        due.extend(self.rent.map(|_| (2, Kind::Rent)));
        due.extend(self.savings.map(|_| (5, Kind::StandingOrder)));
        due.extend((9_i8..).step_by(4).zip(&self.bills).map(|(day, _)| (day.min(28), Kind::DirectDebit)));
        due
    }
}

/// The words and the amount of something that is due every month.
pub fn regular(rng: &mut StdRng, kind: Kind, owner: &Customer, profile: &Profile, when: DateTime) -> Payment {
    let mut own = StdRng::seed_from_u64(profile.iban_seed); // the same account every month
    let month = when.strftime("%m/%Y");
    match kind {
        Kind::Salary => Payment {
            amount: profile.salary + rng.gen_range(-40..40) * 1_00,
            counterparty: profile.employer.into(),
            counterparty_iban: Some(iban(&mut own, &owner.country)),
            description: format!("LOHN/GEHALT {month} PERS.NR {}", digits(&mut own, 6)),
            details: Some(serde_json::json!({"purpose": "SALA"})),
            ..Payment::default()
        },
        Kind::Rent => Payment {
            amount: -profile.rent.unwrap_or(700_00),
            counterparty: profile.landlord.into(),
            counterparty_iban: Some(iban(&mut own, &owner.country)),
            description: format!(
                "{} {} {month}",
                pick(&mut own, &["Miete", "Loyer", "Huur", "Alquiler"]),
                owner.last_name
            ),
            ..Payment::default()
        },
        Kind::StandingOrder => Payment {
            amount: -profile.savings.unwrap_or(50_00),
            counterparty: format!("{} {}", owner.first_name, owner.last_name),
            counterparty_iban: Some(iban(&mut own, &owner.country)),
            description: "Dauerauftrag Sparen".into(),
            ..Payment::default()
        },
        _ => bill(rng, profile, when),
    }
}

fn bill(rng: &mut StdRng, profile: &Profile, when: DateTime) -> Payment {
    // Which bill is due follows from the day, as `Profile::due` laid them out.
    let position = usize::try_from((when.day() - 9).max(0) / 4).unwrap_or(0);
    let (index, amount) = profile.bills.get(position).copied().unwrap_or((0, 48_00));
    let (name, purpose, creditor, ..) = CREDITORS.get(index).copied().unwrap_or_default();
    let mut own = StdRng::seed_from_u64(profile.iban_seed ^ u64::try_from(index).unwrap_or(0));
    Payment {
        amount: -amount,
        counterparty: name.into(),
        counterparty_iban: Some(iban(&mut own, creditor.get(..2).unwrap_or("DE"))),
        description: format!("{purpose} {} {}", digits(&mut own, 9), when.strftime("%m.%Y")),
        details: Some(serde_json::json!({
            "creditor_id": creditor,
            "mandate": format!("M{}", digits(&mut own, 8)),
            "end_to_end_id": alphanumerics(rng, 16),
        })),
        ..Payment::default()
    }
}
