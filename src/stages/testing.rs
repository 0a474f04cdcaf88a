//! What the unit tests of stages share: a small bank's flow, stages from YAML, records.

use crate::pipeline::{Field, Flow, Problem, Section, TableFlow, parse};
use crate::record::{Epoch, Op, Position, Record, Row, SourcePosition};
use crate::stage::{Stage, StageFactory};

/// A table's flow from `name: kind` pairs; the first is the key.
pub fn table(name: &str, columns: &[(&str, &str)]) -> (String, TableFlow) {
    let field = |(column, kind): &(&str, &str)| Field {
        name: (*column).into(),
        kind: kind.parse().unwrap(),
        origin: vec![format!("{name}.{column}")],
        tags: Vec::new(),
    };
    let fields: Vec<Field> = columns.iter().map(field).collect();
    let key = fields.first().map(|f| f.name.clone()).into_iter().collect();
    (name.to_string(), TableFlow { fields, open: false, nested: false, key })
}

/// A closed flow of two tables.
pub fn flow() -> Flow {
    let columns = [("id", "int64"), ("status", "text"), ("amount", "decimal(12,2)"), ("note", "text")];
    Flow { tables: [table("t", &columns), table("u", &columns)].into(), ..Flow::default() }
}

/// The stage that `yaml` describes, planned behind [`flow`], and what flows out of it.
pub fn plan(make: StageFactory, yaml: &str) -> Result<(Box<dyn Stage>, Flow), Vec<Problem>> {
    plan_behind(make, yaml, flow())
}

/// The stage that `yaml` describes, planned behind `input`.
pub fn plan_behind(make: StageFactory, yaml: &str, input: Flow) -> Result<(Box<dyn Stage>, Flow), Vec<Problem>> {
    let node = parse(yaml)?;
    let mut section = Section::new(&node);
    let mut stage = make(&mut section);
    let problems = section.finish();
    if !problems.is_empty() {
        return Err(problems);
    }
    let output = stage.plan(input)?;
    Ok((stage, output))
}

/// A record of `row`, whose first column is the key.
pub fn record(table: &str, row: Row) -> Record {
    let key = row.iter().next().map(|(name, value)| (name.clone(), value.clone()));
    Record {
        table: table.into(),
        op: Op::Read,
        key: Row::of(key),
        row: Some(row),
        patch: None,
        before: None,
        position: Position {
            topic: "t".into(),
            epoch: Epoch::default(),
            partition: 0,
            offset: 0,
            source: SourcePosition::Unknown,
        },
        version: 1,
        changed_at: None,
        snapshot: Default::default(),
        origin: 0,
    }
}
