//! `kith completions`: what a shell has to know to complete `kith`.

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;

/// The arguments of `kith completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith completions bash > ~/.local/share/bash-completion/completions/kith
  kith completions zsh > ~/.zfunc/_kith
  kith completions fish > ~/.config/fish/completions/kith.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Runs `kith completions`.
///
/// # Errors
/// When the output can't be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // To memory first: the generator panics when it can't write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kith", &mut script);
    stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
