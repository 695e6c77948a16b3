//! How soon the daemon recognises somebody after its start, and how much memory it takes; for `cargo xtask bench`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{Daemon, PATIENCE, clip, configuration, enrol, listen};

/// The film's length in seconds; memory is read at its end.
const FILM_S: f64 = 30.0;
/// Who stands in the film from its first frame on.
const STANDS: &str = "obama2.jpg";

/// Runs the daemon on one 720p camera in which an enrolled person stands from the first frame on, and prints one JSON
/// object: `first_recognition_ms` from the start of the process to the message at a subscriber, and the largest
/// resident memory of the daemon and of its ffmpeg in MB (`VmHWM`), with the size of the model files beside it.
pub(super) fn measure(photos: &Path, out: &Path, state: &Path, url: &str) -> anyhow::Result<()> {
    enrol(photos, state)?;
    let film = out.join("standing.mp4");
    clip::still(&photos.join(STANDS), FILM_S, &film)?;
    let config = out.join("measure.toml");
    fs::write(&config, configuration(url, &film)?).with_context(|| config.display().to_string())?;
    let listener = listen::start(url)?;
    let begun = Instant::now();
    let mut daemon = Daemon::start(&config, state)?;
    let recognised = listener.first_recognition(begun + PATIENCE)? - begun;
    // Until shortly before the end of the film, so that the daemon and its child still stand.
    let rest = Duration::from_secs_f64(FILM_S * 0.8);
    let mut peak = (0.0, 0.0);
    let until = begun + rest;
    while Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(500));
        ensure!(matches!(daemon.0.try_wait(), Ok(None)), "the daemon ended early");
        peak = (resident_mb(daemon.0.id())?, child_mb(&daemon.0)?);
    }
    let models_mb: f64 = fs::read_dir("onnx")
        .context("run from the root of the checkout")?
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|metadata| metadata.len() as f64 / 1e6)
        .sum();
    println!(
        "{}",
        serde_json::json!({
            "first_recognition_ms": recognised.as_millis(),
            "daemon_peak_rss_mb": peak.0,
            "ffmpeg_peak_rss_mb": peak.1,
            "models_mb": (models_mb * 10.0).round() / 10.0,
        })
    );
    Ok(())
}

/// The largest resident memory that the process has had, in MB.
fn resident_mb(process: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let kib: f64 = status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse()
                .ok()
        })
        .with_context(|| format!("no VmHWM in {path}"))?;
    Ok((kib * 1.024 / 100.0).round() / 10.0)
}

/// The same of its children together.
fn child_mb(parent: &Child) -> anyhow::Result<f64> {
    let children = Command::new("pgrep")
        .args(["-P", &parent.id().to_string()])
        .stdin(Stdio::null())
        .output()
        .context("can't start pgrep (Debian package procps)")?;
    String::from_utf8_lossy(&children.stdout)
        .split_whitespace()
        .map(|child| resident_mb(child.parse()?))
        .sum()
}
