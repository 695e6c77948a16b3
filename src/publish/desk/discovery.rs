//! Keeps Home Assistant's picture of us: announces devices, says which parts of them are gone, and repeats both when
//! Home Assistant starts. Pure but for the random pause.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::house::House;
use super::retained::{Rank, Retained};
use crate::config::HomeAssistantSettings;
use crate::publish::home_assistant::{Device, Told, device_anew, devices};
use crate::publish::record::{Component, Kept};
use crate::publish::topics::Topics;

/// Home Assistant greets everybody at once; so many milliseconds pass before we answer, at least and at most.
const PAUSE_MS: std::ops::Range<u64> = 200..2_000;

/// A message that is not retained: what it says is over once it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parting {
    pub(super) topic: String,
    pub(super) payload: String,
    /// Those that it removes, and which step of their leaving it was.
    pub(super) parts: Vec<Component>,
}

/// Home Assistant's picture of us.
pub(super) struct Discovery {
    settings: Option<HomeAssistantSettings>,
    node: Arc<str>,
    topics: Topics,
    faces: bool,
    record: BTreeMap<(String, String), Component>,
    devices: Vec<Device>,
    partings: VecDeque<Parting>,
    announce_at: Option<Instant>,
}

impl Discovery {
    pub(super) fn new(
        settings: Option<HomeAssistantSettings>,
        node: Arc<str>,
        topics: Topics,
        faces: bool,
        record: Vec<Component>,
    ) -> Self {
        Self {
            settings,
            node,
            topics,
            faces,
            record: record
                .into_iter()
                .map(|one| ((one.topic.clone(), one.id.clone()), one))
                .collect(),
            devices: Vec::new(),
            partings: VecDeque::new(),
            announce_at: None,
        }
    }

    /// The topic to listen to.
    pub(super) fn birth_topic(&self) -> Option<&str> {
        self.settings.as_ref().map(|settings| settings.birth_topic.as_str())
    }

    /// Whether pictures of faces are published from now on.
    pub(super) fn publish_faces(&mut self, faces: bool) {
        self.faces = faces;
    }

    /// Brings the devices up to date. Returns what is to be put on record before they are announced, and what is to be
    /// forgotten.
    pub(super) fn update(&mut self, house: &House, retained: &mut Retained) -> (Vec<Kept>, Vec<Kept>) {
        let devices = match &self.settings {
            Some(settings) => devices(&Told {
                prefix: &settings.discovery_prefix,
                node: &self.node,
                topics: &self.topics,
                cameras: house.cameras().collect(),
                people: house.people(),
                faces: self.faces,
            }),
            None => Vec::new(),
        };
        let topics: BTreeSet<&String> = devices.iter().map(|device| &device.topic).collect();
        for gone in self.devices.iter().filter(|before| !topics.contains(&before.topic)) {
            retained.drop(&gone.topic);
        }
        let mut remember = Vec::new();
        for device in &devices {
            retained.want(Rank::Discovery, device.topic.clone(), device.payload());
            for one in device.components() {
                let key = (one.topic.clone(), one.id.clone());
                if self.record.get(&key) != Some(&one) {
                    remember.push(Kept::Component(one.clone()));
                    self.record.insert(key, one);
                }
            }
        }
        self.devices = devices;
        let mut forget = Vec::new();
        if self.settings.is_none() {
            // Nobody listens for a birth, so nothing can be repeated; the empty discovery topics do what can be done.
            forget.extend(std::mem::take(&mut self.record).into_values().map(Kept::Component));
        }
        self.part();
        (remember, forget)
    }

    /// Those on record that no device has any more, by their topic.
    fn gone(&self) -> BTreeMap<String, Vec<Component>> {
        let wanted: BTreeSet<(String, String)> = self
            .devices
            .iter()
            .flat_map(|device| device.components().map(|one| (one.topic, one.id)))
            .collect();
        let mut gone: BTreeMap<String, Vec<Component>> = BTreeMap::new();
        for (_, one) in self.record.iter().filter(|(key, _)| !wanted.contains(key)) {
            gone.entry(one.topic.clone()).or_default().push(one.clone());
        }
        gone
    }

    fn device(&self, topic: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.topic == topic)
    }

    /// Says of each part that is gone and was not said to be, that it is.
    fn part(&mut self) {
        let mut partings = VecDeque::new();
        for (topic, parts) in self.gone() {
            let parts: Vec<Component> = parts.into_iter().filter(|part| !part.leaving).collect();
            if parts.is_empty() {
                continue;
            }
            // A device that is gone as a whole goes with its topic.
            let going: Vec<&Component> = parts.iter().collect();
            let payload = self
                .device(&topic)
                .map_or_else(String::new, |device| device.payload_with(&going, false));
            partings.push_back(Parting { topic, payload, parts });
        }
        self.partings = partings;
    }

    /// After a connection: what was not heard is said again.
    pub(super) fn connected(&mut self) {
        self.part();
    }

    /// Home Assistant says that it is there.
    pub(super) fn born(&mut self, now: Instant) {
        self.announce_at = Some(now + Duration::from_millis(fastrand::u64(PAUSE_MS)));
    }

    /// Whether all is to be announced now, since Home Assistant was born; says once more who is gone. It may have been
    /// down when it was said, and knows them from its registry only, where a removal finds them once they are
    /// announced.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if self.announce_at.is_none_or(|at| now < at) {
            return false;
        }
        self.announce_at = None;
        for (topic, parts) in self.gone() {
            let going: Vec<&Component> = parts.iter().collect();
            let (anew, payload) = match self.device(&topic) {
                Some(device) => (device.payload_with(&going, true), device.payload_with(&going, false)),
                None => (device_anew(&topic, &going), String::new()),
            };
            self.partings.push_back(Parting {
                topic: topic.clone(),
                payload: anew,
                parts: Vec::new(),
            });
            let parts = parts
                .into_iter()
                .map(|part| Component { leaving: true, ..part })
                .collect();
            self.partings.push_back(Parting { topic, payload, parts });
        }
        true
    }

    pub(super) fn next(&mut self) -> Option<Parting> {
        self.partings.pop_front()
    }

    pub(super) fn put_back(&mut self, parting: Parting) {
        self.partings.push_front(parting);
    }

    /// The broker took a parting: its parts are leaving now, or have left. Returns what is to be put on record and
    /// what is to be forgotten.
    pub(super) fn answered(&mut self, parts: Vec<Component>) -> (Vec<Kept>, Vec<Kept>) {
        let (mut remember, mut forget) = (Vec::new(), Vec::new());
        for mut part in parts {
            let key = (part.topic.clone(), part.id.clone());
            // It may have come back meanwhile.
            if self
                .device(&part.topic)
                .is_some_and(|device| device.components().any(|one| one.id == part.id))
            {
                continue;
            }
            if part.leaving {
                self.record.remove(&key);
                forget.push(Kept::Component(part));
            } else {
                part.leaving = true;
                self.record.insert(key, part.clone());
                remember.push(Kept::Component(part));
            }
        }
        (remember, forget)
    }
}
