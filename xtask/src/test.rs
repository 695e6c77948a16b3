//! `cargo xtask test`: everything that has to hold before a change lands.

use std::env;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::checkout::{self, Checkout};
use crate::setup::{Role, Setup, Tool};
use crate::{containers, links, models, progress};

/// Check format, links, lints, dependencies and tests
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Do this step only (may be given more than once)
    #[arg(long, value_name = "STEP")]
    only: Vec<Step>,
    /// The trainer too: sets up libtorch (500 MB), and lints and tests what needs it
    #[arg(long)]
    trainer: bool,
    /// Leave this step out (may be given more than once)
    #[arg(long, value_name = "STEP", conflicts_with = "only")]
    skip: Vec<Step>,
}

/// The steps, in the order that they run: quick ones first, and the unit and integration tests last, so that their
/// summary stands at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Programs, packages, models
    SetUp,
    /// cargo fmt
    Format,
    /// Links between Markdown files
    Links,
    /// Dockerfiles and compose files
    Containers,
    /// Licences, bans and sources of the dependencies
    Dependencies,
    /// Advisories about the dependencies, when their database can be reached
    Advisories,
    /// cargo clippy
    Lints,
    /// The examples in the documentation
    Doc,
    /// Workers that hang and networks that fail on demand, in a build that can do that
    Faults,
    /// Unit, integration and end-to-end tests
    Tests,
    /// Lints and tests of the trainer; only with --trainer
    Trainer,
}

/// How a step that did not fail ended.
enum Outcome {
    Passed,
    /// With the reason.
    NotChecked(String),
}

/// What has to be added for a program with faults on demand.
pub(crate) const FAULT_FEATURE: [&str; 2] = ["--features", "kith/fault"];
/// How long the advisory database may take to arrive before it counts as unreachable.
const DATABASE_LIMIT: Duration = Duration::from_secs(60);

/// Runs the steps up to the first that fails, and prints what each took.
///
/// # Errors
/// When the checkout's own files can't be read.
pub(crate) fn run(args: &Args, checkout: &Checkout) -> Result<ExitCode> {
    let setup = Setup::new(checkout)?;
    let mut table = Vec::new();
    let mut failed = None;
    for step in Step::value_variants() {
        let wanted = if args.only.is_empty() {
            !args.skip.contains(step) && (args.trainer || !matches!(step, Step::Trainer))
        } else {
            args.only.contains(step)
        };
        if !wanted {
            continue;
        }
        let name = name(*step);
        progress::headline(&name);
        let since = Instant::now();
        let result = step.run(checkout, &setup);
        let took = progress::seconds(since.elapsed());
        match result {
            Ok(Outcome::Passed) => table.push(format!("{name:<14}{took:>12}  ok")),
            Ok(Outcome::NotChecked(reason)) => table.push(format!("{name:<14}{took:>12}  not checked: {reason}")),
            Err(error) => {
                eprintln!("error: {error:#}");
                table.push(format!("{name:<14}{took:>12}  FAILED"));
                failed = Some(name);
                break;
            }
        }
    }
    progress::headline("steps");
    for line in table {
        eprintln!("    {line}");
    }
    Ok(match failed {
        None => ExitCode::SUCCESS,
        Some(name) => {
            eprintln!("repeat just this step with: cargo xtask test --only {name}");
            ExitCode::FAILURE
        }
    })
}

/// As on the command line.
fn name(step: Step) -> String {
    step.to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

impl Step {
    fn run(self, checkout: &Checkout, setup: &Setup<'_>) -> Result<Outcome> {
        match self {
            Self::SetUp => set_up(checkout, setup)?,
            Self::Format => {
                rust_component(checkout, "fmt", "rustfmt")?;
                checkout::run(checkout.cargo().args(["fmt", "--all", "--check"]))
                    .context("the code is not formatted; `cargo fmt --all` does it")?;
            }
            Self::Links => links::check(checkout)?,
            Self::Containers => containers::look(checkout, setup)?,
            Self::Dependencies => {
                checkout::run(deny(checkout, setup)?.args(["check", "licenses", "bans", "sources"]))?;
            }
            Self::Advisories => return advisories(checkout, setup),
            Self::Lints => {
                rust_component(checkout, "clippy", "clippy")?;
                let mut clippy = checkout.cargo();
                clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
                checkout::run(&mut clippy)?;
            }
            Self::Doc => {
                set_up(checkout, setup)?;
                let mut doc = checkout.cargo();
                checkout::run(in_test_environment(&mut doc, checkout)?.args(["test", "--doc", "--workspace"]))?;
            }
            // Before the tests, so that the program that stays behind is the one without faults.
            Self::Faults => {
                set_up(checkout, setup)?;
                let mut nextest = nextest(checkout, setup)?;
                in_test_environment(&mut nextest, checkout)?
                    .args(["run", "--package", "kith", "--test", "promises"])
                    .args(FAULT_FEATURE)
                    .args(["hang::", "gpu::", "memory::a_day"]);
                checkout::run(&mut nextest)?;
            }
            Self::Tests => {
                set_up(checkout, setup)?;
                let mut nextest = nextest(checkout, setup)?;
                checkout::run(in_test_environment(&mut nextest, checkout)?.args(["run", "--workspace"]))?;
            }
            Self::Trainer => {
                set_up(checkout, setup)?;
                let libtorch = setup.libtorch()?;
                let of_trainer = ["--package", "kith-export", "--features", "train"];
                let mut clippy = checkout.cargo();
                clippy
                    .arg("clippy")
                    .args(of_trainer)
                    .args(["--all-targets", "--", "-D", "warnings"]);
                checkout::run(libtorch.tell(&mut clippy))?;
                // The end-to-end test asks it who is on a photo, after it has trained.
                checkout::run(checkout.cargo().args(["build", "--package", "kith"]))?;
                let mut nextest = nextest(checkout, setup)?;
                in_test_environment(&mut nextest, checkout)?.arg("run").args(of_trainer);
                checkout::run(libtorch.tell(&mut nextest))?;
            }
        }
        Ok(Outcome::Passed)
    }
}

/// What doc tests, integration tests and end-to-end tests find in place.
pub(crate) fn set_up(checkout: &Checkout, setup: &Setup<'_>) -> Result<()> {
    setup.tools(&[Tool::Ffmpeg, Tool::Mosquitto, Tool::Bubblewrap, Tool::Systemd])?;
    setup.packages(&[Role::Weights, Role::Photos, Role::Runtime, Role::OldestRuntime])?;
    models::make(checkout, setup)
}

/// What the tests are told about where things lie; all paths absolute.
pub(crate) fn in_test_environment<'c>(command: &'c mut Command, checkout: &Checkout) -> Result<&'c mut Command> {
    checkout
        .with_models(command)
        .env("KITH_PACKAGES", checkout.path(".cache/packages"))
        .env("KITH_PHOTOS", checkout.path(".cache/photos"))
        .env(
            "KITH_RUNTIME_LIBRARY_OLD",
            checkout.path(".cache/onnxruntime-1.19.2/libonnxruntime.so"),
        );
    if let Some(data) = env::var_os("KITH_DATA") {
        let folder = Path::new(&data)
            .canonicalize()
            .with_context(|| format!("KITH_DATA names {}, which is not there", data.display()))?;
        command.env("KITH_DATA", folder);
    }
    Ok(command)
}

/// The machine's own nextest, any version, else ours.
pub(crate) fn nextest(checkout: &Checkout, setup: &Setup<'_>) -> Result<Command> {
    let mut nextest = checkout.cargo();
    if !checkout::succeeds(checkout.cargo().args(["nextest", "--version"])) {
        nextest = checkout.cargo_tool(setup.unpacked(Role::Nextest)?.as_os_str());
    }
    nextest.arg("nextest");
    Ok(nextest)
}

/// Always our cargo-deny, since what it understands of `deny.toml` changes with its version.
fn deny(checkout: &Checkout, setup: &Setup<'_>) -> Result<Command> {
    let mut deny = checkout.cargo_tool(setup.unpacked(Role::Deny)?.as_os_str());
    // Locked: the check is about the dependencies as they are, and must not change them.
    deny.args(["deny", "--locked", "--workspace"]);
    Ok(deny)
}

/// Fetches the database apart from the check, so that a machine that can't reach it is told from a finding.
fn advisories(checkout: &Checkout, setup: &Setup<'_>) -> Result<Outcome> {
    let mut fetch = checkout.cargo_tool(setup.unpacked(Role::Deny)?.as_os_str());
    fetch.args(["deny", "fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0");
    if !ends_well_within(&mut fetch, DATABASE_LIMIT)? {
        return Ok(Outcome::NotChecked(String::from("their database can't be reached")));
    }
    checkout::run(deny(checkout, setup)?.args(["check", "--disable-fetch", "advisories"]))?;
    Ok(Outcome::Passed)
}

/// Whether `command` succeeds, in silence, before `limit` is over; it is ended then.
fn ends_well_within(command: &mut Command, limit: Duration) -> Result<bool> {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't start {}", checkout::line(command)))?;
    let (said_all, heard) = mpsc::channel();
    let mut errors = child.stderr.take();
    thread::spawn(move || {
        // The pipe closes when the child ends.
        let read = errors.as_mut().map(|errors| io::copy(errors, &mut io::sink()));
        // Nobody waits any more when the limit was over.
        let _ = said_all.send(read.is_some());
    });
    if heard.recv_timeout(limit).is_err() {
        child.kill().context("can't end the fetch of the advisory database")?;
    }
    Ok(child.wait()?.success())
}

/// Sees to it that cargo has the subcommand that a rustup component brings.
fn rust_component(checkout: &Checkout, subcommand: &str, component: &str) -> Result<()> {
    let is_there = || checkout::succeeds(checkout.cargo().args([subcommand, "--version"]));
    if is_there() {
        return Ok(());
    }
    let mut add = checkout.command("rustup");
    add.args(["component", "add", component]);
    if checkout::succeeds(&mut add) && is_there() {
        return Ok(());
    }
    bail!(
        "cargo has no {subcommand}. Install with: rustup component add {component}, or the package {component} of your \
         distribution's Rust"
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::ends_well_within;

    #[test]
    fn a_database_that_never_answers_does_not_hold_up_the_tests() {
        let since = Instant::now();
        let mut hangs = Command::new("sleep");
        assert!(!ends_well_within(hangs.arg("600"), Duration::from_millis(100)).unwrap());
        assert!(since.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn success_and_failure_of_a_fetch_are_told_apart() {
        let limit = Duration::from_secs(60);
        assert!(ends_well_within(&mut Command::new("true"), limit).unwrap());
        assert!(!ends_well_within(&mut Command::new("false"), limit).unwrap());
    }
}
