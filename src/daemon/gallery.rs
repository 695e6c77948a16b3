//! The thread that owns the daemon's gallery: it does what is asked for over the socket and MQTT, and notices what
//! others change in the file. The new people are in use before an answer is given.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::admin::{Answer, Asked, Verb};
use crate::event::ulid_text;
use crate::gallery::{Gallery, GalleryError, PersonSummary, Who};
use crate::heartbeat::BEAT;
use crate::identify::{Identifier, IdentifierSource};
use crate::metrics::Instruments;
use crate::publish::Saying;
use crate::sightings::{Memory, Newcomer, Sightings, SightingsError, name_last_unknown, name_stranger};
use crate::stop::Stop;
use crate::watcher::SharedIdentifier;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Requests that may wait; each takes milliseconds, on a slow card a second.
const ROOM: usize = 16;

/// How far is looked back for the last unknown visitor: long enough to have let somebody in first, too short to mean
/// somebody else.
const LAST_UNKNOWN_WITHIN: Duration = Duration::from_secs(3600);

/// The way to the thread, and its end of it. Made before the gallery is open, so that nobody waits for it.
pub(super) fn inbox() -> (SyncSender<Asked>, Receiver<Asked>) {
    sync_channel(ROOM)
}

/// What the thread needs.
pub(super) struct GalleryDesk {
    pub(super) gallery: Gallery,
    pub(super) source: IdentifierSource,
    /// What everybody identifies with.
    pub(super) identifier: SharedIdentifier,
    pub(super) sayings: mpsc::Sender<Saying>,
    /// Where visits are remembered.
    pub(super) memory: Option<Memory>,
    pub(super) instruments: Arc<Instruments>,
    /// Whether there is a change that is not taken over yet.
    pub(super) behind: bool,
    /// The visits, on a connection of its own; `None` where unknown visitors are not remembered.
    pub(super) sightings: Option<Sightings>,
}

impl GalleryDesk {
    /// Starts the thread.
    pub(super) fn start(mut self, asked: Receiver<Asked>, stop: &Stop) -> std::io::Result<thread::JoinHandle<()>> {
        let stop = stop.beating(self.instruments.heartbeats.pulse("gallery"));
        thread::Builder::new().name("gallery".to_owned()).spawn(move || {
            let mut looked_at = Instant::now();
            while !stop.is_set() {
                match asked.recv_timeout(LOOK.min(BEAT)) {
                    Ok(Asked { verb, reply }) => {
                        // Who asked may have gone; it is done all the same.
                        let _ = reply.send(self.answer(verb));
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    // Nobody can ask any more, but others may still change the file.
                    Err(RecvTimeoutError::Disconnected) => {
                        stop.wait(LOOK);
                    }
                }
                if looked_at.elapsed() >= LOOK {
                    looked_at = Instant::now();
                    if let Err(error) = self.look() {
                        // The people of before stay known, but for those who could not be looked up any more.
                        tracing::error!(%error, "can't read the changed gallery");
                    }
                }
            }
        })
    }

    /// Takes over what others changed.
    fn look(&mut self) -> Result<(), GalleryError> {
        self.behind |= self.gallery.changed()?;
        if self.behind { self.take_over() } else { Ok(()) }
    }

    /// Lets everybody work with the people of now.
    fn take_over(&mut self) -> Result<(), GalleryError> {
        self.behind = true;
        let people = self.gallery.people()?;
        // First, so that no visit of somebody new comes before their name, and none of somebody removed after it.
        if let Some(memory) = &self.memory {
            memory.people(people.iter().map(|summary| summary.person.uid).collect());
        }
        let identifier = identifier(&self.source, &self.gallery)?;
        *self.identifier.write().unwrap_or_else(PoisonError::into_inner) = identifier;
        tracing::info!(people = people.len(), "the gallery changed");
        self.instruments.set_people(people.len());
        let _ = self.sayings.blocking_send(enrolled(people));
        self.behind = false;
        Ok(())
    }

    fn answer(&mut self, verb: Verb) -> Answer {
        let gallery = &mut self.gallery;
        match verb {
            Verb::People => answer(gallery.people()),
            Verb::Person { person } => {
                let found = gallery.find(&person).and_then(|person| {
                    let faces = gallery.faces(&person.id)?;
                    Ok(json!({"person": person, "faces": faces}))
                });
                answer(found)
            }
            Verb::Enrol { space, .. } | Verb::Not { space, .. }
                if self.source.space().is_some_and(|ours| ours != space) =>
            {
                Err(format!(
                    "these faces are embedded in {space}, but the daemon recognises by {}; name its embedder with --embedder",
                    self.source.space().unwrap_or_default()
                ))
            }
            Verb::Enrol { space, enrolments } => {
                let done = gallery.enrol(&space, &enrolments);
                for one in done.iter().flatten() {
                    tracing::info!(person = one.person.id, faces = one.added, "enrolled");
                }
                self.changed(done)
            }
            Verb::EnrolUnknown { camera, name } => self.name_unknown(|gallery, sightings| {
                let who = Who::Named(name);
                name_last_unknown(gallery, sightings, &camera, LAST_UNKNOWN_WITHIN, who, None)
            }),
            Verb::NameUnknown { visitor, who, role } => {
                self.name_unknown(|gallery, sightings| name_stranger(gallery, sightings, &visitor, who, role))
            }
            Verb::Import { export } => {
                let done = gallery.import(&mut export.as_bytes());
                for one in done.iter().flatten() {
                    tracing::info!(person = one.person.id, faces = one.faces_added, "imported");
                }
                self.changed(done)
            }
            Verb::Rename { person, name } => {
                let done = gallery.rename(&person, &name);
                self.changed(done)
            }
            Verb::Remove { people } => {
                let done = gallery.remove(&people);
                for one in done.iter().flatten() {
                    tracing::info!(person = one.id, uid = ulid_text(one.uid), "removed");
                }
                self.changed(done)
            }
            Verb::Ignore { person, ignored } => {
                let done = gallery.set_ignored(&person, ignored);
                self.changed(done)
            }
            Verb::Threshold { person, which, value } => {
                let done = gallery.set_threshold(&person, which, value);
                self.changed(done)
            }
            Verb::Not { person, space, faces } => {
                let done = gallery.add_negatives(&person, &space, &faces);
                self.changed(done)
            }
            Verb::ForgetNot { person } => {
                let done = gallery.forget_negatives(&person);
                self.changed(done)
            }
            Verb::Health | Verb::Status | Verb::Reload => Err("that is not about people".to_owned()),
        }
    }

    /// Lets `name` enrol an unknown visitor.
    fn name_unknown(
        &mut self,
        name: impl FnOnce(&mut Gallery, &mut Sightings) -> Result<Newcomer, SightingsError>,
    ) -> Answer {
        let Some(sightings) = &mut self.sightings else {
            return Err("unknown visitors are not remembered; set retain.unknown_hours".to_owned());
        };
        match name(&mut self.gallery, sightings) {
            Ok(newcomer) => {
                tracing::info!(person = newcomer.person.id, "an unknown visitor got a name");
                self.changed(Ok(newcomer))
            }
            Err(error) => {
                // It may have come as far as the gallery.
                self.behind = true;
                Err(error.to_string())
            }
        }
    }

    /// Takes our own change over, then answers.
    fn changed<T: Serialize>(&mut self, done: Result<T, GalleryError>) -> Answer {
        // What is on the disk is in use, even where making the deletion real has failed.
        if matches!(done, Ok(_) | Err(GalleryError::NotForgotten(_))) {
            self.take_over()
                .map_err(|error| format!("it is on the disk, but the running daemon can't work with it: {error}"))?;
        }
        answer(done)
    }
}

/// What recognises everybody in `gallery`, but for those whose faces are of another embedder only: one of them must not
/// keep the others from being known.
pub(super) fn identifier(source: &IdentifierSource, gallery: &Gallery) -> Result<Arc<dyn Identifier>, GalleryError> {
    let (identifier, left_out) = source.identifier_of_those_it_can(gallery)?;
    for person in left_out {
        tracing::warn!(
            person,
            "has faces of another embedder only, and is not recognised; enrol the photos anew"
        );
    }
    Ok(identifier)
}

/// Who is enrolled, but for those of whom nobody is to be told.
pub(super) fn enrolled(people: Vec<PersonSummary>) -> Saying {
    let told = people.into_iter().map(|summary| summary.person);
    Saying::Enrolled(told.filter(|person| !person.ignored).collect())
}

fn answer<T: Serialize>(done: Result<T, GalleryError>) -> Answer {
    let done = done.map_err(|error| error.to_string())?;
    serde_json::to_value(done).map_err(|error| error.to_string())
}
