//! YAML as a tree with places: what [`Section`](super::Section) reads from.

use super::{Problem, Span, Spanned};

/// A node of a pipeline file.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Where it stands.
    pub span: Span,
    /// Its YAML path: `/stages/2/document/root`.
    pub path: String,
}

/// The three shapes of YAML.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// A scalar after variables were resolved. `quoted` tells `"1"` from `1`.
    Scalar {
        /// The text.
        text: String,
        /// Whether it was written in quotes or as a block.
        quoted: bool,
        /// Whether a variable or file was put into it: never print it.
        secret: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map in file order; keys are unique.
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// `value` at this node's place.
    pub fn spanned<T>(&self, value: T) -> Spanned<T> {
        Spanned { value, span: self.span, path: self.path.clone() }
    }

    /// A problem at this node's place.
    pub fn problem(&self, code: &'static str, message: impl Into<String>) -> Problem {
        self.spanned(()).problem(code, message)
    }

    /// The value under `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            NodeKind::Map(entries) => entries.iter().find(|(k, _)| k.value == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Whether this is a map.
    pub fn is_map(&self) -> bool {
        matches!(self.kind, NodeKind::Map(_))
    }

    /// Whether nothing was written here, or nothing came of a variable. A variable's `null` is text.
    pub fn is_null(&self) -> bool {
        match &self.kind {
            NodeKind::Scalar { text, quoted: false, secret } => {
                text.is_empty() || (!secret && matches!(text.as_str(), "~" | "null"))
            }
            _ => false,
        }
    }

    /// The scalar's text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// What this is, for error texts: the shape, never the value.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            NodeKind::Scalar { .. } if self.is_null() => "nothing",
            NodeKind::Scalar { .. } => "a scalar",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a map",
        }
    }
}
