//! Integration tests, one binary: each file drives the real library or the real `headwater` binary.
//!
//! Tests that need services read `HEADWATER_TEST_*` and say `skipped: …` when the variable is unset.

mod diagnostics;
