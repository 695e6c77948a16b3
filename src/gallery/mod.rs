//! The gallery: who is enrolled, from which photos, with which vectors. One SQLite database in the state directory.
//!
//! - `name`: names in any script, and ids made from them
//! - `schema`: the tables and their migrations
//! - `record`: what a row holds, in Rust and in bytes
//! - `bytes`: faces and vectors in bytes
//! - `people`: listing, renaming, removing
//! - `marks`: whom to ignore, whose threshold is another, whom somebody is not
//! - `enrol`: adding, all or nothing
//! - `spaces`: vectors of one embedding space, re-embedding for another
//! - `heads`: whom the classes of trained heads stand for
//! - `exchange`: export and import
//! - `removed`: who was removed, for restoring
//! - `snapshot`: copies of one moment
//! - `replace`: another gallery in place of this one
//!
//! Locks: every change is one `BEGIN IMMEDIATE` transaction, so SQLite's own write lock is the lock between commands.
//! It covers the reading that a change depends on (is this id taken?), other processes wait for it, and the kernel
//! drops it when its holder is killed; a lock file of our own would add nothing.

pub(crate) mod bytes;
mod enrol;
mod error;
mod exchange;
mod heads;
mod marks;
mod name;
mod people;
mod record;
mod removed;
mod replace;
mod schema;
mod snapshot;
mod spaces;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use enrol::{Enrolled, Enrolment, Who};
pub use error::GalleryError;
pub use exchange::{Imported, MAX_LINE_BYTES};
pub use heads::{MappedClass, Removed};
pub use marks::Threshold;
pub use name::{MAX_NAME_CHARS, Name, NameError};
pub use record::{FaceRecord, MarginCrop, NewFace, Person, PersonSummary, Source, VisitShot};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
pub use snapshot::{RESTORE_PREFIX, SNAPSHOT_PREFIX, SNAPSHOT_SUFFIX, Snapshot};
pub use spaces::{ToReembed, Vectors};

use crate::state_dir;

/// The database's name in the state directory.
pub const FILE_NAME: &str = "gallery.sqlite";

/// How long a command waits for another one's write. Writes take milliseconds; a slow card may take seconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// An open gallery, owned by one thread.
#[derive(Debug)]
pub struct Gallery {
    connection: Connection,
    path: PathBuf,
    /// `PRAGMA data_version` when [`Gallery::changed`] was last asked.
    seen_data_version: i64,
}

impl Gallery {
    /// Whether there is a gallery in `state_dir`; reading commands needn't make one.
    pub fn exists(state_dir: &Path) -> bool {
        state_dir.join(FILE_NAME).exists()
    }

    /// Opens the gallery in `state_dir`, makes or migrates it if need be. The folder gets mode 0700, the file 0600.
    ///
    /// # Errors
    /// When the folder or file can't be used, is not ours, too new, or damaged.
    pub fn open(state_dir: &Path) -> Result<Self, GalleryError> {
        state_dir::prepare(state_dir)?;
        let path = state_dir.join(FILE_NAME);
        // SQLite gives its other files (-wal, -shm) the permissions of this one.
        state_dir::open_private_file(&path).map_err(|source| GalleryError::Unusable {
            path: path.clone(),
            source,
        })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Migrating comes before the journal mode, which would already change a file that isn't ours.
        schema::migrate(&mut connection, &path, &schema::migrations(), schema::newest_version())?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // FULL: a commit that was acknowledged survives a power cut, not only a crash.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // What is deleted is overwritten with zeros.
        connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "trusted_schema", false)?;
        let seen_data_version = data_version(&connection)?;
        Ok(Self {
            connection,
            path,
            seen_data_version,
        })
    }

    /// As [`Gallery::open`], but this connection refuses to write: for the daemon, which re-reads when
    /// [`Gallery::changed`] says so.
    ///
    /// # Errors
    /// As for [`Gallery::open`].
    pub fn open_read_only(state_dir: &Path) -> Result<Self, GalleryError> {
        let gallery = Self::open(state_dir)?;
        gallery.connection.pragma_update(None, "query_only", true)?;
        Ok(gallery)
    }

    /// Opens the gallery in `state_dir` to look at it as it is, for `kith check`: nothing is made, migrated or closed to
    /// others. `None` when an older Kith wrote it, so that it can't be read before it is migrated.
    ///
    /// # Errors
    /// When the file can't be opened, is not ours, too new, or damaged.
    pub fn look_at(state_dir: &Path) -> Result<Option<Self>, GalleryError> {
        let path = state_dir.join(FILE_NAME);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        if schema::checked_version(&connection, &path, schema::newest_version())? < schema::newest_version() {
            return Ok(None);
        }
        connection.pragma_update(None, "trusted_schema", false)?;
        let seen_data_version = data_version(&connection)?;
        Ok(Some(Self {
            connection,
            path,
            seen_data_version,
        }))
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether another process (or another connection) has committed since this was last asked, or since opening.
    /// Cheap enough to ask every second: no row is read.
    ///
    /// # Errors
    /// When the database fails.
    pub fn changed(&mut self) -> Result<bool, GalleryError> {
        let now = data_version(&self.connection)?;
        Ok(std::mem::replace(&mut self.seen_data_version, now) != now)
    }

    /// Whether the database holds together, rows' references included; for `kith check` and tests.
    ///
    /// # Errors
    /// [`GalleryError::Damaged`] with SQLite's words.
    pub fn check(&self) -> Result<(), GalleryError> {
        let verdict: String = self
            .connection
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(GalleryError::Damaged(verdict));
        }
        let is_broken = self.connection.prepare("PRAGMA foreign_key_check")?.exists([])?;
        if is_broken {
            return Err(GalleryError::Damaged("a row refers to a row that is gone".into()));
        }
        Ok(())
    }

    /// A transaction that holds the write lock from its start.
    fn begin(&mut self) -> Result<Transaction<'_>, GalleryError> {
        Ok(self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Moves what the write-ahead log holds into the database and empties the log, in which old versions of pages would
    /// otherwise survive a deletion.
    fn empty_log(&self) -> Result<(), GalleryError> {
        let is_busy: bool = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                row.get::<_, i64>(0).map(|b| b != 0)
            })?;
        if is_busy { Err(GalleryError::Busy) } else { Ok(()) }
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::detect::{Face, FaceBox};
    use crate::embed::Embedding;
    use crate::quality::Quality;

    /// A face of a made-up photo: `seed` names the photo and turns the vector.
    pub(crate) fn face(seed: u8) -> NewFace {
        let raw: Vec<f32> = (0..8_u8)
            .map(|i| f32::from(seed.wrapping_mul(37).wrapping_add(i * i * 3) % 97) - 48.0)
            .collect();
        NewFace {
            source: Source::Photo([seed; 32]),
            face: Face {
                box_in_frame: FaceBox {
                    left: 10.0,
                    top: 20.0,
                    right: 110.5,
                    bottom: 150.0,
                },
                probability: 0.99,
                landmarks: [[40.0, 60.0], [80.0, 60.0], [60.0, 85.0], [45.0, 110.0], [75.0, 110.0]],
            },
            quality: Quality {
                size_px: 130.0,
                sharpness: 0.5,
                yaw_degrees: -3.0,
                probability: 0.99,
            },
            crop: None,
            embedding: Embedding::from_raw(&raw).unwrap(),
        }
    }

    pub(crate) fn named(name: &str, faces: &[u8]) -> Enrolment {
        Enrolment {
            who: Who::Named(Name::parse(name).unwrap()),
            role: None,
            faces: faces.iter().map(|seed| face(*seed)).collect(),
        }
    }

    #[test]
    fn files_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut gallery = Gallery::open(&state).unwrap();
        gallery.enrol("space", &[named("Alice", &[1])]).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
        let mut names = Vec::new();
        for entry in fs::read_dir(&state).unwrap().flatten() {
            names.push(entry.file_name().into_string().unwrap());
            assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
        names.sort();
        assert_eq!(names, ["gallery.sqlite", "gallery.sqlite-shm", "gallery.sqlite-wal"]);
    }

    #[test]
    fn a_reader_notices_a_change_and_cannot_make_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = Gallery::open_read_only(folder.path()).unwrap();
        assert!(!reader.changed().unwrap());
        let mut writer = Gallery::open(folder.path()).unwrap();
        writer.enrol("space", &[named("Alice", &[1])]).unwrap();
        assert!(reader.changed().unwrap());
        assert!(!reader.changed().unwrap());
        assert_eq!(reader.people().unwrap().len(), 1);
        assert!(reader.enrol("space", &[named("Bob", &[2])]).is_err());
    }

    #[test]
    fn two_writers_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        drop(Gallery::open(folder.path()).unwrap());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let path = folder.path();
                scope.spawn(move || {
                    let mut gallery = Gallery::open(path).unwrap();
                    for photo in 0..10 {
                        gallery
                            .enrol("space", &[named("Alice", &[thread * 10 + photo])])
                            .unwrap();
                    }
                });
            }
        });
        let gallery = Gallery::open(folder.path()).unwrap();
        gallery.check().unwrap();
        let people = gallery.people().unwrap();
        assert_eq!(
            people
                .iter()
                .map(|p| (p.person.id.as_str(), p.faces))
                .collect::<Vec<_>>(),
            [("alice", 40)]
        );
    }
}
