//! The decoders' command lines, built from checked settings. No shell is involved, and no argument is made of text that
//! could be an option.

use std::ffi::OsString;

use url::Url;

use super::decode::RENDER_DEVICE;
use super::sandbox::Needs;
use super::{Address, Decode};
use crate::config::CameraSettings;

/// One child.
pub(super) struct CommandLine {
    pub(super) program: &'static str,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: &'static [(&'static str, &'static str)],
    /// All but the program, which is yet to be found.
    pub(super) needs: Needs,
    /// Whether what it writes is what the next one reads.
    pub(super) feeds: bool,
}

/// Whether a row of nothing is put below each picture. A change of resolution shows in a picture's length, and the row
/// makes that true for a camera turned on its side too, where the number of pixels stays. FFmpeg fits a file's pictures
/// to the first one itself, since a file would begin again and again.
pub(super) fn has_foot(address: &Address) -> bool {
    !address.ends()
}

/// What decodes the camera: one child, or on a Jetson one that decodes and one that converts.
pub(super) fn command_lines(settings: &CameraSettings, decode: Decode) -> Vec<CommandLine> {
    match (&settings.address, decode) {
        (Address::Rtsp(url), Decode::Jetson) => vec![jetson(url, settings.frames_per_second), ffmpeg(settings, decode)],
        _ => vec![ffmpeg(settings, decode)],
    }
}

fn ffmpeg(settings: &CameraSettings, decode: Decode) -> CommandLine {
    let mut needs = Needs::default();
    let mut all: Vec<OsString> = words("-hide_banner -nostdin -nostats -loglevel error");
    match decode {
        Decode::Vaapi => {
            all.extend(words("-hwaccel vaapi -hwaccel_device"));
            all.push(RENDER_DEVICE.into());
            needs.hardware = true;
        }
        Decode::Nvdec => {
            all.extend(words("-hwaccel cuda"));
            needs.hardware = true;
        }
        Decode::Auto | Decode::Cpu | Decode::Jetson => {}
    }
    // Every input names the protocols that it may open, so that a playlist can't lead elsewhere.
    match &settings.address {
        Address::File(path) | Address::Clip(path) => {
            if matches!(settings.address, Address::File(_)) {
                all.push("-re".into());
            }
            all.extend(words("-protocol_whitelist file"));
            if settings.looped {
                all.extend(words("-stream_loop -1"));
            }
            let mut input = OsString::from("file:");
            input.push(path);
            all.extend(["-i".into(), input]);
            needs.file = Some(path.clone());
        }
        Address::Device(path) => {
            all.extend(["-f".into(), "v4l2".into(), "-i".into(), path.into()]);
            needs.device = Some(path.clone());
        }
        Address::Rtsp(_) if decode == Decode::Jetson => {
            all.extend(words(
                "-fflags nobuffer -probesize 32768 -analyzeduration 0 -f matroska",
            ));
            all.extend(words("-protocol_whitelist pipe -i pipe:0"));
        }
        Address::Rtsp(url) => {
            // First picture after 0.3 s instead of 1.9 s; TCP, since lost packets make faces that aren't there.
            all.extend(words(
                "-rtsp_transport tcp -fflags nobuffer -flags low_delay -probesize 32768 -analyzeduration 0",
            ));
            all.extend(words("-protocol_whitelist rtsp,rtsps,rtp,srtp,tcp,tls"));
            all.extend(["-i".into(), url.as_str().into()]);
            needs.port = Some(port(url));
        }
        Address::Http(url) => {
            // Motion JPEG carries no times.
            all.extend(words(
                "-use_wallclock_as_timestamps 1 -fflags nobuffer -probesize 32768",
            ));
            all.extend(words("-format_whitelist mpjpeg,mjpeg,jpeg_pipe"));
            all.extend(words(match url.scheme() {
                "https" => "-protocol_whitelist https,tls,tcp",
                _ => "-protocol_whitelist http,tcp",
            }));
            all.extend(["-i".into(), url.as_str().into()]);
            needs.port = Some(port(url));
        }
        // These are read without FFmpeg; it finds no input and says so.
        Address::Folder(_) | Address::Snapshot(_) | Address::Topic(_) | Address::Frigate { .. } => {}
    }
    let rate = settings.frames_per_second;
    // The first picture of each slice of time; unlike the fps filter this holds none back to see the next one.
    let mut filters = format!(
        "select='isnan(prev_selected_t)+isnan(t)+lt(t,prev_selected_t)+gt(floor(t*{rate}),floor(prev_selected_t*{rate}))'"
    );
    if has_foot(&settings.address) {
        filters.push_str(",format=rgb24,pad=iw:ih+1");
    }
    all.extend(["-map".into(), "0:v:0".into(), "-vf".into(), filters.into()]);
    if has_foot(&settings.address) {
        all.extend(words("-autoscale 0"));
    }
    all.extend(words("-c:v rawvideo -pix_fmt rgb24 -flush_packets 1 -f nut pipe:1"));
    CommandLine {
        program: "ffmpeg",
        arguments: all,
        environment: &[],
        needs,
        feeds: false,
    }
}

/// Decodes RTSP by NVIDIA's element. Matroska carries times and size to FFmpeg, which does the rest as for any other
/// camera.
fn jetson(url: &Url, frames_per_second: f64) -> CommandLine {
    let mut all = words("-q rtspsrc protocols=tcp latency=0 drop-on-latency=true");
    let mut location = OsString::from("location=");
    location.push(for_gstreamer(url));
    all.push(location);
    // A camera may send sound too. `parsebin` finds out whether it is H.264 or H.265.
    all.extend(words(
        "! application/x-rtp,media=video ! parsebin ! nvv4l2decoder ! nvvidconv",
    ));
    all.extend(words("! video/x-raw,format=I420 ! videorate drop-only=true"));
    // Twice what is looked at, so that FFmpeg, which chooses from these, finds one for each slice of time.
    all.push(format!("max-rate={}", 2.0 * frames_per_second.ceil()).into());
    all.extend(words("! matroskamux streamable=true ! fdsink fd=1 sync=false"));
    CommandLine {
        program: "gst-launch-1.0",
        arguments: all,
        // Its search for plugins would start another program and write a file.
        environment: &[("GST_REGISTRY_FORK", "no"), ("GST_REGISTRY_UPDATE", "no")],
        needs: Needs {
            port: Some(port(url)),
            hardware: true,
            ..Needs::default()
        },
        feeds: true,
    }
}

/// The address without characters that mean something to GStreamer's own parser.
fn for_gstreamer(url: &Url) -> String {
    let mut text = String::new();
    for c in url.as_str().chars() {
        match c {
            '\'' => text.push_str("%27"),
            '"' => text.push_str("%22"),
            '\\' => text.push_str("%5C"),
            '!' => text.push_str("%21"),
            ' ' => text.push_str("%20"),
            other => text.push(other),
        }
    }
    text
}

fn port(url: &Url) -> u16 {
    let usual = match url.scheme() {
        "rtsps" => 322,
        "https" => 443,
        "http" => 80,
        _ => 554,
    };
    url.port().unwrap_or(usual)
}

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

#[cfg(test)]
#[path = "command_line_tests.rs"]
mod tests;
