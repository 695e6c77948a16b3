//! Cameras, broken one by one.

use std::net::TcpListener;
use std::thread;

use std::io::{Read, Write};

use crate::broker::free_port;
use crate::check::check;
use crate::clip::clip;
use crate::daemon::{Home, camera, door};
use crate::rtsp::{Camera, Fault, Show, film};

/// Answers every request on a free port with `answer`.
fn server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn each_camera_that_fails_is_one_failure_with_its_mend() {
    let home = Home::new();
    let closed = free_port();
    let wants_login = server("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    let elsewhere = server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let rtsp_login = server("RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n\r\n");
    std::fs::write(home.path().join("text.mp4"), "this is no video at all").unwrap();
    std::fs::create_dir(home.path().join("empty")).unwrap();
    let cases = [
        (
            "lost",
            "file:nowhere.mp4".to_owned(),
            &["nowhere.mp4", "correct `url` of lost"][..],
        ),
        (
            "shed",
            "dir:empty".to_owned(),
            &["there are no pictures in", "put pictures into"],
        ),
        (
            "usb",
            "v4l2:/dev/video97".to_owned(),
            &["/dev/video97", "plug the camera in", "ls /dev/video*"],
        ),
        (
            "text",
            "file:text.mp4".to_owned(),
            &["no video that FFmpeg knows", "camera text: "],
        ),
        (
            "gate",
            format!("rtsp://viewer:s3cret@127.0.0.1:{closed}/live"),
            &["Connection refused", "correct the port in `url`"],
        ),
        (
            "yard",
            format!("rtsp://viewer:s3cret@127.0.0.1:{rtsp_login}/user=x&password=pathsecret"),
            &[
                "401",
                "camera yard: give the camera's login with `username` and `password_file`",
            ],
        ),
        (
            "name",
            "rtsp://nosuchcamera.invalid/live".to_owned(),
            &["correct the host name in `url`"],
        ),
        (
            "bell",
            format!("snapshot:http://127.0.0.1:{wants_login}/x"),
            &["401", "camera bell: give the camera's login"],
        ),
        (
            "path",
            format!("http://127.0.0.1:{elsewhere}/live"),
            &["404", "correct the path in `url`"],
        ),
        (
            "frigate",
            "frigate:front".to_owned(),
            &["broker", "see the lines about the broker"],
        ),
    ];
    let all: String = cases.iter().map(|(id, url, _)| camera(id, url)).collect();
    home.configure(closed, "", &format!("{all}{}", door(&clip(&["obama2"], 3.0))));
    let report = check(&home, &["--only", "camera"]);
    for (id, _, words) in cases {
        report.has(&format!("camera {id}"), "failed", words);
    }
    report.has("camera door", "ok", &["640x480"]);
    for secret in ["s3cret", "pathsecret"] {
        assert!(!report.said.contains(secret), "{}", report.said);
    }
}

#[test]
fn a_camera_that_could_be_better_is_a_warning() {
    let home = Home::new();
    let picture = image::RgbImage::new(320, 240);
    std::fs::create_dir(home.path().join("dark")).unwrap();
    for name in ["1.png", "2.png"] {
        picture.save(home.path().join("dark").join(name)).unwrap();
    }
    let film = film(&clip(&["obama2"], 3.0), "640x480");
    let slow = Camera::start(vec![Show { films: vec![film] }]);
    let cameras = format!(
        "{}{}frames_per_second = 1.0\n{}min_face_px = 1000\n",
        camera("dark", "dir:dark"),
        camera("slow", &slow.url),
        door(&clip(&["obama2"], 3.0)),
    );
    home.configure(1, "", &cameras);
    let report = check(&home, &["--only", "camera"]);
    report.has("camera dark", "warning", &["the picture is black", "uncover the lens"]);
    report.has(
        "camera slow",
        "warning",
        &["too few for 3 shots in 2 s", "`verdict.decide_within_ms`"],
    );
    report.has(
        "camera door",
        "warning",
        &["larger than the picture", "`min_face_px` below 480"],
    );
}

/// One that is silent costs its own time limit, and harms no other.
#[test]
fn a_silent_camera_is_given_up_alone() {
    let home = Home::new();
    let film = film(&clip(&["obama2"], 3.0), "640x480");
    let silent = Camera::start(vec![Show { films: vec![film] }]);
    silent.misbehave(Fault::Silent);
    home.configure(
        1,
        "",
        &format!("{}{}", camera("mute", &silent.url), door(&clip(&["obama2"], 3.0))),
    );
    let report = check(&home, &["--only", "camera"]);
    report.has(
        "camera mute",
        "failed",
        &["no picture for 12 s", "is the camera switched on"],
    );
    report.has("camera door", "ok", &["640x480"]);
}
