//! Who keeps the gallery: the running daemon where there is one, else whoever opens the database.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

use super::{Client, Verb};
use crate::gallery::{
    Enrolled, Enrolment, FaceRecord, Gallery, Imported, Name, NewFace, Person, PersonSummary, Threshold, Vectors, Who,
};
use crate::sightings::{Newcomer, Sightings, name_stranger};

/// A way to look at the gallery and to change it. While a daemon runs, it makes the changes, so that they are live when
/// they are said to be done, and a member of its group needs no access to the database.
#[derive(Debug)]
pub struct Keeper {
    daemon: Option<Client>,
    /// To read from, where we may; with a daemon never to write to.
    gallery: Option<Gallery>,
}

/// The answer to [`Verb::Person`].
#[derive(Debug, Deserialize)]
struct WithFaces {
    person: Person,
    faces: Vec<FaceRecord>,
}

impl Keeper {
    /// The daemon that works on `state_dir`, or that listens on `socket`; without one the database itself.
    ///
    /// # Errors
    /// When there is a daemon that doesn't let us, or the database can't be opened.
    pub fn open(state_dir: &Path, socket: Option<&Path>) -> anyhow::Result<Self> {
        let daemon = match socket {
            Some(socket) => Client::connect_to(socket)?,
            None => Client::connect(state_dir)?,
        };
        let gallery = if daemon.is_none() {
            Some(Gallery::open(state_dir)?)
        } else if Gallery::exists(state_dir) {
            Gallery::open_read_only(state_dir).ok()
        } else {
            None
        };
        Ok(Self { daemon, gallery })
    }

    /// Everybody, sorted by id.
    ///
    /// # Errors
    /// When daemon or database fail.
    pub fn people(&mut self) -> anyhow::Result<Vec<PersonSummary>> {
        self.look(Gallery::people, &Verb::People)
    }

    /// The person whose id is `wanted`, else the one whose name it is.
    ///
    /// # Errors
    /// When there is none, or several of that name.
    pub fn find(&mut self, wanted: &str) -> anyhow::Result<Person> {
        Ok(self.person(wanted)?.0)
    }

    /// As [`Self::find`], with the person's faces, oldest first.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn person(&mut self, wanted: &str) -> anyhow::Result<(Person, Vec<FaceRecord>)> {
        if let Some(gallery) = &self.gallery {
            let person = gallery.find(wanted)?;
            let faces = gallery.faces(&person.id)?;
            return Ok((person, faces));
        }
        let person = wanted.to_owned();
        let WithFaces { person, faces } = self.ask(&Verb::Person { person })?;
        Ok((person, faces))
    }

    /// The heads that know the person with this id; none where we can't look.
    ///
    /// # Errors
    /// When the database fails.
    pub fn heads_of(&self, id: &str) -> anyhow::Result<Vec<String>> {
        let heads = self.gallery.as_ref().map(|gallery| gallery.heads_of(id));
        Ok(heads.transpose()?.unwrap_or_default())
    }

    /// Everybody's vectors of `space`; none where we can't look, since vectors don't leave the daemon.
    ///
    /// # Errors
    /// When the database fails.
    pub fn vectors(&self, space: &str) -> anyhow::Result<Vec<Vectors>> {
        let vectors = self.gallery.as_ref().map(|gallery| gallery.vectors(space));
        Ok(vectors.transpose()?.unwrap_or_default())
    }

    /// As [`Gallery::enrol`].
    ///
    /// # Errors
    /// As [`Gallery::enrol`], or when the daemon fails.
    pub fn enrol(&mut self, space: &str, enrolments: &[Enrolment]) -> anyhow::Result<Vec<Enrolled>> {
        self.change(
            |gallery| gallery.enrol(space, enrolments),
            || Verb::Enrol {
                space: space.to_owned(),
                enrolments: enrolments.to_vec(),
            },
        )
    }

    /// As [`Gallery::import`].
    ///
    /// # Errors
    /// As [`Gallery::import`], or when `export` can't be read or the daemon fails.
    pub fn import(&mut self, export: &mut dyn BufRead) -> anyhow::Result<Vec<Imported>> {
        match (&self.daemon, &mut self.gallery) {
            (None, Some(gallery)) => Ok(gallery.import(export)?),
            _ => {
                let mut text = String::new();
                export.read_to_string(&mut text).context("can't read the export")?;
                self.ask(&Verb::Import { export: text })
            }
        }
    }

    /// As [`name_stranger`], whose visits are among `sightings`.
    ///
    /// # Errors
    /// As [`name_stranger`], or when the daemon fails.
    pub fn name_unknown(
        &mut self,
        sightings: &mut Sightings,
        visitor: &str,
        who: Who,
        role: Option<Name>,
    ) -> anyhow::Result<Newcomer> {
        match (&self.daemon, &mut self.gallery) {
            (None, Some(gallery)) => Ok(name_stranger(gallery, sightings, visitor, who, role)?),
            _ => self.ask(&Verb::NameUnknown {
                visitor: visitor.to_owned(),
                who,
                role,
            }),
        }
    }

    /// As [`Gallery::rename`].
    ///
    /// # Errors
    /// As [`Gallery::rename`], or when the daemon fails.
    pub fn rename(&mut self, wanted: &str, name: &Name) -> anyhow::Result<Person> {
        self.change(
            |gallery| gallery.rename(wanted, name),
            || Verb::Rename {
                person: wanted.to_owned(),
                name: name.clone(),
            },
        )
    }

    /// As [`Gallery::remove`].
    ///
    /// # Errors
    /// As [`Gallery::remove`], or when the daemon fails.
    pub fn remove(&mut self, wanted: &[String]) -> anyhow::Result<Vec<Person>> {
        self.change(
            |gallery| gallery.remove(wanted),
            || Verb::Remove {
                people: wanted.to_vec(),
            },
        )
    }

    /// As [`Gallery::set_ignored`].
    ///
    /// # Errors
    /// As [`Gallery::set_ignored`], or when the daemon fails.
    pub fn set_ignored(&mut self, wanted: &str, ignored: bool) -> anyhow::Result<Person> {
        self.change(
            |gallery| gallery.set_ignored(wanted, ignored),
            || Verb::Ignore {
                person: wanted.to_owned(),
                ignored,
            },
        )
    }

    /// As [`Gallery::set_threshold`].
    ///
    /// # Errors
    /// As [`Gallery::set_threshold`], or when the daemon fails.
    pub fn set_threshold(&mut self, wanted: &str, which: Threshold, value: Option<f64>) -> anyhow::Result<Person> {
        self.change(
            |gallery| gallery.set_threshold(wanted, which, value),
            || Verb::Threshold {
                person: wanted.to_owned(),
                which,
                value,
            },
        )
    }

    /// As [`Gallery::add_negatives`].
    ///
    /// # Errors
    /// As [`Gallery::add_negatives`], or when the daemon fails.
    pub fn add_negatives(
        &mut self,
        wanted: &str,
        space: &str,
        faces: &[NewFace],
    ) -> anyhow::Result<(Person, Vec<bool>)> {
        self.change(
            |gallery| gallery.add_negatives(wanted, space, faces),
            || Verb::Not {
                person: wanted.to_owned(),
                space: space.to_owned(),
                faces: faces.to_vec(),
            },
        )
    }

    /// As [`Gallery::forget_negatives`].
    ///
    /// # Errors
    /// As [`Gallery::forget_negatives`], or when the daemon fails.
    pub fn forget_negatives(&mut self, wanted: &str) -> anyhow::Result<(Person, usize)> {
        self.change(
            |gallery| gallery.forget_negatives(wanted),
            || Verb::ForgetNot {
                person: wanted.to_owned(),
            },
        )
    }

    /// Whether a daemon makes the changes.
    pub fn is_daemon(&self) -> bool {
        self.daemon.is_some()
    }

    fn look<T: serde::de::DeserializeOwned>(
        &mut self,
        here: impl FnOnce(&Gallery) -> Result<T, crate::gallery::GalleryError>,
        verb: &Verb,
    ) -> anyhow::Result<T> {
        match &self.gallery {
            Some(gallery) => Ok(here(gallery)?),
            None => self.ask(verb),
        }
    }

    fn change<T: serde::de::DeserializeOwned>(
        &mut self,
        here: impl FnOnce(&mut Gallery) -> Result<T, crate::gallery::GalleryError>,
        verb: impl FnOnce() -> Verb,
    ) -> anyhow::Result<T> {
        match (&self.daemon, &mut self.gallery) {
            (None, Some(gallery)) => Ok(here(gallery)?),
            _ => self.ask(&verb()),
        }
    }

    fn ask<T: serde::de::DeserializeOwned>(&mut self, verb: &Verb) -> anyhow::Result<T> {
        match &mut self.daemon {
            Some(daemon) => Ok(daemon.ask(verb)?),
            // `open` gives one of both.
            None => anyhow::bail!("there is neither a daemon nor a gallery"),
        }
    }
}

/// The socket of the service, for commands that name no state folder and have no gallery of their own.
pub fn service_socket() -> PathBuf {
    Path::new("/run/kith").join(super::FILE_NAME)
}
