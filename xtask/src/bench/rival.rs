//! facenet-pytorch in an environment of its own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::python::Environment;
use crate::checkout::{self, Checkout};
use crate::setup::Setup;

const ENVIRONMENT: Environment = Environment {
    folder: ".cache/rival",
    requirements: "xtask/rival-requirements.txt",
    headline: "facenet-pytorch (2.5 GB to fetch, 4.3 GB on disk; torch has no smaller build)",
    package: "facenet-pytorch 2.6",
    minor_versions: (10, 12),
};

/// The environment with facenet-pytorch.
pub(super) struct Rival<'a> {
    checkout: &'a Checkout,
    python: PathBuf,
    script: PathBuf,
}

/// What one turn of `rival.py measure` says.
#[derive(Debug, Deserialize)]
pub(super) struct Turn {
    pub(super) facenet_pytorch: String,
    pub(super) torch: String,
    pub(super) python: String,
    pub(super) faces: u32,
    pub(super) times_ms: Vec<f64>,
}

impl<'a> Rival<'a> {
    /// Makes the environment in `.cache/rival`, unless it is there with the same requirements.
    ///
    /// # Errors
    /// When no fitting Python is there or pip fails.
    pub(super) fn set_up(checkout: &'a Checkout, needs: &Setup<'_>) -> Result<Self> {
        Ok(Self {
            checkout,
            python: ENVIRONMENT.set_up(checkout, needs)?,
            script: checkout.path("xtask/src/bench/rival.py"),
        })
    }

    /// Makes a picture of this size, of a picture or of a folder of sample photos; returns where it lies.
    ///
    /// # Errors
    /// When a photo or the target can't be used.
    pub(super) fn picture(&self, source: &Path, width_px: u32, height_px: u32) -> Result<PathBuf> {
        let picture = self.checkout.path(".cache/bench.png");
        let mut command = self.checkout.command(&self.python);
        command.arg(&self.script).arg("picture").arg(source);
        command
            .args([width_px.to_string(), height_px.to_string()])
            .arg(&picture);
        checkout::capture(&mut command)?;
        Ok(picture)
    }

    /// Lets `MTCNN.detect` run `repeats` times.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub(super) fn measure(&self, image: &Path, min_face_px: u32, threads: u32, repeats: u32) -> Result<Turn> {
        let mut command = self.checkout.command(&self.python);
        command.arg(&self.script).arg("measure").arg(image);
        command.args([min_face_px, threads, repeats].map(|number| number.to_string()));
        let said = checkout::capture(&mut command)?;
        serde_json::from_str(&said).with_context(|| format!("can't read what rival.py printed: {said}"))
    }
}
