//! End-to-end tests against real services; each skips, and says so, where there are none.

mod canonical;
mod models;
mod mongo;
mod oracle;
mod road;
pub mod runner;
pub mod services;
mod transactions;
mod world;
