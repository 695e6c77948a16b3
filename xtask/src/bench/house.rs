//! How the daemon does on two cameras with people and on a still scene; the example `house` finds out.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Args;
use crate::checkout::{self, Checkout};
use crate::setup::{Role, Setup, Tool};
use crate::{models, progress};

/// Sets up, runs the example on the development data, prints.
///
/// # Errors
/// When there is no data, or the daemon can't be measured.
pub(super) fn run(args: &Args, checkout: &Checkout) -> Result<()> {
    let data = std::env::var_os("KITH_DATA")
        .map(PathBuf::from)
        .context("this measures with the clips of the development data; name their folder in KITH_DATA")?
        .canonicalize()
        .context("can't find the folder that KITH_DATA names")?;
    progress::headline("set-up");
    let setup = Setup::new(checkout)?;
    setup.tools(&[Tool::Ffmpeg, Tool::Mosquitto])?;
    setup.packages(&[Role::Photos, Role::Runtime])?;
    models::make(checkout, &setup)?;
    progress::headline("building kith");
    checkout::run(checkout.cargo().args([
        "build",
        "--release",
        "--package",
        "kith",
        "--bins",
        "--example",
        "house",
    ]))?;
    let load = super::load();
    if load > 0.5 {
        eprintln!("    this machine is busy (load {load}): the figures will say little, wait until it is quiet");
    }
    progress::headline("measuring the daemon, about three minutes");
    let mut house = checkout.cargo();
    checkout.with_models(&mut house);
    house.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "kith",
        "--example",
        "house",
        "--",
    ]);
    house.arg("--data").arg(&data).args(["--out", "target/house"]);
    let said = checkout::capture(&mut house)?;
    let measured: Value = serde_json::from_str(&said).with_context(|| format!("can't read: {said}"))?;
    if args.json {
        println!("{measured:#}");
    } else {
        print(&measured);
    }
    Ok(())
}

fn print(measured: &Value) {
    for (scene, figures) in measured.as_object().into_iter().flatten() {
        println!("{}", scene.replace('_', " "));
        for (name, figure) in figures.as_object().into_iter().flatten() {
            println!("    {:<28}{figure:>10}", name.replace('_', " "));
        }
    }
}
