//! End-to-end tests against real services; each skips, and says so, where there are none.

mod canonical;
mod models;
mod mongo;
mod oracle;
mod road;
mod runner;
mod services;
mod world;
