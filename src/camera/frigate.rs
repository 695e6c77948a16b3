//! Frigate's snapshots of people. The picture comes on one topic, the time at which it was taken in the events on
//! another, and either may come first. A picture whose time nobody tells is not looked at: it could be minutes old.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::frame::CapturedAt;

/// How long a picture waits for the event that tells its time, and an event for its picture.
const TOGETHER: Duration = Duration::from_millis(1500);

/// Puts pictures and times of one of Frigate's cameras together.
#[derive(Debug)]
pub(super) struct Frigate {
    camera: String,
    /// Of events, and of snapshots.
    topics: [String; 2],
    /// The newest time that an event told, in seconds since 1970, and when it was told.
    time: Option<(f64, Instant)>,
    picture: Option<(Vec<u8>, CapturedAt)>,
    /// The time of the picture that was given out last; Frigate sends the best one again when somebody has left.
    given_s: f64,
}

#[derive(Deserialize)]
struct Message {
    after: Tracked,
}

/// What is needed of a tracked object. Frigate 0.14 and before say `snapshot_time`, later ones `snapshot`.
#[derive(Deserialize)]
struct Tracked {
    camera: String,
    label: String,
    frame_time: f64,
    #[serde(default)]
    snapshot_time: Option<f64>,
    #[serde(default)]
    snapshot: Option<Snapshot>,
}

#[derive(Deserialize)]
struct Snapshot {
    frame_time: f64,
}

impl Frigate {
    /// For the camera that Frigate calls `camera`; `prefix` is what Frigate's topics begin with.
    pub(super) fn new(prefix: &str, camera: &str) -> Self {
        Self {
            camera: camera.to_owned(),
            topics: [format!("{prefix}/events"), format!("{prefix}/{camera}/person/snapshot")],
            time: None,
            picture: None,
            given_s: f64::NEG_INFINITY,
        }
    }

    /// What to subscribe to.
    pub(super) fn topics(&self) -> &[String] {
        &self.topics
    }

    /// Takes in a message that arrived at `now`.
    pub(super) fn hear(&mut self, topic: &[u8], payload: &[u8], now: CapturedAt) {
        if topic == self.topics[1].as_bytes() {
            self.picture = Some((payload.to_vec(), now));
            return;
        }
        let tracked = match serde_json::from_slice::<Message>(payload) {
            Ok(message) => message.after,
            Err(error) => {
                tracing::debug!(%error, "an event of Frigate can't be read");
                return;
            }
        };
        if tracked.camera != self.camera || tracked.label != "person" {
            return;
        }
        let best = tracked
            .snapshot
            .map(|snapshot| snapshot.frame_time)
            .or(tracked.snapshot_time);
        let time_s = best.unwrap_or(tracked.frame_time);
        if time_s.is_finite() {
            self.time = Some((time_s, now.monotonic));
        }
    }

    /// The picture whose time is known by now, if there is one.
    pub(super) fn ready(&mut self, now: Instant) -> Option<(Vec<u8>, CapturedAt)> {
        let arrived = self.picture.as_ref()?.1;
        let waited = now.saturating_duration_since(arrived.monotonic) > TOGETHER;
        let fresh = |told: Instant| told + TOGETHER >= arrived.monotonic;
        let time_s = match self.time {
            Some((time_s, told)) if fresh(told) && time_s > self.given_s => Some(time_s),
            _ if !waited => return None,
            _ => None,
        };
        let (bytes, arrived) = self.picture.take()?;
        let Some(time_s) = time_s else {
            tracing::debug!("a snapshot of Frigate is left out: it was seen already, or no event tells its time");
            return None;
        };
        self.given_s = time_s;
        Some((bytes, captured_at(time_s, arrived)))
    }
}

/// A time on Frigate's wall clock on both of ours. One in the future, of a clock that is ahead, counts as arrival.
fn captured_at(time_s: f64, arrived: CapturedAt) -> CapturedAt {
    let age = SignedDuration::try_from_secs_f64(time_s)
        .ok()
        .and_then(|since| Timestamp::from_duration(since).ok())
        .and_then(|wall| Duration::try_from(arrived.wall.duration_since(wall)).ok())
        .unwrap_or_default();
    CapturedAt {
        // A clock that began after that is a machine that was started since; such a picture is too old anyway.
        monotonic: arrived.monotonic.checked_sub(age).unwrap_or(arrived.monotonic),
        wall: arrived.wall.checked_sub(age).unwrap_or(arrived.wall),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EVENTS: &[u8] = b"frigate/events";
    const SNAPSHOT: &[u8] = b"frigate/door/person/snapshot";

    struct Play {
        frigate: Frigate,
        start: Instant,
        wall: Timestamp,
    }

    impl Play {
        fn new() -> Self {
            Self {
                frigate: Frigate::new("frigate", "door"),
                start: Instant::now() + Duration::from_secs(100),
                wall: "2026-11-24T06:40:00Z".parse().unwrap(),
            }
        }

        fn at(&self, ms: u64) -> CapturedAt {
            CapturedAt {
                monotonic: self.start + Duration::from_millis(ms),
                wall: self.wall + Duration::from_millis(ms),
            }
        }

        /// An event at `ms` about a snapshot of `taken_ms`, both since the start.
        fn event(&mut self, ms: u64, camera: &str, label: &str, taken_ms: f64) {
            let time = self.wall.as_millisecond() as f64 / 1000.0 + taken_ms / 1000.0;
            let after = json!({"id": "1-a", "camera": camera, "label": label, "frame_time": time + 0.5,
                "snapshot": {"frame_time": time, "score": 0.8}, "end_time": null});
            let message = json!({"type": "update", "before": after, "after": after}).to_string();
            self.frigate.hear(EVENTS, message.as_bytes(), self.at(ms));
        }

        fn picture(&mut self, ms: u64) {
            self.frigate.hear(SNAPSHOT, b"jpeg", self.at(ms));
        }

        /// How old, in milliseconds, the picture is that is given out at `ms`.
        fn age_ms(&mut self, ms: u64) -> Option<f64> {
            let now = self.at(ms);
            let (_, captured) = self.frigate.ready(now.monotonic)?;
            let age = now.monotonic - captured.monotonic;
            let on_the_wall = Duration::try_from(now.wall.duration_since(captured.wall)).unwrap();
            assert!(age.abs_diff(on_the_wall) < Duration::from_millis(2));
            // A time of 2026 in seconds is exact to a fraction of a microsecond.
            Some((age.as_secs_f64() * 1000.0).round())
        }
    }

    #[test]
    fn the_time_of_a_picture_comes_from_the_event_before_or_after_it() {
        let mut play = Play::new();
        play.event(1000, "door", "person", 800.0);
        play.picture(1010);
        assert_eq!(play.age_ms(1010), Some(210.0));
        play.picture(3000);
        assert_eq!(play.age_ms(3010), None, "the last event told another picture's time");
        play.event(3100, "door", "person", 2900.0);
        assert_eq!(play.age_ms(3100), Some(200.0));
    }

    #[test]
    fn a_picture_whose_time_nobody_tells_is_not_looked_at() {
        let mut play = Play::new();
        play.event(900, "garden", "person", 800.0);
        play.event(950, "door", "car", 800.0);
        play.picture(1000);
        assert_eq!(play.age_ms(5000), None);
        play.event(5100, "door", "person", 5000.0);
        assert_eq!(play.age_ms(5100), None, "it was thrown away");
    }

    #[test]
    fn the_best_picture_that_is_sent_again_at_the_end_is_not_looked_at_again() {
        let mut play = Play::new();
        play.event(1000, "door", "person", 800.0);
        play.picture(1010);
        assert!(play.age_ms(1010).is_some());
        play.event(9000, "door", "person", 800.0);
        play.picture(9010);
        assert_eq!(play.age_ms(9020), None);
        assert_eq!(play.age_ms(12_000), None);
    }

    #[test]
    fn events_of_older_versions_and_broken_ones_are_understood_or_ignored() {
        let mut play = Play::new();
        let time = play.wall.as_second();
        let old =
            json!({"after": {"camera": "door", "label": "person", "frame_time": time + 1, "snapshot_time": time}});
        play.frigate.hear(EVENTS, old.to_string().as_bytes(), play.at(500));
        play.picture(500);
        assert_eq!(play.age_ms(500), Some(500.0));
        for broken in [
            "",
            "{}",
            "[]",
            "{\"after\":{\"camera\":\"door\",\"label\":\"person\",\"frame_time\":\"x\"}}",
        ] {
            play.frigate.hear(EVENTS, broken.as_bytes(), play.at(600));
        }
        let future = json!({"after": {"camera": "door", "label": "person", "frame_time": time + 5000}});
        play.frigate.hear(EVENTS, future.to_string().as_bytes(), play.at(700));
        play.picture(700);
        assert_eq!(play.age_ms(700), Some(0.0));
        let never = json!({"after": {"camera": "door", "label": "person", "frame_time": 1e300}});
        play.frigate.hear(EVENTS, never.to_string().as_bytes(), play.at(800));
        play.picture(800);
        assert_eq!(play.age_ms(800), Some(0.0));
    }
}
