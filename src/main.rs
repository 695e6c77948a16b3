//! The `kith` program: parses arguments and calls one function per command.

use std::process::ExitCode;

use clap::Parser;
use kith::commands::terminal::{complain, reader_is_gone};
use kith::commands::{Cli, Command, run};
use kith::config::ConfigError;

/// The exit code of a daemon whose configuration has mistakes: starting it again won't help (`EX_CONFIG`).
const MISCONFIGURED: u8 = 78;

#[expect(unsafe_code, reason = "see kith::runtime::telemetry and kith::card")]
fn main() -> ExitCode {
    // SAFETY: nothing came before this line that could have started a thread.
    unsafe {
        kith::runtime::telemetry::switch_off();
        kith::card::count_by_bus();
    }
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        // `kith detect … | head -1` is no mistake. The daemon has no reader.
        Err(error) if reader_is_gone(&error) && !matches!(cli.command, Command::Run(_)) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("kith: {error:#}"));
            if error.is::<ConfigError>() && matches!(cli.command, Command::Run(_)) {
                ExitCode::from(MISCONFIGURED)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
