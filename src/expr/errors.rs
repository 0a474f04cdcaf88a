//! VRL's diagnostics as problems of the pipeline file, and its run-time errors without values.

use vrl::diagnostic::{Diagnostic, DiagnosticList, Note};

use super::{arithmetic, functions};
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

/// VRL's number for an argument that may fail where it stands.
const FALLIBLE_ARGUMENT: usize = 630;

fn help(source: &Spanned<String>, found: &Diagnostic, start: usize) -> Option<String> {
    let name = source.value.get(start..).unwrap_or_default();
    let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    if let Some(why) = functions::why_left_out(&name) {
        return Some(format!("`{name}` is left out: {why}"));
    }
    if found.code == FALLIBLE_ARGUMENT {
        let text = "handle the failure of each operand first: `(to_int(.x) ?? 0) + 1`, or `to_int!(.x) + 1`";
        return Some(text.to_string());
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

/// A run-time error's function, place and types, of the innermost call that failed; everything else may quote the row and
/// is dropped.
pub(super) fn without_values(message: &str) -> String {
    let Some((name, place, reason)) = call(message) else {
        return match message.starts_with(CALL) {
            true => "the expression failed".to_string(),
            false => types_only(message).unwrap_or("the expression failed").to_string(),
        };
    };
    if call(reason).is_some() {
        return without_values(reason);
    }
    if name == arithmetic::NAME {
        return format!("arithmetic at ({place}): {}", arithmetic_reason(reason));
    }
    let known = types_only(reason).or_else(|| arithmetic::REASONS.iter().find(|known| **known == reason).copied());
    match known {
        Some(known) => format!("{CALL}\"{name}\" at ({place}): {known}"),
        None => format!("{CALL}\"{name}\" at ({place})"),
    }
}

/// How VRL tells of a call that failed: `function call error for "to_int" at (0:3): reason`.
const CALL: &str = "function call error for ";

/// Name, place and reason of a failed call. Only if they look like VRL's: a text of the row may stand there as well.
fn call(message: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = message.strip_prefix(CALL)?.strip_prefix('"')?.split_once("\" at (")?;
    let (place, reason) = rest.split_once("): ")?;
    let named = functions::with_arithmetic().iter().any(|function| function.identifier() == name);
    let placed =
        place.split_once(':').is_some_and(|(start, end)| start.parse::<u32>().is_ok() && end.parse::<u32>().is_ok());
    (named && placed).then_some((name, place, reason))
}

fn arithmetic_reason(reason: &str) -> &str {
    match arithmetic::REASONS.contains(&reason) {
        true => reason,
        false => "the types of the operands do not fit",
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
        let outer = "function call error for \"upcase\" at (0:20): ";
        assert_eq!(without_values(&format!("{outer}{kept}")), kept);
        for told in ["\"DE89\" at (0:1): x", "\"to_int\" at (DE89): x", "\"to_int\" DE89", "DE89"] {
            let told = format!("{outer}function call error for {told}");
            assert_eq!(without_values(&told), "function call error for \"upcase\" at (0:20)");
        }
        assert_eq!(without_values("expected DE89"), "the expression failed");
    }
}
