//! Keeps the bank alive: mostly new transactions, and everything else that happens to rows in a year, in small commits.
//!
//! Every sort of change occurs at least once, at the beginning; after that by weight. The changes depend on the seed and
//! on what the database holds, never on the clock. What each of them does to the tables is in `changes.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use postgres::Client;
use rand::Rng;
use rand::distributions::{Distribution, WeightedIndex};

use crate::changes::{Bank, Change};

/// What can happen, and how often relative to the rest.
const CHANGES: &[(Change, u32)] = &[
    (Change::Pay, 620),
    (Change::Book, 150),
    (Change::Correct, 40),
    (Change::Cancel, 50),
    (Change::Rekey, 25),
    (Change::Replace, 10),
    (Change::Contact, 35),
    (Change::Moves, 15),
    (Change::Note, 5),
    (Change::Limit, 25),
    (Change::Reassign, 8),
    (Change::Arrive, 10),
    (Change::Close, 4),
    (Change::Leave, 3),
];

/// How many rows were changed, in how many commits, by which changes.
#[derive(Default)]
pub struct Done {
    rows: u64,
    commits: u64,
    changes: BTreeMap<Change, u64>,
    elapsed: Duration,
}

impl fmt::Display for Done {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} rows changed in {} commits in {:.1} s:", self.rows, self.commits, self.elapsed.as_secs_f64())?;
        for (change, count) in &self.changes {
            write!(out, " {} {count}", format!("{change:?}").to_lowercase())?;
        }
        Ok(())
    }
}

/// Changes `rate` × `seconds` rows at that rate; with rate 0 a thousand for each second, as fast as they go.
pub fn live(client: &mut Client, rate: u32, seconds: u32, seed: u64) -> Result<Done, String> {
    let wanted = u64::from(seconds) * u64::from(if rate == 0 { 1000 } else { rate });
    let mut bank = Bank::read(client, seed)?;
    let weights = WeightedIndex::new(CHANGES.iter().map(|(_, weight)| *weight)).map_err(|error| error.to_string())?;
    let mut once = CHANGES.iter().map(|(change, _)| *change);
    let (mut done, start) = (Done::default(), Instant::now());
    while done.rows < wanted {
        bank.begin()?;
        for _ in 0..bank.rng.gen_range(1..=4) {
            let change = once.next().or_else(|| CHANGES.get(weights.sample(&mut bank.rng)).map(|(change, _)| *change));
            let change = change.unwrap_or(Change::Pay);
            let rows = bank.change(change).map_err(|error| format!("{change:?}: {error}"))?;
            done.rows += rows;
            *done.changes.entry(change).or_default() += u64::from(rows > 0);
            if done.rows >= wanted {
                break;
            }
        }
        bank.commit()?;
        done.commits += 1;
        if rate > 0 {
            let due = Duration::from_secs(1)
                .mul_f64(f64::from(u32::try_from(done.rows).unwrap_or(u32::MAX)) / f64::from(rate));
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
    done.elapsed = start.elapsed();
    Ok(done)
}
