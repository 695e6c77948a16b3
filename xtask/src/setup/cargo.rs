//! Programs that come as crates only: built once, in one exact version, by cargo itself.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::Setup;
use crate::checkout;
use crate::progress::Spinner;

/// Makes the Debian package from `[package.metadata.deb]`; what it makes of it changes with its version.
const CARGO_DEB: &str = "3.8.0";

impl Setup<'_> {
    /// cargo-deb; built the first time, which takes minutes.
    ///
    /// # Errors
    /// When it can't be fetched or built.
    pub(crate) fn cargo_deb(&self) -> Result<PathBuf> {
        let folder = self.checkout.path(".cache/cargo-deb");
        let program = folder.join("bin/cargo-deb");
        let version = checkout::capture(self.checkout.command(&program).arg("--version"));
        if version.is_ok_and(|version| version.split_whitespace().last() == Some(CARGO_DEB)) {
            return Ok(program);
        }
        let _spinner = Spinner::start(&format!("building cargo-deb {CARGO_DEB}"));
        let mut install = self.checkout.cargo();
        install
            .args(["install", "--quiet", "--locked", "--force", "--root"])
            .arg(&folder)
            .arg(format!("cargo-deb@{CARGO_DEB}"));
        checkout::capture(&mut install).context("can't build cargo-deb")?;
        Ok(program)
    }
}
