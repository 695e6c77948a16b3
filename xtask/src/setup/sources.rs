//! `onnx/sources.toml`: which package files set-up may fetch, and what it takes from them.

use std::env::consts::ARCH;
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::checkout::Checkout;

/// What a package is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// Trained weights that the models are made of.
    Weights,
    /// Sample photos.
    Photos,
    /// The ONNX Runtime.
    Runtime,
    /// The ONNX Runtime with CUDA, and CUDA's libraries.
    RuntimeCuda,
    /// The oldest ONNX Runtime that must work.
    OldestRuntime,
    /// cargo-nextest.
    Nextest,
    /// cargo-deny.
    Deny,
    /// hadolint.
    Hadolint,
    /// Docker's Compose.
    Compose,
    /// What pip wants before it hands over a source package.
    Setuptools,
    /// npm, where there is none.
    Npm,
    /// libtorch, for the trainer.
    Libtorch,
}

/// The client that fetches a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Registry {
    /// `pip download`.
    Pip,
    /// `npm pack`.
    Npm,
}

/// One package in one exact version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) registry: Registry,
    /// An SPDX expression, for the reader.
    #[serde(rename = "licence")]
    pub(crate) _licence: String,
    /// One file for every machine, or one for each architecture.
    #[serde(rename = "file")]
    pub(crate) files: Vec<PackageFile>,
}

/// A file as its registry serves it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackageFile {
    /// As Rust names it; none: good for every machine.
    pub(crate) arch: Option<String>,
    pub(crate) file: String,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) sha256: String,
    pub(crate) take: Vec<Member>,
}

/// Something to unpack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Member {
    /// Path in the package; a folder ends in `/`.
    pub(crate) member: String,
    /// Path below the checkout.
    pub(crate) to: String,
    /// Of the unpacked file; none for a folder.
    pub(crate) sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sources {
    package: Vec<Package>,
}

impl Package {
    /// The file for this machine.
    ///
    /// # Errors
    /// When there is none for its architecture.
    pub(crate) fn file_here(&self) -> Result<&PackageFile> {
        self.file_for(ARCH)
    }

    /// The file for machines of this architecture.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn file_for(&self, arch: &str) -> Result<&PackageFile> {
        self.files
            .iter()
            .find(|file| file.arch.as_deref().is_none_or(|of| of == arch))
            .with_context(|| {
                format!(
                    "onnx/sources.toml has {} {} for x86_64 and aarch64, not for {arch}",
                    self.name, self.version
                )
            })
    }
}

/// All packages of `onnx/sources.toml`.
///
/// # Errors
/// When the file can't be read or a member has neither a sha256 nor the form of a folder.
pub(crate) fn read(checkout: &Checkout) -> Result<Vec<Package>> {
    let path = checkout.path("onnx/sources.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    let sources: Sources = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    for member in sources
        .package
        .iter()
        .flat_map(|package| &package.files)
        .flat_map(|file| &file.take)
    {
        if member.sha256.is_none() != member.member.ends_with('/') {
            bail!(
                "in {}: {} has to have a sha256, or to be a folder",
                path.display(),
                member.member
            );
        }
    }
    Ok(sources.package)
}
