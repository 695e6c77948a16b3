//! Fetching with npm, from a private Node where the machine has none.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::sources::Package;
use super::{Role, Setup};
use crate::checkout::{self, Checkout};

/// An npm that can be run.
pub(super) enum Npm {
    /// The one in the path.
    System,
    /// The folder with a Node and its npm.
    Private(PathBuf),
}

impl Npm {
    /// The machine's npm, else a private one.
    ///
    /// # Errors
    /// When the private one can't be fetched.
    pub(super) fn find(setup: &Setup<'_>) -> Result<Self> {
        if checkout::succeeds(setup.checkout.command("npm").arg("--version")) {
            return Ok(Self::System);
        }
        setup.unpacked(Role::Npm).map(Self::Private)
    }

    fn command(&self, checkout: &Checkout) -> Command {
        match self {
            Self::System => checkout.command("npm"),
            Self::Private(folder) => {
                let mut command = checkout.command(folder.join("bin/node"));
                command.arg(folder.join("lib/node_modules/npm/bin/npm-cli.js"));
                command
            }
        }
    }

    /// Downloads the package's tarball into `folder`, running none of its scripts.
    ///
    /// # Errors
    /// When npm fails; with what it said.
    pub(super) fn pack(&self, checkout: &Checkout, package: &Package, folder: &Path) -> Result<()> {
        let mut command = self.command(checkout);
        command.args(["pack", "--loglevel=error", "--ignore-scripts"]);
        command.arg(format!("{}@{}", package.name, package.version));
        command.arg("--pack-destination").arg(folder);
        checkout::capture(&mut command)?;
        Ok(())
    }
}
