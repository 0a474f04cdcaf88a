//! Fills an empty database: a past of the bank up to [`TODAY`], the same for the same seed and size.
//!
//! The number of transactions a month is that of ordinary customers, so more transactions mean a longer past. Keys of
//! transactions follow their time.

use jiff::{Span, Timestamp, ToSpan};
use postgres::Client;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::chance::percent;
use crate::monthly::Profile;
use crate::payments::{Desk, Kind, local};
use crate::people::{Account, Customer, account, customer};
use crate::tables::{ACCOUNT, CUSTOMER, Row, TRANSACTION};

/// The end of the past: seconds since 1970. A fixed day, because the bank must not depend on when it was made.
pub const TODAY_S: i64 = 1_793_491_200; // 2026-11-01T00:00:00Z
const DAY_S: i64 = 86_400;
/// Transactions of an ordinary customer in thirty days.
const MONTHLY: i64 = 38;
const LONGEST_PAST_DAYS: i64 = 10 * 365;

/// Something that will happen on an account, before it is worded.
type Plan = Vec<(Timestamp, u32, Kind)>;

/// Makes the tables and fills them in one transaction. Returns how many rows each of the three has.
pub fn fill(client: &mut Client, customers: u32, transactions: u32, seed: u64) -> Result<[u64; 3], String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let desk = Desk::open()?;
    let today = Timestamp::from_second(TODAY_S).map_err(|error| error.to_string())?;
    let (people, people_rows) = make_customers(&mut rng, customers, today);
    let (accounts, owners, account_rows) = make_accounts(&mut rng, &people, today);
    let profiles: Vec<Profile> = accounts.iter().map(Profile::of).collect();
    let plan = plan(&mut rng, &accounts, &profiles, today, (customers, transactions));

    let mut all = client.transaction().map_err(|error| error.to_string())?;
    for table in [&CUSTOMER, &ACCOUNT, &TRANSACTION] {
        all.batch_execute(&table.create()).map_err(|error| format!("could not create {}: {error}", table.name))?;
        let filled = all.query_opt(&format!("SELECT 1 FROM public.{} LIMIT 1", table.name), &[]);
        if filled.map_err(|error| error.to_string())?.is_some() {
            return Err(format!("public.{} has rows already; fill an empty database", table.name));
        }
    }
    // Advisors' notes do not compress well enough in life; here the column says so, whatever the seed.
    let external = "ALTER TABLE public.customer ALTER COLUMN advisor_notes SET STORAGE EXTERNAL";
    all.batch_execute(external).map_err(|error| error.to_string())?;
    let first = CUSTOMER.copy(&mut all, people_rows.into_iter())?;
    let second = ACCOUNT.copy(&mut all, account_rows.into_iter())?;
    let rows = plan.iter().zip(1_i64..).filter_map(|((at, index, kind), id)| {
        let index = usize::try_from(*index).ok()?;
        let (account, profile) = (accounts.get(index)?, profiles.get(index)?);
        let owner = people.get(*owners.get(index)?)?;
        let pending = *at > today - 36.hours();
        Some(desk.row(&mut rng, (id, *kind, *at, pending), account, owner, profile))
    });
    let third = TRANSACTION.copy(&mut all, rows)?;
    all.commit().map_err(|error| format!("could not commit: {error}"))?;
    Ok([first, second, third])
}

fn make_customers(rng: &mut StdRng, count: u32, today: Timestamp) -> (Vec<Customer>, Vec<Row>) {
    (0..i64::from(count)).map(|index| customer(rng, 1001 + index, today)).unzip()
}

/// Everybody has a current account, some have another one for savings. Also: whose each is, as an index into `people`.
fn make_accounts(rng: &mut StdRng, people: &[Customer], today: Timestamp) -> (Vec<Account>, Vec<usize>, Vec<Row>) {
    let (mut accounts, mut owners, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let mut id = 500_001;
    for (index, owner) in people.iter().enumerate() {
        let mut products = vec![true];
        if percent(rng, 35.0) {
            products.push(false);
        }
        if percent(rng, 4.0) {
            products.push(true);
        }
        for is_current in products {
            let (account, row) = account(rng, id, owner, is_current, today);
            accounts.push(account);
            owners.push(index);
            rows.push(row);
            id += 1;
        }
    }
    (accounts, owners, rows)
}

/// What happens when: first what is due every month, then spending at any time until the number is reached.
fn plan(rng: &mut StdRng, accounts: &[Account], profiles: &[Profile], today: Timestamp, size: (u32, u32)) -> Plan {
    let (customers, transactions) = size;
    let wanted = usize::try_from(transactions).unwrap_or(usize::MAX);
    let days = (i64::from(transactions) * 30 / (i64::from(customers).max(1) * MONTHLY)).clamp(1, LONGEST_PAST_DAYS);
    let mut plan: Plan = Vec::with_capacity(wanted);
    for day in 0..days {
        let midnight = today - Span::new().seconds((days - day) * DAY_S);
        for ((account, profile), index) in accounts.iter().zip(profiles).zip(0_u32..) {
            for (_, kind) in
                profile.due().into_iter().filter(|(due, _)| *due == local(midnight).day() && account.is_current)
            {
                plan.push((midnight + rng.gen_range(2 * 3_600_000..5 * 3_600_000_i64).milliseconds(), index, kind));
            }
        }
    }
    let count = u32::try_from(accounts.len()).unwrap_or(u32::MAX);
    while plan.len() < wanted && count > 0 {
        let index = rng.gen_range(0..count);
        let Some(account) = usize::try_from(index).ok().and_then(|index| accounts.get(index)) else { continue };
        // A savings account sees one tenth of what a current account sees.
        if account.is_current || percent(rng, 10.0) {
            let midnight = today - Span::new().seconds(rng.gen_range(1..=days) * DAY_S);
            plan.push((midnight + open_hours(rng), index, Kind::any_time(rng, account)));
        }
    }
    // Sorted before it is cut, so that what is left out is the end of the past and not one kind of transaction.
    plan.sort_unstable();
    plan.truncate(wanted);
    plan
}

/// A moment between seven in the morning and ten at night, in microseconds: as exact as PostgreSQL keeps it.
fn open_hours(rng: &mut StdRng) -> Span {
    rng.gen_range(7 * 3_600_000_000..22 * 3_600_000_000_i64).microseconds()
}
