//! From what the daemon tells the desk to the states that it keeps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::retained::{Rank, Retained};
use crate::frame::CameraId;
use crate::gallery::Person;
use crate::publish::presence::{Presence, Sighting};
use crate::publish::states::{self, Info};
use crate::publish::topics::Topics;

/// Who is before a camera.
type View = (Vec<Arc<Person>>, usize);

/// What is known of cameras and people.
pub(super) struct House {
    topics: Topics,
    presence: Presence,
    /// Everybody of whom may be told, by id.
    enrolled: HashMap<String, Person>,
    cameras: BTreeMap<CameraId, (bool, View)>,
    info: Option<Info>,
}

fn word(online: bool) -> &'static str {
    if online { "online" } else { "offline" }
}

impl House {
    pub(super) fn new(topics: Topics, cameras: &[CameraId], presence_hold: Duration) -> Self {
        Self {
            topics,
            presence: Presence::new(presence_hold),
            enrolled: HashMap::new(),
            cameras: cameras
                .iter()
                .map(|camera| (camera.clone(), (false, View::default())))
                .collect(),
            info: None,
        }
    }

    /// Whether the networks are open; before that nobody is recognised, so the node isn't there yet.
    pub(super) fn is_open(&self) -> bool {
        self.info.is_some()
    }

    pub(super) fn cameras(&self) -> impl Iterator<Item = &CameraId> {
        self.cameras.keys()
    }

    /// Everybody of whom may be told, by id.
    pub(super) fn people(&self) -> Vec<&Person> {
        let mut people: Vec<&Person> = self.enrolled.values().collect();
        people.sort_by(|a, b| a.id.cmp(&b.id));
        people
    }

    /// The first states, before anything happened.
    pub(super) fn begin(&self, retained: &mut Retained) {
        for camera in self.cameras.keys() {
            self.say_view(camera, retained);
        }
        self.say_cameras(retained);
    }

    pub(super) fn camera(&mut self, camera: &CameraId, online: bool, retained: &mut Retained) {
        // A camera that was just removed may still have something to say.
        if let Some(known) = self.cameras.get_mut(camera) {
            known.0 = online;
            self.say_cameras(retained);
        }
    }

    /// At the farewell no camera is watched any more.
    pub(super) fn close(&mut self, retained: &mut Retained) {
        for (online, _) in self.cameras.values_mut() {
            *online = false;
        }
        self.say_cameras(retained);
    }

    fn say_cameras(&self, retained: &mut Retained) {
        for (camera, (online, _)) in &self.cameras {
            let topic = self.topics.camera(camera, "status");
            retained.want(Rank::Availability, topic, word(*online));
        }
        let sight = self.cameras.values().any(|(online, _)| *online);
        retained.want(Rank::Availability, self.topics.node("sight"), word(sight));
    }

    pub(super) fn in_view(&mut self, camera: &CameraId, view: View, retained: &mut Retained) {
        if let Some(known) = self.cameras.get_mut(camera) {
            known.1 = view;
            self.say_view(camera, retained);
        }
    }

    /// Says who is before a camera, by the names of now: somebody who was just removed may still stand there.
    fn say_view(&self, camera: &CameraId, retained: &mut Retained) {
        let Some((_, (people, unknown))) = self.cameras.get(camera) else {
            return;
        };
        let known = |person: &Arc<Person>| self.enrolled.get(&person.id).filter(|now| now.uid == person.uid);
        let people: Vec<&Person> = people.iter().filter_map(known).collect();
        let payload = states::in_view(&people, *unknown).to_string();
        retained.want(Rank::State, self.topics.camera(camera, "people"), payload);
    }

    pub(super) fn seen(&mut self, sighting: Sighting, now: Instant, retained: &mut Retained) {
        // Somebody who was just removed may still be on the way here.
        let id = sighting.person.id.clone();
        if self
            .enrolled
            .get(&id)
            .is_none_or(|person| person.uid != sighting.person.uid)
        {
            return;
        }
        let change = self.presence.see(sighting, now);
        if change.comes {
            retained.want(Rank::State, self.topics.person(&id, "state"), "ON");
        }
        if change.attributes {
            self.say_attributes(&id, retained);
        }
    }

    fn say_attributes(&self, id: &str, retained: &mut Retained) {
        if let Some(person) = self.enrolled.get(id) {
            let payload = states::attributes(person, self.presence.last(id)).to_string();
            retained.want(Rank::State, self.topics.person(id, "attributes"), payload);
        }
    }

    pub(super) fn look_at_the_clock(&mut self, now: Instant, retained: &mut Retained) {
        for id in self.presence.gone(now) {
            retained.want(Rank::State, self.topics.person(&id, "state"), "OFF");
        }
    }

    /// Takes over who is enrolled.
    pub(super) fn enrolled(&mut self, people: Vec<Person>, retained: &mut Retained) {
        let now: HashMap<String, Person> = people
            .into_iter()
            .filter(|person| !person.ignored)
            .map(|person| (person.id.clone(), person))
            .collect();
        let before = std::mem::replace(&mut self.enrolled, now);
        for (id, person) in before {
            let now = self.enrolled.get(&id);
            if now.is_some_and(|now| now.uid == person.uid) {
                if now.is_some_and(|now| now.name != person.name) {
                    self.say_attributes(&id, retained);
                }
                continue;
            }
            self.presence.forget(&id);
            if now.is_none() {
                retained.drop(&self.topics.person(&id, "state"));
                retained.drop(&self.topics.person(&id, "attributes"));
            } else {
                retained.want(Rank::State, self.topics.person(&id, "state"), "OFF");
                self.say_attributes(&id, retained);
            }
        }
        for id in self.enrolled.keys() {
            if self.presence.last(id).is_none() {
                retained.want(Rank::State, self.topics.person(id, "state"), "OFF");
                self.say_attributes(id, retained);
            }
        }
        for camera in self.cameras.keys() {
            self.say_view(camera, retained);
        }
        self.say_info(retained);
    }

    /// The configuration was read again: these cameras there are now, and so long a person stays `ON`.
    pub(super) fn reloaded(&mut self, cameras: Vec<CameraId>, presence_hold: Duration, retained: &mut Retained) {
        self.presence.set_hold(presence_hold);
        let gone: Vec<CameraId> = self
            .cameras
            .keys()
            .filter(|id| !cameras.contains(id))
            .cloned()
            .collect();
        for camera in gone {
            self.cameras.remove(&camera);
            for what in ["status", "people"] {
                retained.drop(&self.topics.camera(&camera, what));
            }
        }
        for camera in &cameras {
            if !self.cameras.contains_key(camera) {
                self.cameras.insert(camera.clone(), (false, View::default()));
                self.say_view(camera, retained);
            }
        }
        if let Some(info) = &mut self.info {
            info.cameras = cameras;
        }
        self.say_cameras(retained);
        self.say_info(retained);
    }

    pub(super) fn info(&mut self, info: Info, retained: &mut Retained) {
        self.info = Some(info);
        self.say_info(retained);
    }

    fn say_info(&mut self, retained: &mut Retained) {
        if let Some(info) = &mut self.info {
            info.people = self.enrolled.len();
            let payload = info.json().to_string();
            retained.want(Rank::State, self.topics.node("info"), payload);
        }
    }
}
