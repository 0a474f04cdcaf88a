//! Why a message cannot be read: becomes a [`Reject`](crate::record::Reject).

use std::borrow::Cow;

/// About how long a reason may become with the places that are put before it, and a name in it.
const MAX_BYTES: usize = 400;
const MAX_NAME_BYTES: usize = 100;

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
        self.within(&format!("column `{}`", short(name)))
    }

    /// The same fault, said about a part of the envelope.
    #[cold]
    #[must_use]
    pub fn in_part(self, name: &str) -> Self {
        self.within(&format!("`{name}`"))
    }

    /// The same fault, said about a place. Of a place that is nested deep the outermost and the innermost parts are told.
    fn within(self, place: &str) -> Self {
        let told = &*self.reason;
        let start = if told.len() > MAX_BYTES { told.ceil_char_boundary(told.len() - MAX_BYTES / 2) } else { 0 };
        let (gap, told) = (if start > 0 { "… " } else { "" }, told.get(start..).unwrap_or_default());
        Fault { code: self.code, reason: format!("{place}: {gap}{told}").into() }
    }

    /// The same fault, said about the message's key.
    #[cold]
    #[must_use]
    pub fn in_key(self) -> Self {
        Fault { code: self.code, reason: format!("message key: {}", self.reason).into() }
    }
}

/// A name, cut where it is longer than a log line should be.
pub fn short(name: &str) -> Cow<'_, str> {
    if name.len() <= MAX_NAME_BYTES {
        return Cow::Borrowed(name);
    }
    format!("{}…", name.get(..name.floor_char_boundary(MAX_NAME_BYTES)).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stays_short_however_deep_and_long_its_place_is() {
        let deep = (0..10_000).fold(Fault::new("a.b", "expected a number"), |fault, _| fault.in_column("ü"));
        let deep = deep.in_column(&"ä".repeat(100_000)).in_part("after");
        assert!(deep.reason.len() < 700, "{}", deep.reason.len());
        assert!(deep.reason.starts_with("`after`: column `ää") && deep.reason.ends_with(": expected a number"));
        let near = Fault::new("a.b", "expected a number").in_column("x").in_part("after");
        assert_eq!(near.reason, "`after`: column `x`: expected a number");
    }
}
