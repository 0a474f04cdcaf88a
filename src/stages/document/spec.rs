//! The `document` section as it is written: names and places, nothing checked against tables yet.

use crate::pipeline::{NodeKind, Section, Spanned};

/// A whole section.
pub struct Spec {
    pub root: Spanned<String>,
    pub joins: Vec<JoinSpec>,
    /// `None`: the whole root row with the joined rows below it.
    pub fields: Option<Vec<FieldSpec>>,
    pub into: Spanned<String>,
}

/// `name: { table, on: { their column: our path }, many }`.
pub struct JoinSpec {
    pub name: Spanned<String>,
    pub table: Spanned<String>,
    pub on: Vec<(Spanned<String>, Spanned<String>)>,
    pub many: bool,
}

/// `path: what`.
pub struct FieldSpec {
    pub path: Spanned<String>,
    pub what: What,
}

/// What a field is made of.
pub enum What {
    /// A plain path or a VRL expression.
    Expression(Spanned<String>),
    /// `{ list: refunds, … }`
    List {
        of: Spanned<String>,
        condition: Option<Spanned<String>>,
        fields: Option<Vec<FieldSpec>>,
        order: Vec<Spanned<String>>,
        limit: Option<u64>,
    },
    /// `{ sum: refunds.amount, … }`
    Aggregate { function: Function, of: Spanned<String>, condition: Option<Spanned<String>> },
}

/// What may be computed over a list of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// How many rows.
    Count,
    /// Exact sum of a column; 0 without rows.
    Sum,
    /// Smallest value that is not null; null without one.
    Min,
    /// Largest value that is not null; null without one.
    Max,
}

/// Every aggregate by its key in YAML.
const FUNCTIONS: [(&str, Function); 4] =
    [("count", Function::Count), ("sum", Function::Sum), ("min", Function::Min), ("max", Function::Max)];

impl Spec {
    /// Reads the section.
    pub fn read(section: &mut Section<'_>) -> Self {
        let root = section.required_text("root");
        let joins = section.entries("with");
        let joins = joins.into_iter().map(|(name, node)| section.nested(node, |s| read_join(name, s))).collect();
        let fields = section.node("fields").map(|_| read_fields(section, "fields"));
        let into = section.text("into").unwrap_or_else(|| root.clone());
        Spec { root, joins, fields, into }
    }
}

fn read_join(name: Spanned<String>, section: &mut Section<'_>) -> JoinSpec {
    let table = section.required_text("table");
    let _ = section.required_node("on");
    let on = section.entries("on");
    let on = on.into_iter().filter_map(|(column, path)| Some((column, section.scalar(path)?))).collect();
    JoinSpec { name, table, on, many: section.flag("many", false) }
}

fn read_fields(section: &mut Section<'_>, key: &'static str) -> Vec<FieldSpec> {
    let mut fields = Vec::new();
    for (path, node) in section.entries(key) {
        let what = match &node.kind {
            NodeKind::Map(_) => section.nested(node, read_what),
            _ => section.scalar(node).map(What::Expression),
        };
        fields.extend(what.map(|what| FieldSpec { path, what }));
    }
    fields
}

fn read_what(section: &mut Section<'_>) -> Option<What> {
    let list = section.text("list");
    let aggregates: Vec<_> =
        FUNCTIONS.iter().filter_map(|(key, function)| Some((*function, section.text(key)?))).collect();
    let condition = section.text("where");
    match (list, aggregates.as_slice()) {
        (Some(of), []) => {
            let fields = section.node("fields").map(|_| read_fields(section, "fields"));
            let order = section.texts("order");
            let limit = section.number("limit").map(|n| n.value);
            Some(What::List { of, condition, fields, order, limit })
        }
        (None, [(function, of)]) => Some(What::Aggregate { function: *function, of: of.clone(), condition }),
        _ => {
            let problem = section.here().problem("field.what", "expected exactly one of list, count, sum, min, max");
            section.problem(problem.help("for a nested document write the path: `customer.name: .customer.name`"));
            None
        }
    }
}
