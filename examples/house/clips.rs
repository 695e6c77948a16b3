//! The clips that the cameras show, by ffmpeg.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

/// What cameras deliver.
const SIZE: &str = "1280:720";
const BIT_RATE: &str = "2M";

/// `clip` as a camera of 1280x720 would deliver it.
///
/// # Errors
/// When ffmpeg is missing or fails.
pub(crate) fn scaled(clip: &Path, frames_per_second: u32, to: &Path) -> anyhow::Result<()> {
    let mut command = ffmpeg();
    command
        .arg("-i")
        .arg(clip)
        .args(["-an", "-vf", &format!("scale={SIZE},fps={frames_per_second}")]);
    encode(command, to)
}

/// A minute of the first picture of `clip`, with the noise of a sensor.
///
/// # Errors
/// When ffmpeg is missing or fails.
pub(crate) fn still(clip: &Path, frames_per_second: u32, to: &Path) -> anyhow::Result<()> {
    let mut command = ffmpeg();
    command.arg("-i").arg(clip).args([
        "-an",
        "-vf",
        &format!(
            "select=eq(n\\,0),loop=-1:1:0,setpts=N/{frames_per_second}/TB,scale={SIZE},noise=alls=6:allf=t,fps={frames_per_second}"
        ),
        "-t",
        "60",
    ]);
    encode(command, to)
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y"]);
    command
}

fn encode(mut command: Command, to: &Path) -> anyhow::Result<()> {
    let output = command
        .args(["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"])
        .args(["-b:v", BIT_RATE, "-maxrate", BIT_RATE, "-bufsize", BIT_RATE])
        .arg(to)
        .output()
        .context("can't start ffmpeg (Debian package ffmpeg)")?;
    ensure!(
        output.status.success(),
        "ffmpeg failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
