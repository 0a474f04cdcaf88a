//! A component's part of a pipeline file, read key by key: wrong types, missing and unknown keys become problems with
//! a place and a suggestion, and reading goes on, so that one `check` shows them all.
//!
//! Invariant: a getter that finds a problem records it and returns the neutral value; whoever builds from a section
//! calls [`Section::finish`] before using what was built.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Node, NodeKind, Problem, Spanned};

/// Reads one YAML map.
pub struct Section<'a> {
    node: &'a Node,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
    scalar_taken: bool,
}

impl<'a> Section<'a> {
    /// Reads `node`, a map; an empty node counts as an empty map, a scalar is for [`Section::text_or_self`].
    pub fn new(node: &'a Node) -> Self {
        Section { node, known: Vec::new(), problems: Vec::new(), scalar_taken: false }
    }

    /// The place of the section itself.
    pub fn here(&self) -> Spanned<()> {
        self.node.spanned(())
    }

    /// Records a problem found by the component.
    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The node under `key`.
    pub fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.node.get(key).filter(|n| !n.is_null())
    }

    /// The node under `key`; a problem when it is missing.
    pub fn required_node(&mut self, key: &'static str) -> Option<&'a Node> {
        let node = self.node(key);
        if node.is_none() {
            self.problems.push(self.node.problem("key.missing", format!("`{key}` is missing")));
        }
        node
    }

    /// Optional text.
    pub fn text(&mut self, key: &'static str) -> Option<Spanned<String>> {
        let node = self.node(key)?;
        self.read(node, "text", |text, _| Some(text.to_string()))
    }

    /// Required text; empty after a problem.
    pub fn required_text(&mut self, key: &'static str) -> Spanned<String> {
        match self.required_node(key) {
            Some(node) => {
                self.read(node, "text", |text, _| Some(text.to_string())).unwrap_or_else(|| node.spanned(String::new()))
            }
            None => self.node.spanned(String::new()),
        }
    }

    /// Required text under `key`, or the section itself where it is a bare scalar: `filter: .amount > 1`.
    pub fn text_or_self(&mut self, key: &'static str) -> Spanned<String> {
        if self.node.is_map() || self.node.is_null() {
            return self.required_text(key);
        }
        self.known.push(key);
        self.scalar_taken = self.node.as_text().is_some();
        self.node.spanned(self.node.as_text().unwrap_or_default().to_string())
    }

    /// Optional whole number.
    pub fn number(&mut self, key: &'static str) -> Option<Spanned<u64>> {
        let node = self.node(key)?;
        self.read(node, "a whole number", |text, quoted| parse_whole(text).filter(|_| !quoted))
    }

    /// A whole number within `range`, `default` when absent.
    pub fn number_in(&mut self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(given) = self.number(key) else { return default };
        if range.contains(&given.value) {
            return given.value;
        }
        self.problems.push(given.problem("value.range", format!("expected {} to {}", range.start(), range.end())));
        default
    }

    /// Optional number with a fraction.
    pub fn float(&mut self, key: &'static str) -> Option<Spanned<f64>> {
        let node = self.node(key)?;
        self.read(node, "a number", |text, quoted| text.parse().ok().filter(|n: &f64| n.is_finite() && !quoted))
    }

    /// true or false, `default` when absent.
    pub fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(node) = self.node(key) else { return default };
        let read = self.read(node, "true or false", |text, quoted| text.parse().ok().filter(|_| !quoted));
        read.map_or(default, |flag| flag.value)
    }

    /// One of `choices`, the first when absent.
    pub fn choice(&mut self, key: &'static str, choices: &[&'static str]) -> &'static str {
        let default = choices.first().copied().unwrap_or_default();
        let Some(given) = self.text(key) else { return default };
        if let Some(choice) = choices.iter().find(|c| **c == given.value) {
            return choice;
        }
        let problem = given.problem("value.unknown", format!("expected one of {}", choices.join(", ")));
        self.problems.push(problem.suggest(&given, choices.iter().copied()));
        default
    }

    /// A duration such as `500ms`, `30s`, `5m`, `1h`, `7d`.
    pub fn duration(&mut self, key: &'static str) -> Option<Spanned<Duration>> {
        let node = self.node(key)?;
        self.read(node, "a duration such as 500ms, 30s, 5m, 1h or 7d", |text, _| parse_duration(text))
    }

    /// A number of bytes such as `512KB`, `64MB`, `1GB` (powers of 1,024) or plain bytes.
    pub fn bytes(&mut self, key: &'static str) -> Option<Spanned<u64>> {
        let node = self.node(key)?;
        self.read(node, "a size such as 512KB, 64MB or 1GB", |text, _| parse_bytes(text))
    }

    /// A list of texts; a single text counts as a list of one. Empty when absent.
    pub fn texts(&mut self, key: &'static str) -> Vec<Spanned<String>> {
        match self.node(key) {
            None => Vec::new(),
            Some(node) => match &node.kind {
                NodeKind::List(items) => {
                    items.iter().filter_map(|item| self.read(item, "text", |text, _| Some(text.to_string()))).collect()
                }
                _ => self.read(node, "text or a list of texts", |text, _| Some(text.to_string())).into_iter().collect(),
            },
        }
    }

    /// The entries of a map with names of the user's choice, in file order.
    pub fn entries(&mut self, key: &'static str) -> Vec<(Spanned<String>, &'a Node)> {
        match self.node(key) {
            None => Vec::new(),
            Some(node) => match &node.kind {
                NodeKind::Map(entries) => entries.iter().map(|(name, value)| (name.clone(), value)).collect(),
                _ => {
                    self.problems.push(node.problem("type.map", format!("expected a map, found {}", node.kind_name())));
                    Vec::new()
                }
            },
        }
    }

    /// Reads the map under `key` with `read`; its problems become this section's.
    pub fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'a>) -> T) -> Option<T> {
        let node = self.node(key)?;
        Some(self.nested(node, read))
    }

    /// Reads a map found elsewhere in this section with `read`; its problems become this section's.
    pub fn nested<T>(&mut self, node: &'a Node, read: impl FnOnce(&mut Section<'a>) -> T) -> T {
        let mut section = Section::new(node);
        let value = read(&mut section);
        self.problems.extend(section.finish());
        value
    }

    /// Reads a scalar node as text; a problem when it is something else.
    pub fn scalar(&mut self, node: &'a Node) -> Option<Spanned<String>> {
        self.read(node, "text", |text, _| Some(text.to_string()))
    }

    /// All problems, unknown keys included.
    pub fn finish(mut self) -> Vec<Problem> {
        if !self.node.is_map() && !self.node.is_null() && !self.scalar_taken {
            let found = format!("expected a map, found {}", self.node.kind_name());
            self.problems.insert(0, self.node.problem("type.map", found));
        }
        if let NodeKind::Map(entries) = &self.node.kind {
            for (key, _) in
                entries.iter().filter(|(k, _)| !k.value.starts_with("x-") && !self.known.contains(&k.value.as_str()))
            {
                let known = if self.known.is_empty() { "nothing".to_string() } else { self.known.join(", ") };
                let problem = key.problem("key.unknown", format!("unknown key `{}`; known here: {known}", key.value));
                self.problems.push(problem.suggest(key, self.known.iter().copied()));
            }
        }
        self.problems
    }

    fn read<T>(
        &mut self,
        node: &'a Node,
        expected: &str,
        parse: impl FnOnce(&str, bool) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let value = match &node.kind {
            NodeKind::Scalar { text, quoted, .. } => parse(text, *quoted),
            _ => None,
        };
        if value.is_none() {
            self.problems.push(node.problem("type.wrong", format!("expected {expected}, found {}", node.kind_name())));
        }
        value.map(|value| node.spanned(value))
    }
}

/// Decimal digits only: `0777` would be octal to some readers of YAML and decimal to others.
fn parse_whole(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Reads `500ms`, `30s`, `5m`, `1h`, `7d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(split);
    let millis = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

/// Reads `512KB`, `64MB`, `1GB` (powers of 1,024) or plain bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "" | "B" => 1,
        "KB" | "KiB" => 1 << 10,
        "MB" | "MiB" => 1 << 20,
        "GB" | "GiB" => 1 << 30,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(text: &str) -> Node {
        let kind = NodeKind::Scalar { text: text.into(), quoted: false, secret: false };
        Node { kind, span: Default::default(), path: "/x".into() }
    }

    #[test]
    fn a_bare_scalar_is_a_problem_unless_it_is_taken() {
        let node = scalar(".amount > 1");
        let mut section = Section::new(&node);
        assert_eq!(section.text_or_self("where").value, ".amount > 1");
        assert_eq!(section.finish(), []);
        assert_eq!(Section::new(&node).finish()[0].code, "type.map");
        let list = Node { kind: NodeKind::List(Vec::new()), ..node };
        let mut section = Section::new(&list);
        section.text_or_self("where");
        assert_eq!(section.finish()[0].code, "type.map");
    }
}
