//! Whether the process is ready, and what it is.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::runner::{PipelineProgress, State};

/// Whether every pipeline has been started, and what each is doing, as JSON.
///
/// A pipeline that waits for something outside, or has failed, makes no process unready: the others go on, and nobody is
/// helped by taking this one away. Its state is in the body and in the metrics.
pub(super) fn ready(pipelines: &[Arc<PipelineProgress>]) -> (bool, String) {
    let states: Vec<(&str, State)> = pipelines.iter().map(|p| (&*p.name, p.state())).collect();
    let ready = states.iter().all(|(_, state)| *state != State::Starting);
    let by_name = states.into_iter().map(|(name, state)| (name.to_string(), json!({ "state": state.as_str() })));
    let body = json!({ "ready": ready, "pipelines": by_name.collect::<serde_json::Map<String, Value>>() });
    (ready, format!("{body}\n"))
}

/// Name and version, as JSON.
pub(super) fn version() -> String {
    format!("{}\n", json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ready_before_it_was_open() {
        let pipelines = [Arc::new(PipelineProgress::new("spending", 1))];
        let (is_ready, body) = ready(&pipelines);
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((is_ready, &told["ready"]), (false, &json!(false)));
        assert_eq!(told["pipelines"]["spending"]["state"], "starting");
    }
}
