//! Environments for the Python programs that Kith is measured against.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::checkout::{self, Checkout};
use crate::progress;
use crate::setup::{self, Setup, Tool};

/// An environment of its own with packages that are pinned by hash.
pub(super) struct Environment {
    /// Below the checkout.
    pub(super) folder: &'static str,
    /// The pins, below the checkout.
    pub(super) requirements: &'static str,
    /// What it is for, as a headline, with what it costs to fetch.
    pub(super) headline: &'static str,
    /// The main package and version.
    pub(super) package: &'static str,
    /// First and last minor version of Python 3 that the pins have wheels for.
    pub(super) minor_versions: (u32, u32),
}

impl Environment {
    /// Makes it unless it is there with the same requirements; returns its Python.
    ///
    /// # Errors
    /// When no fitting Python is there or pip fails.
    pub(super) fn set_up(&self, checkout: &Checkout, needs: &Setup<'_>) -> Result<PathBuf> {
        let folder = checkout.path(self.folder);
        let requirements = checkout.path(self.requirements);
        let wanted = fs::read(&requirements).with_context(|| format!("can't read {}", requirements.display()))?;
        // Written last, so it is there only when all of the installation is.
        let done = folder.join("installed.txt");
        let own_python = folder.join("bin/python3");
        if fs::read(&done).is_ok_and(|installed| installed == wanted) {
            return Ok(own_python);
        }
        needs.tools(&[Tool::Python, Tool::Venv])?;
        let (first, last) = self.minor_versions;
        let in_range = format!("import sys; sys.exit(not (3, {first}) <= sys.version_info[:2] <= (3, {last}))");
        let newest_first = (first..=last).rev().map(|minor| format!("python3.{minor}"));
        let Some(python) = std::iter::once(String::from("python3"))
            .chain(newest_first)
            .chain([String::from("python")])
            .find(|python| checkout::succeeds(checkout.command(python).args(["-c", &in_range])))
        else {
            bail!(
                "{} needs Python 3.{first} to 3.{last}: install one, with its venv, beside your own",
                self.package
            );
        };
        progress::headline(self.headline);
        checkout::run(checkout.command(&python).args(["-m", "venv", "--clear"]).arg(&folder))?;
        checkout::run(
            setup::pip(checkout, &own_python)
                .arg("install")
                // Nothing of this is wanted a second time, and a copy in pip's cache would double the space it takes.
                .args(["--no-cache-dir", "--no-deps", "--only-binary=:all:", "--require-hashes"])
                .arg("--requirement")
                .arg(&requirements),
        )?;
        fs::write(&done, wanted).with_context(|| format!("can't write {}", done.display()))?;
        Ok(own_python)
    }
}
