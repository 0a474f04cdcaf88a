//! Problems of a pipeline file: a place, a sentence, a way out.

use std::fmt;

/// A range of bytes in a pipeline file, with its line and column for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Whether this is the place of a literal block (`|`) or in one: then line and column tell the place, and the
    /// bytes only its length, since blank lines of a block are indented as anybody likes. See [`Span::located`].
    pub literal: bool,
}

impl Span {
    /// The same place with the bytes that its line and column stand at in `text`, the whole file.
    pub(super) fn located(self, text: &str) -> Span {
        let mut lines = text.split_inclusive('\n');
        let line_start: usize = lines.clone().take(self.line.saturating_sub(1)).map(str::len).sum();
        let line = lines.nth(self.line.saturating_sub(1)).unwrap_or_default();
        let column = line.char_indices().nth(self.column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
        let start = line_start + column;
        // YAML also ends a line at a lone carriage return; such a file gets a place near by.
        let end = (start + self.end.saturating_sub(self.start)).min(text.len());
        Span { start, end: if text.is_char_boundary(end) { end } else { start }, ..self }
    }
}

/// A value and where it stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
    /// Its YAML path, such as `/stages/2/document/root`.
    pub path: String,
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Spanned<T> {
    /// A problem at this place.
    pub fn problem(&self, code: &'static str, message: impl Into<String>) -> Problem {
        Problem { code, message: message.into(), help: None, span: self.span, path: self.path.clone() }
    }

    /// The same place with another value.
    pub fn with<U>(&self, value: U) -> Spanned<U> {
        Spanned { value, span: self.span, path: self.path.clone() }
    }
}

impl Spanned<String> {
    /// The place of the bytes `start..end` of a text. Exact where the text stands in the file as it is: in a literal
    /// block, or on one line, plain or in quotes; else the place of the whole.
    pub fn part(&self, start: usize, end: usize) -> Spanned<()> {
        let text = &self.value;
        if self.span.literal {
            return self.part_of_block(start, end);
        }
        let quote = match self.span.end.saturating_sub(self.span.start).checked_sub(text.len()) {
            Some(0) => 0,
            Some(2) => 1,
            _ => return self.with(()),
        };
        let Some(before) = text.get(..start).filter(|_| !text.contains('\n')) else { return self.with(()) };
        let span = Span {
            start: self.span.start + quote + start,
            end: self.span.start + quote + end.clamp(start, text.len()),
            line: self.span.line,
            column: self.span.column + quote + before.chars().count(),
            literal: false,
        };
        Spanned { value: (), span, path: self.path.clone() }
    }

    /// The span of a block begins at its first line that is not blank.
    fn part_of_block(&self, start: usize, end: usize) -> Spanned<()> {
        let Some(before) = self.value.get(..start) else { return self.with(()) };
        let blank = self.value.bytes().take_while(|b| *b == b'\n').count();
        let line = (self.span.line + before.matches('\n').count()).saturating_sub(blank);
        let in_line = before.rsplit('\n').next().unwrap_or_default().chars().count();
        let bytes = end.clamp(start, self.value.len()) - start;
        let span = Span { line, column: self.span.column + in_line, end: self.span.start + bytes, ..self.span };
        Spanned { value: (), span, path: self.path.clone() }
    }
}

/// One thing that is wrong with a pipeline file.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Stable class: `yaml.syntax`, `field.unknown`, `component.unknown`, …
    pub code: &'static str,
    /// What is wrong and what was expected; lower-case.
    pub message: String,
    /// What to do, or what was probably meant.
    pub help: Option<String>,
    /// Where.
    pub span: Span,
    /// The YAML path.
    pub path: String,
}

impl Problem {
    /// Adds a way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds “did you mean”, when one of `known` is close to `given`.
    #[must_use]
    pub fn suggest<'a>(mut self, given: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        if let Some(close) = closest(given, known) {
            self.help = Some(format!("did you mean `{close}`?"));
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} {}", self.span.line, self.span.column, self.path, self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

/// The one of `known` that `given` was probably meant to be.
pub fn closest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |k: &&'a str| strsim::damerau_levenshtein(given, k) <= 1 + given.len().max(k.len()) / 4;
    known.into_iter().filter(near).min_by_key(|k| strsim::damerau_levenshtein(given, k))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_plain_and_quoted_scalars_are_exact() {
        let mut source = Spanned {
            value: "ä + b".to_string(),
            span: Span { start: 10, end: 16, line: 2, column: 5, literal: false },
            path: "/x".to_string(),
        };
        assert_eq!(source.part(5, 6).span, Span { start: 15, end: 16, line: 2, column: 9, literal: false });
        source.span.end = 18;
        assert_eq!(source.part(5, 6).span, Span { start: 16, end: 17, line: 2, column: 10, literal: false });
        source.span.end = 30;
        assert_eq!(source.part(5, 6).span, source.span);
    }
}
