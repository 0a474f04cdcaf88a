//! What can happen to the rows of the bank, and the SQL that makes it happen.
//!
//! The lists kept here mirror the tables, so that a change never works on a row that is gone: the number of changed rows
//! is the number of change events.

use std::collections::HashMap;

use jiff::{Timestamp, ToSpan};
use postgres::types::ToSql;
use postgres::{Client, Statement};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::chance::{decimal, percent, pick};
use crate::fill::TODAY_S;
use crate::monthly::Profile;
use crate::payments::{Desk, Kind};
use crate::people::{Account, Customer, account, address, advisor_notes, customer, email};
use crate::places::home;
use crate::tables::{ACCOUNT, CUSTOMER, Row, TRANSACTION, Table, parameters};

/// Something that happens to the rows of the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A new transaction.
    Pay,
    /// A pending transaction is booked.
    Book,
    /// The wording or the value date of a transaction is corrected.
    Correct,
    /// A transaction is deleted.
    Cancel,
    /// A transaction gets another primary key.
    Rekey,
    /// A transaction is deleted and, in the same commit, made anew under its old key.
    Replace,
    /// A customer's e-mail address and consent change.
    Contact,
    /// A customer moves.
    Moves,
    /// An advisor writes a long note.
    Note,
    /// An account's limits change.
    Limit,
    /// An account goes to another customer.
    Reassign,
    /// A new customer with an account.
    Arrive,
    /// An account is closed.
    Close,
    /// A customer leaves: accounts are deleted too, transactions stay.
    Leave,
}

/// What is in the database, as far as the next change needs to know it.
pub struct Bank<'a> {
    client: &'a mut Client,
    statements: HashMap<&'static str, Statement>,
    desk: Desk,
    /// Where every decision comes from.
    pub rng: StdRng,
    now: Timestamp,
    customers: Vec<Customer>,
    accounts: Vec<Account>,
    transactions: Vec<i64>,
    /// The next free keys of customers, accounts and transactions.
    next: [i64; 3],
}

impl<'a> Bank<'a> {
    /// Reads what the changes need to know; the bank's own time goes on from its last transaction.
    pub fn read(client: &'a mut Client, seed: u64) -> Result<Self, String> {
        let mut query =
            |text: &str| client.query(text, &[]).map_err(|error| format!("could not read the bank: {error}"));
        let customers: Vec<Customer> =
            query("SELECT id, first_name, last_name, country::text, city FROM public.customer ORDER BY id")?
                .iter()
                .map(|row| Customer {
                    id: row.get(0),
                    first_name: row.get(1),
                    last_name: row.get(2),
                    country: row.get(3),
                    city: row.get(4),
                })
                .collect();
        let accounts: Vec<Account> = query(
            "SELECT id, customer_id, product LIKE 'Giro%' FROM public.account WHERE status = 'open' ORDER BY id",
        )?
        .iter()
        .map(|row| Account { id: row.get(0), customer_id: row.get(1), is_current: row.get(2) })
        .collect();
        let transactions: Vec<i64> =
            query("SELECT id FROM public.transaction ORDER BY id")?.iter().map(|row| row.get(0)).collect();
        let mut highest = |table: &str| -> Result<i64, String> {
            Ok(query(&format!("SELECT coalesce(max(id), 0) FROM public.{table}"))?.first().map_or(0, |row| row.get(0)))
        };
        let next = [highest("customer")? + 1, highest("account")? + 1, highest("transaction")? + 1];
        let last = query("SELECT (extract(epoch FROM max(booked_at)) * 1000000)::bigint FROM public.transaction")?
            .first()
            .and_then(|row| row.get::<_, Option<i64>>(0));
        if customers.len() < 3 || accounts.len() < 3 {
            return Err("too few customers and accounts to live with: fill the database first".into());
        }
        let now = last.and_then(|micros| Timestamp::from_microsecond(micros).ok());
        let now = now.or(Timestamp::from_second(TODAY_S).ok()).unwrap_or_default();
        let (desk, rng) = (Desk::open()?, StdRng::seed_from_u64(seed ^ 0x11fe));
        Ok(Self { client, statements: HashMap::new(), desk, rng, now, customers, accounts, transactions, next })
    }

    /// Opens a commit; the bank's time moves on.
    pub fn begin(&mut self) -> Result<(), String> {
        self.now += self.rng.gen_range(200_000..40_000_000).microseconds();
        self.client.batch_execute("BEGIN").map_err(|error| error.to_string())
    }

    /// Ends it.
    pub fn commit(&mut self) -> Result<(), String> {
        self.client.batch_execute("COMMIT").map_err(|error| error.to_string())
    }

    /// Makes one change; says how many rows it touched. A change that finds nothing to work on touches none.
    pub fn change(&mut self, change: Change) -> Result<u64, String> {
        match change {
            Change::Pay => self.pay(),
            Change::Book => self.on_transaction("UPDATE public.transaction SET status = 'booked' WHERE id = $1", &[]),
            Change::Correct => self.correct(),
            Change::Cancel => self.cancel(),
            Change::Rekey => self.rekey(),
            Change::Replace => self.replace(),
            Change::Contact => self.contact(),
            Change::Moves => self.moves(),
            Change::Note => self.note(),
            Change::Limit => self.limit(),
            Change::Reassign => self.reassign(),
            Change::Arrive => self.arrive(),
            Change::Close => self.close(),
            Change::Leave => self.leave(),
        }
    }

    fn pay(&mut self) -> Result<u64, String> {
        let id = self.take(2);
        let Some(row) = self.payment(id) else { return Ok(0) };
        self.transactions.push(id);
        self.insert(&TRANSACTION, &row)
    }

    /// The row of a new transaction on any open account.
    fn payment(&mut self, id: i64) -> Option<Row> {
        let account = self.any_account()?;
        let owner = self.customers.iter().find(|customer| customer.id == account.customer_id)?.clone();
        let monthly = account.is_current && percent(&mut self.rng, 6.0);
        let kind = if monthly {
            pick(&mut self.rng, &[Kind::Salary, Kind::Rent, Kind::DirectDebit])
        } else {
            Kind::any_time(&mut self.rng, &account)
        };
        let at = self.now;
        Some(self.desk.row(&mut self.rng, (id, kind, at, true), &account, &owner, &Profile::of(&account)))
    }

    fn correct(&mut self) -> Result<u64, String> {
        let note = format!(" [corrected {}]", self.rng.gen_range(100..1000));
        self.on_transaction(
            "UPDATE public.transaction SET description = description || $2, value_date = value_date + 1, \
             details = coalesce(details, '{}') || '{\"corrected\": true}' WHERE id = $1",
            &[&note],
        )
    }

    fn cancel(&mut self) -> Result<u64, String> {
        let Some((index, id)) = self.any_transaction() else { return Ok(0) };
        self.transactions.swap_remove(index);
        self.execute("DELETE FROM public.transaction WHERE id = $1", &[&id])
    }

    fn rekey(&mut self) -> Result<u64, String> {
        let Some((index, old)) = self.any_transaction() else { return Ok(0) };
        let new = self.take(2);
        self.transactions.swap_remove(index);
        self.transactions.push(new);
        self.execute("UPDATE public.transaction SET id = $2 WHERE id = $1", &[&old, &new])
    }

    fn replace(&mut self) -> Result<u64, String> {
        let Some((_, id)) = self.any_transaction() else { return Ok(0) };
        let Some(row) = self.payment(id) else { return Ok(0) };
        let deleted = self.execute("DELETE FROM public.transaction WHERE id = $1", &[&id])?;
        Ok(deleted + self.insert(&TRANSACTION, &row)?)
    }

    fn contact(&mut self) -> Result<u64, String> {
        let Some((_, customer)) = self.any_customer() else { return Ok(0) };
        let address =
            percent(&mut self.rng, 90.0).then(|| email(&mut self.rng, &customer.first_name, &customer.last_name));
        let now = self.now.to_string();
        self.execute(
            "UPDATE public.customer SET email = $2, marketing_consent = NOT marketing_consent, \
             updated_at = $3::text::timestamptz WHERE id = $1",
            &[&customer.id, &address, &now],
        )
    }

    fn moves(&mut self) -> Result<u64, String> {
        let Some((index, customer)) = self.any_customer() else { return Ok(0) };
        let new = address(&mut self.rng, &home(&customer.country));
        if let Some(known) = self.customers.get_mut(index) {
            known.city = new.city.into();
        }
        let now = self.now.to_string();
        self.execute(
            "UPDATE public.customer SET street = $2, house_number = $3, postal_code = $4, city = $5, \
             updated_at = $6::text::timestamptz WHERE id = $1",
            &[&customer.id, &new.street, &new.house_number, &new.postal_code, &new.city, &now],
        )
    }

    fn note(&mut self) -> Result<u64, String> {
        let Some((_, customer)) = self.any_customer() else { return Ok(0) };
        let notes = advisor_notes(&mut self.rng, crate::payments::local(self.now).date());
        self.execute("UPDATE public.customer SET advisor_notes = $2 WHERE id = $1", &[&customer.id, &notes])
    }

    fn limit(&mut self) -> Result<u64, String> {
        let Some(account) = self.any_account() else { return Ok(0) };
        let (overdraft, card) = (decimal(self.rng.gen_range(0..60) * 25_000), self.rng.gen_range(2..80) * 100);
        let now = self.now.to_string();
        self.execute(
            "UPDATE public.account SET overdraft_limit = $2::text::numeric, daily_card_limit = $3, \
             updated_at = $4::text::timestamptz WHERE id = $1",
            &[&account.id, &overdraft, &card, &now],
        )
    }

    fn reassign(&mut self) -> Result<u64, String> {
        let (Some(account), Some((_, heir))) = (self.any_account(), self.any_customer()) else { return Ok(0) };
        for known in self.accounts.iter_mut().filter(|known| known.id == account.id) {
            known.customer_id = heir.id;
        }
        self.execute("UPDATE public.account SET customer_id = $2 WHERE id = $1", &[&account.id, &heir.id])
    }

    fn arrive(&mut self) -> Result<u64, String> {
        let (customer_id, account_id) = (self.take(0), self.take(1));
        let (known, row) = customer(&mut self.rng, customer_id, self.now);
        let (account, account_row) = account(&mut self.rng, account_id, &known, true, self.now);
        self.customers.push(known);
        self.accounts.push(account);
        // The account first: the parts of a document do not arrive in the order in which they are joined.
        Ok(self.insert(&ACCOUNT, &account_row)? + self.insert(&CUSTOMER, &row)?)
    }

    fn close(&mut self) -> Result<u64, String> {
        if self.accounts.len() <= 3 {
            return Ok(0);
        }
        let Some(account) = self.any_account() else { return Ok(0) };
        self.accounts.retain(|known| known.id != account.id);
        let today = crate::payments::local(self.now).date().to_string();
        self.execute(
            "UPDATE public.account SET status = 'closed', closed = $2::text::date WHERE id = $1",
            &[&account.id, &today],
        )
    }

    fn leave(&mut self) -> Result<u64, String> {
        if self.customers.len() <= 3 || self.accounts.len() <= 6 {
            return Ok(0);
        }
        let Some((index, customer)) = self.any_customer() else { return Ok(0) };
        self.customers.swap_remove(index);
        self.accounts.retain(|account| account.customer_id != customer.id);
        let accounts = self.execute("DELETE FROM public.account WHERE customer_id = $1", &[&customer.id])?;
        Ok(accounts + self.execute("DELETE FROM public.customer WHERE id = $1", &[&customer.id])?)
    }

    fn on_transaction(&mut self, text: &'static str, more: &[&(dyn ToSql + Sync)]) -> Result<u64, String> {
        let Some((_, id)) = self.any_transaction() else { return Ok(0) };
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&id];
        parameters.extend(more);
        self.execute(text, &parameters)
    }

    fn insert(&mut self, table: &Table, row: &Row) -> Result<u64, String> {
        if !self.statements.contains_key(table.name) {
            let statement = table.prepare_insert(self.client).map_err(|error| error.to_string())?;
            self.statements.insert(table.name, statement);
        }
        self.execute(table.name, &parameters(row))
    }

    /// Executes a statement that is prepared once; `text` names it.
    fn execute(&mut self, text: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, String> {
        let statement = match self.statements.get(text) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.client.prepare(text).map_err(|error| error.to_string())?;
                self.statements.insert(text, statement.clone());
                statement
            }
        };
        self.client.execute(&statement, parameters).map_err(|error| error.to_string())
    }

    /// The next free key; 0 is for customers, 1 for accounts, 2 for transactions.
    fn take(&mut self, table: usize) -> i64 {
        self.next.get_mut(table).map_or(0, |next| {
            *next += 1;
            *next - 1
        })
    }

    fn any_account(&mut self) -> Option<Account> {
        let index = self.rng.gen_range(0..self.accounts.len().max(1));
        self.accounts.get(index).cloned()
    }

    fn any_customer(&mut self) -> Option<(usize, Customer)> {
        let index = self.rng.gen_range(0..self.customers.len().max(1));
        Some((index, self.customers.get(index)?.clone()))
    }

    /// Recent transactions change more often than old ones.
    fn any_transaction(&mut self) -> Option<(usize, i64)> {
        let count = self.transactions.len();
        let from = if pick(&mut self.rng, &[true, true, false]) { count.saturating_sub(500) } else { 0 };
        let index = self.rng.gen_range(from..count.max(from + 1));
        Some((index, *self.transactions.get(index)?))
    }
}
