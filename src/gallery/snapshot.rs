//! Copies of the gallery as it is at one moment.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::Gallery;
use super::error::GalleryError;

/// How the name of a copy for a backup begins. One that is left behind in the state folder goes with the next backup, or
/// when somebody is removed.
pub const SNAPSHOT_PREFIX: &str = "gallery.backup-";
/// How it ends.
pub const SNAPSHOT_SUFFIX: &str = ".sqlite";

/// How the name of the folder begins in which a backup is unpacked. One that is left behind goes like a copy.
pub const RESTORE_PREFIX: &str = ".restore-";

/// What is in a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The schema version.
    pub schema: i64,
    /// Number of people.
    pub people: u32,
    /// Number of their faces, negative examples included.
    pub faces: u32,
}

impl Gallery {
    /// Copies the gallery into the empty file `into`, without what was deleted, and looks whether the copy holds together.
    /// Others may go on writing meanwhile.
    ///
    /// # Errors
    /// When the copy can't be written or the gallery is damaged.
    pub fn snapshot(&self, into: &Path) -> Result<Snapshot, GalleryError> {
        let unusable = |source| GalleryError::Unusable {
            path: into.to_path_buf(),
            source,
        };
        let name = into
            .to_str()
            .ok_or_else(|| unusable(std::io::ErrorKind::InvalidFilename.into()))?;
        self.connection.execute("VACUUM INTO ?", [name])?;
        let copy = Connection::open_with_flags(into, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let verdict: String = copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(GalleryError::Damaged(verdict));
        }
        let count = |table| copy.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
        Ok(Snapshot {
            schema: copy.pragma_query_value(None, "user_version", |row| row.get(0))?,
            people: count("person")?,
            faces: count("face")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::named;
    use super::*;

    #[test]
    fn a_copy_is_a_gallery_of_the_same_people_and_nobody_else() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut gallery = Gallery::open(folder.path()).unwrap();
        gallery
            .enrol("space", &[named("Alice", &[1, 2]), named("Mallory", &[3])])
            .unwrap();
        gallery.remove(&["mallory".into()]).unwrap();
        let into = elsewhere.path().join(super::super::FILE_NAME);
        std::fs::write(&into, "").unwrap();
        let snapshot = gallery.snapshot(&into).unwrap();
        assert_eq!((snapshot.people, snapshot.faces), (1, 2));
        let copy = Gallery::open(elsewhere.path()).unwrap();
        copy.check().unwrap();
        assert_eq!(copy.people().unwrap(), gallery.people().unwrap());
        assert_eq!(copy.vectors("space").unwrap(), gallery.vectors("space").unwrap());
        assert!(gallery.snapshot(&into).is_err(), "it overwrites nothing");
    }
}
