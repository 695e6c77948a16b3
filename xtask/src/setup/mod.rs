//! Set-up: what is missing is installed or fetched, what is there is checked and left alone.
//!
//! Whether something is there is read from the thing itself, not from a stamp beside it: a stamp can say yes about a
//! file that was cut short or changed. Hashing all that set-up unpacks takes a fraction of a second.

mod cargo;
pub(crate) mod libtorch;
mod npm;
mod pip;
mod sources;
mod system;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::checkout::{self, Checkout};
use crate::progress::Spinner;

use pip::Python;
pub(crate) use pip::pip;
pub(crate) use sources::Role;
use sources::{Member, Package, PackageFile, Registry};
pub(crate) use system::Tool;

/// Brings the checkout what its commands need.
pub(crate) struct Setup<'a> {
    checkout: &'a Checkout,
    packages: Vec<Package>,
}

impl<'a> Setup<'a> {
    /// Reads what there is to fetch; fetches nothing yet.
    ///
    /// # Errors
    /// When `onnx/sources.toml` is not as it should be.
    pub(crate) fn new(checkout: &'a Checkout) -> Result<Self> {
        Ok(Self {
            checkout,
            packages: sources::read(checkout)?,
        })
    }

    /// Sees to it that the system has these programs.
    ///
    /// # Errors
    /// With the command that installs them, when we may not or it failed.
    pub(crate) fn tools(&self, tools: &[Tool]) -> Result<()> {
        system::ensure(self.checkout, tools)
    }

    /// Sees to it that the packages of these roles are unpacked.
    ///
    /// # Errors
    /// When one can't be fetched or is not the file that `onnx/sources.toml` names.
    pub(crate) fn packages(&self, roles: &[Role]) -> Result<()> {
        for package in self.packages.iter().filter(|package| roles.contains(&package.role)) {
            self.package(package)
                .with_context(|| format!("can't set up {} {}", package.name, package.version))?;
        }
        Ok(())
    }

    /// Where the first file that is taken for `role` lies; absolute.
    ///
    /// # Errors
    /// As for [`Setup::packages`], which this does first.
    pub(crate) fn unpacked(&self, role: Role) -> Result<PathBuf> {
        self.packages(&[role])?;
        let package = self.packages.iter().find(|package| package.role == role);
        let file = package
            .context("onnx/sources.toml has a package for each role")?
            .file_here()?;
        let first = file.take.first().context("every package has something to take")?;
        Ok(self.checkout.path(&first.to))
    }

    /// Where all that is taken for `role` on this machine lies; absolute. [`Setup::packages`] brings it.
    ///
    /// # Errors
    /// When there is nothing for this machine's architecture.
    pub(crate) fn files(&self, role: Role) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for package in self.packages.iter().filter(|package| package.role == role) {
            let taken = &package.file_here()?.take;
            files.extend(taken.iter().map(|member| self.checkout.path(&member.to)));
        }
        Ok(files)
    }

    /// The versions of the packages for `role`, by their names.
    pub(crate) fn versions(&self, role: Role) -> BTreeMap<&str, &str> {
        let of_role = self.packages.iter().filter(|package| package.role == role);
        of_role
            .map(|package| (package.name.as_str(), package.version.as_str()))
            .collect()
    }

    /// The ONNX Runtime library of another architecture, as Rust names it, unpacked beside this machine's.
    ///
    /// # Errors
    /// As for [`Setup::packages`].
    pub(crate) fn runtime_of(&self, arch: &str) -> Result<PathBuf> {
        let package = self.packages.iter().find(|package| package.role == Role::Runtime);
        let package = package.context("onnx/sources.toml has a package for each role")?;
        let file = package.file_for(arch)?;
        let first = file.take.first().context("every package has something to take")?;
        let member = Member {
            member: first.member.clone(),
            to: format!(".cache/onnxruntime-{arch}/libonnxruntime.so"),
            sha256: first.sha256.clone(),
        };
        if !self.in_place(&member)? {
            let archive = self.archive(package, file)?;
            self.unpack(&archive, &[&member])?;
        }
        Ok(self.checkout.path(&member.to))
    }

    fn package(&self, package: &Package) -> Result<()> {
        let file = package.file_here()?;
        let mut missing = Vec::new();
        for member in &file.take {
            if !self.in_place(member)? {
                missing.push(member);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let archive = self.archive(package, file)?;
        self.unpack(&archive, &missing)
    }

    fn in_place(&self, member: &Member) -> Result<bool> {
        let path = self.checkout.path(&member.to);
        Ok(path.exists()
            && match &member.sha256 {
                Some(sha256) => checkout::sha256(&path)? == *sha256,
                None => true,
            })
    }

    /// The package's file, checked; fetched if it isn't there from an earlier time.
    fn archive(&self, package: &Package, file: &PackageFile) -> Result<PathBuf> {
        let kept = self.checkout.path(".cache/packages").join(&file.file);
        if kept.exists() && checkout::sha256(&kept)? == file.sha256 {
            return Ok(kept);
        }
        let arriving = self.checkout.path(".cache/arriving");
        start_afresh(&arriving)?;
        // Each client says what it needs before the spinner starts, as that may have to be installed first.
        match package.registry {
            Registry::Pip => {
                let python = Python::find(self)?;
                // The metadata of a source package is made by running its setup.py.
                let setuptools = if file.file.ends_with(".tar.gz") {
                    Some(self.unpacked(Role::Setuptools)?)
                } else {
                    None
                };
                // Fetching setuptools used the same folder.
                start_afresh(&arriving)?;
                let _spinner = Spinner::start(&arriving_line(package, file));
                python.download(package, file, setuptools.as_deref(), &arriving)?;
            }
            Registry::Npm => {
                let npm = npm::Npm::find(self)?;
                start_afresh(&arriving)?;
                let _spinner = Spinner::start(&arriving_line(package, file));
                npm.pack(self.checkout, package, &arriving)?;
            }
        }
        let arrived = arriving.join(&file.file);
        if !arrived.exists() {
            bail!(
                "the registry did not send {}, but: {}",
                file.file,
                folder_names(&arriving)?
            );
        }
        let sha256 = checkout::sha256(&arrived)?;
        if sha256 != file.sha256 {
            bail!(
                "the registry's {} has sha256 {sha256}, not {} as in onnx/sources.toml: it is not the file that was \
                 checked, so nothing of it was used",
                file.file,
                file.sha256
            );
        }
        let folder = self.checkout.path(".cache/packages");
        fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        move_over(&arrived, &kept)?;
        remove(&arriving)?;
        Ok(kept)
    }

    /// Unpacks beside the checkout's own files first, checks, and only then moves each member to its place.
    fn unpack(&self, archive: &Path, members: &[&Member]) -> Result<()> {
        let unpacking = self.checkout.path(".cache/unpacking");
        start_afresh(&unpacking)?;
        let mut command = self.checkout.command("python3");
        command.args(["-I", "-c", include_str!("unpack.py")]).arg(archive);
        for (index, member) in members.iter().enumerate() {
            command.arg(&member.member).arg(unpacking.join(index.to_string()));
        }
        checkout::capture(&mut command)?;
        for (index, member) in members.iter().enumerate() {
            let unpacked = unpacking.join(index.to_string());
            if let Some(expected) = &member.sha256 {
                let sha256 = checkout::sha256(&unpacked)?;
                if sha256 != *expected {
                    bail!(
                        "{} in {} has sha256 {sha256}, not {expected}: onnx/sources.toml contradicts itself",
                        member.member,
                        archive.display()
                    );
                }
            }
            move_over(&unpacked, &self.checkout.path(&member.to))?;
        }
        remove(&unpacking)
    }
}

fn arriving_line(package: &Package, file: &PackageFile) -> String {
    let size_mb = file.size.div_ceil(1_000_000);
    format!("fetching {} {} ({size_mb} MB)", package.name, package.version)
}

fn remove(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).with_context(|| format!("can't remove {}", folder.display()))
}

fn start_afresh(folder: &Path) -> Result<()> {
    if folder.exists() {
        remove(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))
}

fn move_over(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("can't move {} to {}", from.display(), to.display());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    if to.is_dir() {
        fs::remove_dir_all(to).with_context(failed)?;
    }
    fs::rename(from, to).with_context(failed)
}

fn folder_names(folder: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("can't list {}", folder.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names.join(", "))
}
