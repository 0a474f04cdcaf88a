//! SIGTERM and Ctrl-C: the first drains, the second ends the process at once.

use tokio_util::sync::CancellationToken;

/// Cancels `shutdown` at the first signal; exits with 128 + its number at the second.
pub fn listen(shutdown: CancellationToken) {
    tokio::spawn(async move {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => return tracing::warn!("cannot listen for signals, only SIGKILL ends this process: {error}"),
        };
        signals.next().await;
        tracing::info!("finishing the batches in flight; a second signal ends at once");
        shutdown.cancel();
        std::process::exit(128 + signals.next().await);
    });
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The number of the next signal.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => 15,
            _ = self.interrupt.recv() => 2,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals)
    }

    async fn next(&mut self) -> i32 {
        let _ = tokio::signal::ctrl_c().await;
        2
    }
}
