//! `filter`: keeps the rows for which a condition holds.
//!
//! ```yaml
//! - filter: '.status == "booked"'
//! - filter: { table: transaction, where: '.status == "booked"', drop: false }
//! ```
//!
//! A row that does not (or no longer does) match may have matched before, so it is passed on as a delete: whatever
//! stands downstream forgets it. `drop: true` drops it instead, for streams whose rows never change. Deletes, truncates
//! and, with `table`, other tables pass. Null counts as false.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::error::Result;
use crate::expr::{Evaluator, Expression, Scope, Touched};
use crate::pipeline::{Flow, Problem, Section, Spanned};
use crate::record::{Batch, Op, Record};
use crate::stage::Stage;

/// The stage.
pub struct Filter {
    table: Option<Spanned<String>>,
    condition: Spanned<String>,
    drop: bool,
    by_table: BTreeMap<String, Condition>,
    otherwise: Option<Condition>,
    evaluator: Evaluator,
}

struct Condition {
    expression: Expression,
    touched: Touched,
}

/// Reads the section.
pub fn make(section: &mut Section<'_>) -> Box<dyn Stage> {
    let condition = section.text_or_self("where");
    Box::new(Filter {
        table: section.text("table"),
        condition,
        drop: section.flag("drop", false),
        by_table: BTreeMap::new(),
        otherwise: None,
        evaluator: Evaluator::default(),
    })
}

#[async_trait]
impl Stage for Filter {
    fn plan(&mut self, input: Flow) -> Result<Flow, Vec<Problem>> {
        let compile = |scope: &Scope| -> Result<Condition, Vec<Problem>> {
            let expression = Expression::condition(&self.condition, scope)?;
            Ok(Condition { touched: Touched::by([&expression]), expression })
        };
        for (name, flow) in
            input.tables.iter().filter(|(name, _)| self.table.as_ref().is_none_or(|t| t.value == **name))
        {
            self.by_table.insert(name.clone(), compile(&Scope::of(flow))?);
        }
        match &self.table {
            None if input.open => self.otherwise = Some(compile(&Scope::unknown_row())?),
            Some(table) if !self.by_table.contains_key(&table.value) => {
                input.check_table(table).map_err(|problem| vec![problem])?;
                self.by_table.insert(table.value.clone(), compile(&Scope::unknown_row())?);
            }
            _ => {}
        }
        Ok(input)
    }

    async fn process(&mut self, mut batch: Batch) -> Result<Batch> {
        let records = std::mem::take(&mut batch.records);
        batch.records.reserve(records.len());
        for record in records {
            match self.holds(&record) {
                Ok(true) => batch.records.push(record),
                Ok(false) if self.drop => {}
                Ok(false) => batch.records.push(Record { op: Op::Delete, row: None, before: None, ..record }),
                Err(reason) => batch.reject(&record, "expression.failed", format!("filter: {reason}")),
            }
        }
        Ok(batch)
    }
}

impl Filter {
    fn holds(&mut self, record: &Record) -> Result<bool, String> {
        let Some(row) = &record.row else { return Ok(true) };
        let Some(condition) = self.by_table.get(&*record.table).or(self.otherwise.as_ref()) else { return Ok(true) };
        let mut target = condition.touched.target(row)?;
        self.evaluator.holds(&condition.expression, &mut target)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{plan, record};
    use super::*;
    use crate::record::{Row, Value};

    async fn run(stage: &mut dyn Stage, rows: &[(&str, Row)]) -> Batch {
        let records = rows.iter().map(|(table, row)| record(table, row.clone())).collect();
        stage.process(Batch { records, ..Batch::default() }).await.unwrap()
    }

    fn row(id: i64, status: &str) -> Row {
        Row::of([("id", Value::Int(id)), ("status", status.into())])
    }

    #[tokio::test]
    async fn a_row_that_falls_out_is_deleted_downstream() {
        let (mut stage, _) = plan(make, "'.status == \"booked\"'").unwrap();
        let batch = run(&mut *stage, &[("t", row(1, "booked")), ("t", row(2, "pending"))]).await;
        assert_eq!(batch.records.iter().map(|r| r.op).collect::<Vec<_>>(), [Op::Read, Op::Delete]);
        assert_eq!(batch.records[1].row, None);
    }

    #[tokio::test]
    async fn drop_drops_and_other_tables_pass() {
        let (mut stage, _) = plan(make, "{ table: t, where: '.status == \"booked\"', drop: true }").unwrap();
        let batch = run(&mut *stage, &[("t", row(2, "pending")), ("u", row(3, "pending"))]).await;
        assert_eq!(batch.records.len(), 1);
        assert_eq!(&*batch.records[0].table, "u");
    }

    #[tokio::test]
    async fn a_failing_condition_parks_the_record_without_its_values() {
        let (mut stage, _) = plan(make, "'to_int!(.status) > 3'").unwrap();
        let batch = run(&mut *stage, &[("t", row(1, "DE89"))]).await;
        assert_eq!(batch.records, []);
        assert_eq!(batch.rejects[0].code, "expression.failed");
        assert!(!batch.rejects[0].reason.contains("DE89"), "{:?}", batch.rejects);
    }

    #[test]
    fn conditions_are_checked_against_the_tables() {
        let code = |yaml: &str| plan(make, yaml).map(|_| ()).unwrap_err()[0].code;
        assert_eq!(code("'.stauts == \"booked\"'"), "field.unknown");
        assert_eq!(code("{ table: tt, where: 'true' }"), "table.unknown");
        assert_eq!(code("'.id'"), "expression.condition");
        assert_eq!(code("{ wher: 'true' }"), "key.missing");
    }
}
