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

use std::process::ExitCode;

use anyhow::Result;

use crate::checkout::Checkout;
use crate::progress;
use crate::setup::Setup;
use steps::{Builder, Variant};

pub(crate) use lint::check as look;

/// Look at the Dockerfiles and compose files; with --check, run their steps in Debian roots
#[derive(clap::Args)]
#[command(after_help = "\
Example: cargo xtask containers --check

--check needs root, a network and an hour or less; it fetches 2 GB, and writes docs/reference/containers.md.")]
pub(crate) struct Args {
    /// Run every step that doesn't need NVIDIA's base images, and try what comes out
    #[arg(long)]
    check: bool,
    /// With --check: only the image for the CPU, and no page
    #[arg(long, requires = "check")]
    cpu: bool,
}

/// What is built. The first is whole; the others go on from what it did where they can.
const VARIANTS: [Variant; 4] = [
    Variant {
        file: "deploy/docker/Dockerfile",
        given: &[("RUNTIME", "cpu")],
        repeats: true,
    },
    Variant {
        file: "deploy/docker/Dockerfile",
        given: &[("RUNTIME", "cuda")],
        repeats: true,
    },
    Variant {
        file: "Dockerfile.jetson",
        given: &[("JETPACK", "7")],
        repeats: false,
    },
    Variant {
        file: "Dockerfile.jetson",
        given: &[("JETPACK", "6")],
        repeats: false,
    },
];

/// # Errors
/// With what is wrong.
pub(crate) fn run(args: &Args, checkout: &Checkout) -> Result<ExitCode> {
    let setup = Setup::new(checkout)?;
    progress::headline("looking");
    look(checkout, &setup)?;
    if !args.check {
        return Ok(ExitCode::SUCCESS);
    }
    let mut builder = Builder::new(checkout, &setup)?;
    let mut chapters = Vec::new();
    for variant in VARIANTS.iter().take(if args.cpu { 1 } else { VARIANTS.len() }) {
        let mut entries = Vec::new();
        if let Some(image) = builder.build(variant, &mut entries)? {
            progress::headline(&format!("trying {}", variant.name()));
            trial::of(&image, checkout, &setup, &mut entries)?;
        }
        chapters.push((variant.name(), entries));
    }
    if !args.cpu {
        log::write(checkout, &chapters)?;
    }
    Ok(ExitCode::SUCCESS)
}
