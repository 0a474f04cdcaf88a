//! `headwater completions`: a completion script for a shell.

use clap::CommandFactory;
use serde_json::json;

use super::{CommandLine, Context, Outcome};
use crate::Result;

#[derive(clap::Args)]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub fn run(args: &Args, _: &Context) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut CommandLine::command(), "headwater", &mut script);
    let text = String::from_utf8_lossy(&script).into_owned();
    let summary = format!("completions for {}", args.shell);
    Ok(Outcome { result: json!({ "script": text }), text, summary, error: None })
}
