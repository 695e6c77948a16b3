//! `kith man`: the manual pages, made from the same words as `--help`.

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::Cli;

/// The arguments of `kith man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith man | man -l -                  reads the main page
  kith man ~/.local/share/man/man1     writes a page for each command; then: man kith-enroll")]
pub struct Args {
    /// Write the page of every command into this folder, instead of the main page to standard output
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// Runs `kith man`.
///
/// # Errors
/// When a page can't be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut kith = Cli::command().disable_help_subcommand(true);
    // Gives the subcommands their full names and the options that every command takes.
    kith.build();
    match &args.folder {
        None => stdout().lock().write_all(&page(&kith)?)?,
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| format!("can't make the folder {}", folder.display()))?;
            write_pages(&kith, folder)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

fn write_pages(command: &Command, folder: &Path) -> anyhow::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let file = folder.join(format!("{name}.1"));
    fs::write(&file, page(command)?).with_context(|| format!("can't write {}", file.display()))?;
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| write_pages(command, folder))
}
