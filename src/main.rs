//! The `kith` program: parses arguments and calls one function per command.

use std::process::ExitCode;

use clap::Parser;
use kith::commands::{Cli, run};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kith: {error:#}");
            ExitCode::FAILURE
        }
    }
}
