//! `kith status`: how the running daemon is, in its own words.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;

use super::Common;
use super::terminal::say;
use crate::admin::Verb;

/// The arguments of `kith status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith status                            the daemon of this state folder, or the service
  kith status --json | jq .cameras.door")]
pub struct Args {
    /// The daemon's answer as it comes, as JSON
    #[arg(long)]
    pub json: bool,
}

/// As the daemon answers.
#[derive(Debug, Deserialize)]
struct Status {
    version: String,
    node: String,
    started: String,
    missing: Vec<String>,
    provider: String,
    card: Option<String>,
    networks: Vec<Proof>,
    cameras: BTreeMap<String, Camera>,
    people: u64,
    broker: bool,
    outbox: u64,
}

/// What really runs a network.
#[derive(Debug, Deserialize)]
struct Proof {
    network: String,
    provider: String,
}

#[derive(Debug, Deserialize)]
struct Camera {
    online: bool,
    frames: u64,
    dropped: u64,
}

/// Runs `kith status`.
///
/// # Errors
/// When no daemon runs, or it doesn't let us.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let answer: Value = common.daemon()?.ask(&Verb::Status)?;
    if args.json {
        say(answer)?;
    } else {
        for line in text(&serde_json::from_value(answer)?) {
            say(line)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(status: &Status) -> Vec<String> {
    let waits = match status.outbox {
        0 => "nothing waits".to_owned(),
        1 => "1 event waits to be acknowledged".to_owned(),
        more => format!("{more} events wait to be acknowledged"),
    };
    let mut lines = vec![
        format!("kith {} as {}, since {}", status.version, status.node, status.started),
        format!("  networks  {}", status.provider),
        format!(
            "  broker    {}, {waits}",
            if status.broker { "connected" } else { "not reached" }
        ),
        format!("  people    {} enrolled", status.people),
    ];
    if let Some(card) = &status.card {
        lines.insert(2, format!("  card      {card}"));
    }
    // All on one provider is what the line of the networks says already.
    let (on_one, first) = (&status.networks, status.networks.first());
    if on_one
        .iter()
        .any(|proof| first.is_some_and(|first| first.provider != proof.provider))
    {
        let each: Vec<String> = on_one
            .iter()
            .map(|one| format!("{} on {}", one.network, one.provider))
            .collect();
        lines.insert(2, format!("            {}", each.join(", ")));
    }
    if !status.missing.is_empty() {
        lines.push(format!("  missing   {}", status.missing.join(", ")));
    }
    let widest = status.cameras.keys().map(String::len).max().unwrap_or(0);
    for (id, camera) in &status.cameras {
        lines.push(format!(
            "  camera    {id:<widest$}  {}, {} frames, {} dropped",
            if camera.online { "delivers" } else { "delivers nothing" },
            camera.frames,
            camera.dropped
        ));
    }
    lines
}
