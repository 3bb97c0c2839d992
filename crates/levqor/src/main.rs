//! The `levqor` program: reads the command line, runs one command, ends with its exit code.
//!
//! All that the server is made of stands in the library; the commands stand in `cli/`.

use std::process::ExitCode;

mod cli;

// Measured in the benchmark: many small allocations on many threads, where the system's allocator keeps memory for itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
