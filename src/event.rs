//! What happened, in the domain's words: the only type that publishing and storing know. Its JSON is a contract with
//! subscribers (`docs/reference/mqtt.md`).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use ulid::Ulid;

use crate::frame::{CameraId, CapturedAt};
use crate::gallery::Person;

/// An event lives for so long after its capture: what opens a door must not come late.
pub const LIFE: Duration = Duration::from_secs(10);

/// The version of the event's JSON.
const VERSION: u32 = 1;

/// Something that happened before a camera.
#[derive(Debug, Clone)]
pub struct Event {
    /// Sorts by time; a receiver drops an id that it has seen.
    pub id: Ulid,
    /// What kind of thing happened.
    pub kind: EventKind,
    /// The node.
    pub node: Arc<str>,
    /// The camera.
    pub camera: CameraId,
    /// The visit.
    pub track: Ulid,
    /// When the shot was taken that says so; for [`EventKind::Left`] the last one.
    pub captured_at: CapturedAt,
    /// When it was handed over to be published.
    pub published_at: Timestamp,
    /// Who; `None` for nobody enrolled.
    pub person: Option<Arc<Person>>,
    /// Who is near, where nobody is named.
    pub similar_to: Option<Arc<Person>>,
    /// Probability that the verdict is right, 0 to 1.
    pub confidence: f64,
    /// How many shots it stands on.
    pub shots: usize,
    /// The camera's zones that the face was in.
    pub zones: Vec<Arc<str>>,
    /// Where the face was.
    pub box_frame_fraction: BoxFraction,
    /// The face's height in pixels of the frame.
    pub face_height_px: u32,
    /// Name and the first digits of the sha256 of the network that embedded it.
    pub model: Arc<str>,
}

/// The kinds of events.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// The first good shot, at most once per track.
    Preliminary,
    /// The vote named somebody.
    Recognized,
    /// The vote named nobody.
    Unknown,
    /// A later vote changed the verdict.
    Corrected {
        /// The event that was wrong.
        corrects: Ulid,
        /// Whom it named.
        was: Option<Arc<Person>>,
    },
    /// The track ended.
    Left {
        /// From the first frame to the last.
        duration: Duration,
    },
}

impl EventKind {
    /// As it stands in `event_type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Preliminary => "preliminary",
            Self::Recognized => "recognized",
            Self::Unknown => "unknown",
            Self::Corrected { .. } => "corrected",
            Self::Left { .. } => "left",
        }
    }
}

/// A box as fractions of the frame's width and height, within the frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BoxFraction {
    /// Left edge, 0 to 1.
    pub x: f64,
    /// Upper edge, 0 to 1.
    pub y: f64,
    /// 0 to 1.
    pub width: f64,
    /// 0 to 1.
    pub height: f64,
}

impl Event {
    /// Takes out the names of people who are not among `enrolled`, where that is known: they were removed while they
    /// were in view. Returns whether there is still something to be said: who was recognised, and was removed, was not.
    pub fn forget_others(&mut self, enrolled: Option<&HashSet<Ulid>>) -> bool {
        let Some(enrolled) = enrolled else { return true };
        let is_gone = |person: &Arc<Person>| !enrolled.contains(&person.uid);
        if let EventKind::Corrected { was, .. } = &mut self.kind {
            was.take_if(|person| is_gone(person));
        }
        self.similar_to.take_if(|person| is_gone(person));
        let is_about_somebody_gone = self.person.take_if(|person| is_gone(person)).is_some();
        !(is_about_somebody_gone && matches!(self.kind, EventKind::Preliminary | EventKind::Recognized))
    }

    /// The time that is left to it at `now`; zero when it is too old to be sent.
    pub fn life_left(&self, now: Instant) -> Duration {
        LIFE.saturating_sub(now.saturating_duration_since(self.captured_at.monotonic))
    }
}

/// A person as events name one.
#[derive(Serialize)]
struct Named<'a> {
    id: &'a str,
    uid: String,
    name: &'a str,
}

fn named(person: Option<&Arc<Person>>) -> Option<Named<'_>> {
    person.map(|person| Named {
        id: &person.id,
        uid: ulid_text(person.uid),
        name: person.name.as_str(),
    })
}

/// A ULID as messages carry it, in small letters.
pub fn ulid_text(ulid: Ulid) -> String {
    ulid.to_string().to_ascii_lowercase()
}

/// UTC with milliseconds, RFC 3339.
pub fn time_text(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// Two decimals, rounded down: what isn't quite certain is never published as 1.
pub fn two_decimals_down(value: f64) -> f64 {
    // The tiny addition keeps 0.29 from becoming 0.28, since 0.29 * 100 is 28.999….
    (value * 100.0 + 1e-9).floor() / 100.0
}

fn three_decimals(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("v", &VERSION)?;
        map.serialize_entry("id", &ulid_text(self.id))?;
        map.serialize_entry("event_type", self.kind.name())?;
        map.serialize_entry("node", &*self.node)?;
        map.serialize_entry("camera", &*self.camera)?;
        map.serialize_entry("zones", &self.zones.iter().map(|zone| &**zone).collect::<Vec<&str>>())?;
        map.serialize_entry("track", &ulid_text(self.track))?;
        map.serialize_entry("captured_at", &time_text(self.captured_at.wall))?;
        map.serialize_entry("published_at", &time_text(self.published_at))?;
        map.serialize_entry("person", &named(self.person.as_ref()))?;
        if self.person.is_none() {
            map.serialize_entry("similar_to", &named(self.similar_to.as_ref()))?;
        }
        map.serialize_entry("confidence", &two_decimals_down(self.confidence))?;
        map.serialize_entry("shots", &self.shots)?;
        // Null until there is a measured one.
        map.serialize_entry("liveness", &())?;
        let fraction = self.box_frame_fraction;
        let rounded = BoxFraction {
            x: three_decimals(fraction.x),
            y: three_decimals(fraction.y),
            width: three_decimals(fraction.width),
            height: three_decimals(fraction.height),
        };
        map.serialize_entry("box_frame_fraction", &rounded)?;
        map.serialize_entry("face_height_px", &self.face_height_px)?;
        map.serialize_entry("model", &*self.model)?;
        match &self.kind {
            EventKind::Corrected { corrects, was } => {
                map.serialize_entry("corrects", &ulid_text(*corrects))?;
                map.serialize_entry("was", &named(was.as_ref()))?;
            }
            EventKind::Left { duration } => {
                map.serialize_entry("duration_s", &((duration.as_secs_f64() * 10.0).round() / 10.0))?;
            }
            EventKind::Preliminary | EventKind::Recognized | EventKind::Unknown => {}
        }
        map.end()
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
