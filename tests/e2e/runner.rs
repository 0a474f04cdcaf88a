//! The real binary as a child process that can be killed at any moment.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running `headwater run`.
pub struct Runner {
    pipeline: PathBuf,
    data_dir: PathBuf,
    log: PathBuf,
    env: Vec<(String, String)>,
    child: Option<Child>,
}

impl Runner {
    /// Not started yet. `dir` holds the data directory and the log.
    pub fn new(dir: &Path, pipeline: &Path, env: Vec<(String, String)>) -> Runner {
        Runner { pipeline: pipeline.into(), data_dir: dir.join("data"), log: dir.join("runner.log"), env, child: None }
    }

    /// Starts the binary; its log is appended to.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "the runner is running");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = headwater(&self.data_dir);
        command.arg("run").arg(&self.pipeline).envs(self.env.iter().cloned());
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the runner is running");
        assert!(child.try_wait().unwrap().is_none(), "the runner had ended by itself:\n{}", self.log_tail());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; the exit code, which must come within `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Option<i32> {
        let mut child = self.child.take().expect("the runner is running");
        let sent = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
        assert!(sent.success());
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("the runner did not end within {limit:?} of SIGTERM:\n{}", self.log_tail());
    }

    /// Peak resident memory of the running process in megabytes.
    pub fn peak_memory_mb(&self) -> u64 {
        let pid = self.child.as_ref().expect("the runner is running").id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or("VmHWM: 0 kB");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
    }

    /// The end of the log, for failures.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The binary with a data directory of its own.
pub fn headwater(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.env("HEADWATER_DATA_DIR", data_dir).env("NO_COLOR", "1");
    command
}
