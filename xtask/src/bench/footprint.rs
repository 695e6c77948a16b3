//! How soon the daemon recognises somebody, and how much memory it takes; the demo's `--measure` finds out.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::checkout::{self, Checkout};

/// What `demo --measure` says of one 720p camera.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Footprint {
    /// From the start of the process to the message at a subscriber.
    pub(super) first_recognition_ms: f64,
    /// The daemon's process, models included, at its largest.
    pub(super) daemon_peak_rss_mb: f64,
    /// Its decoder, at its largest.
    pub(super) ffmpeg_peak_rss_mb: f64,
    /// The model files on disk.
    pub(super) models_mb: f64,
}

/// Runs the daemon on a film for half a minute.
///
/// # Errors
/// When the demo can't be run or says something else.
pub(super) fn measure(checkout: &Checkout) -> Result<Footprint> {
    let mut demo = checkout.cargo();
    checkout.with_models(&mut demo);
    demo.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "kith",
        "--example",
        "demo",
        "--",
    ]);
    demo.args(["--photos", ".cache/photos", "--out", "target/footprint", "--measure"]);
    let said = checkout::capture(&mut demo)?;
    serde_json::from_str(&said).with_context(|| format!("can't read what the demo printed: {said}"))
}
