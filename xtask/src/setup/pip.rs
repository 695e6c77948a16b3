//! Fetching with pip, whatever state the machine's Python is in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::sources::{Package, PackageFile};
use super::{Setup, Tool};
use crate::checkout::{self, Checkout};

/// A Python that has pip.
pub(crate) struct Python<'a> {
    checkout: &'a Checkout,
    program: PathBuf,
}

impl<'a> Python<'a> {
    /// The system's Python if it has pip, else a private environment with pip in `.cache/python`, else the system's
    /// after its package manager has brought pip.
    ///
    /// # Errors
    /// With the command that installs what is missing.
    pub(crate) fn find(setup: &Setup<'a>) -> Result<Self> {
        setup.tools(&[Tool::Python])?;
        let with = |program: PathBuf| Python {
            checkout: setup.checkout,
            program,
        };
        let system = with(PathBuf::from("python3"));
        if system.has_pip() {
            return Ok(system);
        }
        let folder = setup.checkout.path(".cache/python");
        let private = with(folder.join("bin/python3"));
        if private.has_pip()
            || checkout::succeeds(
                setup
                    .checkout
                    .command("python3")
                    .args(["-m", "venv", "--clear"])
                    .arg(&folder),
            ) && private.has_pip()
        {
            return Ok(private);
        }
        setup.tools(&[Tool::Pip])?;
        Ok(system)
    }

    fn has_pip(&self) -> bool {
        checkout::succeeds(self.pip().arg("--version"))
    }

    fn pip(&self) -> Command {
        pip(self.checkout, &self.program)
    }

    /// Downloads one file into `folder`. `setuptools` is where the build backend of a source package lies.
    ///
    /// # Errors
    /// When pip fails; with what it said.
    pub(super) fn download(
        &self,
        package: &Package,
        file: &PackageFile,
        setuptools: Option<&Path>,
        folder: &Path,
    ) -> Result<()> {
        // pip checks the hash itself too, so that no setup.py runs that was not checked.
        let wanted = folder.join("wanted.txt");
        let line = format!("{}=={} --hash=sha256:{}\n", package.name, package.version, file.sha256);
        fs::write(&wanted, line).with_context(|| format!("can't write {}", wanted.display()))?;

        let download = |isolated: bool| {
            let mut command = self.pip();
            if isolated {
                command.arg("--isolated");
            }
            command.args(["download", "--quiet", "--no-deps", "--require-hashes"]);
            command.arg("--dest").arg(folder).arg("--requirement").arg(&wanted);
            if let Some(setuptools) = setuptools {
                command
                    .args(["--no-binary=:all:", "--no-build-isolation"])
                    .env("PYTHONPATH", setuptools);
            } else {
                command.arg("--only-binary=:all:");
                command.args(wheel_tags(&file.file));
            }
            checkout::capture(&mut command).map(drop)
        };
        // With the person's configuration first, since it may name the only index that they can reach; without it
        // then, since it may hold something that gets in the way. The first failure is the one to report.
        download(false).or_else(|error| download(true).map_err(|_| error))
    }
}

/// `python -m pip`, with what a person may have configured for installing turned off where it gets in the way of a
/// download or a private environment. Their index, proxy and certificates stay.
pub(crate) fn pip(checkout: &Checkout, python: &Path) -> Command {
    let mut command = checkout.command(python);
    command.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]);
    for name in ["PIP_REQUIRE_VIRTUALENV", "PIP_USER", "PIP_PRE"] {
        command.env(name, "0");
    }
    for name in [
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_ROOT",
        "PIP_CONSTRAINT",
        "PIP_REQUIREMENT",
    ] {
        command.env_remove(name);
    }
    command
}

/// pip's options that choose exactly this wheel, whichever Python and machine pip itself runs on: the tags at the end
/// of the file's name (PEP 425).
fn wheel_tags(file: &str) -> Vec<String> {
    let mut tags = file.trim_end_matches(".whl").rsplit('-');
    let (platforms, abi, python) = (tags.next(), tags.next(), tags.next());
    let mut options = Vec::new();
    for platform in platforms.unwrap_or("any").split('.').filter(|tag| *tag != "any") {
        options.push(format!("--platform={platform}"));
    }
    if let Some(version) = python.and_then(|tag| tag.strip_prefix("cp")) {
        options.push(String::from("--implementation=cp"));
        options.push(format!("--python-version={version}"));
        options.extend(abi.map(|abi| format!("--abi={abi}")));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::wheel_tags;

    #[test]
    fn a_wheels_name_says_how_to_ask_for_it() {
        let any = "facenet_pytorch-2.6.0-py3-none-any.whl";
        assert_eq!(wheel_tags(any), Vec::<String>::new());
        let one = "x-1.0-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl";
        assert_eq!(
            wheel_tags(one),
            [
                "--platform=manylinux_2_27_aarch64",
                "--platform=manylinux_2_28_aarch64",
                "--implementation=cp",
                "--python-version=311",
                "--abi=cp311"
            ]
        );
        let tool = "t-0.1-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl";
        assert_eq!(
            wheel_tags(tool),
            ["--platform=manylinux_2_17_x86_64", "--platform=manylinux2014_x86_64"]
        );
    }
}
