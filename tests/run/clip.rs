//! Clips made of the sample photos: each is before the camera for a while, with nobody between them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::given::photos;

/// A clip in which each of `people` (photos without their `.jpg`) is seen for `seconds`, and nobody for two seconds
/// before, between and after. Made once for all tests.
pub(crate) fn clip(people: &[&str], seconds: f32) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let name = if people.is_empty() {
        "nobody".to_owned()
    } else {
        people.join("-")
    };
    let path = folder.join(format!("{name}-{seconds}.mp4"));
    if path.exists() {
        return path;
    }
    let photos = photos();
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y"]);
    command.args(["-f", "lavfi", "-t", "2", "-i", "color=gray:s=640x480:r=15"]);
    let mut graph = String::new();
    let mut order = String::from("[0:v]");
    for (index, person) in people.iter().enumerate() {
        let input = index + 1;
        command.args(["-loop", "1", "-framerate", "15", "-t", &seconds.to_string(), "-i"]);
        command.arg(photos.join(format!("{person}.jpg")));
        // The upper part of the photo, where the face is. It drifts a little, as nobody stands still.
        graph += &format!(
            "[{input}:v]crop=iw:min(ih\\,iw*1.2):0:0,scale=-2:480,pad=720:480:(ow-iw)/2:0:gray,\
             crop=640:480:x='40+20*sin(t)':y=0,setsar=1,format=yuv420p[p{input}];[0:v]null[gap{input}];"
        );
        order += &format!("[p{input}][gap{input}]");
    }
    graph += &format!("{order}concat=n={}[out]", 1 + 2 * people.len());
    let new = tempfile::Builder::new()
        .suffix(".mp4")
        .tempfile_in(folder)
        .unwrap()
        .into_temp_path();
    command.args([
        "-filter_complex",
        &graph,
        "-map",
        "[out]",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-pix_fmt",
    ]);
    let made = command.arg("yuv420p").arg(&new).output();
    let made = made.expect("ffmpeg is missing; `cargo xtask test` sets it up");
    assert!(
        made.status.success(),
        "ffmpeg: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    // Named at the end, and only once: other tests may make the same clip at the same time, or play it already.
    match new.persist_noclobber(&path) {
        Ok(()) => {}
        Err(error) => assert!(path.exists(), "{error}"),
    }
    path
}
