//! `cargo xtask demo`: all the set-up that the demo needs, then the demo.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::checkout::{self, Checkout};
use crate::setup::{Role, Setup, Tool};
use crate::{models, progress};

const FOLDER: &str = "target/demo";

/// See people being recognised in a moving picture and announced over MQTT
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Use this broker rather than one inside the demo, such as mqtt://127.0.0.1:1883
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Keep what an earlier demo left in target/demo
    #[arg(long)]
    keep: bool,
}

/// Runs the demo and hands its exit code on.
///
/// # Errors
/// When the set-up or the build fails.
pub(crate) fn run(args: &Args, checkout: &Checkout) -> Result<ExitCode> {
    progress::headline("set-up");
    let setup = Setup::new(checkout)?;
    setup.tools(&[Tool::Ffmpeg])?;
    setup.packages(&[Role::Photos, Role::Runtime])?;
    models::make(checkout, &setup)?;

    progress::headline("building kith (some minutes the first time)");
    checkout::run(
        checkout
            .cargo()
            .args(["build", "--release", "--package", "kith", "--bins", "--example", "demo"]),
    )?;

    progress::headline("demo");
    let folder = checkout.path(FOLDER);
    if folder.exists() && !args.keep {
        fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
    }
    let mut demo = checkout.cargo();
    checkout.with_models(&mut demo);
    demo.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "kith",
        "--example",
        "demo",
        "--",
    ]);
    demo.args(["--photos", ".cache/photos", "--out", FOLDER]);
    if let Some(broker) = &args.broker {
        demo.args(["--broker", broker]);
    }
    let status = demo
        .status()
        .with_context(|| format!("can't start {}", checkout::line(&demo)))?;
    // A demo that a signal ended has no code.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
