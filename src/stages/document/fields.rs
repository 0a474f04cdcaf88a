//! The `fields` of a document against what they may see: each becomes a source with a kind and a lineage.

use std::collections::BTreeSet;

use bytestring::ByteString;
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix};

use super::build::{Node, Rows, Shape, Source};
use super::graph::{Graph, Side};
use super::spec::{FieldSpec, Function, What};
use crate::expr::{Access, Expression, Scope};
use crate::pipeline::{Field, Problem, Spanned, TableFlow};
use crate::record::Kind;

/// What the fields of a shape may name: a row, and for documents the joins.
#[derive(Clone, Copy)]
pub struct Visible<'a> {
    /// The row's columns.
    pub root: &'a TableFlow,
    /// The row's table.
    pub root_name: &'a str,
    /// The joins; none inside a list.
    pub graph: Option<&'a Graph>,
    /// The joins' columns.
    pub flows: &'a [TableFlow],
}

/// A source, what its values are, and the stored fields behind it.
struct Made {
    source: Source,
    kind: Kind,
    from: Vec<Field>,
}

type Problems = Vec<Problem>;

/// The shape of `specs`, and its fields with kinds and lineage.
pub fn shape(specs: &[FieldSpec], visible: &Visible<'_>) -> Result<(Shape, Vec<Field>), Problems> {
    let (mut tree, mut kinds, mut fields, mut problems) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let scope = visible.scope();
    for spec in specs {
        match visible.made(&spec.what, &scope) {
            Ok(made) => {
                let names: Vec<&str> = spec.path.split('.').collect();
                let kind = if names.len() == 1 { made.kind.clone() } else { Kind::Map };
                let node = Node::Field(spec.path.value.clone(), Box::new(made.source));
                let known = tree.len();
                match insert(&mut tree, &names, node) {
                    Ok(()) => kinds.extend((tree.len() > known).then_some(kind)),
                    Err(message) => problems.push(spec.path.problem("field.conflict", message)),
                }
                fields.push(field(&spec.path, made.kind, &made.from));
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok((Shape::new(tree, kinds, visible.graph), fields)) } else { Err(problems) }
}

fn insert(tree: &mut Vec<(ByteString, Node)>, names: &[&str], node: Node) -> Result<(), String> {
    let Some((first, rest)) = names.split_first() else { return Ok(()) };
    if first.is_empty() {
        return Err("a path has no empty names".to_string());
    }
    match (tree.iter_mut().find(|(name, _)| *name == *first), rest.is_empty()) {
        (None, true) => tree.push(((*first).into(), node)),
        (None, false) => {
            let mut below = Vec::new();
            insert(&mut below, rest, node)?;
            tree.push(((*first).into(), Node::Nested(below)));
        }
        (Some((_, Node::Nested(below))), false) => insert(below, rest, node)?,
        (Some(_), _) => return Err(format!("`{first}` is a field and has fields below it, or occurs twice")),
    }
    Ok(())
}

fn field(name: &str, kind: Kind, from: &[Field]) -> Field {
    let set = |of: fn(&Field) -> &[String]| -> Vec<String> {
        from.iter().flat_map(|f| of(f).iter().cloned()).collect::<BTreeSet<_>>().into_iter().collect()
    };
    Field { name: name.to_string(), kind, origin: set(|f| &f.origin), tags: set(|f| &f.tags) }
}

impl Visible<'_> {
    /// The columns at `side` with their origin.
    pub fn lineage_of(&self, side: Side) -> Vec<Field> {
        let (flow, table) = match side {
            Side::Root => (Some(self.root), self.root_name),
            Side::Join(i) => {
                let join = self.graph.and_then(|graph| graph.joins.get(i));
                (self.flows.get(i), join.map_or("", |join| join.table.name.as_str()))
            }
        };
        let known = |f: &Field| match f.origin.is_empty() {
            true => Field { origin: vec![format!("{table}.{}", f.name)], ..f.clone() },
            false => f.clone(),
        };
        flow.map_or(&[][..], |flow| &flow.fields).iter().map(known).collect()
    }

    fn scope(&self) -> Scope {
        let mut scope = Scope::of(self.root);
        for (join, flow) in self.graph.iter().flat_map(|graph| &graph.joins).zip(self.flows) {
            let row = Scope::of(flow);
            scope = if join.many { scope.with_rows(&join.name, &row) } else { scope.with_row(&join.name, row) };
        }
        scope
    }

    fn made(&self, what: &What, scope: &Scope) -> Result<Made, Problems> {
        match what {
            What::Expression(text) => match plain_path(text) {
                Some(path) => self.copied(text, &path).map_err(|problem| vec![problem]),
                None => self.computed(text, scope),
            },
            What::List { of, condition, fields, order, limit } => {
                let (join, child) = self.children(of)?;
                let (condition, mut from) = child.condition(condition.as_ref())?;
                let mut problems = Vec::new();
                let sorted = order.iter().filter_map(|column| child.order(column, &mut problems)).collect();
                let item = match fields {
                    None => {
                        from.extend(child.lineage_of(Side::Root));
                        None
                    }
                    Some(fields) => {
                        let (item, fields) = shape(fields, &child)?;
                        from.extend(fields);
                        Some(item)
                    }
                };
                if !problems.is_empty() {
                    return Err(problems);
                }
                let limit = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
                let source = Source::List { rows: Rows::new(join, condition), item, order: sorted, limit };
                Ok(Made { source, kind: Kind::List(Box::new(Kind::Map)), from })
            }
            What::Aggregate { function, of, condition } => self.aggregated(*function, of, condition.as_ref()),
        }
    }

    fn copied(&self, text: &Spanned<String>, path: &[String]) -> Result<Made, Problem> {
        let Some((first, below)) = path.split_first() else {
            return Ok(Made { source: Source::Row(Side::Root), kind: Kind::Map, from: self.lineage_of(Side::Root) });
        };
        let join = self.join(first);
        let (side, flow, path) = match (join, below) {
            (None, _) => (Side::Root, self.root, path),
            (Some((i, true)), []) => {
                let kind = Kind::List(Box::new(Kind::Map));
                return Ok(Made { source: Source::Rows(i), kind, from: self.lineage_of(Side::Join(i)) });
            }
            (Some((i, false)), []) => {
                let side = Side::Join(i);
                return Ok(Made { source: Source::Row(side), kind: Kind::Map, from: self.lineage_of(side) });
            }
            (Some((_, true)), _) => {
                let problem = text.problem("field.list", format!("`{first}` is a list, not one row"));
                return Err(problem.help(format!("write {{ list: {first}, fields: {{ … }} }}, or an aggregate of it")));
            }
            (Some((i, false)), _) => match self.flows.get(i) {
                Some(flow) => (Side::Join(i), flow, below),
                None => (Side::Root, self.root, path),
            },
        };
        let column = path.first().cloned().unwrap_or_default();
        let start = text.value.rfind(&column).unwrap_or(0);
        let place = text.part(start, start + column.len()).with(column.clone());
        let known = flow.check_field(&place).map_err(|problem| self.or_join(problem, side, &column))?;
        let mut kind = known.map(|f| f.kind.clone()).unwrap_or_default();
        if path.len() > 1 {
            if !matches!(kind, Kind::Map | Kind::Any) {
                let problem = text.problem("field.flat", format!("`{column}` is {kind}: there is nothing below it"));
                return Err(problem.help("read json with an expression: parse_json!(.column).name"));
            }
            kind = Kind::Any;
        }
        let from = self.lineage_of(side).into_iter().filter(|f| f.name == column).collect();
        Ok(Made { source: Source::Column { side, path: path.to_vec() }, kind, from })
    }

    /// An unknown column of the root may be a misspelt join.
    fn or_join(&self, problem: Problem, side: Side, name: &str) -> Problem {
        let joins = self.graph.iter().flat_map(|graph| &graph.joins).map(|join| join.name.as_str());
        match side {
            Side::Root if problem.help.is_none() => problem.suggest(name, joins),
            _ => problem,
        }
    }

    fn computed(&self, text: &Spanned<String>, scope: &Scope) -> Result<Made, Problems> {
        let expression = Expression::compile(text, scope, Access::Read)?;
        let kind = expression.kind();
        let from = self.read_by(&expression);
        Ok(Made { source: Source::Expression(expression), kind, from })
    }

    fn read_by(&self, expression: &Expression) -> Vec<Field> {
        let joins = self.graph.map_or(0, |graph| graph.joins.len());
        let of = |side: Side, name: Option<&String>| {
            let fields = self.lineage_of(side).into_iter();
            fields.filter(move |f| name.is_none_or(|name| f.name == *name)).collect::<Vec<_>>()
        };
        let read = |path: &Vec<String>| match path.split_first() {
            None => std::iter::once(Side::Root).chain((0..joins).map(Side::Join)).flat_map(|s| of(s, None)).collect(),
            Some((first, below)) => match self.join(first) {
                Some((i, _)) => of(Side::Join(i), below.first()),
                None => of(Side::Root, Some(first)),
            },
        };
        expression.reads().iter().flat_map(read).collect()
    }

    fn aggregated(
        &self,
        function: Function,
        of: &Spanned<String>,
        condition: Option<&Spanned<String>>,
    ) -> Result<Made, Problems> {
        let (list, column) = match (function, of.value.split_once('.')) {
            (Function::Count, None) => (of.clone(), None),
            (_, Some((list, column))) if function != Function::Count => {
                let at = list.len() + 1;
                let column = of.part(at, of.value.len()).with(column.to_string());
                (of.part(0, list.len()).with(list.to_string()), Some(column))
            }
            (Function::Count, _) => return Err(vec![of.problem("aggregate.of", "expected the name of a list")]),
            _ => return Err(vec![of.problem("aggregate.of", "expected list.column, such as refunds.amount")]),
        };
        let (join, child) = self.children(&list)?;
        let (condition, mut from) = child.condition(condition)?;
        let mut kind = Kind::Int64;
        let mut scale = 0;
        if let Some(column) = &column {
            let known = child.root.check_field(column).map_err(|problem| vec![problem])?;
            kind = known.map(|f| f.kind.clone()).unwrap_or_default();
            from.extend(child.lineage_of(Side::Root).into_iter().filter(|f| f.name == column.value));
        }
        if function == Function::Sum {
            kind = match kind {
                Kind::Decimal { scale: declared, .. } => {
                    scale = declared.unwrap_or(0).max(0);
                    Kind::Decimal { precision: None, scale: declared }
                }
                Kind::Int64 | Kind::UInt64 => Kind::Decimal { precision: None, scale: Some(0) },
                Kind::Float64 | Kind::Any => kind,
                other => {
                    let message =
                        format!("`{}` is {other}, which has no sum", column.map_or(String::new(), |c| c.value));
                    return Err(vec![of.problem("aggregate.type", message)]);
                }
            };
        }
        let column = column.map(|c| c.value).unwrap_or_default();
        let source = Source::Aggregate { function, rows: Rows::new(join, condition), column, scale };
        Ok(Made { source, kind, from })
    }

    /// The join called `name`: its number and whether it is a list.
    fn join(&self, name: &str) -> Option<(usize, bool)> {
        let joins = self.graph.map_or(&[][..], |graph| &graph.joins);
        joins.iter().position(|join| join.name == name).and_then(|i| Some((i, joins.get(i)?.many)))
    }

    /// The list called `name`, and what its items may see.
    fn children(&self, name: &Spanned<String>) -> Result<(usize, Visible<'_>), Problems> {
        let graph = self.graph.map_or(&[][..], |graph| &graph.joins);
        match self.join(name) {
            Some((i, true)) => {
                let found = graph.get(i).zip(self.flows.get(i));
                let child = |(join, flow)| -> (usize, Visible<'_>) {
                    let join: &super::graph::Join = join;
                    (i, Visible { root: flow, root_name: &join.table.name, graph: None, flows: &[] })
                };
                found.map(child).ok_or_else(Vec::new)
            }
            Some((_, false)) => {
                let message = format!("`{}` is one row, not a list", name.value);
                Err(vec![name.problem("field.list", message).help("set `many: true` on the join, or copy its fields")])
            }
            None => {
                let lists = || graph.iter().filter(|join| join.many).map(|join| join.name.as_str());
                let known = lists().collect::<Vec<_>>().join(", ");
                let message = format!("there is no list `{}`; joins with `many: true`: {known}", name.value);
                Err(vec![name.problem("field.list", message).suggest(name, lists())])
            }
        }
    }

    fn condition(&self, text: Option<&Spanned<String>>) -> Result<(Option<Expression>, Vec<Field>), Problems> {
        let Some(text) = text else { return Ok((None, Vec::new())) };
        let condition = Expression::condition(text, &self.scope())?;
        let from = self.read_by(&condition);
        Ok((Some(condition), from))
    }

    fn order(&self, column: &Spanned<String>, problems: &mut Problems) -> Option<(String, bool)> {
        let (name, descending) = match column.value.strip_prefix('-') {
            Some(name) => (name, true),
            None => (column.value.as_str(), false),
        };
        problems.extend(self.root.check_field(&column.with(name.to_string())).err());
        Some((name.to_string(), descending))
    }
}

/// The names of a text that is nothing but a path, such as `.customer.name`; `.` is the whole row.
fn plain_path(text: &str) -> Option<Vec<String>> {
    let path: OwnedTargetPath = text.trim().strip_prefix('.').and_then(|_| text.trim().parse().ok())?;
    let name = |segment: &OwnedSegment| match segment {
        OwnedSegment::Field(name) => Some(name.to_string()),
        OwnedSegment::Index(_) => None,
    };
    let names = path.path.segments.iter().map(name).collect();
    if path.prefix == PathPrefix::Event { names } else { None }
}
