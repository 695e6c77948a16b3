//! More cameras than the box can serve: all get the same share, frames are dropped and counted, verdicts are not dropped.

use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::broker::{Broker, jsons};
use crate::clip::clip;
use crate::daemon::{Home, camera};
use crate::http::Client;

const CAMERAS: usize = 6;

#[test]
fn cameras_share_what_there_is_and_every_visit_gets_its_verdict() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let film = clip(&["obama2", "biden"], 3.0);
    let ids: Vec<String> = (0..CAMERAS).map(|number| format!("camera-{number}")).collect();
    let mut cameras = String::from("[http]\nlisten = \"127.0.0.1:0\"\n[runtime]\nthreads = 1\n");
    for id in &ids {
        cameras += &camera(id, &format!("file:{}", film.display()));
        // So small faces make each frame cost more than its time.
        cameras += "loop = true\nframes_per_second = 15\nmin_face_px = 14\nmotion = false\n";
    }
    home.configure(broker.port, "announce_again_s = 0", &cameras);
    let subscriber = broker.subscribe();
    let daemon = home.run();
    let client = Client::of(&daemon);
    let verdicts = |id: &str, event_type: &str| {
        let events = jsons(&subscriber.all(), &format!("kith/box/camera/{id}/event"));
        events.iter().filter(|event| event["event_type"] == event_type).count()
    };
    // Each camera has shown both, once at least.
    let deadline = Instant::now() + PATIENCE;
    while !ids
        .iter()
        .all(|id| verdicts(id, "recognized") >= 1 && verdicts(id, "unknown") >= 1)
    {
        assert!(
            Instant::now() < deadline,
            "{:?}\n{}",
            ids.iter()
                .map(|id| (verdicts(id, "recognized"), verdicts(id, "unknown")))
                .collect::<Vec<_>>(),
            daemon.log()
        );
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let figures = client.figures();
    let of = |name: &str, id: &str| figures.value(name, &[("camera", id)]);
    let looked_at: Vec<f64> = ids
        .iter()
        .map(|id| of("kith_camera_frames_total", id) - of("kith_camera_frames_dropped_total", id))
        .collect();
    let dropped: f64 = ids.iter().map(|id| of("kith_camera_frames_dropped_total", id)).sum();
    assert!(dropped > 0.0, "the box is not overloaded: {looked_at:?}");
    let least = looked_at.iter().copied().fold(f64::INFINITY, f64::min);
    let most = looked_at.iter().copied().fold(0.0, f64::max);
    assert!(least > 0.75 * most, "shares: {looked_at:?}");
}
