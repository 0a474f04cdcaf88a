//! What must stand in the targets, said by PostgreSQL itself: one query per table and one for all documents.

use std::collections::BTreeMap;

use super::canonical::{self, Leaves};

/// Keywords and categories of `tests/e2e/rules`, as SQL says them.
const CATEGORY: &str = "CASE
    WHEN t.counterparty || ' ' || t.description LIKE '%REWE%' THEN 'groceries'
    WHEN t.counterparty || ' ' || t.description LIKE '%GEHALT%' THEN 'salary'
    WHEN t.counterparty || ' ' || t.description LIKE '%MIETE%' THEN 'rent'
    ELSE 'other' END";

/// Every row of a table as JSON, by key.
pub fn rows(client: &mut postgres::Client, table: &str) -> BTreeMap<String, Leaves> {
    let columns = client
        .query(
            "SELECT column_name::text, CASE WHEN numeric_scale IS NULL AND data_type = 'numeric' THEN 'unscaled' ELSE data_type::text END FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name = $1 ORDER BY ordinal_position",
            &[&table],
        )
        .unwrap();
    let fields: Vec<String> = columns
        .iter()
        .map(|c| (c.get::<_, String>(0), c.get::<_, String>(1)))
        .map(|(name, kind)| field(&name, &kind))
        .collect();
    let sql = format!("SELECT id::text, json_build_object({})::text FROM {table}", fields.join(", "));
    collect(client, &sql)
}

/// Every business document of `spending.yaml` as JSON, by key.
pub fn documents(client: &mut postgres::Client) -> BTreeMap<String, Leaves> {
    let sql = format!(
        "SELECT t.id::text, json_build_object(
            'booked_at', to_char(t.booked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
            'amount', t.amount, 'currency', t.currency, 'counterparty', t.counterparty,
            'account', json_build_object('iban', a.iban),
            'customer', json_build_object('id', c.id, 'name', c.last_name, 'city', c.city),
            'category', json_build_object('name', {CATEGORY}))::text
         FROM transaction t
         LEFT JOIN account a ON a.id = t.account_id
         LEFT JOIN customer c ON c.id = a.customer_id"
    );
    collect(client, &sql)
}

/// A JSON field that spells its value as `raw dump` does.
fn field(name: &str, kind: &str) -> String {
    let value = match kind {
        "timestamp with time zone" => {
            format!("to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        }
        "timestamp without time zone" => format!("to_char({name}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"),
        // Debezium strips the trailing zeros of a numeric that has no scale of its own.
        "unscaled" => format!("trim_scale({name})"),
        "bytea" => format!("translate(encode({name}, 'base64'), E'\\n', '')"),
        _ => name.to_string(),
    };
    format!("'{name}', {value}")
}

fn collect(client: &mut postgres::Client, sql: &str) -> BTreeMap<String, Leaves> {
    let rows = client.query(sql, &[]).unwrap();
    rows.iter().map(|row| (row.get::<_, String>(0), canonical::from_json(&row.get::<_, String>(1)))).collect()
}
