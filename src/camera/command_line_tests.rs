use std::path::Path;

use super::*;
use crate::camera::{SandboxWish, ViewSettings};

fn settings(address: &str, looped: bool) -> CameraSettings {
    CameraSettings {
        min_shots: None,
        strictness: crate::identify::Strictness::default(),
        id: "door".into(),
        address: Address::parse(address, Path::new("/clips")).unwrap(),
        min_face_px: 40,
        frames_per_second: 7.5,
        looped,
        decode: Decode::Auto,
        sandbox: SandboxWish::Auto,
        view: ViewSettings {
            zones: Vec::new(),
            masks: Vec::new(),
            only_zones: false,
            motion: true,
        },
        broker: None,
    }
}

fn lines(address: &str, decode: Decode) -> Vec<String> {
    let shown = |line: &CommandLine| {
        let arguments: Vec<_> = line
            .arguments
            .iter()
            .map(|argument| argument.to_string_lossy())
            .collect();
        format!("{} {}", line.program, arguments.join(" "))
    };
    command_lines(&settings(address, false), decode)
        .iter()
        .map(shown)
        .collect()
}

fn check(address: &str, decode: Decode, expected: &str) {
    let lines = lines(address, decode);
    assert_eq!(lines, [expected.split_whitespace().collect::<Vec<_>>().join(" ")]);
}

#[test]
fn rtsp_on_each_kind_of_hardware() {
    let line = |hardware: &str| {
        format!(
            "ffmpeg -hide_banner -nostdin -nostats -loglevel error {hardware} -rtsp_transport tcp -fflags nobuffer
             -flags low_delay -probesize 32768 -analyzeduration 0 -protocol_whitelist rtsp,rtsps,rtp,srtp,tcp,tls
             -i rtsp://u:p@cam/live -map 0:v:0
             -vf select='isnan(prev_selected_t)+isnan(t)+lt(t,prev_selected_t)+gt(floor(t*7.5),floor(prev_selected_t*7.5))',format=rgb24,pad=iw:ih+1
             -autoscale 0 -c:v rawvideo -pix_fmt rgb24 -flush_packets 1 -f nut pipe:1"
        )
    };
    check("rtsp://u:p@cam/live", Decode::Cpu, &line(""));
    check(
        "rtsp://u:p@cam/live",
        Decode::Vaapi,
        &line("-hwaccel vaapi -hwaccel_device /dev/dri/renderD128"),
    );
    check("rtsp://u:p@cam/live", Decode::Nvdec, &line("-hwaccel cuda"));
}

#[test]
fn rtsp_on_a_jetson() {
    let lines = lines("rtsp://cam/live?a=b'c!d", Decode::Jetson);
    assert_eq!(
        lines,
        [
            "gst-launch-1.0 -q rtspsrc protocols=tcp latency=0 drop-on-latency=true location=rtsp://cam/live?a=b%27c%21d \
             ! application/x-rtp,media=video ! parsebin ! nvv4l2decoder ! nvvidconv ! video/x-raw,format=I420 \
             ! videorate drop-only=true max-rate=16 ! matroskamux streamable=true ! fdsink fd=1 sync=false",
            "ffmpeg -hide_banner -nostdin -nostats -loglevel error -fflags nobuffer -probesize 32768 -analyzeduration 0 \
             -f matroska -protocol_whitelist pipe -i pipe:0 -map 0:v:0 \
             -vf select='isnan(prev_selected_t)+isnan(t)+lt(t,prev_selected_t)+gt(floor(t*7.5),floor(prev_selected_t*7.5))',format=rgb24,pad=iw:ih+1 \
             -autoscale 0 -c:v rawvideo -pix_fmt rgb24 -flush_packets 1 -f nut pipe:1",
        ]
    );
    let children = command_lines(&settings("rtsp://cam/live", false), Decode::Jetson);
    assert_eq!(children[0].needs.port, Some(554));
    assert_eq!(
        children[1].needs.port, None,
        "what comes out of the pipe needs no network"
    );
    assert!(children[0].feeds && !children[1].feeds);
}

#[test]
fn the_other_kinds() {
    let select =
        "select='isnan(prev_selected_t)+isnan(t)+lt(t,prev_selected_t)+gt(floor(t*7.5),floor(prev_selected_t*7.5))'";
    let end = "-c:v rawvideo -pix_fmt rgb24 -flush_packets 1 -f nut pipe:1";
    let begin = "ffmpeg -hide_banner -nostdin -nostats -loglevel error";
    check(
        "file:-i clip.mp4",
        Decode::Cpu,
        &format!("{begin} -re -protocol_whitelist file -i file:/clips/-i clip.mp4 -map 0:v:0 -vf {select} {end}"),
    );
    check(
        "v4l2:/dev/video2",
        Decode::Cpu,
        &format!("{begin} -f v4l2 -i /dev/video2 -map 0:v:0 -vf {select},format=rgb24,pad=iw:ih+1 -autoscale 0 {end}"),
    );
    for (scheme, protocols) in [("http", "http,tcp"), ("https", "https,tls,tcp")] {
        check(
            &format!("{scheme}://cam:81/live"),
            Decode::Cpu,
            &format!(
                "{begin} -use_wallclock_as_timestamps 1 -fflags nobuffer -probesize 32768
                 -format_whitelist mpjpeg,mjpeg,jpeg_pipe -protocol_whitelist {protocols} -i {scheme}://cam:81/live
                 -map 0:v:0 -vf {select},format=rgb24,pad=iw:ih+1 -autoscale 0 {end}"
            ),
        );
    }
    let looped = command_lines(&settings("file:clip.mp4", true), Decode::Cpu);
    assert!(
        looped[0]
            .arguments
            .windows(2)
            .any(|pair| pair == ["-stream_loop", "-1"])
    );
    assert_eq!(looped[0].needs.file.as_deref(), Some(Path::new("/clips/clip.mp4")));
}

#[test]
fn a_camera_may_be_reached_at_its_port_only() {
    let port = |address: &str| command_lines(&settings(address, false), Decode::Cpu)[0].needs.port;
    assert_eq!(port("rtsp://cam/x"), Some(554));
    assert_eq!(port("rtsp://cam:8554/x"), Some(8554));
    assert_eq!(port("rtsps://cam/x"), Some(322));
    assert_eq!(port("https://cam/x"), Some(443));
    assert_eq!(port("v4l2:/dev/video0"), None);
    assert_eq!(port("file:clip.mp4"), None);
}
