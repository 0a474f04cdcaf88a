//! Integration tests, one binary: each file drives the real library or the real `headwater` binary.
//!
//! Tests that need services read `HEADWATER_TEST_*` and say `skipped: …` when the variable is unset.

// Helpers of tests are tests: they may fail loudly. Clippy's own exception covers only `#[test]` functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod accounts;
mod categories;
mod cdc_cases;
mod command_line;
mod diagnostics;
#[path = "../e2e/mod.rs"]
mod e2e;
mod envelopes;
mod exact_json;
mod golden;
mod house;
mod kafka;
mod mariadb;
mod mariadb_types;
mod outages;
mod parked;
mod pipelines;
mod postgres_types;
mod raw_copy;
mod real_drift;
mod rebuild;
mod reconcile;
mod replay;
mod resent;
mod runner;
mod schema_changes;
mod schema_registry;
mod shipped_model;
mod sinks;
mod status;
mod stores;
mod topic_tables;
mod topics;
mod training;
mod transactions;
mod versions;
