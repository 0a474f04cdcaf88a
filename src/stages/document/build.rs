//! Rows to a document: the pure part, without any I/O.
//!
//! Invariants: a plain path copies its value exactly; an expression sees the root row's fields at the top and joined rows
//! under their names (null when there is none, a list for `many`); the same rows give the same document.

use std::sync::Arc;

use bytestring::ByteString;

use super::fetch::Joined;
use super::graph::{Graph, Side};
use super::order::{Sum, compare};
use super::spec::Function;
use crate::expr::{Evaluator, Expression, Touched, VrlValue};
use crate::record::{Column, Kind, Row, TableSchema, Value};

/// Why a document cannot be built from its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable class.
    pub code: &'static str,
    /// Field and reason, without values.
    pub reason: String,
}

/// Where a field's value comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A column, or what lies below it in a map.
    Column {
        /// Whose column.
        side: Side,
        /// The column and names below it.
        path: Vec<String>,
    },
    /// A whole row as a map; null when there is none.
    Row(Side),
    /// Whole rows of a join as a list of maps.
    Rows(usize),
    /// An expression over the root and its joins.
    Expression(Expression),
    /// A child list.
    List {
        /// Whose rows.
        rows: Rows,
        /// Each item; the whole row where nothing is said.
        item: Option<Shape>,
        /// Columns to sort by, each with “descending”. Nulls stand last; equal rows keep the order of their keys.
        order: Vec<(String, bool)>,
        /// Most items.
        limit: usize,
    },
    /// A number over child rows.
    Aggregate {
        /// Which.
        function: Function,
        /// Whose rows.
        rows: Rows,
        /// The column; unused for `count`.
        column: String,
        /// Digits after the point of an empty sum.
        scale: i32,
    },
}

/// Rows of a join, narrowed by a condition over each.
#[derive(Debug, Clone)]
pub struct Rows {
    join: usize,
    condition: Option<(Expression, Touched)>,
}

impl Rows {
    /// The rows of the join with number `join` for which `condition` holds.
    pub fn new(join: usize, condition: Option<Expression>) -> Self {
        Rows { join, condition: condition.map(|c| (c.clone(), Touched::by([&c]))) }
    }
}

/// Fields in a tree of names.
#[derive(Debug, Clone)]
pub struct Shape {
    schema: Arc<TableSchema>,
    fields: Vec<(ByteString, Node)>,
    view: ExpressionView,
}

/// A field, or names below it.
#[derive(Debug, Clone)]
pub enum Node {
    /// A field: its whole path, for errors, and its source.
    Field(String, Box<Source>),
    /// Names below.
    Nested(Vec<(ByteString, Node)>),
}

/// What the expressions of a shape see of the root and of each join.
#[derive(Debug, Clone)]
struct ExpressionView {
    root: Touched,
    joins: Vec<(String, usize, bool, Touched)>,
}

impl Shape {
    /// A shape from its tree and the kinds of its fields at the top; `graph` names the joins that expressions may read.
    pub fn new(fields: Vec<(ByteString, Node)>, kinds: Vec<Kind>, graph: Option<&Graph>) -> Self {
        let columns = fields.iter().zip(kinds).map(|((name, _), kind)| Column { name: (&**name).into(), kind });
        let schema = Arc::new(TableSchema { columns: columns.collect() });
        let mut expressions = Vec::new();
        collect(&fields, &mut expressions);
        let joins = graph.map_or(&[][..], |graph| &graph.joins).iter().enumerate();
        let joins = joins.filter_map(|(i, join)| {
            let touched = Touched::below(&join.name, expressions.iter().copied())?;
            Some((join.name.clone(), i, join.many, touched))
        });
        let view = ExpressionView { joins: joins.collect(), root: Touched::by(expressions.iter().copied()) };
        Shape { schema, fields, view }
    }
}

fn collect<'a>(fields: &'a [(ByteString, Node)], into: &mut Vec<&'a Expression>) {
    for (_, node) in fields {
        match node {
            Node::Field(_, source) => into.extend(match &**source {
                Source::Expression(expression) => Some(expression),
                _ => None,
            }),
            Node::Nested(fields) => collect(fields, into),
        }
    }
}

/// Builds documents; one per lane, for what it keeps between them.
#[derive(Debug, Default)]
pub struct Builder {
    evaluator: Evaluator,
    /// Column names of rows that become maps, by their schema.
    names: Vec<(Arc<TableSchema>, Vec<ByteString>)>,
    /// Schemas of whole documents, by the root row's.
    whole: Vec<(Arc<TableSchema>, Arc<TableSchema>)>,
}

/// Schemas that a lane remembers; more mean that the source's tables change all the time.
const MAX_SCHEMAS: usize = 256;

impl Builder {
    /// The document of `shape` over `joined`.
    pub fn document(&mut self, shape: &Shape, joined: Joined<'_>) -> Result<Row, Failure> {
        let mut target = None;
        let values = shape.fields.iter().map(|(_, node)| self.node(shape, node, joined, &mut target));
        Ok(Row::new(shape.schema.clone(), values.collect::<Result<_, _>>()?))
    }

    /// The whole root row, with the joined rows below it.
    pub fn whole(&mut self, graph: &Graph, joined: Joined<'_>) -> Row {
        let mut values = joined.root.values().to_vec();
        for (i, join) in graph.joins.iter().enumerate() {
            let mut rows = joined.rows(i).iter().map(|row| self.map(row));
            let value = if join.many { Value::List(rows.collect()) } else { rows.next().unwrap_or_default() };
            values.push(value);
        }
        Row::new(self.whole_schema(graph, joined.root.schema()), values)
    }

    fn whole_schema(&mut self, graph: &Graph, root: &Arc<TableSchema>) -> Arc<TableSchema> {
        if let Some((_, schema)) = self.whole.iter().find(|(known, _)| Arc::ptr_eq(known, root)) {
            return schema.clone();
        }
        let mut columns = root.columns.clone();
        columns.extend(graph.joins.iter().map(|join| {
            let kind = if join.many { Kind::List(Box::new(Kind::Map)) } else { Kind::Map };
            Column { name: join.name.as_str().into(), kind }
        }));
        let schema = Arc::new(TableSchema { columns });
        if self.whole.len() >= MAX_SCHEMAS {
            self.whole.clear();
        }
        self.whole.push((root.clone(), schema.clone()));
        schema
    }

    fn node(
        &mut self,
        shape: &Shape,
        node: &Node,
        joined: Joined<'_>,
        target: &mut Option<VrlValue>,
    ) -> Result<Value, Failure> {
        match node {
            Node::Field(path, source) => self.source(shape, path, source, joined, target),
            Node::Nested(fields) => {
                let field =
                    |(name, node): &(ByteString, Node)| Ok((name.clone(), self.node(shape, node, joined, target)?));
                Ok(Value::Map(fields.iter().map(field).collect::<Result<_, _>>()?))
            }
        }
    }

    fn source(
        &mut self,
        shape: &Shape,
        path: &str,
        source: &Source,
        joined: Joined<'_>,
        target: &mut Option<VrlValue>,
    ) -> Result<Value, Failure> {
        Ok(match source {
            Source::Column { side, path } => column(joined.row(*side), path),
            Source::Row(side) => joined.row(*side).map_or(Value::Null, |row| self.map(row)),
            Source::Rows(join) => Value::List(joined.rows(*join).iter().map(|row| self.map(row)).collect()),
            Source::Expression(expression) => {
                let value = self.expression(shape, expression, joined, target);
                value.map_err(|reason| failed("expression.failed", path, reason))?
            }
            Source::List { rows, item, order, limit } => {
                let mut rows = self.rows(rows, joined, path)?;
                rows.sort_by(|a, b| compare_rows(a, b, order));
                let rows = rows.into_iter().take(*limit);
                let item = |row: &Row| match item {
                    Some(shape) => self.item(shape, row),
                    None => Ok(self.map(row)),
                };
                Value::List(rows.map(item).collect::<Result<_, _>>()?)
            }
            Source::Aggregate { function, rows, column, scale } => {
                let rows = self.rows(rows, joined, path)?;
                let value = aggregate(*function, &rows, column, *scale);
                value.map_err(|found| failed("aggregate.type", path, format!("expected numbers, found {found}")))?
            }
        })
    }

    fn item(&mut self, shape: &Shape, row: &Row) -> Result<Value, Failure> {
        let (mut target, joined) = (None, Joined::alone(row));
        let field =
            |(name, node): &(ByteString, Node)| Ok((name.clone(), self.node(shape, node, joined, &mut target)?));
        Ok(Value::Map(shape.fields.iter().map(field).collect::<Result<_, _>>()?))
    }

    fn rows<'a>(&mut self, rows: &Rows, joined: Joined<'a>, path: &str) -> Result<Vec<&'a Row>, Failure> {
        let all = joined.rows(rows.join).iter();
        let Some((condition, touched)) = &rows.condition else { return Ok(all.collect()) };
        let mut holds = |row: &Row| self.evaluator.holds(condition, &mut touched.target(row)?);
        let kept = all.map(|row| Ok(holds(row)?.then_some(row))).filter_map(Result::transpose);
        kept.collect::<Result<_, String>>().map_err(|reason| failed("expression.failed", path, reason))
    }

    fn expression(
        &mut self,
        shape: &Shape,
        expression: &Expression,
        joined: Joined<'_>,
        target: &mut Option<VrlValue>,
    ) -> Result<Value, String> {
        let target = match target {
            Some(target) => target,
            None => target.insert(shape.view.target(joined)?),
        };
        self.evaluator.eval(expression, target).map(crate::expr::from_vrl)
    }

    fn map(&mut self, row: &Row) -> Value {
        let schema = row.schema();
        let known = self.names.iter().position(|(known, _)| Arc::ptr_eq(known, schema));
        let known = known.unwrap_or_else(|| {
            if self.names.len() >= MAX_SCHEMAS {
                self.names.clear();
            }
            let names = schema.columns.iter().map(|c| ByteString::from(&*c.name)).collect();
            self.names.push((schema.clone(), names));
            self.names.len() - 1
        });
        let names = self.names.get(known).map_or(&[][..], |(_, names)| names);
        Value::Map(names.iter().cloned().zip(row.values().iter().cloned()).collect())
    }
}

impl ExpressionView {
    fn target(&self, joined: Joined<'_>) -> Result<VrlValue, String> {
        let mut object = self.root.object(joined.root)?;
        for (name, join, many, touched) in &self.joins {
            let mut rows = joined.rows(*join).iter().map(|row| touched.target(row));
            let value = match many {
                true => VrlValue::Array(rows.collect::<Result<_, _>>()?),
                false => rows.next().transpose()?.unwrap_or(VrlValue::Null),
            };
            object.insert(name.as_str().into(), value);
        }
        Ok(VrlValue::Object(object))
    }
}

fn failed(code: &'static str, path: &str, reason: impl std::fmt::Display) -> Failure {
    Failure { code, reason: format!("field `{path}`: {reason}") }
}

fn column(row: Option<&Row>, path: &[String]) -> Value {
    let Some((first, below)) = path.split_first() else { return Value::Null };
    let value = row.and_then(|row| row.get(first));
    let found = below.iter().try_fold(value, |value, name| match value {
        Some(Value::Map(entries)) => Some(entries.iter().find(|(n, _)| **n == **name).map(|(_, value)| value)),
        _ => None,
    });
    found.flatten().cloned().unwrap_or_default()
}

fn compare_rows(a: &Row, b: &Row, order: &[(String, bool)]) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let by = |(column, descending): &(String, bool)| {
        let present = |value: &&Value| !value.is_null();
        match (a.get(column).filter(present), b.get(column).filter(present)) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) if *descending => compare(b, a),
            (Some(a), Some(b)) => compare(a, b),
        }
    };
    order.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn aggregate(function: Function, rows: &[&Row], column: &str, scale: i32) -> Result<Value, &'static str> {
    let mut values = rows.iter().filter_map(|row| row.get(column)).filter(|value| !value.is_null());
    Ok(match function {
        Function::Count => Value::Int(i64::try_from(rows.len()).unwrap_or(i64::MAX)),
        Function::Min => values.min_by(|a, b| compare(a, b)).cloned().unwrap_or_default(),
        Function::Max => values.max_by(|a, b| compare(a, b)).cloned().unwrap_or_default(),
        Function::Sum => {
            let mut sum = Sum::zero(scale);
            values.try_for_each(|value| sum.add(value))?;
            sum.finish()?
        }
    })
}
