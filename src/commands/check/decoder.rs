//! FFmpeg, and GStreamer on a Jetson: there, new enough, and able to do what the cameras need.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Context, Finding, Subject};
use crate::camera::{Address, Decode, find_program};
use crate::config::Settings;

/// `-autoscale`, which keeps a change of resolution visible, came with it.
const OLDEST: (u32, u32) = (4, 4);

pub(super) fn check(settings: &Settings, _: &Context) -> Vec<Finding> {
    let decoded: Vec<&Address> = settings
        .cameras
        .iter()
        .map(|camera| &camera.address)
        .filter(|address| address.has_decoder())
        .collect();
    if decoded.is_empty() {
        return vec![Finding::not_checked(Subject::Decoder, "", "no camera needs FFmpeg")];
    }
    let mut findings = Vec::new();
    match find_program("ffmpeg") {
        Some(program) => findings.extend(ffmpeg(&program, &decoded)),
        None => findings.push(Finding::failed(
            Subject::Decoder,
            "ffmpeg",
            "there is none on the PATH",
            "`sudo apt install ffmpeg`",
        )),
    }
    let jetson = settings.cameras.iter().any(|camera| camera.decode == Decode::Jetson);
    if jetson && find_program("gst-launch-1.0").is_none() {
        findings.push(Finding::failed(
            Subject::Decoder,
            "gstreamer",
            "a camera has `decode = \"jetson\"`, and there is no gst-launch-1.0 on the PATH",
            "`sudo apt install gstreamer1.0-tools gstreamer1.0-plugins-good gstreamer1.0-plugins-bad`",
        ));
    }
    findings
}

fn ffmpeg(program: &Path, decoded: &[&Address]) -> Vec<Finding> {
    let place = program.display();
    let Some(said) = listed(program, "-version") else {
        return vec![Finding::failed(
            Subject::Decoder,
            "ffmpeg",
            format!("{place} does not start"),
            "`sudo apt install --reinstall ffmpeg`",
        )];
    };
    let version = said.split_whitespace().nth(2).unwrap_or("?");
    if number(version).is_some_and(|version| version < OLDEST) {
        return vec![Finding::failed(
            Subject::Decoder,
            "ffmpeg",
            format!("{place} is version {version}; 4.4 is the oldest that works"),
            "install a newer one; Debian 12 and Ubuntu 22.04 have it",
        )];
    }
    let mut lacking = Vec::new();
    for (list, wanted) in needs(decoded) {
        let text = listed(program, list).unwrap_or_default();
        let names: Vec<&str> = text.split([' ', ',', '\n']).collect();
        lacking.extend(wanted.into_iter().filter(|name| !names.contains(name)));
    }
    if lacking.is_empty() {
        return vec![Finding::ok(Subject::Decoder, "ffmpeg", format!("{version}, {place}"))];
    }
    vec![Finding::failed(
        Subject::Decoder,
        "ffmpeg",
        format!("{place} was built without {}", lacking.join(", ")),
        "install the distribution's own: `sudo apt install --reinstall ffmpeg`, and remove the other from the PATH",
    )]
}

/// What FFmpeg has to list, by the option that lists it.
fn needs(decoded: &[&Address]) -> Vec<(&'static str, Vec<&'static str>)> {
    let any = |what: fn(&Address) -> bool| decoded.iter().any(|address| what(address));
    let mut protocols = vec!["pipe"];
    let mut demuxers = Vec::new();
    let mut decoders = vec!["mjpeg"];
    if any(|address| matches!(address, Address::File(_))) {
        protocols.push("file");
        decoders.push("h264");
    }
    if any(|address| matches!(address, Address::Rtsp(_))) {
        protocols.push("tcp");
        demuxers.push("rtsp");
        decoders.extend(["h264", "hevc"]);
    }
    if any(|address| matches!(address, Address::Http(_))) {
        protocols.extend(["http", "tcp"]);
        demuxers.push("mpjpeg");
    }
    let secure = |address: &Address| match address {
        Address::Rtsp(url) | Address::Http(url) => matches!(url.scheme(), "rtsps" | "https"),
        _ => false,
    };
    if any(secure) {
        protocols.push("tls");
    }
    if any(|address| matches!(address, Address::Device(_))) {
        demuxers.push("v4l2");
    }
    vec![
        ("-protocols", protocols),
        ("-demuxers", demuxers),
        ("-decoders", decoders),
        ("-encoders", vec!["rawvideo"]),
        ("-muxers", vec!["nut"]),
        ("-filters", vec!["select", "pad"]),
    ]
}

fn listed(program: &Path, list: &str) -> Option<String> {
    let done = Command::new(program)
        .args(["-hide_banner", list])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    done.status
        .success()
        .then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// `5.1.9-0+deb12u1`, `n6.0`, `4.4.2`; `None` for what has no number, such as a build of the day.
fn number(version: &str) -> Option<(u32, u32)> {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut parts = digits.split(|c: char| !c.is_ascii_digit());
    let major: u32 = parts.next()?.parse().ok()?;
    let minor = parts.next().and_then(|minor| minor.parse().ok()).unwrap_or(0);
    // `N-109542-g…` counts commits.
    (major < 1000).then_some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn versions_are_read() {
        for (version, read) in [
            ("5.1.9-0+deb12u1", Some((5, 1))),
            ("4.2.7-0ubuntu0.1", Some((4, 2))),
            ("n6.0", Some((6, 0))),
            ("7", Some((7, 0))),
            ("N-109542-g123", None),
            ("git", None),
        ] {
            assert_eq!(number(version), read, "{version}");
        }
    }
}
