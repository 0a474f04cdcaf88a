//! The stage against the real embedded store.

use std::sync::Arc;

use super::*;
use crate::pipeline::TableFlow;
use crate::record::{Epoch, Position, SourcePosition, Value};
use crate::stages::testing::{plan_behind, table};
use crate::stores::Stores;

/// The tables of a small bank.
fn bank() -> Flow {
    let stored: std::collections::BTreeMap<String, TableFlow> = [
        table("customer", &[("id", "int64"), ("name", "text")]),
        table("account", &[("id", "int64"), ("number", "text"), ("customer_id", "int64")]),
        table(
            "transaction",
            &[
                ("id", "int64"),
                ("account_id", "int64"),
                ("amount", "decimal(12,2)"),
                ("counterparty", "text"),
                ("refund_of", "int64"),
                ("account_number", "text"),
            ],
        ),
    ]
    .into();
    Flow { tables: stored.clone(), stored, store: Some("bank".into()), ..Flow::default() }
}

const SPENDING: &str = "
root: transaction
with:
  account:  { table: account,  on: { id: account_id } }
  customer: { table: customer, on: { id: account.customer_id } }
  refunds:  { table: transaction, on: { refund_of: id }, many: true }
fields:
  amount: .amount
  customer.name: .customer.name
  customer.id: .customer.id
  label: 'upcase(string(.counterparty) ?? \"?\")'
  refunds: { list: refunds, fields: { id: .id, amount: .amount }, order: [-amount], limit: 2 }
  refunded: { sum: refunds.amount }
  big: { count: refunds, where: '(to_float(.amount) ?? 0.0) < -10' }
into: transactions
";

struct Bank {
    store: SharedStore,
    stage: Box<dyn Stage>,
    offset: i64,
    _dir: tempfile::TempDir,
}

impl Bank {
    async fn open(yaml: &str) -> Bank {
        let dir = tempfile::tempdir().unwrap();
        let (mut stage, flow) = plan_behind(make, yaml, bank()).unwrap();
        assert!(!flow.indexes.is_empty());
        let stores = Arc::new(Stores::new(dir.path()));
        let lane = LaneContext {
            pipeline: "test".into(),
            lane: 0,
            lanes: 1,
            data_dir: dir.path().into(),
            stores: stores.clone(),
            shutdown: Default::default(),
            until_end: true,
            state: "state".into(),
            accepted: Default::default(),
            batch: Default::default(),
        };
        stage.open(&lane).await.unwrap();
        Bank { store: stores.get("bank").await.unwrap(), stage, offset: 0, _dir: dir }
    }

    /// What the document stage makes of changes that the raw store takes in one batch: `key: document`, in order.
    async fn put(&mut self, changes: &[Change]) -> Vec<String> {
        let records = self.apply(changes).await;
        self.process(records).await
    }

    /// The records that go on behind the raw store.
    async fn apply(&mut self, changes: &[Change]) -> Vec<Record> {
        let records = changes.iter().map(|change| self.record(change)).collect();
        self.store.apply(records).await.unwrap().records
    }

    async fn process(&mut self, records: Vec<Record>) -> Vec<String> {
        let batch = self.stage.process(Batch { records, ..Batch::default() }).await.unwrap();
        assert_eq!(batch.rejects, []);
        let version = self.store.snapshot().await.unwrap().version();
        batch.records.iter().for_each(|record| assert_eq!((&*record.table, record.version), ("transactions", version)));
        let text = |record: &Record| {
            let key = record.key.get("id").unwrap().to_json();
            record
                .row
                .as_ref()
                .map_or_else(|| format!("{key}: {:?}", record.op), |row| format!("{key}: {}", row.to_json()))
        };
        batch.records.iter().map(text).collect()
    }

    fn record(&mut self, (table, id, row): &Change) -> Record {
        self.offset += 1;
        let topic = Arc::from(*table);
        let position = Position {
            topic,
            epoch: Epoch::default(),
            partition: 0,
            offset: self.offset,
            source: SourcePosition::Unknown,
        };
        let op = if row.is_some() { Op::Update } else { Op::Delete };
        let key = Row::of([("id", Value::Int(*id))]);
        let origin = self.offset as u32;
        Record {
            table: (*table).into(),
            op,
            key,
            row: row.clone(),
            patch: None,
            before: None,
            position,
            version: 1,
            changed_at: None,
            snapshot: Default::default(),
            origin,
        }
    }
}

/// Table, key, and the row or a delete.
type Change = (&'static str, i64, Option<Row>);

fn customer(id: i64, name: &str) -> Change {
    ("customer", id, Some(Row::of([("id", Value::Int(id)), ("name", name.into())])))
}

fn account(id: i64, number: &str, customer: i64) -> Change {
    let row = [("id", Value::Int(id)), ("number", number.into()), ("customer_id", Value::Int(customer))];
    ("account", id, Some(Row::of(row)))
}

fn transaction(id: i64, account: i64, amount: &str, refund_of: Option<i64>) -> Change {
    let row = [
        ("id", Value::Int(id)),
        ("account_id", Value::Int(account)),
        ("amount", Value::Decimal(amount.parse().unwrap())),
        ("counterparty", "shop".into()),
        ("refund_of", refund_of.map_or(Value::Null, Value::Int)),
        ("account_number", Value::text(format!("N{account}"))),
    ];
    ("transaction", id, Some(Row::of(row.map(|(name, value): (&str, Value)| (name, value)))))
}

const NONE: &str = "\"refunds\":[],\"refunded\":0.00,\"big\":0";

#[tokio::test]
async fn a_document_fills_up_in_whatever_order_its_rows_arrive() {
    let mut bank = Bank::open(SPENDING).await;
    let null = r#"{"name":null,"id":null}"#;
    let empty = format!("1: {{\"amount\":-5.00,\"customer\":{null},\"label\":\"SHOP\",{NONE}}}");
    assert_eq!(bank.put(&[transaction(1, 7, "-5.00", None)]).await[0], empty);
    assert_eq!(bank.put(&[customer(3, "Ada")]).await, [] as [String; 0]);
    let full = empty.replace(null, r#"{"name":"Ada","id":3}"#);
    assert_eq!(bank.put(&[account(7, "N7", 3)]).await[0], full);
    assert_eq!(bank.put(&[customer(3, "Eve")]).await, [full.replace("Ada", "Eve")]);
    assert_eq!(bank.put(&[("customer", 3, None)]).await, [empty]);
    assert_eq!(bank.put(&[("transaction", 1, None)]).await, ["1: Delete"]);
    assert_eq!(bank.put(&[("account", 7, None)]).await, [] as [String; 0]);
}

#[tokio::test]
async fn a_child_that_moves_changes_both_parents_even_when_redelivered() {
    let mut bank = Bank::open(SPENDING).await;
    bank.put(&[transaction(1, 7, "-20.00", None), transaction(2, 7, "-30.00", None)]).await;
    let sums = |documents: Vec<String>| -> Vec<String> {
        let sum = |d: &String| d.split(':').next().unwrap().to_string() + " " + d.split("refunded\":").nth(1).unwrap();
        let mut sums: Vec<String> = documents.iter().map(sum).map(|s| s.split(',').next().unwrap().into()).collect();
        sums.sort();
        sums
    };
    let first = bank.put(&[transaction(3, 7, "4.50", Some(1))]).await;
    assert_eq!(sums(first), ["1 4.50", "3 0.00"]);
    let records = bank.apply(&[transaction(3, 7, "4.50", Some(2))]).await;
    // The raw store has taken it, then everything crashed: the re-delivered record finds the parent that it left.
    let again = records.clone();
    assert_eq!(sums(bank.process(records).await), ["1 0.00", "2 4.50", "3 0.00"]);
    let taken = bank.store.apply(again).await.unwrap().records;
    assert_eq!(sums(bank.process(taken).await), ["1 0.00", "2 4.50", "3 0.00"]);
    assert_eq!(bank.put(&[("transaction", 3, None)]).await.len(), 3);
}

#[tokio::test]
async fn lists_are_narrowed_sorted_and_cut() {
    let mut bank = Bank::open(SPENDING).await;
    let refund = |id, amount| transaction(id, 7, amount, Some(1));
    let changes = [refund(2, "1.00"), refund(3, "-11.00"), refund(4, "3.00"), refund(5, "3.00")];
    bank.put(&changes).await;
    let documents = bank.put(&[transaction(1, 7, "-20.00", None)]).await;
    assert!(documents[0].contains(r#""refunds":[{"id":4,"amount":3.00},{"id":5,"amount":3.00}]"#), "{documents:?}");
    assert!(documents[0].ends_with("\"refunded\":-4.00,\"big\":1}"), "{documents:?}");
}

#[tokio::test]
async fn joins_on_other_columns_than_keys_take_the_lowest_key() {
    let yaml = "
root: transaction
with:
  account: { table: account, on: { number: account_number, id: account_id } }
  twin:    { table: account, on: { number: .account_number } }
fields: { account: .account.id, twin: .twin.id, whole: .twin }
into: transactions
";
    let mut bank = Bank::open(yaml).await;
    bank.put(&[account(9, "N7", 3), account(7, "N7", 3), transaction(1, 9, "1.00", None)]).await;
    let whole = |id: i64| format!(r#"{{"id":{id},"number":"N7","customer_id":3}}"#);
    let documents = bank.put(&[transaction(1, 7, "1.00", None)]).await;
    assert_eq!(documents, [format!("1: {{\"account\":7,\"twin\":7,\"whole\":{}}}", whole(7))]);
    let documents = bank.put(&[account(7, "N8", 3)]).await;
    assert_eq!(documents, [format!("1: {{\"account\":null,\"twin\":9,\"whole\":{}}}", whole(9))]);
}

#[tokio::test]
async fn without_fields_the_whole_rows_are_nested() {
    let yaml = "
root: account
with:
  customer:     { table: customer, on: { id: customer_id } }
  transactions: { table: transaction, on: { account_id: id }, many: true }
into: transactions
";
    let mut bank = Bank::open(yaml).await;
    let documents = bank.put(&[account(7, "N7", 3), customer(3, "Ada"), transaction(1, 7, "-5.10", None)]).await;
    let expected = concat!(
        r#"7: {"id":7,"number":"N7","customer_id":3,"customer":{"id":3,"name":"Ada"},"transactions":[{"id":1,"#,
        r#""account_id":7,"amount":-5.10,"counterparty":"shop","refund_of":null,"account_number":"N7"}]}"#
    );
    assert_eq!(documents, [expected]);
}

#[tokio::test]
async fn a_failing_expression_parks_the_document_and_not_the_others() {
    let yaml = "
root: transaction
fields: { n: 'to_int!(.counterparty)', id: .id }
into: transactions
";
    let mut bank = Bank::open(
        yaml.replace(
            "root: transaction",
            "root: transaction\nwith: { a: { table: account, on: { number: account_number } } }",
        )
        .as_str(),
    )
    .await;
    let mut good = transaction(1, 7, "1.00", None);
    good.2.as_mut().unwrap().values_mut()[3] = "12".into();
    let records = bank.apply(&[transaction(2, 7, "1.00", None), good]).await;
    let batch = bank.stage.process(Batch { records, ..Batch::default() }).await.unwrap();
    assert_eq!(batch.records.len(), 1);
    assert_eq!(batch.rejects[0].code, "expression.failed");
    assert_eq!(batch.rejects[0].origin, 1);
    assert!(batch.rejects[0].reason.starts_with("document transactions: field `n`: function call error"));
    assert!(!batch.rejects[0].reason.contains("shop"), "{:?}", batch.rejects);
}

#[test]
fn the_plan_knows_kinds_lineage_and_indexes() {
    let (_, flow) = plan_behind(make, SPENDING, bank()).unwrap();
    let table = &flow.tables["transactions"];
    let fields: Vec<_> = table.fields.iter().map(|f| format!("{} {} {}", f.name, f.kind, f.origin.join("+"))).collect();
    assert_eq!(
        fields,
        [
            "amount decimal(12,2) transaction.amount",
            "customer.name text customer.name",
            "customer.id int64 customer.id",
            "label text transaction.counterparty",
            "refunds map[] transaction.amount+transaction.id",
            "refunded decimal(,2) transaction.amount",
            "big int64 transaction.amount",
        ]
    );
    let index = |table: &str, column: &str| (table.to_string(), column.to_string());
    assert_eq!(table.key, ["id"]);
    assert!(!flow.open);
    let expected = [("account", "customer_id"), ("transaction", "account_id"), ("transaction", "refund_of")];
    assert_eq!(flow.indexes, expected.map(|(t, c)| index(t, c)));
}

#[test]
fn mistakes_are_found_with_places_and_suggestions() {
    let cases = [
        ("root: transaktion", "table.unknown", "transaction"),
        ("{ root: account, with: { c: { table: costumer, on: { id: customer_id } } } }", "table.unknown", "customer"),
        ("{ root: account, with: { c: { table: customer, on: { idd: customer_id } } } }", "field.unknown", "`id`"),
        ("{ root: account, with: { c: { table: customer, on: { id: custmer_id } } } }", "field.unknown", "customer_id"),
        ("{ root: account, with: { c: { table: customer, on: { id: acount.id } } } }", "join.unknown", ""),
        ("{ root: account, with: { c: { table: customer, on: { name: customer_id } } } }", "join.kinds", ""),
        ("{ root: account, with: { number: { table: customer, on: { id: customer_id } } } }", "join.name", "another"),
        ("{ root: account, with: { c: { table: customer, on: {} } } }", "join.on", "on:"),
        ("{ root: account, with: { c: { table: customer } } }", "key.missing", ""),
        (
            "{ root: account, with: { t: { table: transaction, on: { account_id: id }, many: true }, \
              c: { table: customer, on: { id: t.id } } } }",
            "join.many",
            "",
        ),
        ("{ root: account, fields: { n: .nmber } }", "field.unknown", "number"),
        ("{ root: account, fields: { n: 'upcase(.number)' } }", "expression.invalid", "string!"),
        ("{ root: account, fields: { n: '.number == .custmer_id' } }", "field.unknown", "customer_id"),
        ("{ root: account, fields: { n: .number, n.x: .id } }", "field.conflict", ""),
        ("{ root: account, fields: { n: .number.x } }", "field.flat", "parse_json"),
        ("{ root: account, fields: { n: { sum: t.amount } } }", "field.list", ""),
        ("{ root: account, fields: { n: { sum: t, count: t } } }", "field.what", ""),
        ("{ root: account, fields: { n: { list: t, limitt: 3 } } }", "key.unknown", "limit"),
        ("{ root: account, wiht: {} }", "key.unknown", "with"),
    ];
    for (yaml, code, help) in cases {
        let problems = plan_behind(make, yaml, bank()).map(|_| ()).unwrap_err();
        assert_eq!(problems[0].code, code, "{yaml}: {problems:?}");
        assert!(problems[0].help.as_deref().unwrap_or("").contains(help), "{yaml}: {problems:?}");
        assert!(problems[0].span.line > 0, "{yaml}: {problems:?}");
    }
    let without = plan_behind(make, "root: account", Flow { store: None, ..bank() }).map(|_| ()).unwrap_err();
    assert_eq!(without[0].code, "document.no_store");
}
