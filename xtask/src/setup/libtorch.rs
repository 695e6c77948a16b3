//! libtorch for the trainer: the registry's package is made for Python and CUDA; this makes of it the folder that a C++
//! program for the CPU is linked with.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Role, Setup};
use crate::checkout;

/// What torch-sys asks for a version.
const VERSION: &str = "2.11.0+cpu";

/// The libtorch that a build links with.
pub(crate) enum Libtorch {
    /// The one that the environment names: the developer's own, perhaps with CUDA.
    OfTheEnvironment,
    /// The one that set-up made, in this folder.
    Ours(PathBuf),
}

impl Libtorch {
    /// Tells a build where libtorch is.
    pub(crate) fn tell<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        match self {
            Self::OfTheEnvironment => command,
            Self::Ours(folder) => command.env("LIBTORCH", folder),
        }
    }
}

impl Setup<'_> {
    /// Sees to it that there is a libtorch.
    ///
    /// # Errors
    /// When its packages can't be had, or there is no C compiler.
    pub(crate) fn libtorch(&self) -> Result<Libtorch> {
        if env::var_os("LIBTORCH").is_some() || env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
            return Ok(Libtorch::OfTheEnvironment);
        }
        self.packages(&[Role::Libtorch])?;
        let folder = self.checkout.path(".cache/libtorch");
        let version = folder.join("build-version");
        // Written last, so its presence says that the rest is there.
        if fs::read_to_string(&version).is_ok_and(|found| found.trim() == VERSION) {
            return Ok(Libtorch::Ours(folder));
        }
        // The package's libtorch.so asks for CUDA's libraries, and holds nothing itself. Ours hands on to the CPU's.
        let lib = folder.join("lib");
        let mut stub = self.checkout.command("cc");
        stub.args(["-shared", "-x", "c", "/dev/null", "-o"])
            .arg(lib.join("libtorch.so"))
            .args(["-Wl,-soname,libtorch.so", "-Wl,--no-as-needed", "-L"])
            .arg(&lib)
            .args([
                "-ltorch_cpu",
                "-lc10",
                "-Wl,-rpath,$ORIGIN",
                "-Wl,--allow-shlib-undefined",
            ]);
        checkout::capture(&mut stub).context("can't make libtorch.so; is a C compiler (cc) installed?")?;
        fs::write(&version, VERSION).with_context(|| format!("can't write {}", version.display()))?;
        Ok(Libtorch::Ours(folder))
    }
}
