//! Looks whether the gallery changed, so that somebody who was enrolled is known a second later, and somebody who was
//! removed is not.

use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::gallery::{Gallery, GalleryError, PersonSummary};
use crate::identify::IdentifierSource;
use crate::publish::Saying;
use crate::sightings::Memory;
use crate::stop::Stop;
use crate::watcher::SharedIdentifier;

const EVERY: Duration = Duration::from_secs(1);

/// Starts the thread that owns the daemon's connection to the gallery.
pub(super) fn start(
    mut gallery: Gallery,
    source: IdentifierSource,
    identifier: SharedIdentifier,
    sayings: mpsc::Sender<Saying>,
    memory: Option<Memory>,
    stop: Stop,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("gallery".to_owned()).spawn(move || {
        while !stop.wait(EVERY) {
            match look(&mut gallery, &source, &identifier, memory.as_ref()) {
                Ok(None) => {}
                Ok(Some(enrolled)) => {
                    let _ = sayings.blocking_send(enrolled);
                }
                // The people of before stay known, but for those who could not be looked up any more.
                Err(error) => tracing::error!(%error, "can't read the changed gallery"),
            }
        }
    })
}

/// Who is enrolled, but for those of whom nobody is to be told.
pub(super) fn enrolled(people: Vec<PersonSummary>) -> Saying {
    let told = people.into_iter().map(|summary| summary.person);
    Saying::Enrolled(told.filter(|person| !person.ignored).collect())
}

/// Takes a change over; says who is enrolled now.
fn look(
    gallery: &mut Gallery,
    source: &IdentifierSource,
    identifier: &SharedIdentifier,
    memory: Option<&Memory>,
) -> Result<Option<Saying>, GalleryError> {
    if !gallery.changed()? {
        return Ok(None);
    }
    let people = gallery.people()?;
    // First, so that no visit of somebody new comes before their name, and none of somebody removed after it.
    if let Some(memory) = memory {
        memory.people(people.iter().map(|summary| summary.person.uid).collect());
    }
    *identifier.write().unwrap_or_else(PoisonError::into_inner) = source.identifier(Some(gallery))?;
    tracing::info!(people = people.len(), "the gallery changed");
    Ok(Some(enrolled(people)))
}
