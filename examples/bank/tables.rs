//! The three tables, and how rows get into them. A row is a list of texts in PostgreSQL's input syntax, one for each
//! column; PostgreSQL itself turns them into numbers, times and arrays. So COPY and INSERT share one form of a row.
//!
//! There are no foreign keys: keys change, accounts move from one customer to another, customers leave while their
//! transactions stay.

use std::io::Write;

use postgres::types::{ToSql, Type};
use postgres::{Client, Statement, Transaction};

/// One value in PostgreSQL's input syntax; `None` is NULL.
pub type Cell = Option<String>;
/// The values of one row, in the order of the table's columns.
pub type Row = Vec<Cell>;

/// A table of the bank.
pub struct Table {
    /// Its name in the schema `public`.
    pub name: &'static str,
    /// Name, type and constraint of each column; the first one is the primary key.
    columns: &'static [(&'static str, &'static str, &'static str)],
}

/// Who has accounts.
pub const CUSTOMER: Table = Table {
    name: "customer",
    columns: &[
        ("id", "bigint", "PRIMARY KEY"),
        ("external_id", "uuid", "NOT NULL"),
        ("first_name", "text", "NOT NULL"),
        ("last_name", "text", "NOT NULL"),
        ("birth_date", "date", "NOT NULL"),
        ("email", "varchar(120)", ""),
        ("phone", "varchar(32)", ""),
        ("street", "text", "NOT NULL"),
        ("house_number", "varchar(10)", "NOT NULL"),
        ("postal_code", "varchar(12)", "NOT NULL"),
        ("city", "text", "NOT NULL"),
        ("country", "char(2)", "NOT NULL"),
        ("tax_id", "varchar(20)", ""),
        ("segment", "varchar(16)", "NOT NULL"),
        ("risk_score", "int", ""),
        ("yearly_income", "numeric", ""),
        ("marketing_consent", "boolean", "NOT NULL"),
        ("tags", "text[]", "NOT NULL"),
        ("preferences", "jsonb", "NOT NULL"),
        // Long enough in some rows to be stored out of line: Debezium then leaves it out of updates that do not touch it.
        ("advisor_notes", "text", ""),
        ("created_at", "timestamp", "NOT NULL"),
        ("updated_at", "timestamptz", "NOT NULL"),
    ],
};

/// What customers have.
pub const ACCOUNT: Table = Table {
    name: "account",
    columns: &[
        ("id", "bigint", "PRIMARY KEY"),
        ("customer_id", "bigint", "NOT NULL"),
        ("iban", "varchar(34)", "NOT NULL"),
        ("bic", "varchar(11)", "NOT NULL"),
        ("product", "text", "NOT NULL"),
        ("currency", "char(3)", "NOT NULL"),
        ("overdraft_limit", "numeric(18,2)", "NOT NULL"),
        ("interest_rate", "numeric", "NOT NULL"),
        ("daily_card_limit", "int", ""),
        ("joint", "boolean", "NOT NULL"),
        ("status", "varchar(12)", "NOT NULL"),
        ("opened", "date", "NOT NULL"),
        ("closed", "date", ""),
        ("updated_at", "timestamptz", "NOT NULL"),
    ],
};

/// What happens on accounts.
pub const TRANSACTION: Table = Table {
    name: "transaction",
    columns: &[
        ("id", "bigint", "PRIMARY KEY"),
        ("account_id", "bigint", "NOT NULL"),
        ("kind", "varchar(16)", "NOT NULL"),
        ("status", "varchar(8)", "NOT NULL"),
        ("booked_at", "timestamptz", "NOT NULL"),
        ("value_date", "date", "NOT NULL"),
        ("amount", "numeric(18,2)", "NOT NULL"),
        ("currency", "char(3)", "NOT NULL"),
        ("original_amount", "numeric", ""),
        ("original_currency", "char(3)", ""),
        ("exchange_rate", "numeric", ""),
        ("counterparty", "text", "NOT NULL"),
        ("counterparty_iban", "varchar(34)", ""),
        ("description", "text", "NOT NULL"),
        ("mcc", "int", ""),
        ("card", "text", ""),
        ("contactless", "boolean", ""),
        ("reference", "uuid", "NOT NULL"),
        ("details", "jsonb", ""),
        ("cryptogram", "bytea", ""),
        ("entered_at", "timestamp", "NOT NULL"),
    ],
};

impl Table {
    /// The statement that makes the table unless it exists.
    pub fn create(&self) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|(name, kind, rest)| format!("  {name} {kind} {rest}")).collect();
        format!("CREATE TABLE IF NOT EXISTS public.{} (\n{}\n)", self.name, columns.join(",\n"))
    }

    /// Writes rows by COPY; `rows` is asked for one at a time, so that a large bank needs no large memory.
    pub fn copy(&self, client: &mut Transaction<'_>, rows: impl Iterator<Item = Row>) -> Result<u64, String> {
        let failed = |error: &dyn std::fmt::Display| format!("could not copy into {}: {error}", self.name);
        let mut writer = client.copy_in(&format!("COPY public.{} FROM STDIN", self.name)).map_err(|e| failed(&e))?;
        let mut line = String::new();
        for row in rows {
            line.clear();
            for (index, cell) in row.iter().enumerate() {
                if index > 0 {
                    line.push('\t');
                }
                escape(&mut line, cell.as_deref());
            }
            line.push('\n');
            writer.write_all(line.as_bytes()).map_err(|e| failed(&e))?;
        }
        writer.finish().map_err(|e| failed(&e))
    }

    /// Prepares the insertion of one row of texts.
    pub fn prepare_insert(&self, client: &mut Client) -> Result<Statement, postgres::Error> {
        let casts: Vec<String> =
            self.columns.iter().enumerate().map(|(index, (_, kind, _))| format!("${}::{kind}", index + 1)).collect();
        let text = format!("INSERT INTO public.{} VALUES ({})", self.name, casts.join(", "));
        client.prepare_typed(&text, &vec![Type::TEXT; self.columns.len()])
    }
}

/// The cells of a row as parameters of a statement.
pub fn parameters(row: &[Cell]) -> Vec<&(dyn ToSql + Sync)> {
    row.iter().map(|cell| cell as &(dyn ToSql + Sync)).collect()
}

/// A cell that is not NULL.
pub fn cell(value: impl ToString) -> Cell {
    Some(value.to_string())
}

/// COPY's text format: the four signs that it gives a meaning to are escaped, NULL is `\N`.
fn escape(line: &mut String, cell: Option<&str>) {
    let Some(text) = cell else { return line.push_str("\\N") };
    for sign in text.chars() {
        match sign {
            '\\' => line.push_str("\\\\"),
            '\t' => line.push_str("\\t"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            other => line.push(other),
        }
    }
}
