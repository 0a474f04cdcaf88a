//! What an expression sees: names and kinds, as the pipeline knows them before it runs.

use vrl::value::Kind as VrlKind;
use vrl::value::kind::Collection;

use super::convert::kind_to_vrl;
use crate::pipeline::{Problem, Spanned, TableFlow, closest};
use crate::record::Kind;

/// Names at the top of an expression's target and below.
#[derive(Debug, Clone)]
pub struct Scope {
    names: Vec<Name>,
    open: bool,
    kind: VrlKind,
}

#[derive(Debug, Clone)]
struct Name {
    name: String,
    kind: Kind,
    inner: Option<Scope>,
}

impl Scope {
    /// A row of which nothing is known.
    pub fn unknown_row() -> Self {
        Scope::rows(&[], true)
    }

    /// The rows, or documents, of `flow`.
    pub fn of(flow: &TableFlow) -> Self {
        let fields: Vec<_> = flow.fields.iter().map(|field| (field.name.as_str(), &field.kind)).collect();
        if flow.nested { Scope::documents(&fields, flow.open) } else { Scope::rows(&fields, flow.open) }
    }

    fn rows(fields: &[(&str, &Kind)], open: bool) -> Self {
        let mut scope = Scope { names: Vec::new(), open, kind: VrlKind::never() };
        for (name, kind) in fields {
            scope.add(name, (*kind).clone(), kind_to_vrl(kind), None);
        }
        scope.seal()
    }

    /// Like `rows`, but a dotted name is a field below another. What has fields below may be null: a whole joined row is
    /// where there is none.
    fn documents(fields: &[(&str, &Kind)], open: bool) -> Self {
        let flat: Vec<_> = fields.iter().filter(|(name, _)| !name.contains('.')).copied().collect();
        let mut scope = Scope::rows(&flat, open);
        for (first, _) in fields.iter().filter_map(|(name, _)| name.split_once('.')) {
            if scope.names.iter().any(|known| known.name == first) {
                continue;
            }
            let below = fields.iter().filter_map(|(name, kind)| {
                let (above, rest) = name.split_once('.')?;
                (above == first).then_some((rest, *kind))
            });
            let below: Vec<_> = below.collect();
            scope = scope.with_row(first, Scope::documents(&below, open));
        }
        scope
    }

    /// Adds a row of another table under `name`; null when there is none.
    #[must_use]
    pub fn with_row(mut self, name: &str, row: Scope) -> Self {
        let kind = row.kind.clone().or_null();
        self.add(name, Kind::Map, kind, Some(row));
        self.seal()
    }

    /// Adds a list of rows under `name`.
    #[must_use]
    pub fn with_rows(mut self, name: &str, row: &Scope) -> Self {
        let kind = VrlKind::array(Collection::from_unknown(row.kind.clone()));
        self.add(name, Kind::List(Box::new(Kind::Map)), kind, None);
        self.seal()
    }

    /// The type of the whole.
    pub(super) fn kind(&self) -> &VrlKind {
        &self.kind
    }

    /// A problem when `path` starts with a name that does not exist.
    pub(super) fn unknown(&self, source: &Spanned<String>, path: &[String]) -> Option<Problem> {
        let (first, rest) = path.split_first()?;
        match self.names.iter().find(|n| n.name == *first) {
            Some(Name { inner: Some(inner), .. }) => inner.unknown(source, rest),
            Some(_) => None,
            None if self.open => None,
            None => Some(self.unknown_name(source, first)),
        }
    }

    fn unknown_name(&self, source: &Spanned<String>, name: &str) -> Problem {
        let known = || self.names.iter().map(|n| n.name.as_str());
        let start = source.value.find(&format!(".{name}")).map_or(0, |at| at + 1);
        let place = source.part(start, start + name.len());
        let problem = place.problem("field.unknown", format!("there is no field `{name}` here"));
        match closest(name, known()) {
            Some(close) => problem.help(format!("did you mean `{close}`?")),
            None => problem.help(format!("known here: {}", known().collect::<Vec<_>>().join(", "))),
        }
    }

    fn add(&mut self, name: &str, kind: Kind, vrl: VrlKind, inner: Option<Scope>) {
        self.names.retain(|n| n.name != name);
        self.names.push(Name { name: name.to_string(), kind, inner });
        let mut fields =
            std::mem::replace(&mut self.kind, VrlKind::never()).into_object().unwrap_or_else(Collection::empty);
        fields.known_mut().insert(name.into(), vrl);
        self.kind = VrlKind::object(fields);
    }

    fn seal(mut self) -> Self {
        let mut fields =
            std::mem::replace(&mut self.kind, VrlKind::never()).into_object().unwrap_or_else(Collection::empty);
        if self.open {
            fields.set_unknown(VrlKind::any());
        }
        self.kind = VrlKind::object(fields);
        self
    }

    /// The kind of the field called `name`, when it is known.
    pub fn field_kind(&self, name: &str) -> Option<&Kind> {
        self.names.iter().find(|n| n.name == name).map(|n| &n.kind)
    }
}
