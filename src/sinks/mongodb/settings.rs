//! The settings of the `mongodb` sink, and what can be wrong with them before anything runs.

use std::collections::BTreeMap;
use std::time::Duration;

use mongodb::options::ConnectionString;

use super::target::Plan;
use super::values::{Instants, Style};
use crate::pipeline::{Flow, Problem, Section, Spanned};

/// A name must leave room for `database.` and `.tombstones` in the server's 255 bytes.
const NAME_BYTES_MAX: usize = 120;
/// How long tombstones are kept unless the pipeline says otherwise.
const KEEP: Duration = Duration::from_secs(30 * 86_400);
/// How long a command may take unless the pipeline says otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Settings {
    pub uri: Spanned<String>,
    pub database: Spanned<String>,
    /// For every table.
    pub collection: Option<Spanned<String>>,
    /// By table.
    pub collections: BTreeMap<String, Spanned<String>>,
    pub style: Style,
    pub plan: Plan,
    /// How long tombstones are kept.
    pub keep: Duration,
    /// How long a command may take.
    pub timeout: Duration,
    /// Whether collections are created before anything is written: a reader whose snapshot begins with a collection that
    /// is not there has none for the others.
    pub creates: bool,
}

impl Settings {
    pub fn read(section: &mut Section<'_>) -> Self {
        let entries = section.entries("collections");
        let collections = entries.into_iter().filter_map(|(table, node)| Some((table.value, section.scalar(node)?)));
        let collections = collections.collect();
        let instants = match section.choice("timestamps", &["auto", "text", "date"]) {
            "text" => Instants::Text,
            "date" => Instants::Date,
            _ => Instants::Auto,
        };
        let decimals_as_text = section.choice("decimals", &["decimal128", "text"]) == "text";
        let plan = match section.choice("write", &["auto", "insert", "probe", "guarded"]) {
            "insert" => Plan::Insert,
            "probe" => Plan::Probe,
            "guarded" => Plan::Guarded,
            _ => Plan::Auto,
        };
        let keep = section.section("tombstones", |section| section.duration("keep")).flatten();
        Settings {
            uri: section.required_text("uri"),
            database: section.required_text("database"),
            collection: section.text("collection"),
            collections,
            style: Style { instants, decimals_as_text },
            plan,
            keep: keep.map_or(KEEP, |keep| keep.value),
            timeout: section.duration("timeout").map_or(TIMEOUT, |timeout| timeout.value),
            creates: false,
        }
    }

    /// The collection of a table's documents.
    pub fn collection_of<'a>(&'a self, table: &'a str) -> &'a str {
        self.collection.as_ref().or_else(|| self.collections.get(table)).map_or(table, |name| &name.value)
    }

    /// Everything that is wrong, given what arrives.
    pub fn check(&self, input: &Flow) -> Vec<Problem> {
        let mut problems = Vec::new();
        if ConnectionString::parse(&self.uri.value).is_err() {
            // The driver's own words would quote the URI, password and all.
            let text = "expected mongodb://[user:password@]host[:port],…/[?options], all parts percent-encoded";
            let problem = self.uri.problem("value.wrong", text);
            problems.push(match self.uri.starts_with("mongodb+srv://") {
                true => problem.help("mongodb+srv is not supported: list the hosts, with replicaSet and tls=true"),
                false => problem,
            });
        }
        let name = &self.database;
        if name.is_empty() || name.len() > 63 || name.contains(['/', '\\', '.', ' ', '"', '$', '\0']) {
            let text = "expected a database name: 1 to 63 bytes without / \\ . \" $ and spaces";
            problems.push(name.problem("value.wrong", text));
        }
        for name in self.collection.iter().chain(self.collections.values()) {
            if let Err(expected) = check_collection(name) {
                problems.push(name.problem("value.wrong", format!("expected {expected}")));
            }
        }
        self.check_tables(input, &mut problems);
        problems
    }

    fn check_tables(&self, input: &Flow, problems: &mut Vec<Problem>) {
        if let Some(name) = &self.collection {
            let tables: Vec<&str> = input.tables.keys().map(String::as_str).collect();
            if !self.collections.is_empty() {
                problems.push(name.problem("key.conflict", "give either `collection` or `collections`"));
            } else if tables.len() > 1 {
                let text = format!("several tables arrive here ({}); their keys would collide", tables.join(", "));
                let problem = name.problem("collection.shared", text);
                problems.push(problem.help("name one for each: `collections: { table: collection }`"));
            }
        }
        for (table, name) in &self.collections {
            if !input.open && !input.tables.contains_key(table) {
                let problem = name.problem("table.unknown", format!("no table `{table}` arrives here"));
                problems.push(problem.suggest(table, input.tables.keys().map(String::as_str)));
            }
            if self.collections.iter().any(|(other, its)| other < table && its.value == name.value) {
                let text = "another table has this collection, too; their keys would collide";
                problems.push(name.problem("collection.shared", text));
            }
        }
    }
}

/// Whether this can name a collection of documents; if not, what was expected.
pub(super) fn check_collection(name: &str) -> Result<(), String> {
    let fits = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with("system.")
        && !name.starts_with('.')
        && !name.ends_with(".tombstones")
        && !name.contains(['$', '\0']);
    let expected = || {
        format!(
            "1 to {NAME_BYTES_MAX} bytes without $, not starting with `system.` or a dot, not ending with `.tombstones`"
        )
    };
    if fits { Ok(()) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Node, NodeKind, Span, TableFlow};

    fn node(kind: NodeKind) -> Node {
        Node { kind, span: Span::default(), path: String::new() }
    }

    fn map(entries: &[(&str, Node)]) -> Node {
        let name = |text: &str| Spanned { value: text.to_string(), span: Span::default(), path: String::new() };
        node(NodeKind::Map(entries.iter().map(|(key, value)| (name(key), value.clone())).collect()))
    }

    fn text(text: &str) -> Node {
        node(NodeKind::Scalar { text: text.into(), quoted: false, secret: false })
    }

    /// The codes of all problems of a section, with two tables arriving.
    fn problems(entries: &[(&str, Node)]) -> Vec<&'static str> {
        let given = [("uri", text("mongodb://localhost")), ("database", text("d"))];
        let given = given.into_iter().filter(|(key, _)| !entries.iter().any(|(k, _)| k == key));
        let node = map(&given.chain(entries.iter().cloned()).collect::<Vec<_>>());
        let mut section = Section::new(&node);
        let settings = Settings::read(&mut section);
        let mut found = section.finish();
        let tables = ["account", "customer"].map(|table| (table.to_string(), TableFlow::default()));
        found.extend(settings.check(&Flow { tables: tables.into(), ..Flow::default() }));
        found.iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn what_cannot_work_is_found_before_anything_runs() {
        assert_eq!(problems(&[]), Vec::<&str>::new());
        for uri in ["postgres://x", "mongodb://user:p@ss:w/rd@host", "mongodb+srv://host", "mongodb://host/?tls=maybe"]
        {
            assert_eq!(problems(&[("uri", text(uri))]), ["value.wrong"], "{uri}");
        }
        assert_eq!(problems(&[("database", text("a.b"))]), ["value.wrong"]);
        assert_eq!(problems(&[("collection", text("both"))]), ["collection.shared"]);
        let collections = |entries: &[(&str, &str)]| {
            let entries: Vec<_> = entries.iter().map(|(table, name)| (*table, text(name))).collect();
            problems(&[("collections", map(&entries))])
        };
        assert_eq!(collections(&[("account", "a"), ("customer", "c")]), Vec::<&str>::new());
        assert_eq!(collections(&[("account", "a"), ("customer", "a")]), ["collection.shared"]);
        assert_eq!(collections(&[("acount", "a")]), ["table.unknown"]);
        assert_eq!(collections(&[("account", "system.users")]), ["value.wrong"]);
        assert_eq!(collections(&[("account", "a$b")]), ["value.wrong"]);
        assert_eq!(problems(&[("write", text("upsert"))]), ["value.unknown"]);
        assert_eq!(problems(&[("uris", text("x"))]), ["key.unknown"]);
    }
}
