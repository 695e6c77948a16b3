//! `kith calibrate`.

use std::process::ExitCode;

use super::Common;

/// The arguments of `kith calibrate`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `kith calibrate`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(_args: &Args, _common: &Common) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not here yet")
}
