//! What the lanes of a pipeline are doing, for whoever asks whether it is ready.
//!
//! Invariant: a state is told after the fact; nothing here steers a lane.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// What a pipeline is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Some lane has not opened its source, stages and stores yet.
    #[default]
    Starting,
    /// All lanes are at work.
    Running,
    /// Something outside is missing: some lane tries to open again.
    Waiting,
    /// It came to its end.
    Ended,
    /// It stopped for good, with an error.
    Failed,
}

impl State {
    /// All of them.
    pub const ALL: [State; 5] = [State::Starting, State::Running, State::Waiting, State::Ended, State::Failed];

    /// Its name in labels and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Waiting => "waiting",
            State::Ended => "ended",
            State::Failed => "failed",
        }
    }
}

/// The states of one pipeline's lanes.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: Vec<AtomicU8>,
    restarts: AtomicU64,
    over: AtomicU8,
}

/// Of a lane, in an atomic.
const NEW: u8 = 0;
const OPEN: u8 = 1;
const AWAY: u8 = 2;

impl Lanes {
    /// So many lanes, none of which is open.
    pub(super) fn new(lanes: usize) -> Self {
        Lanes { lanes: std::iter::repeat_with(|| AtomicU8::new(NEW)).take(lanes).collect(), ..Lanes::default() }
    }

    /// A lane has opened everything.
    pub(super) fn opened(&self, lane: usize) {
        self.set(lane, OPEN);
    }

    /// A lane has lost something that it needs, and will open again.
    pub(super) fn lost(&self, lane: usize) {
        self.restarts.fetch_add(1, Relaxed);
        self.set(lane, AWAY);
    }

    /// The pipeline is over.
    pub(super) fn over(&self, failed: bool) {
        self.over.store(1 + u8::from(failed), Relaxed);
    }

    /// How often lanes were lost.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// All lanes together.
    pub(super) fn state(&self) -> State {
        let any = |state| self.lanes.iter().any(|lane| lane.load(Relaxed) == state);
        match self.over.load(Relaxed) {
            0 if any(AWAY) => State::Waiting,
            0 if any(NEW) => State::Starting,
            0 => State::Running,
            1 => State::Ended,
            _ => State::Failed,
        }
    }

    fn set(&self, lane: usize, state: u8) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.store(state, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_what_its_least_lane_is() {
        let lanes = Lanes::new(2);
        assert_eq!(lanes.state(), State::Starting);
        lanes.opened(0);
        assert_eq!(lanes.state(), State::Starting);
        lanes.lost(1);
        assert_eq!((lanes.state(), lanes.restarts()), (State::Waiting, 1));
        lanes.opened(1);
        lanes.opened(7);
        assert_eq!(lanes.state(), State::Running);
        lanes.over(false);
        assert_eq!(lanes.state(), State::Ended);
        lanes.over(true);
        assert_eq!((lanes.state(), lanes.restarts()), (State::Failed, 1));
    }
}
