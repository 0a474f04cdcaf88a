//! Results on stdout: text for people, one JSON object for programs; and what an outcome means as an exit code.
//!
//! A reader that closes the pipe early (`| head`) is no error of ours: what cannot be written is dropped.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::Color;
use crate::{Error, Result};

/// The form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What a verb came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The result for people, as printed in text form.
    pub text: String,
    /// One sentence.
    pub summary: String,
    /// The result for programs.
    pub result: Value,
    /// What was wrong, when the result itself says so; the exit code follows from it.
    pub error: Option<Error>,
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    fancy: bool,
}

impl Output {
    /// Decides whether stdout gets colours and drawn lines.
    pub fn new(format: Format, color: Color) -> Self {
        let wanted = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Output { format, fancy: wanted && format == Format::Text }
    }

    /// Whether results are for programs.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether text may have colours and drawn lines.
    pub fn is_fancy(&self) -> bool {
        self.fancy
    }

    /// Prints a line of a result that is too long to be kept as a whole.
    pub fn line(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "{text}");
    }

    /// Prints the outcome; its exit code.
    pub(super) fn finish(&self, command: &str, outcome: Result<Outcome>) -> ExitCode {
        let outcome = outcome.unwrap_or_else(|error| Outcome { error: Some(error), ..Outcome::default() });
        let error = outcome.error.as_ref();
        if self.is_json() {
            let object = json!({
                "command": command,
                "ok": error.is_none(),
                "summary": if outcome.summary.is_empty() { error.map(ToString::to_string) } else { Some(outcome.summary) },
                "result": outcome.result,
                "error": error.map(|e| json!({ "class": class(e), "message": e.to_string() })),
            });
            self.line(&object.to_string());
        } else {
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(outcome.text.as_bytes()).and_then(|()| stdout.flush());
            if let Some(error) = error {
                let _ = writeln!(std::io::stderr(), "error: {error}");
            }
        }
        error.map_or(ExitCode::SUCCESS, exit_code)
    }
}

fn class(error: &Error) -> &'static str {
    match error {
        Error::Config(_) => "config",
        Error::Unavailable(_) => "unavailable",
        Error::Broken(_) => "broken",
    }
}

fn exit_code(error: &Error) -> ExitCode {
    ExitCode::from(match error {
        Error::Broken(_) => 1,
        Error::Config(_) => 2,
        Error::Unavailable(_) => 3,
    })
}
