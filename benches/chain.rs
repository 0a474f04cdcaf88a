//! The whole chain on embedded parts: recording → debezium → raw → categorize → document → sqlite, by the real binary.
//!
//! `cargo bench --bench chain` runs `pipelines/quickstart.yaml` three times, each in a fresh data directory, and prints
//! events per second and CPU-seconds per million events of the child process (user + system, start-up included).
//!
//! Lacks: services. `tests/e2e` and the sinks' benches measure against real ones.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::expect_used)]

use std::process::Command;
use std::time::Instant;

/// Linux counts a process's time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    let root = env!("CARGO_MANIFEST_DIR");
    for run in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let (begun, cpu) = (Instant::now(), children_cpu_secs());
        let output = Command::new(env!("CARGO_BIN_EXE_headwater"))
            .args(["--output", "json", "--data-dir"])
            .arg(dir.path())
            .args(["run", "pipelines/quickstart.yaml", "--until-end", "--quiet"])
            .current_dir(root)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (wall, cpu) = (begun.elapsed().as_secs_f64(), children_cpu_secs() - cpu);
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let events = result["result"][0]["messages"].as_f64().expect("the number of messages");
        println!(
            "run {run}: {events} events in {wall:.2} s: {:.0} events/s, {:.1} CPU-s per million events",
            events / wall,
            cpu / events * 1e6
        );
    }
}

/// CPU time of all children that have ended, from fields 16 and 17 of `/proc/self/stat`.
fn children_cpu_secs() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[13].parse::<f64>().unwrap() + fields[14].parse::<f64>().unwrap()) / TICKS_PER_SECOND
}
