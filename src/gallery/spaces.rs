//! Vectors of one embedding space, and what is missing when the model changes.

use rusqlite::params;

use super::Gallery;
use super::bytes;
use super::enrol::add_vector;
use super::error::GalleryError;
use super::record::{self, MarginCrop, PERSON_COLUMNS, Person};
use crate::detect::Face;
use crate::embed::Embedding;
use crate::identify::GalleryMatcher;
use crate::model::{Calibration, Thresholds};

/// A person and their vectors in one space.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// Who.
    pub person: Person,
    /// One for each face that has a vector in the space; may be empty.
    pub faces: Vec<Embedding>,
    /// Faces of others who are taken for this person, who is ruled out unless one of [`Vectors::faces`] is clearly
    /// nearer.
    pub negatives: Vec<Embedding>,
}

/// A face that has no vector in a space but a crop to make one from.
#[derive(Debug, Clone, PartialEq)]
pub struct ToReembed {
    /// The face's row.
    pub face: i64,
    /// Where the face is in the photo that it was enrolled from.
    pub face_in_photo: Face,
    /// The crop.
    pub crop: MarginCrop,
}

impl Gallery {
    /// Everybody with their vectors in `space`, sorted by id.
    ///
    /// # Errors
    /// When the database fails, or vectors of one space differ in length.
    pub fn vectors(&self, space: &str) -> Result<Vec<Vectors>, GalleryError> {
        let mut statement = self.connection.prepare(&format!(
            "SELECT {PERSON_COLUMNS}, f.is_negative, e.vector
             FROM person p LEFT JOIN (face f JOIN embedding e ON e.face = f.face AND e.space = ?)
                  ON f.person = p.person
             ORDER BY p.id, f.face"
        ))?;
        let mut rows = statement.query([space])?;
        let mut everybody: Vec<Vectors> = Vec::new();
        let mut length = None;
        while let Some(row) = rows.next()? {
            let person = record::person_of(row)?;
            if everybody.last().is_none_or(|last| last.person.id != person.id) {
                everybody.push(Vectors {
                    person,
                    faces: Vec::new(),
                    negatives: Vec::new(),
                });
            }
            let Some(bytes) = row.get::<_, Option<Vec<u8>>>("vector")? else {
                continue;
            };
            let embedding = Embedding::from_raw(&bytes::from_bytes(&bytes))
                .filter(|embedding| *length.get_or_insert(embedding.as_slice().len()) == embedding.as_slice().len());
            match (embedding, everybody.last_mut()) {
                (Some(embedding), Some(last)) if row.get("is_negative")? => last.negatives.push(embedding),
                (Some(embedding), Some(last)) => last.faces.push(embedding),
                _ => return Err(GalleryError::Damaged(format!("a vector of the space {space} is none"))),
            }
        }
        Ok(everybody)
    }

    /// A matcher over everybody's vectors in `space`. People without a face, whom only heads know, are left out. Faces that only have vectors of another space take no part;
    /// `enrolment::reembed` gives those with a kept crop a vector first.
    ///
    /// # Errors
    /// [`GalleryError::OtherSpace`] when somebody has faces but no vector in `space`; or when the database fails.
    pub fn matcher(
        &self,
        space: &str,
        thresholds: Thresholds,
        calibration: Calibration,
    ) -> Result<GalleryMatcher, GalleryError> {
        let everybody = self.vectors(space)?;
        let people = self.people()?;
        let without: Vec<String> = people
            .iter()
            .filter(|one| one.lacks(space))
            .map(|one| one.person.id.clone())
            .collect();
        if without.is_empty() {
            return Ok(GalleryMatcher::new(everybody, thresholds, calibration));
        }
        let mut stored: Vec<String> = people.into_iter().flat_map(|summary| summary.spaces).collect();
        stored.sort();
        stored.dedup();
        Err(GalleryError::OtherSpace {
            space: space.to_string(),
            ids: without,
            stored,
        })
    }

    /// The faces with a crop but no vector in `space`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn to_reembed(&self, space: &str) -> Result<Vec<ToReembed>, GalleryError> {
        let mut statement = self.connection.prepare(
            "SELECT f.* FROM face f WHERE f.crop IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM embedding e WHERE e.face = f.face AND e.space = ?) ORDER BY f.face",
        )?;
        let rows = statement.query_map([space], |row| {
            Ok(record::crop_of(row)?.map(|crop| {
                Ok(ToReembed {
                    face: row.get("face")?,
                    face_in_photo: bytes::face_of(row)?,
                    crop,
                })
            }))
        })?;
        let faces: rusqlite::Result<Vec<ToReembed>> = rows.filter_map(Result::transpose).map(Result::flatten).collect();
        Ok(faces?)
    }

    /// Adds vectors in `space` to faces, all or none, beside those of other spaces. A face that was removed meanwhile is
    /// left out. Gives how many were added.
    ///
    /// # Errors
    /// When the database fails.
    pub fn add_vectors(&mut self, space: &str, vectors: &[(i64, Embedding)]) -> Result<usize, GalleryError> {
        let transaction = self.begin()?;
        let mut added = 0;
        for (face, embedding) in vectors {
            let is_there = transaction
                .prepare_cached("SELECT 1 FROM face WHERE face = ?")?
                .exists(params![face])?;
            if is_there && add_vector(&transaction, *face, space, embedding.as_slice())? {
                added += 1;
            }
        }
        transaction.commit()?;
        Ok(added)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{face, named};
    use super::*;
    use crate::identify::tests::{CALIBRATION, THRESHOLDS};

    fn crop() -> MarginCrop {
        MarginCrop {
            jpeg: vec![1, 2, 3],
            left_px: 3.0,
            top_px: 4.0,
            scale: 0.5,
        }
    }

    #[test]
    fn a_new_model_reembeds_beside_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = Gallery::open(folder.path()).unwrap();
        let mut kept = named("Alice", &[1, 2]);
        kept.faces[0].crop = Some(crop());
        gallery.enrol("old", &[kept]).unwrap();
        gallery.matcher("old", THRESHOLDS, CALIBRATION).unwrap();
        assert!(matches!(
            gallery.matcher("new", THRESHOLDS, CALIBRATION).unwrap_err(),
            GalleryError::OtherSpace { ids, stored, .. } if ids == ["alice"] && stored == ["old"]
        ));

        let missing = gallery.to_reembed("new").unwrap();
        assert_eq!(missing.len(), 1);
        assert_eq!((&missing[0].face_in_photo, &missing[0].crop), (&face(1).face, &crop()));
        let vectors = vec![(missing[0].face, face(9).embedding), (4711, face(8).embedding)];
        assert_eq!(
            gallery.add_vectors("new", &vectors).unwrap(),
            1,
            "a face that is gone is left out"
        );
        assert!(gallery.to_reembed("new").unwrap().is_empty());
        assert_eq!(gallery.people().unwrap()[0].spaces, ["new", "old"]);
        gallery.matcher("new", THRESHOLDS, CALIBRATION).unwrap();
        assert_eq!(gallery.vectors("old").unwrap()[0].faces.len(), 2);
        gallery.check().unwrap();
    }

    #[test]
    fn without_a_crop_the_way_out_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = Gallery::open(folder.path()).unwrap();
        gallery
            .enrol("old", &[named("Alice", &[1]), named("Bob", &[2])])
            .unwrap();
        gallery.enrol("new", &[named("Bob", &[3])]).unwrap();
        let refusal = gallery.matcher("new", THRESHOLDS, CALIBRATION).unwrap_err().to_string();
        assert!(refusal.contains("alice has no vector in the space new"), "{refusal}");
        assert!(
            refusal.contains("kith enroll") && refusal.contains("model of new, old"),
            "{refusal}"
        );
    }
}
