//! The payloads of the retained topics.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::outbox::Depth;
use super::presence::Sighting;
use crate::camera::{Reading, Roster, Slot};
use crate::engine::Meter;
use crate::event::{time_text, two_decimals_down, ulid_text};
use crate::frame::CameraId;
use crate::gallery::Person;

/// What the node says about itself.
#[derive(Debug, Clone)]
pub struct Info {
    /// What really runs the networks and why.
    pub provider: String,
    /// The graphics card, if there is one, with memory and driver.
    pub card: Option<String>,
    /// The networks in use.
    pub models: Vec<ModelInfo>,
    /// The cameras.
    pub cameras: Vec<CameraId>,
    /// How many people are enrolled.
    pub people: usize,
    /// When the daemon started.
    pub started: Timestamp,
}

/// A file of a network.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// Such as `mtcnn/pnet`.
    pub name: String,
    /// Of the file.
    pub sha256: String,
    /// What really runs it.
    pub provider: &'static str,
    /// How that is known; see [`crate::runtime::Proven`].
    pub proven: &'static str,
}

impl Info {
    pub(super) fn json(&self) -> Value {
        let models: Vec<Value> = self
            .models
            .iter()
            .map(|model| {
                json!({
                    "name": model.name,
                    "sha256": model.sha256,
                    "provider": model.provider,
                    "proven": model.proven,
                })
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "provider": self.provider,
            "card": self.card,
            "models": models,
            "cameras": self.cameras.iter().map(|camera| &**camera).collect::<Vec<_>>(),
            "people": self.people,
            "started": time_text(self.started),
        })
    }
}

/// Who is in view.
pub(super) fn in_view(people: &[&Person], unknown: usize) -> Value {
    let people: Vec<Value> = people.iter().map(|person| named(person)).collect();
    json!({"people": people, "unknown": unknown})
}

/// What is known of a person's last sighting; all but the name is null until there is one since the start.
pub(super) fn attributes(person: &Person, last: Option<&Sighting>) -> Value {
    json!({
        "name": person.name.as_str(),
        "camera": last.map(|sighting| sighting.camera.to_string()),
        "last_seen": last.map(|sighting| time_text(sighting.at.wall)),
        "confidence": last.map(|sighting| two_decimals_down(sighting.confidence)),
        "event": last.and_then(|sighting| sighting.event).map(ulid_text),
    })
}

fn named(person: &Person) -> Value {
    json!({"id": person.id, "uid": ulid_text(person.uid), "name": person.name.as_str()})
}

/// Where the numbers of `stats` come from.
pub struct StatsSource {
    cameras: Roster,
    meter: Arc<Meter>,
    depth: Depth,
    before: Before,
}

/// The counts at the last report.
struct Before {
    at: Instant,
    /// Of each camera: put, dropped, and what else its meter counts.
    cameras: HashMap<CameraId, (u64, u64, Reading)>,
    detections: (u64, Duration),
    embeddings: (u64, Duration),
}

impl StatsSource {
    /// Counts from now on.
    pub fn new(cameras: Roster, meter: Arc<Meter>, depth: Depth) -> Self {
        Self {
            before: Before {
                at: Instant::now(),
                cameras: readings(&cameras),
                detections: meter.detections.so_far(),
                embeddings: meter.embeddings.so_far(),
            },
            cameras,
            meter,
            depth,
        }
    }

    /// The numbers since the last report.
    pub(super) fn json(&mut self) -> Value {
        let now = Before {
            at: Instant::now(),
            cameras: readings(&self.cameras),
            detections: self.meter.detections.so_far(),
            embeddings: self.meter.embeddings.so_far(),
        };
        let seconds = now.at.saturating_duration_since(self.before.at).as_secs_f64().max(1e-3);
        let mut cameras = serde_json::Map::new();
        for (id, after) in &now.cameras {
            // A camera that was restarted counts from 0 again.
            let before = self.before.cameras.get(id).filter(|before| before.0 <= after.0);
            let (put, dropped, reading) = before.copied().unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "a minute's frames")]
            let a_second = (after.0 - put) as f64 / seconds;
            cameras.insert(
                id.to_string(),
                json!({
                    "frames_per_second": tenths(a_second),
                    "dropped": after.1.saturating_sub(dropped),
                    "still": after.2.still.saturating_sub(reading.still),
                    "old": after.2.old.saturating_sub(reading.old),
                    "opened": after.2.opened.saturating_sub(reading.opened),
                    "decode": after.2.decode,
                }),
            );
        }
        let json = json!({
            "at": time_text(Timestamp::now()),
            "cameras": cameras,
            "detections": now.detections.0 - self.before.detections.0,
            "detect_mean_ms": mean_ms(self.before.detections, now.detections),
            "embeddings": now.embeddings.0 - self.before.embeddings.0,
            "embed_mean_ms": mean_ms(self.before.embeddings, now.embeddings),
            "network_failures": self.meter.failures.load(std::sync::atomic::Ordering::Relaxed),
            "outbox": self.depth.rows(),
            "outbox_failed": self.depth.failed(),
            "memory_mib": memory_mib(),
        });
        self.before = now;
        json
    }
}

fn readings(cameras: &Roster) -> HashMap<CameraId, (u64, u64, Reading)> {
    let counts = |(id, slot): (CameraId, Arc<Slot>)| {
        let (put, dropped) = slot.counts();
        (id, (put, dropped, slot.meter().read()))
    };
    cameras.all().into_iter().map(counts).collect()
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn mean_ms(before: (u64, Duration), after: (u64, Duration)) -> Option<f64> {
    let count = u32::try_from(after.0 - before.0).ok().filter(|count| *count > 0)?;
    let mean = after.1.saturating_sub(before.1) / count;
    Some(tenths(mean.as_secs_f64() * 1000.0))
}

/// Resident memory of this process, without its children.
fn memory_mib() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64 / (1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gallery::Name;

    /// The reference shows every message as it is: same keys, same types.
    #[test]
    fn the_reference_shows_the_messages_as_they_are() {
        let page = include_str!("../../docs/reference/mqtt.md");
        let examples: Vec<Value> = page
            .split("```json\n")
            .skip(1)
            .filter_map(|rest| serde_json::from_str(rest.split("```").next()?).ok())
            .collect();
        let shown = |key: &str| {
            let found = examples.iter().find(|example| example.get(key).is_some());
            found.unwrap_or_else(|| panic!("no example has {key}"))
        };
        let alice = Person::new("alice", ulid::Ulid::generate(), Name::parse("Alice").unwrap());
        let kinds = |value: &Value| -> Vec<(String, std::mem::Discriminant<Value>)> {
            let keys = value.as_object().unwrap().iter();
            keys.map(|(key, value)| (key.clone(), std::mem::discriminant(value)))
                .collect()
        };
        assert_eq!(kinds(shown("unknown")), kinds(&in_view(&[&alice], 1)));
        assert_eq!(kinds(&shown("unknown")["people"][0]), kinds(&named(&alice)));
        let sighting = Sighting {
            person: Arc::new(alice.clone()),
            camera: "door".into(),
            at: crate::frame::CapturedAt {
                monotonic: Instant::now(),
                wall: Timestamp::now(),
            },
            confidence: 0.97,
            event: Some(ulid::Ulid::generate()),
        };
        assert_eq!(kinds(shown("last_seen")), kinds(&attributes(&alice, Some(&sighting))));
        for topic in [
            "status",
            "info",
            "stats",
            "sight",
            "people",
            "face",
            "event",
            "state",
            "attributes",
            "log",
        ] {
            assert!(page.contains(&format!("/{topic}`")), "{topic}");
        }
    }
}
