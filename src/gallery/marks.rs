//! What is marked about people: whom to ignore, whose threshold is another than everybody's, and whom somebody is not.

use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use super::Gallery;
use super::enrol::add_faces;
use super::error::GalleryError;
use super::people::find;
use super::record::{NewFace, Person};

/// From where on a face is a person's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Threshold {
    /// By the gallery: cosine similarity.
    Cosine,
    /// By a trained head: probability.
    Probability,
}

impl Gallery {
    /// Says whether nobody is to be told of the person `wanted` (id or name). Gives the person as it is now.
    ///
    /// # Errors
    /// When there is no such person or the database fails.
    pub fn set_ignored(&mut self, wanted: &str, ignored: bool) -> Result<Person, GalleryError> {
        self.mark(wanted, |transaction, key| {
            transaction.execute("UPDATE person SET ignored = ? WHERE person = ?", params![ignored, key])
        })
    }

    /// Gives the person `wanted` a threshold, above 0 and at most 1, or takes it away. Gives the person as it is now.
    ///
    /// # Errors
    /// When there is no such person, the value is none, or the database fails.
    pub fn set_threshold(
        &mut self,
        wanted: &str,
        which: Threshold,
        value: Option<f64>,
    ) -> Result<Person, GalleryError> {
        let statement = match which {
            Threshold::Cosine => "UPDATE person SET threshold_cosine = ? WHERE person = ?",
            Threshold::Probability => "UPDATE person SET threshold_probability = ? WHERE person = ?",
        };
        self.mark(wanted, |transaction, key| {
            transaction.execute(statement, params![value, key])
        })
    }

    /// Adds faces of others who are taken for the person `wanted`. Vectors are of `space`. Says of each face whether it
    /// was there already.
    ///
    /// # Errors
    /// When there is no such person, one of the faces is enrolled as theirs, or the database fails; then none was added.
    pub fn add_negatives(
        &mut self,
        wanted: &str,
        space: &str,
        faces: &[NewFace],
    ) -> Result<(Person, Vec<bool>), GalleryError> {
        let transaction = self.begin()?;
        let (key, person) = find(&transaction, wanted)?;
        let already = add_faces(&transaction, (key, &person), space, faces, true)?;
        transaction.commit()?;
        Ok((person, already))
    }

    /// Forgets all negative examples of the person `wanted`, so that nothing of them is left in the state directory.
    /// Gives how many there were.
    ///
    /// # Errors
    /// As [`Gallery::remove`].
    pub fn forget_negatives(&mut self, wanted: &str) -> Result<(Person, usize), GalleryError> {
        let transaction = self.begin()?;
        let (key, person) = find(&transaction, wanted)?;
        let forgotten = transaction.execute("DELETE FROM face WHERE person = ? AND is_negative", [key])?;
        transaction.commit()?;
        self.forget()?;
        Ok((person, forgotten))
    }

    fn mark(
        &mut self,
        wanted: &str,
        change: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<usize>,
    ) -> Result<Person, GalleryError> {
        let transaction = self.begin()?;
        let (key, _) = find(&transaction, wanted)?;
        change(&transaction, key)?;
        let (_, person) = find(&transaction, wanted)?;
        transaction.commit()?;
        Ok(person)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{face, named};
    use super::*;
    use crate::gallery::bytes;

    fn alice(folder: &tempfile::TempDir) -> Gallery {
        let mut gallery = Gallery::open(folder.path()).unwrap();
        gallery.enrol("space", &[named("Alice", &[1, 2])]).unwrap();
        gallery
    }

    #[test]
    fn marks_are_kept_and_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = alice(&folder);
        assert!(gallery.set_ignored("Alice", true).unwrap().ignored);
        gallery.set_threshold("alice", Threshold::Cosine, Some(0.625)).unwrap();
        gallery
            .set_threshold("alice", Threshold::Probability, Some(0.95))
            .unwrap();
        drop(gallery);
        let mut gallery = Gallery::open(folder.path()).unwrap();
        let person = gallery.people().unwrap().remove(0).person;
        assert_eq!(
            (person.ignored, person.threshold_cosine, person.threshold_probability),
            (true, Some(0.625), Some(0.95))
        );
        assert_eq!(gallery.vectors("space").unwrap()[0].person, person);
        // A photo that is added later changes no mark.
        assert_eq!(
            gallery.enrol("space", &[named("Alice", &[3])]).unwrap()[0].person,
            person
        );
        gallery.set_ignored("alice", false).unwrap();
        gallery.set_threshold("alice", Threshold::Cosine, None).unwrap();
        let person = gallery.set_threshold("alice", Threshold::Probability, None).unwrap();
        assert_eq!(person, Person::new("alice", person.uid, person.name.clone()));
        for wrong in [0.0, -0.1, 1.01] {
            assert!(gallery.set_threshold("alice", Threshold::Cosine, Some(wrong)).is_err());
        }
        assert!(gallery.set_ignored("bob", true).is_err());
    }

    #[test]
    fn negatives_are_no_faces_of_the_person() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = alice(&folder);
        let (_, already) = gallery.add_negatives("alice", "space", &[face(7), face(8)]).unwrap();
        assert_eq!(already, [false, false]);
        assert_eq!(gallery.add_negatives("alice", "space", &[face(7)]).unwrap().1, [true]);
        let summary = gallery.people().unwrap().remove(0);
        assert_eq!((summary.faces, summary.negatives), (2, 2));
        let vectors = gallery.vectors("space").unwrap();
        assert_eq!((vectors[0].faces.len(), vectors[0].negatives.len()), (2, 2));
        let is_negative: Vec<bool> = gallery
            .faces("alice")
            .unwrap()
            .iter()
            .map(|one| one.is_negative)
            .collect();
        assert_eq!(is_negative, [false, false, true, true]);
        // Nobody is somebody and not somebody by the same photo.
        assert!(gallery.add_negatives("alice", "space", &[face(9), face(1)]).is_err());
        let refusal = gallery.enrol("space", &[named("Alice", &[7])]).unwrap_err().to_string();
        assert!(refusal.contains("kith people not alice --forget"), "{refusal}");
        assert_eq!(gallery.people().unwrap()[0].negatives, 2, "all or nothing");
        // Somebody else may have the photo.
        gallery.enrol("space", &[named("Bob", &[7])]).unwrap();
    }

    #[test]
    fn negatives_go_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = alice(&folder);
        gallery.add_negatives("alice", "space", &[face(7)]).unwrap();
        let vector = bytes::to_bytes(face(7).embedding.as_slice());
        let holds = || {
            std::fs::read_dir(folder.path()).unwrap().flatten().any(|entry| {
                let bytes = std::fs::read(entry.path()).unwrap();
                bytes.windows(vector.len()).any(|window| window == vector)
            })
        };
        assert!(holds());
        assert_eq!(gallery.forget_negatives("alice").unwrap().1, 1);
        assert!(!holds());
        gallery.add_negatives("alice", "space", &[face(7)]).unwrap();
        gallery.remove(&["alice".into()]).unwrap();
        assert!(!holds());
        gallery.check().unwrap();
    }
}
