//! `headwater list`: the components that pipelines may name.

use serde_json::json;

use super::{Context, Outcome};
use crate::Result;

pub fn run(context: &Context) -> Result<Outcome> {
    let sources: Vec<_> = context.registry.source_names().collect();
    let stages: Vec<_> = context.registry.stage_names().collect();
    let text = format!("sources: {}\nstages:  {}\n", sources.join(", "), stages.join(", "));
    let summary = format!("{} sources, {} stages", sources.len(), stages.len());
    Ok(Outcome { text, summary, result: json!({ "sources": sources, "stages": stages }), error: None })
}
