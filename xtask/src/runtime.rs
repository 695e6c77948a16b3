//! `cargo xtask runtime`: the ONNX Runtime for an installation, as a folder of libraries.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::checkout::Checkout;
use crate::progress;
use crate::setup::{Role, Setup};

/// Put the ONNX Runtime's library into a folder, with CUDA's libraries beside it if asked for
#[derive(clap::Args)]
#[command(after_help = "\
Example: cargo xtask runtime --to /usr/lib/kith

The versions are in onnx/sources.toml. --cuda fetches 1.4 GB the first time.")]
pub(crate) struct Args {
    /// The folder; it is made
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// With CUDA, cuDNN and the provider for them; the driver is the machine's own
    #[arg(long)]
    cuda: bool,
}

/// # Errors
/// When the packages can't be had or a file can't be written.
pub(crate) fn run(args: &Args, checkout: &Checkout) -> Result<()> {
    let setup = Setup::new(checkout)?;
    let role = if args.cuda { Role::RuntimeCuda } else { Role::Runtime };
    progress::headline("set-up");
    setup.packages(&[role])?;
    fs::create_dir_all(&args.to).with_context(|| format!("can't make {}", args.to.display()))?;
    for file in setup.files(role)? {
        let name = file.file_name().context("a library has a name")?;
        let to = args.to.join(name);
        fs::copy(&file, &to).with_context(|| format!("can't copy {} to {}", file.display(), to.display()))?;
        eprintln!("    {}", to.display());
    }
    Ok(())
}
