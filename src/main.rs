//! The `kith` program: parses arguments and calls one function per command.

use std::process::ExitCode;

use clap::Parser;
use kith::commands::terminal::{complain, reader_is_gone};
use kith::commands::{Cli, Command, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        // `kith detect … | head -1` is no mistake. The daemon has no reader.
        Err(error) if reader_is_gone(&error) && !matches!(cli.command, Command::Run(_)) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("kith: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
