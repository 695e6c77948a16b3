//! `kith health`: whether the running daemon lives, in one line and an exit code, for the health check of a container or
//! a supervisor.

use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Common;
use super::terminal::say;
use crate::admin::Verb;

/// The arguments of `kith health`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith health                            the daemon of this state folder, or the service
  HEALTHCHECK CMD [\"kith\", \"health\"]     in a Dockerfile

Exit code 0: every worker of the daemon gives signs of life. Exit code 1: one is silent, the daemon does not answer, or there
is none; while the networks are opened there is none yet. A camera or broker that is away is no illness: see `kith status`.")]
pub struct Args {
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// How long the daemon may take to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub timeout: u64,
}

/// As the daemon answers.
#[derive(Debug, Deserialize)]
struct Health {
    healthy: bool,
    up_s: u64,
    silent: Vec<Silent>,
}

#[derive(Debug, Deserialize)]
struct Silent {
    worker: String,
    silent_s: u64,
}

/// Runs `kith health`. Exit code 1 when the daemon is not as it should be, or can't be asked.
///
/// # Errors
/// When the output can't be written.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let (healthy, line) = match ask(args, common).and_then(|answer| Ok((Health::deserialize(&answer)?, answer))) {
        Ok((health, answer)) if args.json => (health.healthy, answer.to_string()),
        Ok((health, _)) => (health.healthy, text(&health)),
        Err(error) if args.json => (
            false,
            json!({"healthy": false, "error": format!("{error:#}")}).to_string(),
        ),
        Err(error) => (false, format!("unhealthy: {error:#}")),
    };
    // To standard output either way: that is what a container engine keeps.
    say(line)?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(args: &Args, common: &Common) -> anyhow::Result<Value> {
    let mut daemon = common.daemon()?;
    daemon.set_patience(Duration::from_secs(args.timeout))?;
    Ok(daemon.ask(&Verb::Health)?)
}

fn text(health: &Health) -> String {
    if health.healthy {
        return format!("healthy: up for {} s, every worker gives signs of life", health.up_s);
    }
    let silent: Vec<String> = health
        .silent
        .iter()
        .map(|one| format!("{} has been silent for {} s", one.worker, one.silent_s))
        .collect();
    format!("unhealthy: {}", silent.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_workers_are_named_in_one_line() {
        let health: Health = serde_json::from_value(json!({
            "healthy": false,
            "up_s": 90,
            "silent": [{"worker": "engine", "silent_s": 31}, {"worker": "outbox", "silent_s": 30}],
        }))
        .unwrap();
        assert_eq!(
            text(&health),
            "unhealthy: engine has been silent for 31 s, outbox has been silent for 30 s"
        );
    }
}
