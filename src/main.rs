//! The `headwater` binary: the command line with the components of this crate.

use std::process::ExitCode;

/// Rows are many small allocations on several threads; mimalloc is faster there than the system's allocator.
/// Without huge pages: buffers of some hundred KB come and go with every batch, and the kernel would zero 2 MB for each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    headwater::cli::run(headwater::builtin())
}
