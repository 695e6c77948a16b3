//! A bad stream harms itself only: noticed within 20 s, back within 30 s, other cameras keep 95 % of their frame rate.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::broker::{Broker, Message, Subscriber};
use crate::clip::clip;
use crate::daemon::{Daemon, Home, camera};
use crate::rtsp::{Camera, Fault, Show, film};
use crate::trials::Trials;

/// A fault is noticed within this; a second more for the message to come here.
const NOTICED: Duration = Duration::from_secs(21);
/// From the fault's end until the camera delivers again, with the same second.
const BACK: Duration = Duration::from_secs(31);
/// What the other camera keeps of its frames.
const KEPT: f64 = 0.95;
/// Frames a second that are looked at.
const RATE: f64 = 5.0;
/// A fault that the decoder may live with lasts so long.
const FAULTY: Duration = Duration::from_secs(8);

/// A daemon with a camera that will misbehave and one that won't.
struct House {
    bad: Camera,
    _good: Camera,
    _broker: Broker,
    subscriber: Subscriber,
    daemon: Daemon,
    _home: Home,
}

impl House {
    /// The bad camera's first connections show films of these sizes, all later ones the last.
    fn new(sizes: &[&[&str]]) -> Self {
        let broker = Broker::start();
        let home = Home::new();
        let nobody = clip(&[], 1.0);
        let shows = sizes.iter().map(|sizes| Show {
            films: sizes.iter().map(|size| film(&nobody, size)).collect(),
        });
        let bad = Camera::start(shows.collect());
        let good = Camera::start(vec![Show {
            films: vec![film(&nobody, "320x240")],
        }]);
        let rate = format!("frames_per_second = {RATE}\n");
        let cameras = [("bad", &bad.url), ("good", &good.url)].map(|(id, url)| camera(id, url) + &rate);
        home.configure(broker.port, "", &cameras.concat());
        let subscriber = broker.subscribe();
        let daemon = home.run();
        let house = Self {
            bad,
            _good: good,
            _broker: broker,
            subscriber,
            daemon,
            _home: home,
        };
        for camera in ["bad", "good"] {
            let online = |heard: &[Message]| house.count(heard, camera, "online") > 0;
            house.subscriber.wait("both cameras", online);
        }
        house
    }

    fn count(&self, heard: &[Message], camera: &str, status: &str) -> usize {
        let topic = format!("kith/box/camera/{camera}/status");
        heard.iter().filter(|message| message.is(&topic, status)).count()
    }

    fn times(&self, status: &str) -> usize {
        self.count(&self.subscriber.all(), "bad", status)
    }

    /// Waits until the bad camera's status was `status` more than `before` times.
    fn wait(&self, status: &str, before: usize, time: Duration) {
        let more = |heard: &[Message]| self.count(heard, "bad", status) > before;
        self.subscriber.wait_for(time, status, more);
    }

    /// How many frames of a camera the log tells of.
    fn frames(&self, camera: &str) -> u64 {
        let log = self.daemon.log();
        let ours = format!("camera={camera}");
        let ours = log
            .lines()
            .rev()
            .filter(|line| line.contains("goes on") && line.contains(&ours));
        let frames = |line: &str| line.split("frames=").nth(1)?.split_whitespace().next()?.parse().ok();
        ours.filter_map(frames).next().unwrap_or(0)
    }

    /// Waits until `camera` delivered a frame more than it has now.
    fn wait_for_frames(&self, camera: &str, time: Duration) -> Result<(), String> {
        let (before, deadline) = (self.frames(camera), Instant::now() + time);
        while self.frames(camera) <= before {
            if Instant::now() > deadline {
                return Err(format!("no frame of {camera} for {time:?}"));
            }
            self.daemon.wait_a_moment();
        }
        Ok(())
    }

    /// Does something to the bad camera and looks at what the good one keeps.
    fn trial(&self, harm: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        self.wait_for_frames("good", NOTICED)?;
        let (before, began) = (self.frames("good"), Instant::now());
        harm()?;
        self.wait_for_frames("good", NOTICED)?;
        let seconds = began.elapsed().as_secs_f64();
        let kept = self.frames("good") - before;
        #[expect(clippy::cast_precision_loss, reason = "a few hundred frames")]
        let share = kept as f64 / (seconds * RATE);
        // The log tells of frames each second, so that a second may be missing.
        if share < KEPT * (1.0 - 1.0 / seconds.max(2.0)) {
            return Err(format!(
                "the other camera kept {share:.2} of its frames in {seconds:.0} s"
            ));
        }
        Ok(())
    }
}

#[test]
fn stalls() {
    let house = House::new(&[&["640x480"]]);
    Trials::counting("streams", "stalls", 1, 50).run(|_| {
        house.trial(|| {
            let (off, on) = (house.times("offline"), house.times("online"));
            house.bad.misbehave(Fault::Silent);
            house.wait("offline", off, NOTICED);
            house.bad.misbehave(Fault::None);
            house.wait("online", on, BACK);
            Ok(())
        })
    });
}

/// Every connection begins with one size and goes on with another, so that each trial is one change of resolution.
#[test]
fn resolution_changes() {
    let house = House::new(&[
        &["640x480", "320x240"],
        &["480x640", "640x480"],
        &["640x480", "480x640"],
    ]);
    // The next change may come before the last trial is over, so each trial waits for a change of its own.
    let (off, on) = (Cell::new(house.times("offline")), Cell::new(house.times("online")));
    Trials::counting("streams", "resolution-changes", 1, 50).run(|_| {
        house.trial(|| {
            house.wait("offline", off.replace(off.get() + 1), NOTICED);
            house.wait("online", on.replace(on.get() + 1), BACK);
            Ok(())
        })
    });
    assert!(house.daemon.log().contains("size changed"));
}

/// Pictures of which a part is missing, or that come with wild times: the decoder goes on, or is started anew.
fn lived_with(count: &str, fault: Fault) {
    let house = House::new(&[&["640x480"]]);
    Trials::counting("streams", count, 1, 50).run(|_| {
        house.trial(|| {
            house.bad.misbehave(fault);
            let until = Instant::now() + FAULTY;
            while Instant::now() < until {
                house.daemon.wait_a_moment();
            }
            house.bad.misbehave(Fault::None);
            house.wait_for_frames("bad", BACK)
        })
    });
}

#[test]
fn truncated_frames() {
    lived_with("truncated", Fault::Truncated);
}

#[test]
fn wild_times() {
    lived_with("wild-times", Fault::WildTimes);
}

#[test]
fn decoder_kills() {
    let house = House::new(&[&["640x480"]]);
    let url = house.bad.url.clone();
    Trials::counting("streams", "decoder-kills", 2, 100).run(|_| {
        house.trial(|| {
            let (off, on) = (house.times("offline"), house.times("online"));
            let victim = house.daemon.children("ffmpeg").into_iter().find(|pid| {
                let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(&url)
            });
            kill_process(victim.ok_or("the camera has no decoder")?, Signal::KILL)
                .map_err(|error| error.to_string())?;
            house.wait("offline", off, NOTICED);
            house.wait("online", on, BACK);
            Ok(())
        })
    });
}
