//! `keelson-bench`: measures Keelson and etcd.

use std::process::ExitCode;

use clap::Parser;
use keelson_bench::cli::Cli;

// The generator must cost little, and this allocator costs less than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            keelson_bench::output::progress(format_args!("error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}
