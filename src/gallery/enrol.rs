//! Adding people and faces, all or nothing.

use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::Gallery;
use super::bytes;
use super::error::GalleryError;
use super::name::{Name, unique_id};
use super::people::find;
use super::record::{self, MarginCrop, NewFace, Person, Source};
use super::removed;
use crate::detect::Face;
use crate::quality::Quality;

/// Whose faces they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The person with this id or name, or a new one if there is none.
    Named(Name),
    /// A new person, even if another one has this name.
    New(Name),
}

/// Faces to add to one person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Whose.
    pub who: Who,
    /// What the person is; `None` leaves it as it is.
    pub role: Option<Name>,
    /// At least one; those from photos or shots that the person already has are skipped.
    pub faces: Vec<NewFace>,
}

/// What an [`Enrolment`] did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Who it is.
    pub person: Person,
    /// Whether the person is new in the gallery.
    pub is_new: bool,
    /// Faces that were added.
    pub added: usize,
    /// For each given face, whether it was skipped because this person already has one from the same photo or shot.
    pub already: Vec<bool>,
}

impl Gallery {
    /// Adds everybody in one transaction; what it returns is on the disk. Vectors are of `space`.
    ///
    /// # Errors
    /// When a name is several people's, a face is a negative example of the person, or the database fails; then nobody
    /// was added.
    pub fn enrol(&mut self, space: &str, enrolments: &[Enrolment]) -> Result<Vec<Enrolled>, GalleryError> {
        let transaction = self.begin()?;
        let enrolled = enrolments
            .iter()
            .map(|one| enrol_one(&transaction, space, one))
            .collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(enrolled)
    }
}

fn enrol_one(transaction: &Transaction<'_>, space: &str, enrolment: &Enrolment) -> Result<Enrolled, GalleryError> {
    let existing = match &enrolment.who {
        Who::New(_) => None,
        Who::Named(name) => match find(transaction, name.as_str()) {
            Err(GalleryError::NoSuchPerson(_)) => None,
            found => Some(found?),
        },
    };
    let is_new = existing.is_none();
    let (Who::New(name) | Who::Named(name)) = &enrolment.who;
    let (key, mut person) = match existing {
        Some(existing) => existing,
        None => add_person(
            transaction,
            &name.slug(),
            name,
            Ulid::generate(),
            enrolment.role.as_ref(),
        )?,
    };
    if let (Some(role), false) = (&enrolment.role, is_new) {
        transaction.execute(
            "UPDATE person SET role = ? WHERE person = ?",
            params![role.as_str(), key],
        )?;
        person.role = Some(role.clone());
    }
    let already = add_faces(transaction, (key, &person), space, &enrolment.faces, false)?;
    let added = already.iter().filter(|already| !**already).count();
    Ok(Enrolled {
        person,
        is_new,
        added,
        already,
    })
}

/// Adds faces to the person in this row, or negative examples; says of each whether the person has it already.
pub(super) fn add_faces(
    transaction: &Transaction<'_>,
    (key, person): (i64, &Person),
    space: &str,
    faces: &[NewFace],
    is_negative: bool,
) -> Result<Vec<bool>, GalleryError> {
    let mut already = Vec::new();
    for face in faces {
        let added = add_face(transaction, key, &face.into(), is_negative)?;
        match added {
            Added::New(row) => {
                add_vector(transaction, row, space, face.embedding.as_slice())?;
            }
            Added::Already(_, as_negative) if as_negative == is_negative => {}
            Added::Already(..) => {
                return Err(GalleryError::Contradiction {
                    id: person.id.clone(),
                    is_negative: !is_negative,
                });
            }
        }
        already.push(matches!(added, Added::Already(..)));
    }
    Ok(already)
}

/// Adds a person under `base` or the next free id after it.
pub(super) fn add_person(
    transaction: &Transaction<'_>,
    base: &str,
    name: &Name,
    uid: Ulid,
    role: Option<&Name>,
) -> Result<(i64, Person), GalleryError> {
    let mut is_taken = transaction.prepare_cached("SELECT 1 FROM person WHERE id = ?")?;
    let id = unique_id(base, |id| is_taken.exists([id]))?;
    transaction.execute(
        "INSERT INTO person (id, uid, name, role) VALUES (?, ?, ?, ?)",
        params![id, uid.to_string(), name.as_str(), role.map(Name::as_str)],
    )?;
    removed::forget(transaction, uid)?;
    let mut person = Person::new(id, uid, name.clone());
    person.role = role.cloned();
    Ok((transaction.last_insert_rowid(), person))
}

/// What a row of `face` gets.
pub(super) struct FaceRow<'a> {
    pub(super) source: Source,
    pub(super) face: &'a Face,
    pub(super) quality: &'a Quality,
    pub(super) crop: Option<&'a MarginCrop>,
}

impl<'a> From<&'a NewFace> for FaceRow<'a> {
    fn from(new: &'a NewFace) -> Self {
        Self {
            source: new.source,
            face: &new.face,
            quality: &new.quality,
            crop: new.crop.as_ref(),
        }
    }
}

/// What became of a face.
#[derive(Clone, Copy)]
pub(super) enum Added {
    /// Its row.
    New(i64),
    /// The row of the one from the same source that the person has, and whether that is a negative example.
    Already(i64, bool),
}

/// Adds a face without vectors, unless the person has one from the same photo or shot.
pub(super) fn add_face(
    transaction: &Transaction<'_>,
    person: i64,
    new: &FaceRow<'_>,
    is_negative: bool,
) -> Result<Added, GalleryError> {
    let FaceRow {
        source,
        face,
        quality,
        crop,
    } = new;
    let (source_sha256, visit, captured_at_ms) = source.columns();
    let row = transaction
        .prepare_cached(
            "INSERT INTO face (person, is_negative, source_sha256, visit, captured_at_ms, box, landmarks, probability,
                               size_px, sharpness, yaw_degrees, crop, crop_place)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING face",
        )?
        .query_row(
            params![
                person,
                is_negative,
                source_sha256,
                visit,
                captured_at_ms,
                bytes::box_to_bytes(face),
                bytes::to_bytes(face.landmarks.as_flattened()),
                face.probability,
                quality.size_px,
                quality.sharpness,
                quality.yaw_degrees,
                crop.map(|crop| &crop.jpeg),
                crop.map(record::place_to_bytes),
            ],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(row) = row {
        return Ok(Added::New(row));
    }
    let already = transaction
        .prepare_cached(
            "SELECT face, is_negative FROM face
             WHERE person = ? AND source_sha256 IS ? AND visit IS ? AND captured_at_ms IS ?",
        )?
        .query_row(params![person, source_sha256, visit, captured_at_ms], |row| {
            Ok(Added::Already(row.get(0)?, row.get(1)?))
        })?;
    Ok(already)
}

/// Adds a vector to a face; an existing one of the same space stays.
pub(super) fn add_vector(
    transaction: &Transaction<'_>,
    face: i64,
    space: &str,
    vector: &[f32],
) -> Result<bool, GalleryError> {
    let added = transaction
        .prepare_cached("INSERT INTO embedding (face, space, vector) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![face, space, bytes::to_bytes(vector)])?;
    Ok(added > 0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{face, named};
    use super::*;

    fn open(folder: &tempfile::TempDir) -> Gallery {
        Gallery::open(folder.path()).unwrap()
    }

    #[test]
    fn a_second_photo_goes_to_the_same_person_and_the_same_photo_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = open(&folder);
        let first = gallery.enrol("space", &[named("Zoë", &[1])]).unwrap().remove(0);
        assert!(first.is_new);
        assert_eq!(first.person.id, "zoe");
        let again = gallery.enrol("space", &[named("Zoë", &[1, 2])]).unwrap().remove(0);
        assert_eq!(again.person, first.person);
        assert_eq!(
            (again.is_new, again.added, again.already),
            (false, 1, vec![true, false])
        );
        let by_id = gallery.enrol("space", &[named("zoe", &[3])]).unwrap().remove(0);
        assert_eq!(by_id.person.uid, first.person.uid);
        assert_eq!(gallery.faces("zoe").unwrap().len(), 3);
    }

    #[test]
    fn namesakes_are_told_apart_by_id() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = open(&folder);
        gallery.enrol("space", &[named("Alice", &[1])]).unwrap();
        let other = Enrolment {
            who: Who::New(Name::parse("Alice").unwrap()),
            role: None,
            faces: vec![face(2)],
        };
        assert_eq!(gallery.enrol("space", &[other]).unwrap()[0].person.id, "alice-2");
        // `alice` is an id, so it is no question who is meant; ALICE is nobody, so a third person.
        assert_eq!(
            gallery.enrol("space", &[named("alice", &[3])]).unwrap()[0].person.id,
            "alice"
        );
        gallery.rename("alice", &Name::parse("Al").unwrap()).unwrap();
        gallery.rename("alice-2", &Name::parse("Al").unwrap()).unwrap();
        let refusal = gallery
            .enrol("space", &[named("Carol", &[4]), named("Al", &[5])])
            .unwrap_err();
        assert!(refusal.to_string().contains("alice, alice-2"), "{refusal}");
        assert!(gallery.find("carol").is_err(), "all or nothing");
    }

    #[test]
    fn what_was_enrolled_comes_back_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = open(&folder);
        let enrolment = Enrolment {
            role: Some(Name::parse("guest").unwrap()),
            ..named("Alice", &[1])
        };
        gallery.enrol("space", std::slice::from_ref(&enrolment)).unwrap();
        drop(gallery);
        let gallery = open(&folder);
        assert_eq!(gallery.find("alice").unwrap().role, enrolment.role);
        let face = &gallery.faces("alice").unwrap()[0];
        assert_eq!(
            (face.source, face.quality, face.has_crop),
            (Source::Photo([1; 32]), enrolment.faces[0].quality, false)
        );
        assert_eq!(face.spaces, ["space"]);
        let vectors = gallery.vectors("space").unwrap();
        let stored = vectors[0].faces[0].as_slice();
        for (stored, given) in stored.iter().zip(enrolment.faces[0].embedding.as_slice()) {
            assert!((stored - given).abs() < 1e-6);
        }
    }
}
