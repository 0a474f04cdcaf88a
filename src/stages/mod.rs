//! Stages: what happens to records between a source and the sinks. One file (or folder) a component, named as in YAML.

pub mod categorize;
pub mod debezium;
pub mod document;
mod due;
pub mod filter;
pub mod map;
pub mod raw;

#[cfg(test)]
mod testing;
