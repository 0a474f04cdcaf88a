//! A `document` section against the tables that it names: joins that exist, columns that match, fields with their kinds
//! and lineage. No I/O.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::build::Shape;
use super::fields::{Visible, shape};
use super::graph::{Graph, Join, Side, Table};
use super::spec::{JoinSpec, Spec};
use crate::pipeline::{Field, Flow, Problem, Spanned, TableFlow};
use crate::record::{Kind, TableSchema};

/// A checked section.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Root and joins.
    pub graph: Graph,
    /// The document's fields; `None` for the whole root row with the joined rows below it.
    pub shape: Option<Shape>,
    /// The stream's name.
    pub into: Arc<str>,
}

/// Checks `spec` against the raw store's tables; gives the definition and what is known of its documents.
pub fn resolve(spec: &Spec, flow: &Flow) -> Result<(Definition, TableFlow), Vec<Problem>> {
    let mut problems = Vec::new();
    let root = stored(flow, &spec.root, &mut problems);
    let mut graph = Graph { root: table(&spec.root, &root), joins: Vec::new() };
    let mut flows = Vec::new();
    for join in &spec.joins {
        let joined = stored(flow, &join.table, &mut problems);
        let resolved = Resolving { join, joined: &joined, root: &root, graph: &graph, flows: &flows };
        match resolved.resolve() {
            Ok(join) => {
                graph.joins.push(join);
                flows.push(joined);
            }
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let visible = Visible { root: &root, root_name: &spec.root, graph: Some(&graph), flows: &flows };
    let (shape, fields) = match &spec.fields {
        Some(fields) => shape(fields, &visible).map(|(shape, fields)| (Some(shape), fields))?,
        None => (None, whole(&visible)),
    };
    let open = shape.is_none() && (root.open || flows.iter().any(|flow| flow.open));
    let output = TableFlow { fields, open, nested: true, key: root.key.clone() };
    Ok((Definition { graph, shape, into: spec.into.as_str().into() }, output))
}

fn stored(flow: &Flow, name: &Spanned<String>, problems: &mut Vec<Problem>) -> TableFlow {
    let unknown = || TableFlow { open: true, ..TableFlow::default() };
    match flow.check_stored(name) {
        Ok(found) => found.cloned().unwrap_or_else(unknown),
        Err(problem) => {
            problems.push(problem);
            unknown()
        }
    }
}

fn table(name: &Spanned<String>, flow: &TableFlow) -> Table {
    let kind = |column: &String| flow.field(column).map(|f| f.kind.clone()).unwrap_or_default();
    let key = TableSchema::new(flow.key.iter().map(|column| (column.as_str(), kind(column))));
    Table { name: name.value.clone(), key: Arc::new(key) }
}

/// Without `fields`: the root's columns, those of single joined rows below their names, lists as one field each.
fn whole(visible: &Visible<'_>) -> Vec<Field> {
    let mut fields = visible.lineage_of(Side::Root);
    for (i, join) in visible.graph.iter().flat_map(|graph| &graph.joins).enumerate() {
        let below = visible.lineage_of(Side::Join(i));
        if join.many {
            let set = |of: fn(&Field) -> &[String]| -> Vec<String> {
                below.iter().flat_map(|f| of(f).iter().cloned()).collect::<BTreeSet<_>>().into_iter().collect()
            };
            let kind = Kind::List(Box::new(Kind::Map));
            fields.push(Field { name: join.name.clone(), kind, origin: set(|f| &f.origin), tags: set(|f| &f.tags) });
        } else {
            fields.extend(below.into_iter().map(|f| Field { name: format!("{}.{}", join.name, f.name), ..f }));
        }
    }
    fields
}

/// One join while it is checked.
struct Resolving<'a> {
    join: &'a JoinSpec,
    joined: &'a TableFlow,
    root: &'a TableFlow,
    graph: &'a Graph,
    flows: &'a [TableFlow],
}

impl Resolving<'_> {
    fn resolve(&self) -> Result<Join, Vec<Problem>> {
        let mut problems = Vec::new();
        let name = &self.join.name;
        if self.root.field(name).is_some() {
            let message =
                format!("`{}` is also a column of the root table, which expressions see at the top", name.value);
            problems.push(name.problem("join.name", message).help("give the join another name"));
        }
        let (mut on, mut sides) = (Vec::new(), Vec::new());
        for (theirs, ours) in &self.join.on {
            match self.pair(theirs, ours) {
                Ok((side, column)) => {
                    sides.push(side);
                    on.push((theirs.value.clone(), column));
                }
                Err(problem) => problems.push(problem),
            }
        }
        let from = sides.first().copied().unwrap_or(Side::Root);
        if self.join.on.is_empty() {
            let problem = name.problem("join.on", "expected at least one pair under `on`");
            problems
                .push(problem.help("on: { column of the joined table: column of the root, or name.column of a join }"));
        } else if sides.iter().any(|side| *side != from) {
            problems.push(name.problem("join.on", "all pairs of one join have to start from the same row"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let table = table(&self.join.table, self.joined);
        Ok(Join { name: name.value.clone(), table, from, on, many: self.join.many })
    }

    /// Whose column `ours` is.
    fn pair(&self, theirs: &Spanned<String>, ours: &Spanned<String>) -> Result<(Side, String), Problem> {
        let their_kind = self.joined.check_field(theirs)?.map(|f| f.kind.clone()).unwrap_or_default();
        let path = ours.value.strip_prefix('.').unwrap_or(&ours.value);
        let (side, flow, column) = match path.split_once('.') {
            None => (Side::Root, self.root, path),
            Some((join, column)) => {
                let earlier = self.graph.joins.iter().position(|j| j.name == join);
                let found = earlier.and_then(|i| Some((i, self.graph.joins.get(i)?, self.flows.get(i)?)));
                match found {
                    Some((_, join, _)) if join.many => {
                        let message = format!("`{}` is a list (`many`): no further join can start from it", join.name);
                        return Err(ours.problem("join.many", message));
                    }
                    Some((i, _, flow)) => (Side::Join(i), flow, column),
                    None => return Err(self.unknown_join(ours, join)),
                }
            }
        };
        let start = ours.value.len() - column.len();
        let column = Spanned { value: column.to_string(), ..ours.part(start, ours.value.len()).with(String::new()) };
        let our_kind = flow.check_field(&column)?.map(|f| f.kind.clone()).unwrap_or_default();
        if !can_be_equal(&our_kind, &their_kind) {
            let message = format!("{our_kind} and {their_kind} are never equal: this join would find nothing");
            return Err(ours.problem("join.kinds", message));
        }
        Ok((side, column.value))
    }

    fn unknown_join(&self, ours: &Spanned<String>, name: &str) -> Problem {
        let problem = ours.problem("join.unknown", format!("there is no join `{name}` above this one"));
        problem
            .help("a join starts from a column of the root or from `name.column` of a join that stands before it")
            .suggest(name, self.graph.joins.iter().map(|join| join.name.as_str()))
    }
}

/// Whether values of the two kinds may have one identity.
fn can_be_equal(a: &Kind, b: &Kind) -> bool {
    let class = |kind: &Kind| match kind {
        Kind::Any => None,
        Kind::Int64 | Kind::UInt64 | Kind::Decimal { .. } => Some("exact number"),
        Kind::Text | Kind::Uuid | Kind::Interval => Some("text"),
        Kind::Bool => Some("bool"),
        Kind::Float64 => Some("float"),
        Kind::Bytes | Kind::Bits => Some("bytes"),
        Kind::Date => Some("date"),
        Kind::Time(_) => Some("time"),
        Kind::Timestamp(_) => Some("timestamp"),
        Kind::TimestampTz(_) => Some("timestamptz"),
        Kind::Json => Some("json"),
        Kind::List(_) => Some("list"),
        Kind::Map => Some("map"),
    };
    class(a).zip(class(b)).is_none_or(|(a, b)| a == b)
}
