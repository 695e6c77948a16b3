//! The clip, and pictures from it, by ffmpeg.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// Width and height of the clip in pixels, and its rate.
const SIZE: (u32, u32) = (1280, 720);
const FRAMES_PER_SECOND: u32 = 15;
/// The colour of the empty scene.
const SCENE: &str = "0x2b3440";

/// Films `photos`: each slides through the scene from left to right within `pass_s` seconds while it grows, as
/// somebody who comes nearer; before, between and after them the scene is empty for `empty_s` seconds.
///
/// # Errors
/// When ffmpeg is missing or fails.
pub(crate) fn make(photos: &[PathBuf], pass_s: f64, empty_s: f64, film: &Path) -> anyhow::Result<()> {
    let (width, height) = SIZE;
    let total_s = empty_s + (pass_s + empty_s) * f64::from(u32::try_from(photos.len())?);
    let mut command = ffmpeg();
    command.args(["-f", "lavfi", "-i"]).arg(format!(
        "color={SCENE}:size={width}x{height}:rate={FRAMES_PER_SECOND}:duration={total_s}"
    ));
    let mut graph = String::new();
    let mut scene = "0:v".to_string();
    for (index, photo) in photos.iter().enumerate() {
        let input = index + 1;
        command.args([
            "-loop",
            "1",
            "-framerate",
            &FRAMES_PER_SECOND.to_string(),
            "-t",
            &pass_s.to_string(),
            "-i",
        ]);
        command.arg(photo);
        let begins_s = empty_s + (pass_s + empty_s) * f64::from(u32::try_from(index)?);
        // The head and shoulders of the photo; it grows by a third on its way from beyond the left edge to beyond the
        // right one.
        write!(
            graph,
            "[{input}:v]crop=iw:min(ih\\,iw*1.1):0:0,scale=-2:'{height}*(0.75+0.25*t/{pass_s})':eval=frame,\
             setpts=PTS+{begins_s}/TB[p{input}];\
             [{scene}][p{input}]overlay=x='-w+(W+w)*(t-{begins_s})/{pass_s}':y='H-h':\
             eval=frame:eof_action=pass[s{input}];"
        )?;
        scene = format!("s{input}");
    }
    write!(graph, "[{scene}]format=yuv420p[film]")?;
    command.args(["-filter_complex", &graph, "-map", "[film]", "-t", &total_s.to_string()]);
    command
        .args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "18"])
        .arg(film);
    run(command)
}

/// Films one photo for `seconds`, from the first frame on; it sways a little, as nobody stands still.
///
/// # Errors
/// When ffmpeg is missing or fails.
pub(crate) fn still(photo: &Path, seconds: f64, film: &Path) -> anyhow::Result<()> {
    let (width, height) = SIZE;
    let mut command = ffmpeg();
    command.args(["-f", "lavfi", "-i"]).arg(format!(
        "color={SCENE}:size={width}x{height}:rate={FRAMES_PER_SECOND}:duration={seconds}"
    ));
    command.args([
        "-loop",
        "1",
        "-framerate",
        &FRAMES_PER_SECOND.to_string(),
        "-t",
        &seconds.to_string(),
        "-i",
    ]);
    command.arg(photo).args(["-filter_complex"]).arg(format!(
        "[1:v]crop=iw:min(ih\\,iw*1.1):0:0,scale=-2:{height}[p];\
         [0:v][p]overlay=x='(W-w)/2+20*sin(t)':y=0:eval=frame,format=yuv420p[film]"
    ));
    command.args(["-map", "[film]", "-t", &seconds.to_string()]);
    command
        .args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "18"])
        .arg(film);
    run(command)
}

/// Cuts the middle third out of the film at each of `moments_s` and puts these side by side into one picture.
///
/// # Errors
/// When ffmpeg is missing or fails.
pub(crate) fn side_by_side(film: &Path, moments_s: &[f64], picture: &Path) -> anyhow::Result<()> {
    let mut command = ffmpeg();
    let mut graph = String::new();
    for (input, moment_s) in moments_s.iter().enumerate() {
        command.args(["-ss", &moment_s.to_string(), "-i"]).arg(film);
        write!(graph, "[{input}:v]crop=iw/2:ih[m{input}];")?;
    }
    for input in 0..moments_s.len() {
        write!(graph, "[m{input}]")?;
    }
    write!(graph, "hstack=inputs={}[picture]", moments_s.len())?;
    command
        .args(["-filter_complex", &graph, "-map", "[picture]", "-frames:v", "1"])
        .arg(picture);
    run(command)
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y"]);
    command
}

fn run(mut command: Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .context("can't start ffmpeg; `cargo xtask demo` installs it where it may")?;
    ensure!(
        output.status.success(),
        "ffmpeg failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
