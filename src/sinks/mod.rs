//! Sinks: stages whose effect is outside. `Ok` from their `process` means that every record of the batch is durable or
//! rejected; the records go on, so that a sink may stand in mid-chain.

pub mod mongodb;
pub mod sqlite;
