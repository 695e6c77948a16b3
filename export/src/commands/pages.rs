//! `kith-export man` and `completions`, made from the same words as `--help`.

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  kith-export completions bash > ~/.local/share/bash-completion/completions/kith-export"
)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kith-export man | man -l -\n  kith-export man ~/.local/share/man/man1")]
pub struct Pages {
    /// Write the page of every command into this folder, instead of the main page to standard output
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) fn completions(args: &Completions) -> anyhow::Result<()> {
    // To memory first: the generator panics when it can't write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kith-export", &mut script);
    Ok(stdout().lock().write_all(&script)?)
}

pub(super) fn man(args: &Pages) -> anyhow::Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives the subcommands their full names.
    command.build();
    match &args.folder {
        None => Ok(stdout().lock().write_all(&page(&command)?)?),
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| format!("can't make the folder {}", folder.display()))?;
            write_pages(&command, folder)
        }
    }
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
