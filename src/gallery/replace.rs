//! Replacing the whole gallery by another one, as `kith restore` does.

use std::collections::HashSet;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use ulid::Ulid;

use super::Gallery;
use super::error::GalleryError;

impl Gallery {
    /// Replaces everything in this gallery by what `other` holds. SQLite does it as one change: programs that have it open
    /// see what was there before or what is there now, also when this one is killed.
    ///
    /// # Errors
    /// When another program is writing, or the disk is full; then nothing was changed.
    pub fn replace_with(&mut self, other: &Self) -> Result<(), GalleryError> {
        {
            let copying = Backup::new(&other.connection, &mut self.connection)?;
            match copying.step(-1)? {
                StepResult::Done => {}
                _ => return Err(GalleryError::Busy),
            }
        }
        self.empty_log()
            .map_err(|error| GalleryError::NotForgotten(Box::new(error)))
    }

    /// Whether tables, indices and nothing else are those that this Kith makes. A file from outside could hold triggers.
    ///
    /// # Errors
    /// [`GalleryError::Damaged`] when they are not, or when the database fails.
    pub fn check_form(&self) -> Result<(), GalleryError> {
        let mut fresh = Connection::open_in_memory()?;
        super::schema::migrations()
            .to_latest(&mut fresh)
            .map_err(|error| GalleryError::Damaged(error.to_string()))?;
        if form(&self.connection)? == form(&fresh)? {
            Ok(())
        } else {
            Err(GalleryError::Damaged("its tables are not those that Kith makes".into()))
        }
    }

    /// Whether every row can be read as what it stands for.
    ///
    /// # Errors
    /// [`GalleryError::Damaged`] or what the database says.
    pub fn check_rows(&self) -> Result<(), GalleryError> {
        let mut spaces = HashSet::new();
        for one in self.people()? {
            self.faces(&one.person.id)?;
            spaces.extend(one.spaces);
        }
        for space in spaces {
            self.vectors(&space)?;
        }
        Ok(())
    }

    /// The ids of those people here whose uid is not among `uids`, sorted.
    ///
    /// # Errors
    /// When the database fails.
    pub fn ids_not_among(&self, uids: &[Ulid]) -> Result<Vec<String>, GalleryError> {
        let people = self.people()?.into_iter().map(|one| one.person);
        Ok(people
            .filter(|person| !uids.contains(&person.uid))
            .map(|person| person.id)
            .collect())
    }
}

/// What the schema's table says, but for where things lie.
fn form(connection: &Connection) -> Result<Vec<(String, String, Option<String>)>, GalleryError> {
    let mut statement = connection.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::super::tests::named;
    use super::*;

    #[test]
    fn everybody_who_looks_sees_the_new_people_and_nothing_of_the_old_is_left() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut gallery = Gallery::open(folder.path()).unwrap();
        gallery.enrol("space", &[named("Mallory", &[1, 2, 3])]).unwrap();
        let mut reader = Gallery::open_read_only(folder.path()).unwrap();
        assert_eq!(reader.people().unwrap().len(), 1);
        reader.changed().unwrap();
        let mut other = Gallery::open(elsewhere.path()).unwrap();
        other
            .enrol("space", &[named("Alice", &[7]), named("Bob", &[8])])
            .unwrap();
        gallery.replace_with(&other).unwrap();
        assert!(reader.changed().unwrap());
        assert_eq!(reader.people().unwrap(), other.people().unwrap());
        gallery.check().unwrap();
        gallery.enrol("space", &[named("Carol", &[9])]).unwrap();
        drop((gallery, reader));
        for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(
                !bytes.windows(7).any(|window| window == b"Mallory"),
                "{:?}",
                entry.path()
            );
        }
    }

    #[test]
    fn a_trigger_is_no_part_of_a_gallery() {
        let folder = tempfile::tempdir().unwrap();
        let gallery = Gallery::open(folder.path()).unwrap();
        gallery.check_form().unwrap();
        gallery
            .connection
            .execute_batch("CREATE TRIGGER t AFTER INSERT ON person BEGIN DELETE FROM face; END")
            .unwrap();
        assert!(gallery.check_form().is_err());
    }
}
