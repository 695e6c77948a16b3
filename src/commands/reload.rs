//! `kith reload`: the running daemon reads its configuration again.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;

use super::Common;
use super::terminal::{complain, say};
use crate::admin::Verb;

/// The arguments of `kith reload`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith reload                            says which cameras changed, and what needs a restart

A file with mistakes changes nothing, and all of them are named. Kith also reads the file by itself when it has changed.")]
pub struct Args {
    /// The daemon's answer as it comes, as JSON
    #[arg(long)]
    pub json: bool,
}

/// As the daemon answers.
#[derive(Debug, Deserialize)]
struct Reloaded {
    cameras: Cameras,
    needs_restart: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Cameras {
    added: Vec<String>,
    removed: Vec<String>,
    restarted: Vec<String>,
}

/// Runs `kith reload`.
///
/// # Errors
/// When no daemon runs, it doesn't let us, or the file has mistakes.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let answer: Value = common.daemon()?.ask(&Verb::Reload)?;
    if args.json {
        say(answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Reloaded { cameras, needs_restart } = serde_json::from_value(answer)?;
    say("reloaded")?;
    for (what, ids) in [
        ("added", cameras.added),
        ("removed", cameras.removed),
        ("restarted", cameras.restarted),
    ] {
        if !ids.is_empty() {
            say(format_args!("  cameras {what}: {}", ids.join(", ")))?;
        }
    }
    if !needs_restart.is_empty() {
        complain(format_args!(
            "needs a restart to take effect: {} (systemctl restart kith)",
            needs_restart.join(", ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}
