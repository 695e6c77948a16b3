//! Cameras fail alone, and come back.

use std::process::{Command, Stdio};

use rustix::process::{Signal, kill_process};

use crate::broker::{Broker, Message, free_port, list};
use crate::clip::clip;
use crate::daemon::{Home, camera, door};
use crate::rtsp::{Camera, Fault, Show, film, film_as};

fn status(heard: &[Message], camera: &str) -> Vec<String> {
    let topic = format!("kith/box/camera/{camera}/status");
    heard
        .iter()
        .filter(|message| message.topic == topic)
        .map(Message::text)
        .collect()
}

#[test]
fn one_broken_camera_leaves_the_other_alone() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let good = door(&clip(&["obama2"], 3.0));
    let lost = camera("garden", "file:nowhere.mp4");
    let deaf = camera("gate", &format!("rtsp://viewer:s3cret@127.0.0.1:{}/live", free_port()));
    home.configure(broker.port, "", &format!("{lost}{deaf}{good}"));
    let subscriber = broker.subscribe();
    let mut daemon = home.run();
    let heard = subscriber.wait("a recognition", |heard| {
        heard
            .iter()
            .any(|m| m.topic.ends_with("/door/event") && m.text().contains("recognized"))
    });
    assert_eq!(status(&heard, "door"), ["offline", "online"], "{}", list(&heard));
    assert_eq!(status(&heard, "garden"), ["offline"]);
    assert_eq!(status(&heard, "gate"), ["offline"]);
    daemon.wait_for_log("nowhere.mp4");
    daemon.wait_for_log("Connection refused");
    assert!(
        !daemon.log().contains("s3cret"),
        "a password is in the log:\n{}",
        daemon.log()
    );
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success());
}

#[test]
fn a_decoder_that_dies_is_started_again() {
    let broker = Broker::start();
    let home = Home::new();
    home.configure(
        broker.port,
        "",
        &format!("{}loop = true\n", door(&clip(&["obama2"], 3.0))),
    );
    let subscriber = broker.subscribe();
    let daemon = home.run();
    subscriber.wait("online", |heard| status(heard, "door") == ["offline", "online"]);
    for decoder in daemon.children("ffmpeg") {
        kill_process(decoder, Signal::KILL).unwrap();
    }
    let on_and_off = ["offline", "online", "offline", "online"];
    subscriber.wait("online again", |heard| status(heard, "door") == on_and_off);
    subscriber.wait("sight again", |heard| {
        let sight = heard.iter().filter(|message| message.topic == "kith/box/sight");
        sight.map(Message::text).collect::<Vec<String>>() == on_and_off
    });
}

/// FFmpeg itself plays the camera that serves Motion JPEG.
#[test]
fn a_camera_over_http_is_seen() {
    let broker = Broker::start();
    let home = Home::new();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/live");
    let mut server = Command::new("ffmpeg")
        .args(["-v", "error", "-re", "-stream_loop", "-1", "-i"])
        .arg(clip(&["obama2"], 3.0))
        .args(["-c:v", "mjpeg", "-q:v", "3", "-f", "mpjpeg", "-listen", "1"])
        .args(["-content_type", "multipart/x-mixed-replace;boundary=ffmpeg", &url])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    home.configure(broker.port, "", &camera("door", &url));
    let subscriber = broker.subscribe();
    let daemon = home.run();
    subscriber.wait("somebody unknown", |heard| {
        heard.iter().any(|m| m.text().contains("\"event_type\":\"unknown\""))
    });
    drop(daemon);
    server.kill().unwrap();
    server.wait().unwrap();
}

/// A camera over RTSP that falls silent is noticed and opened again.
#[test]
fn a_stalled_rtsp_camera_is_offline_and_comes_back() {
    let broker = Broker::start();
    let home = Home::new();
    let film = film(&clip(&["obama2"], 3.0), "640x480");
    let rtsp = Camera::start(vec![Show { films: vec![film] }]);
    home.configure(broker.port, "", &camera("door", &rtsp.url));
    let subscriber = broker.subscribe();
    let daemon = home.run();
    subscriber.wait("somebody unknown", |heard| {
        heard.iter().any(|m| m.text().contains("\"event_type\":\"unknown\""))
    });
    rtsp.misbehave(Fault::Silent);
    subscriber.wait("offline", |heard| {
        status(heard, "door") == ["offline", "online", "offline"]
    });
    daemon.wait_for_log("no picture for 15 s");
    rtsp.misbehave(Fault::None);
    subscriber.wait("online again", |heard| {
        status(heard, "door") == ["offline", "online", "offline", "online"]
    });
    drop(rtsp);
}

#[test]
fn a_camera_that_changes_its_resolution_is_opened_again() {
    let broker = Broker::start();
    let home = Home::new();
    let clip = clip(&["obama2"], 3.0);
    // The second turns the camera on its side: as many pixels as before.
    for (size, width, height) in [("320x240", 320, 240), ("480x640", 480, 640)] {
        let (large, other) = (film(&clip, "640x480"), film(&clip, size));
        let show = |films| Show { films };
        let rtsp = Camera::start(vec![show(vec![large, other.clone()]), show(vec![other])]);
        home.configure(broker.port, "", &camera("door", &rtsp.url));
        let daemon = home.run();
        daemon.wait_for_log("width=640 height=480");
        daemon.wait_for_log("size changed");
        daemon.wait_for_log(&format!("width={width} height={height}"));
    }
}

#[test]
fn a_camera_that_sends_h265_is_seen() {
    let broker = Broker::start();
    let home = Home::new();
    let rtsp = Camera::start(vec![Show {
        films: vec![film_as(&clip(&["obama2"], 3.0), "640x480", "h265")],
    }]);
    home.configure(broker.port, "", &camera("door", &rtsp.url));
    let subscriber = broker.subscribe();
    let daemon = home.run();
    subscriber.wait("somebody unknown", |heard| {
        heard.iter().any(|m| m.text().contains("\"event_type\":\"unknown\""))
    });
    daemon.wait_for_log("decode=cpu");
}
