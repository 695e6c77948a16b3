//! Looks whether the gallery changed, so that somebody who was enrolled is known a second later, and somebody who was
//! removed is not.

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::gallery::{Gallery, GalleryError};
use crate::identify::IdentifierSource;
use crate::metrics::Instruments;
use crate::publish::Saying;
use crate::stop::Stop;
use crate::watcher::SharedIdentifier;

const EVERY: Duration = Duration::from_secs(1);

/// Starts the thread that owns the daemon's connection to the gallery.
pub(super) fn start(
    mut gallery: Gallery,
    source: IdentifierSource,
    identifier: SharedIdentifier,
    sayings: mpsc::Sender<Saying>,
    instruments: Arc<Instruments>,
    stop: Stop,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("gallery".to_owned()).spawn(move || {
        while !stop.wait(EVERY) {
            match look(&mut gallery, &source, &identifier, &instruments) {
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

/// Takes a change over; says who is enrolled now.
fn look(
    gallery: &mut Gallery,
    source: &IdentifierSource,
    identifier: &SharedIdentifier,
    instruments: &Instruments,
) -> Result<Option<Saying>, GalleryError> {
    if !gallery.changed()? {
        return Ok(None);
    }
    *identifier.write().unwrap_or_else(PoisonError::into_inner) = source.identifier(Some(gallery))?;
    let people = gallery.people()?;
    instruments.set_people(people.len());
    tracing::info!(people = people.len(), "the gallery changed");
    Ok(Some(Saying::Enrolled(
        people.into_iter().map(|summary| summary.person).collect(),
    )))
}
