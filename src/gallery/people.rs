//! Listing, renaming and removing people.

use rusqlite::{Connection, OptionalExtension, params};

use super::bytes;
use super::error::GalleryError;
use super::name::Name;
use super::record::{self, FaceRecord, PERSON_COLUMNS, Person, PersonSummary};
use super::{Gallery, removed, schema};

impl Gallery {
    /// Everybody, sorted by id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn people(&self) -> Result<Vec<PersonSummary>, GalleryError> {
        let mut statement = self.connection.prepare(&format!(
            "SELECT {PERSON_COLUMNS},
                    (SELECT count(*) FROM face f WHERE f.person = p.person AND NOT f.is_negative) AS faces,
                    (SELECT count(*) FROM face f WHERE f.person = p.person AND f.is_negative) AS negatives,
                    (SELECT count(crop) FROM face f WHERE f.person = p.person AND NOT f.is_negative) AS crops,
                    (SELECT json_group_array(DISTINCT e.space ORDER BY e.space) FROM face f JOIN embedding e USING (face)
                      WHERE f.person = p.person AND NOT f.is_negative) AS spaces
             FROM person p ORDER BY p.id"
        ))?;
        let people = statement.query_map([], |row| {
            Ok(PersonSummary {
                person: record::person_of(row)?,
                faces: row.get("faces")?,
                negatives: row.get("negatives")?,
                crops: row.get("crops")?,
                spaces: spaces_of(&row.get::<_, String>("spaces")?),
            })
        })?;
        Ok(people.collect::<rusqlite::Result<_>>()?)
    }

    /// The person whose id is `wanted`, else the one whose name it is.
    ///
    /// # Errors
    /// When there is none, or several of that name.
    pub fn find(&self, wanted: &str) -> Result<Person, GalleryError> {
        find(&self.connection, wanted).map(|(_, person)| person)
    }

    /// The faces of the person with this id, then the negative examples, each oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn faces(&self, id: &str) -> Result<Vec<FaceRecord>, GalleryError> {
        let mut statement = self.connection.prepare(
            "SELECT f.face, f.is_negative, f.source_sha256, f.visit, f.captured_at_ms, f.probability, f.size_px, f.sharpness, f.yaw_degrees,
                    f.crop IS NOT NULL AS has_crop,
                    (SELECT json_group_array(e.space ORDER BY e.space) FROM embedding e WHERE e.face = f.face) AS spaces
             FROM face f JOIN person p USING (person) WHERE p.id = ? ORDER BY f.is_negative, f.face",
        )?;
        let faces = statement.query_map([id], |row| {
            Ok(FaceRecord {
                face: row.get("face")?,
                source: record::source_of(row)?,
                is_negative: row.get("is_negative")?,
                quality: bytes::quality_of(row)?,
                has_crop: row.get("has_crop")?,
                spaces: spaces_of(&row.get::<_, String>("spaces")?),
            })
        })?;
        Ok(faces.collect::<rusqlite::Result<_>>()?)
    }

    /// Changes the display name of the person `wanted` (id or name); id and uid stay. Gives the person as it is now.
    ///
    /// # Errors
    /// When there is no such person or the database fails.
    pub fn rename(&mut self, wanted: &str, name: &Name) -> Result<Person, GalleryError> {
        let transaction = self.begin()?;
        let (key, person) = find(&transaction, wanted)?;
        transaction.execute(
            "UPDATE person SET name = ? WHERE person = ?",
            params![name.as_str(), key],
        )?;
        transaction.commit()?;
        self.forget()?;
        Ok(Person {
            name: name.clone(),
            ..person
        })
    }

    /// Removes the people `wanted` (ids or names), all or none, with faces, crops and vectors, so that their bytes are
    /// in no file of the state directory: deleted content is overwritten, the write-ahead log is emptied, and copies from
    /// before a migration or a restore go too. Gives who they were.
    ///
    /// # Errors
    /// When one of them isn't there, or the database fails. [`GalleryError::NotForgotten`] when they are gone but their
    /// bytes are not, since another program reads without a break, say.
    pub fn remove(&mut self, wanted: &[String]) -> Result<Vec<Person>, GalleryError> {
        let transaction = self.begin()?;
        let mut gone: Vec<Person> = Vec::new();
        let mut keys = Vec::new();
        for wanted in wanted {
            let (key, person) = find(&transaction, wanted)?;
            if !keys.contains(&key) {
                keys.push(key);
                gone.push(person);
            }
        }
        for (key, person) in keys.into_iter().zip(&gone) {
            transaction.execute("DELETE FROM person WHERE person = ?", [key])?;
            removed::note(&transaction, person.uid)?;
        }
        transaction.commit()?;
        self.forget()?;
        Ok(gone)
    }

    /// Makes a committed deletion real; see [`Gallery::remove`].
    pub(super) fn forget(&self) -> Result<(), GalleryError> {
        let forgotten = schema::copies(&self.path).into_iter().try_for_each(|copy| {
            let removed = if copy.is_dir() {
                std::fs::remove_dir_all(&copy)
            } else {
                std::fs::remove_file(&copy)
            };
            removed.map_err(|source| GalleryError::Unusable { path: copy, source })
        });
        forgotten
            .and_then(|()| self.empty_log())
            .map_err(|error| GalleryError::NotForgotten(Box::new(error)))
    }
}

/// The row and person whose id, else whose name, is `wanted`.
pub(super) fn find(connection: &Connection, wanted: &str) -> Result<(i64, Person), GalleryError> {
    let person = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>("person")?, record::person_of(row)?));
    let by_id = connection
        .query_row("SELECT * FROM person WHERE id = ?", [wanted], person)
        .optional()?;
    if let Some(found) = by_id {
        return Ok(found);
    }
    // A text that can't be a name is nobody's name.
    let no_such = || GalleryError::NoSuchPerson(wanted.to_string());
    let name = Name::parse(wanted).map_err(|_| no_such())?;
    let mut statement = connection.prepare("SELECT * FROM person WHERE name = ? ORDER BY id")?;
    let mut found = statement
        .query_map([name.as_str()], person)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    match found.len() {
        1 => found.pop().ok_or_else(no_such),
        0 => Err(no_such()),
        _ => Err(GalleryError::Ambiguous {
            name: name.to_string(),
            ids: found.into_iter().map(|(_, person)| person.id).collect(),
        }),
    }
}

/// The strings of a JSON array that SQLite made.
fn spaces_of(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::{face, named};
    use super::*;

    fn ids(gallery: &Gallery) -> Vec<String> {
        gallery
            .people()
            .unwrap()
            .into_iter()
            .map(|summary| summary.person.id)
            .collect()
    }

    #[test]
    fn a_rename_changes_the_name_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = Gallery::open(folder.path()).unwrap();
        let before = gallery
            .enrol("space", &[named("Alice", &[1])])
            .unwrap()
            .remove(0)
            .person;
        let after = gallery.rename("Alice", &Name::parse("Алиса").unwrap()).unwrap();
        assert_eq!(
            (&after.id, after.uid, after.name.as_str()),
            (&before.id, before.uid, "Алиса")
        );
        assert_eq!(gallery.find("alice").unwrap(), after);
        assert_eq!(gallery.find("Алиса").unwrap(), after);
        assert!(matches!(
            gallery.find("Alice").unwrap_err(),
            GalleryError::NoSuchPerson(_)
        ));
    }

    #[test]
    fn removing_is_all_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = Gallery::open(folder.path()).unwrap();
        gallery
            .enrol(
                "space",
                &[named("Alice", &[1]), named("Bob", &[2]), named("Carol", &[3])],
            )
            .unwrap();
        assert!(gallery.remove(&["alice".into(), "nobody".into()]).is_err());
        assert_eq!(ids(&gallery), ["alice", "bob", "carol"]);
        let removed = gallery.remove(&["alice".into(), "Alice".into(), "Bob".into()]).unwrap();
        assert_eq!(removed.len(), 2);
        assert_eq!(ids(&gallery), ["carol"]);
        gallery.check().unwrap();
    }

    #[test]
    fn a_removed_person_is_in_no_file() {
        let folder = tempfile::tempdir().unwrap();
        // Long enough to spill to overflow pages, and many, so that pages are freed and not only cells.
        let crop = b"the pixels of Mallory".repeat(500);
        let people: Vec<_> = (1..40)
            .map(|seed| {
                let mut one = named(&format!("Mallory the {seed}th"), &[seed]);
                one.faces[0].crop = Some(record::MarginCrop {
                    jpeg: crop.clone(),
                    left_px: 0.0,
                    top_px: 0.0,
                    scale: 1.0,
                });
                one
            })
            .collect();
        let mut gallery = Gallery::open(folder.path()).unwrap();
        gallery.enrol("space", &people).unwrap();
        gallery.enrol("space", &[named("Alice", &[100])]).unwrap();
        fs::write(folder.path().join("gallery.before-v1.sqlite"), "Mallory").unwrap();
        let vector = bytes::to_bytes(face(7).embedding.as_slice());

        let holds = |needle: &[u8]| {
            fs::read_dir(folder.path()).unwrap().flatten().any(|entry| {
                fs::read(entry.path())
                    .unwrap()
                    .windows(needle.len())
                    .any(|window| window == needle)
            })
        };
        for needle in [b"Mallory".as_slice(), b"mallory", &vector, &[7; 32]] {
            assert!(holds(needle), "the test would see {needle:?}");
        }
        // A reader as the daemon is one, open all the time.
        let reader = Gallery::open_read_only(folder.path()).unwrap();
        assert_eq!(reader.people().unwrap().len(), 40);
        let names: Vec<_> = ids(&gallery)
            .into_iter()
            .filter(|id| id.starts_with("mallory"))
            .collect();
        assert_eq!(gallery.remove(&names).unwrap().len(), 39);
        for needle in [b"Mallory".as_slice(), b"mallory", &vector, &[7; 32], b"the pixels"] {
            assert!(!holds(needle), "{needle:?} is still there");
        }
        assert_eq!(ids(&reader), ["alice"]);
    }
}
