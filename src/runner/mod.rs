//! Runs pipelines: lanes, back-off, shutdown, progress. The only place on the data
//! path that spawns or retries.
//!
//! Invariants
//! - a lane is one loop, `next → stages → park rejects → commit`, and has one batch in flight;
//! - the reaction to an error follows from its kind: [`Error::Unavailable`] rebuilds the lane from the last committed
//!   position after a pause, everything else ends the pipeline;
//! - a stopped lane has either committed its batch or will read it again;
//! - what a lane holds back of transactions that are not whole is not committed.
//!
//! Deliberately absent: queues between stages, retries inside of components (but for what MongoDB asks of whoever writes
//! in its transactions), supervision across processes (Kafka's
//! consumer groups do that).

mod backoff;
mod fleet;
mod lane;
mod lanes;
mod measured;
mod parking;
mod pipeline;
mod progress;
mod recategorize;
mod report;
mod retry;
mod shapes;
mod signals;
mod transactions;

pub use fleet::{Ended, Fleet};
pub use lane::work_through;
pub use lanes::State;
pub use parking::Parking;
pub use pipeline::{Outcome, RunOptions, run};
pub use progress::{PipelineProgress, Reached, Snapshot};
pub use recategorize::{Done, Request, Tally, recategorize};
pub use report::Report;
pub use retry::{Retried, retry};
pub use signals::listen;
