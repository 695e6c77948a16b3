//! facenet-pytorch in an environment of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::checkout::{self, Checkout};
use crate::progress;
use crate::setup::{self, Setup, Tool};

/// The Pythons that facenet-pytorch 2.6's torch has wheels for, best first.
const PYTHONS: [&str; 5] = ["python3", "python3.12", "python3.11", "python3.10", "python"];
const IN_RANGE: &str = "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))";

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
        let folder = checkout.path(".cache/rival");
        let requirements = checkout.path("xtask/rival-requirements.txt");
        let wanted = fs::read(&requirements).with_context(|| format!("can't read {}", requirements.display()))?;
        // Written last, so it is there only when all of the installation is.
        let done = folder.join("installed.txt");
        let rival = Self {
            checkout,
            python: folder.join("bin/python3"),
            script: checkout.path("xtask/src/bench/rival.py"),
        };
        if fs::read(&done).is_ok_and(|installed| installed == wanted) {
            return Ok(rival);
        }
        needs.tools(&[Tool::Python, Tool::Venv])?;
        let Some(python) = PYTHONS
            .iter()
            .find(|python| checkout::succeeds(checkout.command(python).args(["-c", IN_RANGE])))
        else {
            bail!("facenet-pytorch 2.6 needs Python 3.10, 3.11 or 3.12: install one, with its venv, beside your own");
        };
        progress::headline("facenet-pytorch (2.5 GB to fetch, 4.3 GB on disk; torch has no smaller build)");
        checkout::run(checkout.command(python).args(["-m", "venv", "--clear"]).arg(&folder))?;
        checkout::run(
            setup::pip(checkout, &rival.python)
                .arg("install")
                // Nothing of this is wanted a second time, and a copy in pip's cache would double the space it takes.
                .args(["--no-cache-dir", "--no-deps", "--only-binary=:all:", "--require-hashes"])
                .arg("--requirement")
                .arg(&requirements),
        )?;
        fs::write(&done, wanted).with_context(|| format!("can't write {}", done.display()))?;
        Ok(rival)
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
