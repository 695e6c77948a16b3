//! `cargo xtask package`: the Debian package, and whether it keeps its word on a clean system.
//!
//! - `contents`: what is in it that is not in the checkout: manual pages, completions, notices
//! - `trial`: installs, uses, upgrades, removes and purges it in a Debian root, and asks lintian
//! - `older`: a package of before, with a gallery of before, to upgrade from

mod contents;
mod older;
mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::checkout::{self, Checkout};
use crate::setup::{Role, Setup};
use crate::{models, progress};

/// Build the Debian package (target/debian/), and try it in a clean root with --check
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask package\n  cargo xtask package --check             build it and try it; needs root\n  \
                  cargo xtask package --check FILE.deb    try this one"
)]
pub(crate) struct Args {
    /// Install, use, upgrade, remove and purge it in a clean Debian root, and ask lintian
    #[arg(long, value_name = "FILE.deb", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "an option whose value is one")]
    check: Option<Option<PathBuf>>,
}

/// # Errors
/// When something can't be built or tried; a claim that does not hold is exit code 1.
pub(crate) fn run(args: &Args, checkout: &Checkout) -> Result<ExitCode> {
    let setup = Setup::new(checkout)?;
    let deb = match &args.check {
        Some(Some(given)) => given
            .canonicalize()
            .with_context(|| format!("can't find {}", given.display()))?,
        _ => build(checkout, &setup)?,
    };
    if args.check.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    trial::run(checkout, &setup, &deb)
}

/// Builds the package; its file.
fn build(checkout: &Checkout, setup: &Setup<'_>) -> Result<PathBuf> {
    progress::headline("set-up");
    setup.packages(&[Role::Runtime])?;
    models::make(checkout, setup)?;
    let cargo_deb = setup.cargo_deb()?;

    progress::headline("building kith and kith-export (some minutes the first time)");
    checkout::run(checkout.cargo().args([
        "build",
        "--release",
        "--locked",
        "--bins",
        "--package",
        "kith",
        "--package",
        "kith-export",
    ]))?;
    progress::headline("package");
    contents::write(checkout)?;
    let mut deb = checkout.cargo_tool(cargo_deb.as_os_str());
    // The build machine's umask is no part of the package.
    deb.args(["--no-build", "--locked", "--package", "kith", "--quiet"]);
    let said = checkout::capture(&mut deb)?;
    let file = said
        .lines()
        .last()
        .map(Path::new)
        .context("cargo-deb names the package")?;
    if !file.is_file() {
        bail!("cargo-deb names {}, which is not there", file.display());
    }
    eprintln!("    {}", file.display());
    Ok(file.to_path_buf())
}

/// The folder of the release build, wherever cargo was told to put it.
fn release(checkout: &Checkout) -> Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let text = checkout::capture(
        checkout
            .cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"]),
    )?;
    let metadata: Metadata = serde_json::from_str(&text).context("in what cargo metadata says")?;
    Ok(metadata.target_directory.join("release"))
}
