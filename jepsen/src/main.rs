//! `keelson-jepsen`: does a store keep its promises while its members are killed, paused and cut
//! off?

use std::process::ExitCode;

use clap::Parser;
use keelson_jepsen::cli::Cli;

/// The run could not be carried out; 1 means that it was, and that something was found.
const COULD_NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            keelson_jepsen::output::progress(format_args!("error: {e:#}"));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}
