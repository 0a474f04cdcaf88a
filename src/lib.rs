//! Headwater: declarative pipelines from CDC topics to raw stores, categorized transactions and business documents.

pub mod cdc;
pub mod cli;
pub mod error;
pub mod expr;
pub mod model;
pub mod pipeline;
pub mod record;
mod registry;
pub mod runner;
pub mod sinks;
pub mod sources;
pub mod stage;
pub mod stages;
pub mod stores;

pub use error::{Error, Result};
pub use registry::builtin;
