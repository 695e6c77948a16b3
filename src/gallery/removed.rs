//! Who was removed: kept as sums of uids, so that a backup from before doesn't bring people back unnoticed. A uid is a random
//! number, and its sum says nothing about anybody to whoever doesn't have the backup.

use rusqlite::{Connection, Transaction};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use super::Gallery;
use super::error::GalleryError;

fn sum(uid: Ulid) -> [u8; 32] {
    Sha256::digest(uid.to_string()).into()
}

/// Notes that the person with this uid is removed.
pub(super) fn note(transaction: &Transaction<'_>, uid: Ulid) -> Result<(), GalleryError> {
    transaction.execute("INSERT OR IGNORE INTO removed (uid_sha256) VALUES (?)", [sum(uid)])?;
    Ok(())
}

/// Notes that the person with this uid is here again, by somebody's wish.
pub(super) fn forget(transaction: &Transaction<'_>, uid: Ulid) -> Result<(), GalleryError> {
    transaction.execute("DELETE FROM removed WHERE uid_sha256 = ?", [sum(uid)])?;
    Ok(())
}

fn all(connection: &Connection) -> Result<Vec<[u8; 32]>, GalleryError> {
    let mut statement = connection.prepare("SELECT uid_sha256 FROM removed")?;
    let sums = statement.query_map([], |row| row.get(0))?;
    Ok(sums.collect::<rusqlite::Result<_>>()?)
}

impl Gallery {
    /// The ids of people here who were removed from `other`, sorted.
    ///
    /// # Errors
    /// When a database fails.
    pub fn removed_from(&self, other: &Self) -> Result<Vec<String>, GalleryError> {
        let removed = all(&other.connection)?;
        let people = self.people()?.into_iter().map(|one| one.person);
        Ok(people
            .filter(|person| removed.contains(&sum(person.uid)))
            .map(|person| person.id)
            .collect())
    }

    /// Notes everybody who was removed from `other` as removed here, too, but for those who are here.
    ///
    /// # Errors
    /// When a database fails.
    pub fn note_removed_from(&mut self, other: &Self) -> Result<(), GalleryError> {
        let here: Vec<[u8; 32]> = self.people()?.iter().map(|one| sum(one.person.uid)).collect();
        let removed = all(&other.connection)?;
        let transaction = self.begin()?;
        for sum in removed.iter().filter(|sum| !here.contains(sum)) {
            transaction.execute("INSERT OR IGNORE INTO removed (uid_sha256) VALUES (?)", [sum])?;
        }
        Ok(transaction.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::named;
    use super::*;

    #[test]
    fn who_was_removed_is_known_by_a_sum_and_forgotten_when_back() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut gallery = Gallery::open(folder.path()).unwrap();
        gallery
            .enrol(
                "space",
                &[named("Alice", &[1]), named("Bob", &[2]), named("Carol", &[3])],
            )
            .unwrap();
        let mut export = Vec::new();
        gallery.export(&[], &mut export).unwrap();
        let mut old = Gallery::open(elsewhere.path()).unwrap();
        old.import(&mut export.as_slice()).unwrap();
        assert!(old.removed_from(&gallery).unwrap().is_empty());
        let uid = gallery.find("bob").unwrap().uid;
        gallery.remove(&["bob".into(), "carol".into()]).unwrap();
        assert_eq!(old.removed_from(&gallery).unwrap(), ["bob", "carol"]);

        // The knowledge goes on to a gallery that takes this one's place.
        old.remove(&["carol".into()]).unwrap();
        old.note_removed_from(&gallery).unwrap();
        assert_eq!(all(&old.connection).unwrap(), [sum_of(&gallery, &old)]);
        drop(old);
        for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let uid = uid.to_string();
            assert!(!bytes.windows(26).any(|window| window == uid.as_bytes()));
        }
        // An import is a wish.
        gallery.import(&mut export.as_slice()).unwrap();
        assert!(all(&gallery.connection).unwrap().is_empty());
    }

    /// The only sum that is in `gallery` and is nobody's in `other`.
    fn sum_of(gallery: &Gallery, other: &Gallery) -> [u8; 32] {
        let here: Vec<_> = other.people().unwrap().iter().map(|one| sum(one.person.uid)).collect();
        let mut sums = all(&gallery.connection).unwrap();
        sums.retain(|sum| !here.contains(sum));
        assert_eq!(sums.len(), 1);
        sums[0]
    }
}
