//! Log lines on stderr: for people, or one JSON object a line.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::{Color, LogFormat, Settings};

/// Starts logging for this process; a second call changes nothing.
pub fn start(settings: &Settings) {
    // A filter that cannot be read is no reason not to run: say so, and log as if none was given.
    let (filter, wrong) = match EnvFilter::try_new(&settings.log_filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_target(false);
    let colors = match settings.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
    };
    let _ = match settings.log {
        LogFormat::Human => lines.with_ansi(colors).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
    if let Some(error) = wrong {
        tracing::warn!(%error, "log filter not understood, logging at level info");
    }
}
