//! Problems of pipeline files as people read them: message, `file:line:column`, the line with a caret, the way out.
//!
//! Invariant: of the file's text only the line of the problem is shown; the lines around it may hold passwords.

use std::fmt::Write as _;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents,
};
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::Error;
use crate::pipeline::{LoadFailure, Problem};

/// More problems of one file help nobody; programs get them all.
const MAX_SHOWN: usize = 100;

/// The problems of one file as text.
pub fn render(failure: &LoadFailure, fancy: bool) -> String {
    let theme = if fancy { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
    let handler = GraphicalReportHandler::new_themed(theme).with_context_lines(1).with_width(120).with_links(false);
    let mut text = String::new();
    for problem in failure.problems.iter().take(MAX_SHOWN) {
        let shown = Shown { problem, line: OneLine { file: &failure.file, text: &failure.source } };
        // Rendering fails only when a place lies outside the text; then the plain line still says everything.
        if failure.source.is_empty() || handler.render_report(&mut text, &shown).is_err() {
            let _ = writeln!(text, "{}: {}", failure.file, problem.message);
        }
        text.push('\n');
    }
    if let Some(more) = failure.problems.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(text, "{}: {more} more problems\n", failure.file);
    }
    text
}

/// The outcome of a verb that needed good pipeline files and got others.
pub fn outcome(failures: &[LoadFailure], context: &Context) -> Outcome {
    let count: usize = failures.iter().map(|f| f.problems.len()).sum();
    let files: Vec<&str> = failures.iter().map(|f| f.file.as_str()).collect();
    let summary = format!("problems in {}: {count}", files.join(", "));
    Outcome {
        text: failures.iter().map(|f| render(f, context.out.is_fancy())).collect(),
        result: json!({ "problems": failures.iter().flat_map(to_json).collect::<Vec<_>>() }),
        error: Some(Error::Config(summary.clone())),
        summary,
    }
}

/// All problems of one file for programs.
pub fn to_json(failure: &LoadFailure) -> Vec<Value> {
    let problem = |p: &Problem| {
        json!({
            "file": failure.file,
            "line": p.span.line,
            "column": p.span.column,
            "start": p.span.start,
            "end": p.span.end,
            "path": p.path,
            "code": p.code,
            "message": p.message,
            "help": p.help,
        })
    };
    failure.problems.iter().map(problem).collect()
}

/// A problem as miette sees it.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    line: OneLine<'a>,
}

/// The text of a file, of which miette gets the line of a place and no other.
#[derive(Debug)]
struct OneLine<'a> {
    file: &'a str,
    text: &'a str,
}

impl OneLine<'_> {
    /// First byte of the line around `at`, and its length.
    fn line_around(&self, at: usize) -> Option<(usize, usize)> {
        let (before, after) = self.text.split_at_checked(at)?;
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let end = at + after.find(['\n', '\r']).unwrap_or(after.len());
        Some((start, end.saturating_sub(start)))
    }
}

impl SourceCode for OneLine<'_> {
    /// With context lines the whole line, without any the place itself, as miette wants it for `file:line:column`.
    fn read_span<'s>(
        &'s self,
        span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'s> + 's>, MietteError> {
        let (line_start, line_len) = self.line_around(span.offset()).ok_or(MietteError::OutOfBounds)?;
        let (start, len) = if lines_before > 0 { (line_start, line_len) } else { (span.offset(), span.len()) };
        let bytes = self.text.as_bytes().get(start..start + len).ok_or(MietteError::OutOfBounds)?;
        let line = self.text.bytes().take(line_start).filter(|b| *b == b'\n').count();
        let column = self.text.get(line_start..start).map_or(0, |t| t.chars().count());
        let name = self.file.to_string();
        Ok(Box::new(MietteSpanContents::new_named(name, bytes, (start, len).into(), line, column, 1)))
    }
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help<'b>(&'b self) -> Option<Box<dyn std::fmt::Display + 'b>> {
        self.problem.help.as_ref().map(|help| Box::new(format!("→ {help}")) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.line)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span;
        let rest = self.line.text.get(span.start..).unwrap_or_default();
        let line_bytes = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let bytes = span.end.saturating_sub(span.start).min(line_bytes);
        Some(Box::new(std::iter::once(LabeledSpan::new(Some(self.problem.path.clone()), span.start, bytes))))
    }
}
