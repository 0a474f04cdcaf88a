//! Why a message cannot be read: becomes a [`Reject`](crate::record::Reject).

use std::borrow::Cow;

/// A class and a sentence for a person: what was expected, where, what to do; never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Stable, greppable class: `json.syntax`, `key.missing`, `column.type`, …
    pub code: &'static str,
    /// Lower-case sentence without payload values.
    pub reason: Cow<'static, str>,
}

impl Fault {
    /// A fault of class `code`.
    #[cold]
    pub fn new(code: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Fault { code, reason: reason.into() }
    }

    /// The same fault, said about a column.
    #[cold]
    #[must_use]
    pub fn in_column(self, name: &str) -> Self {
        Fault { code: self.code, reason: format!("column `{name}`: {}", self.reason).into() }
    }

    /// The same fault, said about a part of the envelope.
    #[cold]
    #[must_use]
    pub fn in_part(self, name: &str) -> Self {
        Fault { code: self.code, reason: format!("`{name}`: {}", self.reason).into() }
    }

    /// The same fault, said about the message's key.
    #[cold]
    #[must_use]
    pub fn in_key(self) -> Self {
        Fault { code: self.code, reason: format!("message key: {}", self.reason).into() }
    }
}
