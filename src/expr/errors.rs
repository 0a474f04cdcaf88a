//! VRL's diagnostics as problems of the pipeline file, and its run-time errors without values.

use vrl::diagnostic::{Diagnostic, DiagnosticList, Note};

use super::functions;
use crate::pipeline::{Problem, Spanned};

/// Every error of `found`, at its place in the file.
pub(super) fn problems(source: &Spanned<String>, found: &DiagnosticList) -> Vec<Problem> {
    found.iter().filter(|d| d.is_problem()).map(|d| problem(source, d)).collect()
}

fn problem(source: &Spanned<String>, found: &Diagnostic) -> Problem {
    let label = found.labels.iter().find(|l| l.primary).or(found.labels.first());
    let (start, end) = label.map_or((0, source.value.len()), |l| (l.span.start(), l.span.end()));
    let mut message = format!("the expression does not compile: {}", found.message.trim());
    if let Some(label) = label.filter(|l| l.message != found.message && !l.message.is_empty()) {
        message.push_str(": ");
        message.push_str(label.message.trim());
    }
    let (line, column) = line_column(&source.value, start);
    message.push_str(&format!(" (line {line}, column {column} of the expression)"));
    let problem = source.part(start, end).problem("expression.invalid", message);
    match help(source, found, start) {
        Some(help) => problem.help(help),
        None => problem,
    }
}

fn help(source: &Spanned<String>, found: &Diagnostic, start: usize) -> Option<String> {
    let name = source.value.get(start..).unwrap_or_default();
    let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    if functions::is_impure(&name) {
        return Some(format!("`{name}` is left out: an expression must be a pure function of the row"));
    }
    if found.code == 100 || found.code == 110 {
        let text = "handle nulls and types: `string!(.x)` or `to_float!(.x)` parks a row that does not fit, `… ?? \"\"` \
                    gives a default; decimals and dates reach expressions as text";
        return Some(text.to_string());
    }
    found.notes.iter().find_map(|note| match note {
        Note::Hint(hint) => Some(hint.clone()),
        Note::Basic(text) if !text.trim().is_empty() => Some(text.trim().to_string()),
        _ => None,
    })
}

/// Line and column, in characters, of the byte `at`.
fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    (before.matches('\n').count() + 1, before.get(line_start..).unwrap_or_default().chars().count() + 1)
}

/// Words that VRL uses to tell types; any other text after a function's name may be made of values.
const TYPE_WORDS: &[&str] = &[
    "expected",
    "got",
    "exact",
    "one",
    "of",
    "or",
    "any",
    "string",
    "integer",
    "float",
    "boolean",
    "timestamp",
    "object",
    "map",
    "array",
    "null",
    "regex",
    "undefined",
];

/// A run-time error's function, place and types; everything else may quote the row and is dropped.
pub(super) fn without_values(message: &str) -> String {
    let Some(rest) = message.strip_prefix("function call error for ") else {
        return types_only(message).unwrap_or("the expression failed").to_string();
    };
    let Some((place, reason)) = rest.split_once("): ") else {
        return "the expression failed".to_string();
    };
    match types_only(reason) {
        Some(types) => format!("function call error for {place}): {types}"),
        None => format!("function call error for {place})"),
    }
}

fn types_only(reason: &str) -> Option<&str> {
    let known = |word: &str| TYPE_WORDS.contains(&word);
    let mut words = reason.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    (words.next() == Some("expected") && words.all(known)).then_some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_and_places_are_left_of_an_error() {
        let kept = "function call error for \"string\" at (0:14): expected string, got null";
        assert_eq!(without_values(kept), kept);
        assert_eq!(
            without_values("function call error for \"to_int\" at (0:3): Invalid integer \"DE89\": x"),
            "function call error for \"to_int\" at (0:3)"
        );
        assert_eq!(without_values("expected DE89"), "the expression failed");
    }
}
