//! `cargo xtask trainer`: the trainer, built and run.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::checkout::{self, Checkout};
use crate::models;
use crate::progress;
use crate::setup::{Role, Setup};

/// Set up libtorch, build the trainer, and run it with what is given
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask trainer\n  cargo xtask trainer align photos faces\n\n\
    On a machine with a CUDA torch: LIBTORCH_USE_PYTORCH=1 cargo xtask trainer"
)]
pub(crate) struct Args {
    /// Arguments of kith-export; without any it is only built
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Runs the trainer.
///
/// # Errors
/// When set-up or build fails.
pub(crate) fn run(args: &Args, checkout: &Checkout) -> Result<ExitCode> {
    let setup = Setup::new(checkout)?;
    progress::headline("set-up");
    setup.packages(&[Role::Runtime])?;
    models::make(checkout, &setup)?;
    let libtorch = setup.libtorch()?;
    progress::headline("build");
    let mut build = checkout.cargo();
    libtorch.tell(&mut build);
    checkout::run(build.args(["build", "--release", "--package", "kith-export", "--features", "train"]))?;
    if args.arguments.is_empty() {
        eprintln!("    target/release/kith-export --help tells what it can do");
        return Ok(ExitCode::SUCCESS);
    }
    // Where the build's folder is, only cargo knows for sure.
    let mut trainer = checkout.cargo();
    libtorch.tell(&mut trainer);
    checkout.with_models(&mut trainer);
    // Paths on the command line are meant from where the person stands.
    if let Ok(here) = std::env::current_dir() {
        trainer.current_dir(here);
    }
    trainer
        .arg("run")
        .arg("--manifest-path")
        .arg(checkout.path("Cargo.toml"));
    trainer.args([
        "--quiet",
        "--release",
        "--package",
        "kith-export",
        "--features",
        "train",
        "--",
    ]);
    let status = trainer
        .args(&args.arguments)
        .status()
        .context("can't start the trainer")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
