//! Headwater: declarative pipelines from CDC topics to raw stores, categorized transactions and business documents.
//!
//! A golden-source database stays as it is; everything downstream of it is derived by pipelines that anybody can read in
//! one YAML file. The binary is [`cli::run`] with the components of [`builtin`]; a binary of your own adds its lines to
//! that registry.
//!
//! # The data path
//!
//! ```text
//! pipeline.yaml ── pipeline::load ──▶ Pipeline: a checked plan (no I/O, every problem at once)
//!                                        │ build: fresh components for each lane
//!                                        ▼
//!  Kafka, file ──▶ source.next ──▶ stage.process ──▶ … ──▶ stage.process ──▶ park rejects ──▶ source.commit
//!                  Batch of        debezium: messages        a sink is a       with bytes,      only now is the
//!                  messages        become records            stage, too        place, reason    position recorded
//!                                  raw: exact copies, versioned
//!                                  categorize: a result is a stored table
//!                                  document: f(raw snapshot)
//! ```
//!
//! That line is one loop, [`runner`]'s lane; a pipeline has 1 to 64 of them, and Kafka's consumer group distributes the
//! partitions among all lanes of all processes. Crash, retry, rebalance and replay are one path: a lane starts again from
//! the last recorded position, and every write can bear it.
//!
//! # The rooms
//!
//! | room | what is in it |
//! |---|---|
//! | [`record`] | what flows: messages, records, rows, exact values, positions, batches |
//! | [`pipeline`] | YAML → checked plan: places, variables, sections, flows of fields |
//! | [`stage`] | the two traits, [`stage::Source`] and [`stage::Stage`], and the registry of components |
//! | [`stores`] | raw stores: versioned copies, snapshots, parked messages; embedded and on MongoDB |
//! | [`cdc`] | envelope formats → records; pure functions |
//! | [`expr`] | VRL over exact rows |
//! | [`model`] | features, training, evaluation, model folders |
//! | [`sources`], [`stages`], [`sinks`] | the components: one file or folder each, named as in YAML |
//! | [`runner`] | lanes, whole transactions, back-off, parking, progress, shutdown, re-categorization: the only place on the data path that spawns or retries |
//! | [`status`] | metrics and health of a running process, over HTTP |
//! | [`cli`] | one file a verb; settings, output, logs |
//! | [`mongo`] | how MongoDB is reached and what its errors mean, for store and sink |
//! | [`error`] | errors by the reaction they call for |
//!
//! Arrows point from components to `record`, `pipeline`, `stage` and `stores`, never back and never between components;
//! `tests/it/house.rs` holds the exact table. A new component is its own file, one line in `registry.rs` and one example
//! pipeline.
//!
//! # The laws
//!
//! 1. *Nothing is lost in silence.* Every message is stored, derived from, or parked with its bytes, its place and a
//!    reason. Progress is recorded only after the effect is durable.
//! 2. *Again is the same as once.* Every write is idempotent and carries a version; an older version never replaces a
//!    newer one; a delete leaves a versioned tombstone.
//! 3. *A document is a pure function* of a raw-store snapshot and a model version, whatever the order in which the rows
//!    arrived.
//! 4. *A pipeline is checked before it runs*: every component says, without any I/O, which fields it takes and gives.
//! 5. *Values are exact*: decimals of any width, 64-bit integers, full precision of time; absent, null and unchanged are
//!    three things. What cannot be represented is parked, never bent.
//! 6. *Real parts*: Kafka distributes the work, MongoDB or SQLite hold it; there is no consensus, no shuffle and no
//!    storage engine here.
//!
//! Errors and logs name places and expectations, never payload values or secrets.

pub mod cdc;
pub mod cli;
pub mod error;
pub mod expr;
pub mod model;
pub mod mongo;
pub mod pipeline;
pub mod record;
mod registry;
pub mod runner;
pub mod sinks;
pub mod sources;
pub mod stage;
pub mod stages;
pub mod status;
pub mod stores;

pub use error::{Error, Result};
pub use registry::builtin;

/// The README's Rust is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
