//! Settings of the process, in layers: defaults < `headwater.toml` < `HEADWATER_*` < flags.
//!
//! Settings say how this process runs; what flows from where to where stands in the pipeline alone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use config::{Config, Environment, File, FileFormat};
use serde::{Deserialize, Serialize};

use super::output::Format;
use crate::{Error, Result};

/// The settings file that is read when it is there.
const DEFAULT_FILE: &str = "headwater.toml";

/// How this process runs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where embedded stores and positions live.
    pub data_dir: PathBuf,
    /// The form of log lines.
    pub log: LogFormat,
    /// Which log lines: `info`, `warn,headwater=debug`, as tracing-subscriber's `EnvFilter` reads them.
    pub log_filter: String,
    /// Colours and drawn lines.
    pub color: Color,
    /// Where metrics and health are told over HTTP; nowhere unless it is given.
    pub listen: Option<SocketAddr>,
    /// Store names of pipelines → path of an embedded store or `mongodb://` URI. May hold passwords: not for printing.
    pub stores: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            data_dir: "headwater-data".into(),
            log: LogFormat::default(),
            log_filter: "info".to_string(),
            color: Color::default(),
            listen: None,
            stores: BTreeMap::new(),
        }
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// When to use colours and drawn lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Flags of every verb.
#[derive(Args, Default)]
pub struct Flags {
    /// Settings file [default: headwater.toml, when it is there]
    #[arg(long, global = true, value_name = "FILE", env = "HEADWATER_CONFIG")]
    config: Option<PathBuf>,
    /// Where embedded stores live [default: headwater-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Form of log lines [default: human]
    #[arg(long, global = true, value_name = "FORM")]
    log: Option<LogFormat>,
    /// Which log lines, such as `warn,headwater=debug` [default: info]
    #[arg(long, global = true, value_name = "FILTER")]
    log_filter: Option<String>,
    /// Colours and drawn lines [default: auto]
    #[arg(long, global = true, value_name = "WHEN")]
    color: Option<Color>,
    /// The same as --color never
    #[arg(long, global = true, conflicts_with = "color")]
    no_color: bool,
    /// Form of results
    #[arg(long, global = true, value_name = "FORM", default_value = "text")]
    pub(super) output: Format,
}

/// Reads all layers; `variables` is the environment.
pub fn load(flags: &Flags, variables: impl Iterator<Item = (String, OsString)>) -> Result<Settings> {
    let file = flags.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    let place = file.display().to_string();
    // The library looks for other extensions when a name has none, so the text is read here.
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if flags.config.is_none() && e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(Error::Config(format!("settings file {place} cannot be read: {}", e.kind()))),
    };
    let default = Settings::default();
    let layers = || {
        let color = if flags.no_color { Some(Color::Never) } else { flags.color };
        Config::builder()
            .set_default("data_dir", default.data_dir.display().to_string())?
            .set_default("log", name_of(default.log))?
            .set_default("log_filter", default.log_filter.clone())?
            .set_default("color", name_of(default.color))?
            .set_default("stores", config::Map::<String, String>::new())?
            .add_source(File::from_str(&text, FileFormat::Toml))
            .add_source(environment(variables))
            .set_override_option("data_dir", flags.data_dir.as_ref().map(|d| d.display().to_string()))?
            .set_override_option("log", flags.log.map(name_of))?
            .set_override_option("log_filter", flags.log_filter.clone())?
            .set_override_option("color", color.map(name_of))?
            .build()?
            .try_deserialize()
    };
    layers().map_err(|e: config::ConfigError| {
        // The library's text for a TOML error quotes the line, and a line may hold a password: the first line says what.
        let what = e.to_string().lines().next().unwrap_or_default().to_string();
        Error::Config(format!("settings ({place}, HEADWATER_*): {what}"))
    })
}

/// The variables that are settings; others that begin alike (`HEADWATER_TEST_*`) are not ours to judge.
fn environment(variables: impl Iterator<Item = (String, OsString)>) -> Environment {
    let known = ["HEADWATER_DATA_DIR", "HEADWATER_LOG", "HEADWATER_LOG_FILTER", "HEADWATER_COLOR", "HEADWATER_LISTEN"];
    let ours = variables.filter(|(name, _)| known.contains(&name.as_str()) || name.starts_with("HEADWATER_STORES__"));
    let texts = ours.filter_map(|(name, value)| Some((name, value.into_string().ok()?)));
    Environment::with_prefix("HEADWATER").prefix_separator("_").separator("__").source(Some(texts.collect()))
}

fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(list: &[(&str, &str)]) -> impl Iterator<Item = (String, OsString)> {
        list.iter().map(|(n, v)| ((*n).to_string(), OsString::from(v))).collect::<Vec<_>>().into_iter()
    }

    fn with_file(text: &str) -> (tempfile::TempDir, Flags) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("settings.toml");
        std::fs::write(&path, text).unwrap();
        (directory, Flags { config: Some(path), ..Flags::default() })
    }

    #[test]
    fn later_layers_win() {
        let (_directory, flags) = with_file("data_dir = 'a'\nlog = 'json'\n[stores]\nbank = 'x.db'\n");
        let environment =
            [("HEADWATER_DATA_DIR", "b"), ("HEADWATER_STORES__LEDGER", "y.db"), ("HEADWATER_TEST_X", "1")];
        let settings = load(&flags, variables(&environment)).unwrap();
        assert_eq!((settings.data_dir.to_str(), settings.log), (Some("b"), LogFormat::Json));
        assert_eq!(settings.stores.len(), 2);
        let flags = Flags { data_dir: Some("c".into()), no_color: true, ..flags };
        let settings = load(&flags, variables(&environment)).unwrap();
        assert_eq!((settings.data_dir.to_str(), settings.color), (Some("c"), Color::Never));
    }

    #[test]
    fn defaults_stand_without_any_layer() {
        let (_directory, flags) = with_file("");
        assert_eq!(load(&flags, variables(&[])).unwrap(), Settings::default());
    }

    #[test]
    fn unknown_keys_and_missing_files_are_errors_without_values() {
        let (_directory, flags) = with_file("data_dri = 'hunter2'\n");
        let error = load(&flags, variables(&[])).unwrap_err().to_string();
        assert!(error.contains("data_dri") && !error.contains("hunter2"), "{error}");
        let (_directory, flags) = with_file("stores = 'hunter2\n");
        let error = load(&flags, variables(&[])).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        let flags = Flags { config: Some("/nonexistent.toml".into()), ..Flags::default() };
        assert!(matches!(load(&flags, variables(&[])), Err(Error::Config(_))));
    }
}
