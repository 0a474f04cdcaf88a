//! A bank to try Headwater with: fills a PostgreSQL database with customers, accounts and transactions, and keeps it
//! alive. The same seed makes the same bank, to the last digit and whatever the date.
//!
//! ```text
//! cargo run --example bank -- --postgres postgresql://postgres@127.0.0.1/bank fill --customers 400 --transactions 44000
//! cargo run --example bank -- --postgres postgresql://postgres@127.0.0.1/bank live --rate 50 --seconds 60
//! ```
//!
//! The database must exist. Names, addresses, account and card numbers are drawn at random; e-mail addresses use the
//! domains reserved for examples. The bank keeps no balances: it is a source of changes, not a ledger.
#![allow(clippy::print_stdout, reason = "a command line program says what it did")]
#![allow(clippy::inconsistent_digit_grouping, reason = "amounts are cents: 12_50 is twelve euros fifty")]

mod chance;
mod changes;
mod fill;
mod iban;
mod live;
mod merchants;
mod monthly;
mod payments;
mod people;
mod places;
mod tables;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use postgres::{Client, NoTls};

#[derive(Parser)]
#[command(about = "Fills a PostgreSQL database with a bank, and keeps it alive")]
struct Arguments {
    /// Address of the database, for example postgresql://postgres@127.0.0.1:5432/bank
    #[arg(long)]
    postgres: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Creates the tables and fills them
    Fill {
        /// How many customers; accounts follow from them
        #[arg(long, default_value_t = 400)]
        customers: u32,
        /// How many transactions
        #[arg(long, default_value_t = 44_000)]
        transactions: u32,
        /// Same seed, same bank
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Inserts, updates, deletes and re-keys rows: rate × seconds changes in small transactions
    Live {
        /// Changed rows a second; 0 is as fast as the database takes them, at a thousand for each of the seconds
        #[arg(long, default_value_t = 20)]
        rate: u32,
        /// For how long
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Same seed on the same bank, same changes
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let mut client =
        Client::connect(&arguments.postgres, NoTls).map_err(|error| format!("could not connect: {error}"))?;
    match arguments.verb {
        Verb::Fill { customers, transactions, seed } => {
            let [customers, accounts, transactions] = fill::fill(&mut client, customers, transactions, seed)?;
            println!("{customers} customers, {accounts} accounts, {transactions} transactions");
        }
        Verb::Live { rate, seconds, seed } => {
            let done = live::live(&mut client, rate, seconds, seed)?;
            println!("{done}");
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}
