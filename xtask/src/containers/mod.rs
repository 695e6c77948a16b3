//! `cargo xtask containers`: the container files looked at, and their steps run as far as a machine without a container
//! engine can.
//!
//! - `dockerfile`, `versions`, `context`: the files
//! - `lint`: what can be said by looking
//! - `bases`, `steps`: what an engine does to build, in Debian roots
//! - `trial`: what it does to start the image
//! - `log`: the page

mod bases;
mod context;
mod dockerfile;
mod lint;
mod log;
mod steps;
mod trial;
mod versions;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::checkout::Checkout;
use crate::progress;
use crate::setup::Setup;
use steps::{Builder, Entry, Image, Variant};

/// Look at the Dockerfiles and compose files; with --check, run their steps in Debian roots
#[derive(clap::Args)]
#[command(after_help = "\
Example: cargo xtask containers --check

--check needs root, a network and an hour or less; it fetches 2 GB, and writes docs/reference/containers.md.")]
pub(crate) struct Args {
    /// Run every step that doesn't need NVIDIA's base images, and try what comes out
    #[arg(long)]
    check: bool,
    /// With --check: only the image for the CPU
    #[arg(long, requires = "check")]
    cpu: bool,
    /// With --check: keep the roots in .cache/containers, and go on in those of an earlier run
    #[arg(long, requires = "check")]
    keep: bool,
    /// Try the image whose file system lies in this folder, as `docker export` gives it out; it is changed by that
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    try_image: Option<PathBuf>,
}

/// What is built. The first is whole; the others go on from what it did where they can.
const VARIANTS: [Variant; 4] = [
    Variant {
        file: "deploy/docker/Dockerfile",
        given: &[("RUNTIME", "cpu")],
        not_again: &[],
    },
    Variant {
        file: "deploy/docker/Dockerfile",
        given: &[("RUNTIME", "cuda")],
        not_again: &[],
    },
    Variant {
        file: "Dockerfile.jetson",
        given: &[("JETPACK", "7")],
        not_again: &["set-up.sh program", "set-up.sh models \"$MODELS\""],
    },
    Variant {
        file: "Dockerfile.jetson",
        given: &[("JETPACK", "6")],
        not_again: &["set-up.sh program", "set-up.sh models \"$MODELS\""],
    },
];

/// What can be said of the files without building anything: what `cargo xtask test` asks.
///
/// # Errors
/// With what is wrong.
pub(crate) fn look(checkout: &Checkout, setup: &Setup<'_>) -> Result<()> {
    lint::check(checkout, setup)?;
    log::look(checkout)
}

/// # Errors
/// With what is wrong.
pub(crate) fn run(args: &Args, checkout: &Checkout) -> Result<ExitCode> {
    let setup = Setup::new(checkout)?;
    if let Some(folder) = &args.try_image {
        let image = Image::exported(checkout, folder)?;
        trial::of(&image, checkout, &setup, &mut Vec::new())?;
        return Ok(ExitCode::SUCCESS);
    }
    progress::headline("looking");
    look(checkout, &setup)?;
    if !args.check {
        return Ok(ExitCode::SUCCESS);
    }
    let mut builder = Builder::new(checkout, &setup, args.keep)?;
    let mut chapters = Vec::new();
    for variant in VARIANTS.iter().take(if args.cpu { 1 } else { VARIANTS.len() }) {
        let mut entries = Vec::new();
        let outcome = one(&mut builder, variant, checkout, &setup, &mut entries);
        if let Err(error) = &outcome {
            entries.push(Entry {
                step: "then".to_owned(),
                outcome: format!("FAILED: {error:#}"),
                took: None,
            });
        }
        chapters.push((variant.name(), entries));
        // After each, so that a run that is ended leaves what it found out.
        log::write(checkout, &chapters)?;
        outcome?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds a variant, and tries the image if all of it could be built.
fn one(
    builder: &mut Builder<'_>,
    variant: &Variant,
    checkout: &Checkout,
    setup: &Setup<'_>,
    entries: &mut Vec<Entry>,
) -> Result<()> {
    let Some(image) = builder.build(variant, entries)? else {
        return Ok(());
    };
    progress::headline(&format!("trying {}", variant.name()));
    trial::of(&image, checkout, setup, entries)
}
