//! Text to [`Node`]s, on the events of `saphyr-parser`: every node with its place, nothing interpreted.
//!
//! Invariants: bounded work and memory whatever the input (size, depth, nodes, bytes after aliases are expanded); keys
//! of a map are unique; a scalar is its text, so `no`, `0777` and `1e3` mean what the reader of the key makes of them.
//! Deliberately absent: tags, merge keys, maps as keys, several documents in a file. Each is a problem that says so.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::{Node, NodeKind, Problem, Span, Spanned};

const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 50_000;
/// Bounds what aliases can blow up: the bytes of all texts and paths.
const MAX_TREE_BYTES: usize = 16 << 20;
const MAX_KEY_BYTES: usize = 256;

/// Parses one YAML document.
pub fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    let mut builder = Builder::new(text);
    for event in Parser::new_from_str(text) {
        let done = match event {
            Ok((event, span)) => {
                let span = builder.span(span.start, span.end);
                builder.event(event, span)
            }
            Err(error) => Err(builder.syntax(&error)),
        };
        if let Err(problem) = done {
            builder.problems.push(problem);
            return Err(builder.problems);
        }
    }
    let Some(root) = builder.root else {
        let empty = builder.place(Span { line: 1, column: 1, ..Span::default() });
        let problem = empty.problem("yaml.empty", "the file is empty");
        return Err(vec![problem.help("a pipeline needs `name`, `source` and `stages`")]);
    };
    if builder.problems.is_empty() { Ok(root) } else { Err(builder.problems) }
}

enum Frame {
    List { items: Vec<Node>, span: Span, anchor: usize, path: String },
    Map { entries: Vec<(Spanned<String>, Node)>, key: Option<Spanned<String>>, seen: BTreeSet<String>, at: MapAt },
}

struct MapAt {
    span: Span,
    anchor: usize,
    path: String,
}

struct Builder<'t> {
    text: &'t str,
    /// Byte offset of each character: the parser counts in characters.
    offsets: Vec<u32>,
    stack: Vec<Frame>,
    root: Option<Node>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    tree_bytes: usize,
    documents: usize,
    problems: Vec<Problem>,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str) -> Self {
        Builder {
            text,
            offsets: text.char_indices().map(|(i, _)| i as u32).collect(),
            stack: Vec::new(),
            root: None,
            anchors: BTreeMap::new(),
            nodes: 0,
            tree_bytes: 0,
            documents: 0,
            problems: Vec::new(),
        }
    }

    fn span(&self, start: Marker, end: Marker) -> Span {
        let byte = |m: Marker| self.offsets.get(m.index()).map_or(self.text.len(), |b| *b as usize);
        Span {
            start: byte(start),
            end: byte(end).max(byte(start)),
            line: start.line(),
            column: start.col() + 1,
            literal: false,
        }
    }

    fn place(&self, span: Span) -> Spanned<()> {
        Spanned { value: (), span, path: self.next_path() }
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        let span = self.span(*error.marker(), *error.marker());
        let line = self.text.lines().nth(span.line.saturating_sub(1)).unwrap_or_default();
        let indent = line.len() - line.trim_start().len();
        let problem = self.place(span);
        if error.info().contains("recursion limit") {
            return problem.problem("yaml.too_deep", format!("nested deeper than {MAX_DEPTH} levels"));
        }
        if error.info().contains("tab") || line.get(..indent).is_some_and(|i| i.contains('\t')) {
            return problem.problem("yaml.tab", "a tab where YAML wants spaces").help("indent with spaces");
        }
        problem.problem("yaml.syntax", error.info())
    }

    /// The path of the node that comes next.
    fn next_path(&self) -> String {
        match self.stack.last() {
            None => "/".to_string(),
            Some(Frame::List { items, path, .. }) => join(path, &items.len().to_string()),
            Some(Frame::Map { key: Some(key), .. }) => key.path.clone(),
            Some(Frame::Map { at, .. }) => at.path.clone(),
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                match self.documents {
                    1 => Ok(()),
                    _ => Err(self.place(span).problem("yaml.documents", "one pipeline per file; remove `---`")),
                }
            }
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                if self.expects_key() {
                    return self.key(&text, style, span);
                }
                let quoted = style != ScalarStyle::Plain;
                let span = if text.is_empty() && !quoted { self.key_span().unwrap_or(span) } else { span };
                let span = Span { literal: style == ScalarStyle::Literal, ..span };
                let kind = NodeKind::Scalar { text: text.into_owned(), quoted, secret: false };
                self.add(Node { kind, span, path: self.next_path() }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                let (span, path) = self.open(tag.is_some(), span)?;
                self.stack.push(Frame::List { items: Vec::new(), span, anchor, path });
                Ok(())
            }
            Event::MappingStart(anchor, tag) => {
                let (span, path) = self.open(tag.is_some(), span)?;
                let at = MapAt { span, anchor, path };
                self.stack.push(Frame::Map { entries: Vec::new(), key: None, seen: BTreeSet::new(), at });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
        }
    }

    /// Checks that a list or map may start here; its span (of the key, for a block) and path.
    fn open(&mut self, tagged: bool, span: Span) -> Result<(Span, String), Problem> {
        self.refuse_tag(tagged, span);
        if self.expects_key() {
            return Err(self.place(span).problem("yaml.key", "a key must be text, not a list or a map"));
        }
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(self.place(span).problem("yaml.too_deep", message));
        }
        let is_block = span.start == span.end;
        Ok((self.key_span().filter(|_| is_block).unwrap_or(span), self.next_path()))
    }

    fn close(&mut self, end: Span) -> Result<(), Problem> {
        let (kind, mut span, anchor, path) = match self.stack.pop() {
            Some(Frame::List { items, span, anchor, path }) => (NodeKind::List(items), span, anchor, path),
            Some(Frame::Map { entries, at, .. }) => (NodeKind::Map(entries), at.span, at.anchor, at.path),
            None => return Ok(()),
        };
        if end.end > end.start {
            span.end = end.end;
        }
        self.add(Node { kind, span, path }, anchor)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        let own_bytes = node.path.len() + node.as_text().map_or(0, str::len);
        self.charge(1, own_bytes, node.span)?;
        if anchor > 0 {
            let (nodes, bytes) = size_of(&node);
            self.charge(nodes, bytes, node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        self.place_node(node);
        Ok(())
    }

    fn place_node(&mut self, node: Node) {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, seen, .. }) => {
                if let Some(key) = key.take()
                    && seen.insert(key.value.clone())
                {
                    entries.push((key, node));
                }
            }
        }
    }

    fn charge(&mut self, nodes: usize, bytes: usize, span: Span) -> Result<(), Problem> {
        self.nodes += nodes;
        self.tree_bytes += bytes;
        if self.nodes <= MAX_NODES && self.tree_bytes <= MAX_TREE_BYTES {
            return Ok(());
        }
        let message = format!("more than {MAX_NODES} nodes or 16 MB once aliases are expanded");
        Err(self.place(span).problem("yaml.too_many_nodes", message))
    }

    fn key(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), Problem> {
        let path = join(&self.next_path(), text.get(..MAX_KEY_BYTES).unwrap_or(text));
        if text.len() > MAX_KEY_BYTES {
            return Err(self.place(span).problem("yaml.key", format!("a key longer than {MAX_KEY_BYTES} bytes")));
        }
        let key = Spanned { value: text.to_string(), span, path };
        if text == "<<" && style == ScalarStyle::Plain {
            let problem = key.problem("yaml.merge_key", "merge keys are not supported");
            self.problems.push(problem.help("write the keys out, or use an alias for a whole value"));
        } else if text.is_empty() {
            self.problems.push(key.problem("yaml.key", "a key is empty"));
        } else if text.contains("${") {
            self.problems.push(key.problem("variable.in_key", "variables are resolved in values, not in keys"));
        }
        if let Some(Frame::Map { key: slot, seen, entries, .. }) = self.stack.last_mut() {
            if seen.contains(text) {
                let first = entries.iter().find(|(k, _)| k.value == text).map_or(0, |(k, _)| k.span.line);
                let message = format!("`{text}` is given twice; the first is on line {first}");
                self.problems.push(key.problem("key.duplicate", message));
            }
            *slot = Some(key);
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Problem> {
        if self.expects_key() {
            return Err(self.place(span).problem("yaml.key", "a key must be text, not an alias"));
        }
        let path = self.next_path();
        // An anchor is known once its node is complete, so that a node cannot contain itself.
        let Some(node) = self.anchors.remove(&anchor) else {
            return Err(self.place(span).problem("yaml.alias", "this alias is inside the value that it stands for"));
        };
        let copy = self.copy(&node, path, span, self.stack.len());
        self.anchors.insert(anchor, node);
        copy.map(|copy| self.place_node(copy))
    }

    /// The alias's own copy of `node`: its paths are those of the alias, its places those of what is written.
    fn copy(&mut self, node: &Node, path: String, alias: Span, depth: usize) -> Result<Node, Problem> {
        self.charge(1, path.len() + node.as_text().map_or(0, str::len), alias)?;
        if depth > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels once aliases are expanded");
            return Err(self.place(alias).problem("yaml.too_deep", message));
        }
        let kind = match &node.kind {
            NodeKind::Scalar { .. } => node.kind.clone(),
            NodeKind::List(items) => {
                let items = items.iter().enumerate();
                let copied = items.map(|(i, item)| self.copy(item, join(&path, &i.to_string()), alias, depth + 1));
                NodeKind::List(copied.collect::<Result<_, _>>()?)
            }
            NodeKind::Map(entries) => {
                let mut copied = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let path = join(&path, &key.value);
                    let value = self.copy(value, path.clone(), alias, depth + 1)?;
                    copied.push((Spanned { value: key.value.clone(), span: key.span, path }, value));
                }
                NodeKind::Map(copied)
            }
        };
        Ok(Node { kind, span: node.span, path })
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Map { key: None, .. }))
    }

    fn key_span(&self) -> Option<Span> {
        match self.stack.last() {
            Some(Frame::Map { key: Some(key), .. }) => Some(key.span),
            _ => None,
        }
    }

    fn refuse_tag(&mut self, tagged: bool, span: Span) {
        if tagged {
            let problem = self.place(span).problem("yaml.tag", "YAML tags (`!…`) are not supported");
            self.problems.push(problem.help("remove the tag; values get their type from the key they stand under"));
        }
    }
}

/// Nodes and bytes of a tree.
fn size_of(node: &Node) -> (usize, usize) {
    let add = |(nodes, bytes): (usize, usize), child: &Node| {
        let (more_nodes, more_bytes) = size_of(child);
        (nodes + more_nodes, bytes + more_bytes)
    };
    let own = (1, node.path.len() + node.as_text().map_or(0, str::len));
    match &node.kind {
        NodeKind::Scalar { .. } => own,
        NodeKind::List(items) => items.iter().fold(own, add),
        NodeKind::Map(entries) => entries.iter().map(|(_, value)| value).fold(own, add),
    }
}

/// A path one step longer; `/` and `~` in a key are written as in JSON pointers (RFC 6901).
fn join(path: &str, step: &str) -> String {
    let path = if path == "/" { "" } else { path };
    match step.contains(['/', '~']) {
        true => format!("{path}/{}", step.replace('~', "~0").replace('/', "~1")),
        false => format!("{path}/{step}"),
    }
}
