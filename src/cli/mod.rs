//! The command line: one file a verb.
//!
//! Contract: results on stdout, logs and progress on stderr; `--output json` prints one object with `command`, `ok`,
//! `summary`, `result` and `error`; exit code 0 done, 1 failed while running, 2 bad pipeline, settings or usage,
//! 3 something outside is missing. Nothing printed holds a value that came from the environment or a secret file.

mod check;
mod completions;
mod explain;
mod list;
mod logging;
mod model;
mod output;
mod parked;
mod progress;
mod quickstart;
mod raw;
mod recategorize;
mod report;
mod run;
mod settings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use output::{Outcome, Output};
pub use settings::{Color, LogFormat, Settings};

use crate::stage::Registry;
use settings::Flags;

/// Declarative pipelines from CDC topics to raw stores, categorized transactions and business documents.
#[derive(Parser)]
#[command(name = "headwater", version, max_term_width = 100, arg_required_else_help = true)]
struct CommandLine {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    verb: Verb,
}

/// One line a verb, here and in [`dispatch`].
#[derive(Subcommand)]
enum Verb {
    /// Checks pipeline files without touching the network; prints every problem.
    Check(check::Args),
    /// Prints what a pipeline will do: stages, fields with types and origin, lanes, indexes.
    Explain(explain::Args),
    /// Runs the main job over a shipped recording, on embedded parts, and shows three documents.
    Quickstart(quickstart::Args),
    /// Runs pipelines until Ctrl-C, or to the end of what is there.
    Run(run::Args),
    /// Looks into a raw store: its tables and their rows.
    Raw(raw::Args),
    /// Shows, retries or drops messages that could not be read or applied.
    Parked(parked::Args),
    /// Categorizes the rows of a raw store again, after a new version of a model was published.
    Recategorize(recategorize::Args),
    /// Trains, measures, publishes and inspects categorization models.
    Model(model::Args),
    /// Lists the components that pipelines may name.
    List,
    /// Prints a completion script for a shell.
    Completions(completions::Args),
}

/// What every verb may use.
pub struct Context {
    /// Settings after all layers.
    pub settings: Settings,
    /// Where results go.
    pub out: Output,
    /// The components of this binary.
    pub registry: Registry,
}

fn dispatch(verb: &Verb, context: &Context) -> (&'static str, crate::Result<Outcome>) {
    match verb {
        Verb::Check(args) => ("check", check::run(args, context)),
        Verb::Explain(args) => ("explain", explain::run(args, context)),
        Verb::Quickstart(args) => ("quickstart", quickstart::run(args, context)),
        Verb::Run(args) => ("run", run::run(args, context)),
        Verb::Raw(args) => ("raw", raw::run(args, context)),
        Verb::Parked(args) => ("parked", parked::run(args, context)),
        Verb::Recategorize(args) => ("recategorize", recategorize::run(args, context)),
        Verb::Model(args) => ("model", model::run(args, context)),
        Verb::List => ("list", list::run(context)),
        Verb::Completions(args) => ("completions", completions::run(args, context)),
    }
}

/// Runs the command line of this process with the components of `registry`.
pub fn run(registry: Registry) -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        // Help and version go to stdout with 0, wrong usage to stderr with 2.
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let (settings, wrong) = match settings::load(&command_line.flags, variables) {
        Ok(settings) => (settings, None),
        Err(error) => (Settings::default(), Some(error)),
    };
    let out = Output::new(command_line.flags.output, settings.color);
    if let Some(error) = wrong {
        return out.finish("settings", Err(error));
    }
    logging::start(&settings);
    let context = Context { settings, out, registry };
    let (command, outcome) = dispatch(&command_line.verb, &context);
    context.out.finish(command, outcome)
}
