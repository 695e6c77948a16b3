//! Each camera, opened for a moment by the daemon's own code; all at the same time.

use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Context, Finding, Subject};
use crate::camera::{Address, CameraError, Probed, probe};
use crate::config::{CameraSettings, Settings};

/// How long a camera may take to its first picture.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long its rate is measured.
const LOOK: Duration = Duration::from_secs(2);
/// A mean below this, of 255, is no picture: a covered lens, or a camera that is still starting.
const BLACK: u8 = 6;

pub(super) fn check(settings: &Settings, context: &Context) -> Vec<Finding> {
    // A device can be opened once only.
    let held = |camera: &CameraSettings| {
        matches!(camera.address, Address::Device(_))
            && super::daemon::status(context).is_some_and(|status| status["cameras"][&*camera.id]["online"] == true)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = settings
            .cameras
            .iter()
            .map(|camera| (camera, scope.spawn(move || probe(camera, PATIENCE, LOOK))))
            .collect();
        threads
            .into_iter()
            .map(|(camera, thread)| match thread.join() {
                Ok(Ok(probed)) => delivers(settings, camera, &probed),
                Ok(Err(_)) if held(camera) => {
                    let seen = format!("{} is open in the running daemon, and delivers there", camera.address);
                    Finding::ok(Subject::Camera, &*camera.id, seen)
                }
                Ok(Err(error)) => fails(camera, &error),
                Err(_) => Finding::failed(
                    Subject::Camera,
                    &*camera.id,
                    "the check itself fell over",
                    "this is a bug: please report it with what it said above",
                ),
            })
            .collect()
    })
}

fn delivers(settings: &Settings, camera: &CameraSettings, probed: &Probed) -> Finding {
    let address = &camera.address;
    let Some((width, height)) = probed.size_px else {
        let seen = format!("{address} is subscribed to; pictures come when they come");
        return Finding::ok(Subject::Camera, &*camera.id, seen);
    };
    let mut seen = format!("{address} delivers {width}x{height}");
    if let Some(rate) = probed.rate_hz {
        seen += &format!(", {rate:.1} of at most {} frames a second", camera.frames_per_second);
    }
    if let Some(decode) = probed.decode {
        seen += &format!(", decoded by {decode}");
    }
    seen += &format!(", first after {:.1} s", probed.first_after.as_secs_f64());
    let warning =
        |why: &str, mend: String| Finding::warning(Subject::Camera, &*camera.id, format!("{seen}; {why}"), mend);
    if probed.brightness < BLACK {
        return warning(
            "the picture is black",
            format!("uncover the lens of {}, or switch its night mode on", camera.id),
        );
    }
    let smallest = width.min(height);
    if camera.min_face_px > smallest {
        return warning(
            "faces are larger than the picture",
            format!(
                "choose a larger stream of the camera, or set `min_face_px` below {smallest} for {}",
                camera.id
            ),
        );
    }
    let live = !address.ends() && !address.waits();
    let rate = probed.rate_hz.unwrap_or(0.5);
    let shots = camera.min_shots.unwrap_or(settings.min_shots);
    let seconds = settings.decide_within.as_secs_f64();
    if live && rate * seconds < shots as f64 {
        return warning(
            &format!("too few for {shots} shots in {seconds} s"),
            format!(
                "raise the frame rate in the camera's own settings, or set `verdict.decide_within_ms` above {:.0}",
                1000.0 * shots as f64 / rate
            ),
        );
    }
    Finding::ok(Subject::Camera, &*camera.id, seen)
}

fn fails(camera: &CameraSettings, error: &CameraError) -> Finding {
    Finding::failed(
        Subject::Camera,
        &*camera.id,
        format!("{}: {error}", camera.address),
        mend(camera, error),
    )
}

fn mend(camera: &CameraSettings, error: &CameraError) -> String {
    let id = &camera.id;
    match error {
        CameraError::NoDecoder { program, .. } => {
            let package = if *program == "ffmpeg" {
                "ffmpeg"
            } else {
                "gstreamer1.0-tools"
            };
            format!("`sudo apt install {package}`")
        }
        CameraError::Unlimited(_) => {
            format!("set `sandbox = \"auto\"` for {id}, or use a kernel with Landlock (5.13 or newer)")
        }
        CameraError::Missing { path, source } => missing(id, path, source.kind()),
        CameraError::NoPictures(folder) => format!("put pictures into {}, or correct `url` of {id}", folder.display()),
        CameraError::Decoder(said) | CameraError::Snapshot(said) => from_words(camera, said),
        CameraError::Broker(_) => {
            "see the lines about the broker; its user must be allowed to read that topic".to_owned()
        }
        CameraError::Stalled(_) => format!(
            "is the camera switched on, and may one more client watch it? Look at its stream with another player, then \
             correct `url` of {id}"
        ),
        CameraError::Ended => format!("correct `url` of {id}: what is there is empty or ends at once"),
        CameraError::Stream(_) => {
            format!("set `decode = \"cpu\"` for {id}, and choose H.264 in the camera's own settings")
        }
        CameraError::Photo { path, .. } => format!("repair or remove {}", path.display()),
        CameraError::Stopped => "try again".to_owned(),
    }
}

fn missing(id: &str, path: &Path, kind: ErrorKind) -> String {
    let place = path.display();
    let device = path.starts_with("/dev");
    match kind {
        ErrorKind::PermissionDenied if device => {
            "let the daemon's user use cameras: `sudo usermod -aG video kith`, then `sudo systemctl restart kith`"
                .to_owned()
        }
        ErrorKind::PermissionDenied => format!("let the daemon's user read it: `sudo chown kith: {place}`"),
        _ if device => format!("plug the camera in (`ls /dev/video*` lists what is there), or correct `url` of {id}"),
        _ => format!("correct `url` of {id}: there is no {place}"),
    }
}

/// What FFmpeg's words, or those of a snapshot, mean for whoever has to mend it. The most telling comes first.
const WORDS: [(&[&str], &str); 8] = [
    (
        &["401", "Unauthorized", "403", "Forbidden", "user or password"],
        "give the camera's login with `username` and `password_file`",
    ),
    (
        &["404", "Not Found"],
        "correct the path in `url` (the camera's manual names it)",
    ),
    (
        &["resolve host", "Name or service", "failed to lookup"],
        "correct the host name in `url`, or write the camera's IP address there",
    ),
    (
        &["Connection refused"],
        "correct the port in `url`, or switch the stream on in the camera's own settings",
    ),
    (
        &["No route to host", "unreachable", "timed out", "timeout"],
        "is it switched on and in this network (`ping` it)? Otherwise correct the address in `url`",
    ),
    (
        &["busy"],
        "another program uses the camera: stop it; Kith's own daemon does too while it runs",
    ),
    (
        &[
            "No device available",
            "Cannot load",
            "hwaccel",
            "Failed to initialise VAAPI",
        ],
        "this machine's hardware does not decode it: set `decode = \"cpu\"`",
    ),
    (
        &[
            "Invalid data",
            "moov atom",
            "does not contain any stream",
            "matches no streams",
        ],
        "that is no video that FFmpeg knows: correct `url`",
    ),
];

fn from_words(camera: &CameraSettings, said: &str) -> String {
    let found = WORDS
        .iter()
        .find(|(words, _)| words.iter().any(|word| said.contains(word)));
    let id = &camera.id;
    match found {
        Some((_, mend)) => format!("camera {id}: {mend}"),
        None if matches!(camera.address, Address::Rtsp(_) | Address::Http(_)) => {
            format!("try the address in another player, then correct `url` of {id}")
        }
        None => format!("correct `url` of {id}"),
    }
}
