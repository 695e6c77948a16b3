//! `cargo xtask models`: the networks as ONNX files, made from the packages.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::checkout::{self, Checkout};
use crate::progress;
use crate::setup::{Role, Setup};

/// The part of `onnx/models.toml` that tells whether the files are there; the rest is kith's.
#[derive(Deserialize)]
struct Catalogue {
    model: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    files: BTreeMap<String, ModelFile>,
}

#[derive(Deserialize)]
struct ModelFile {
    path: PathBuf,
    sha256: String,
}

/// Makes the models, unless they are there as the catalogue has them.
///
/// # Errors
/// When a package can't be had or the exporter fails.
pub(crate) fn make(checkout: &Checkout, setup: &Setup<'_>) -> Result<()> {
    let models = checkout.path("onnx/models.toml");
    let text = fs::read_to_string(&models).with_context(|| format!("can't read {}", models.display()))?;
    let catalogue: Catalogue = toml::from_str(&text).with_context(|| format!("in {}", models.display()))?;
    let mut files = 0;
    let mut in_place = true;
    for file in catalogue.model.iter().flat_map(|model| model.files.values()) {
        let path = checkout.path("onnx").join(&file.path);
        files += 1;
        in_place &= path.exists() && checkout::sha256(&path)? == file.sha256;
    }
    if in_place && files > 0 {
        eprintln!("    {files} files in onnx/ are as in onnx/models.toml");
        return Ok(());
    }
    setup.packages(&[Role::Weights])?;
    progress::headline("making the models");
    checkout::run(checkout.cargo().args([
        "run",
        "--release",
        "--package",
        "kith-export",
        "--",
        "models",
        "--packages",
        ".cache/packages",
        "--out",
        "onnx",
        "--catalogue",
        "onnx/models.toml",
    ]))
}
