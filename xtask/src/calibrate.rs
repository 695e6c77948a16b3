//! `cargo xtask calibrate`: the thresholds and the calibration in `onnx/models.toml`, from the development photos.

use std::env;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::checkout::{self, Checkout};
use crate::setup::{Role, Setup};
use crate::{models, progress};

/// Fits thresholds and calibration and writes them to the catalogue.
///
/// # Errors
/// When `KITH_DATA` is not set, or something can't be set up.
pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    let Some(data) = env::var_os("KITH_DATA") else {
        bail!("calibrating takes photos that the project doesn't ship: name the folder that has lfw-dev in KITH_DATA");
    };
    let photos = Path::new(&data).join("lfw-dev");
    let photos = photos
        .canonicalize()
        .with_context(|| format!("KITH_DATA: can't find {}", photos.display()))?;
    progress::headline("set-up");
    let setup = Setup::new(checkout)?;
    setup.packages(&[Role::Runtime])?;
    models::make(checkout, &setup)?;
    progress::headline("calibrating");
    let mut kith = checkout.cargo();
    checkout.with_models(&mut kith);
    kith.args(["run", "--release", "--package", "kith", "--bin", "kith", "--"]);
    kith.args(["calibrate", "--lfw"]).arg(photos);
    kith.args(["--catalogue", "onnx/models.toml"]);
    checkout::run(&mut kith)
}
