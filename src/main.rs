//! The `headwater` binary: the command line with the components of this crate.

use std::process::ExitCode;

/// Rows are many small allocations on several threads; mimalloc is faster there than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    headwater::cli::run(headwater::builtin())
}
