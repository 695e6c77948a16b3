//! The database's form, and how it grows from version to version.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, MAIN_DB};
use rusqlite_migration::{M, Migrations};

use super::error::GalleryError;
use super::snapshot::{RESTORE_PREFIX, SNAPSHOT_PREFIX, SNAPSHOT_SUFFIX};
use crate::state_dir;

/// Marks the file as a Kith gallery (`PRAGMA application_id`): `Kith` in ASCII.
const APPLICATION_ID: i64 = 0x4b69_7468;

/// One entry per schema version, never changed once released. The checks are the last line against half a person.
const STEPS: &[&str] = &[
    "
    PRAGMA application_id = 0x4b697468;
    CREATE TABLE person (
        person INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE CHECK (id <> '' AND id NOT GLOB '*[^a-z0-9_-]*'),
        uid TEXT NOT NULL UNIQUE CHECK (length(uid) = 26),
        name TEXT NOT NULL CHECK (name <> ''),
        role TEXT CHECK (role <> '')
    ) STRICT;
    CREATE TABLE face (
        face INTEGER PRIMARY KEY,
        person INTEGER NOT NULL REFERENCES person ON DELETE CASCADE,
        source_sha256 BLOB NOT NULL CHECK (length(source_sha256) = 32),
        -- Little-endian f32 in pixels of the photo: left, top, right, bottom; five times x, y.
        box BLOB NOT NULL CHECK (length(box) = 16),
        landmarks BLOB NOT NULL CHECK (length(landmarks) = 40),
        probability REAL NOT NULL,
        size_px REAL NOT NULL,
        sharpness REAL NOT NULL,
        yaw_degrees REAL NOT NULL,
        -- The face with a margin, as JPEG without metadata; where it lies in the photo: left, top, scale.
        crop BLOB,
        crop_place BLOB CHECK (length(crop_place) = 12 AND (crop IS NULL) = (crop_place IS NULL)),
        UNIQUE (person, source_sha256)
    ) STRICT;
    CREATE TABLE embedding (
        face INTEGER NOT NULL REFERENCES face ON DELETE CASCADE,
        space TEXT NOT NULL CHECK (space <> ''),
        -- Little-endian f32, unit length.
        vector BLOB NOT NULL CHECK (length(vector) > 0 AND length(vector) % 4 = 0),
        PRIMARY KEY (face, space)
    ) STRICT;
",
    "
    -- Whom a class of a trained head stands for. NULL: a person who was removed; the class answers unknown.
    CREATE TABLE head_class (
        head TEXT NOT NULL CHECK (head <> ''),
        class TEXT NOT NULL CHECK (class <> ''),
        person INTEGER REFERENCES person ON DELETE SET NULL,
        PRIMARY KEY (head, class)
    ) STRICT;
    CREATE INDEX head_class_person ON head_class (person);
",
    "
    -- Recognised, but nobody is told: the postman.
    ALTER TABLE person ADD COLUMN ignored INTEGER NOT NULL DEFAULT 0 CHECK (ignored IN (0, 1));
    -- From where on a face is this person's. NULL: as for everybody. By the gallery, and by a trained head.
    ALTER TABLE person ADD COLUMN threshold_cosine REAL CHECK (threshold_cosine > 0 AND threshold_cosine <= 1);
    ALTER TABLE person ADD COLUMN threshold_probability REAL
        CHECK (threshold_probability > 0 AND threshold_probability <= 1);
    -- The table of before, but that a face may be from a visit instead of a photo, and may be one that is not the
    -- person's. SQLite can't take a NOT NULL away.
    CREATE TABLE new_face (
        face INTEGER PRIMARY KEY,
        person INTEGER NOT NULL REFERENCES person ON DELETE CASCADE,
        -- 1: the face of somebody who is taken for the person, and is not.
        is_negative INTEGER NOT NULL CHECK (is_negative IN (0, 1)),
        -- Of the photo file.
        source_sha256 BLOB CHECK (length(source_sha256) = 32),
        -- The track of a visitor who was unknown then, and when the shot was taken.
        visit TEXT CHECK (length(visit) = 26),
        captured_at_ms INTEGER,
        -- Little-endian f32 in pixels of the photo or frame: left, top, right, bottom; five times x, y.
        box BLOB NOT NULL CHECK (length(box) = 16),
        landmarks BLOB NOT NULL CHECK (length(landmarks) = 40),
        probability REAL NOT NULL,
        size_px REAL NOT NULL,
        sharpness REAL NOT NULL,
        yaw_degrees REAL NOT NULL,
        -- The face with a margin, as JPEG without metadata; where it lies in the photo: left, top, scale.
        crop BLOB,
        crop_place BLOB CHECK (length(crop_place) = 12 AND (crop IS NULL) = (crop_place IS NULL)),
        CHECK ((source_sha256 IS NULL) = (visit IS NOT NULL)),
        CHECK ((visit IS NULL) = (captured_at_ms IS NULL)),
        UNIQUE (person, source_sha256),
        UNIQUE (person, visit, captured_at_ms)
    ) STRICT;
    INSERT INTO new_face
        SELECT face, person, 0, source_sha256, NULL, NULL, box, landmarks, probability, size_px, sharpness,
               yaw_degrees, crop, crop_place
        FROM face;
    DROP TABLE face;
    ALTER TABLE new_face RENAME TO face;
",
    "
    -- Who was removed: the sha256 of the uid's 26 letters, so that a backup from before doesn't bring them back unnoticed.
    CREATE TABLE removed (
        uid_sha256 BLOB PRIMARY KEY CHECK (length(uid_sha256) = 32)
    ) STRICT, WITHOUT ROWID;
",
];

/// The steps in rusqlite_migration's form.
pub(super) fn migrations() -> Migrations<'static> {
    Migrations::new(STEPS.iter().map(|step| M::up(step).foreign_key_check()).collect())
}

/// The newest version that this Kith knows.
#[expect(clippy::cast_possible_wrap, reason = "a handful of steps")]
pub(super) fn newest_version() -> i64 {
    STEPS.len() as i64
}

/// Where the backup from before a migration to `version` lies.
fn backup_path(database: &Path, version: i64) -> PathBuf {
    database.with_file_name(format!("gallery.before-v{version}.sqlite"))
}

/// What else holds the gallery's people beside `database`: copies from before migrations and restores, what a killed
/// backup left, and folders of killed restores.
pub(super) fn copies(database: &Path) -> Vec<PathBuf> {
    let entries = database
        .parent()
        .and_then(|folder| fs::read_dir(folder).ok())
        .into_iter()
        .flatten()
        .flatten();
    let is_copy = |name: &str| {
        // A copy that was cut short may have a journal beside it.
        (name.starts_with("gallery.before-") && name.ends_with(SNAPSHOT_SUFFIX))
            || name.starts_with(SNAPSHOT_PREFIX)
            || name.starts_with(RESTORE_PREFIX)
    };
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_copy))
        .map(|entry| entry.path())
        .collect()
}

/// Brings the database to `newest`, after a backup beside it if there is anything to lose. Two programs that start at
/// once wait for each other at a lock on the folder, which the kernel drops when its holder dies.
pub(super) fn migrate(
    connection: &mut Connection,
    database: &Path,
    migrations: &Migrations<'_>,
    newest: i64,
) -> Result<(), GalleryError> {
    if checked_version(connection, database, newest)? == newest {
        return Ok(());
    }
    let unusable = |source| GalleryError::Unusable {
        path: database.to_path_buf(),
        source,
    };
    let lock = File::open(database.parent().unwrap_or(Path::new("."))).map_err(unusable)?;
    lock.lock().map_err(unusable)?;
    let from = checked_version(connection, database, newest)?;
    if from == newest {
        return Ok(());
    }
    if from > 0 {
        back_up(connection, &backup_path(database, newest))?;
    }
    // A step that makes a table anew drops the old one, and must not take what refers to its rows along; the steps check
    // all references at their ends. What a step leaves behind is overwritten, since it may be faces.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    migrations.to_latest(connection).map_err(|error| match error {
        // A full disk or a busy database is what it is everywhere else.
        rusqlite_migration::Error::RusqliteError { err, query } => match GalleryError::from(err) {
            GalleryError::Sqlite(err) => {
                let source = Box::new(rusqlite_migration::Error::RusqliteError { err, query });
                GalleryError::Migration {
                    from,
                    to: newest,
                    source,
                }
            }
            known => known,
        },
        other => GalleryError::Migration {
            from,
            to: newest,
            source: Box::new(other),
        },
    })
}

/// The file's version; an error for a file that isn't ours or is too new.
pub(super) fn checked_version(connection: &Connection, database: &Path, newest: i64) -> Result<i64, GalleryError> {
    // One transaction, so that the three numbers are of one moment: another program may be making the schema.
    let moment = connection.unchecked_transaction()?;
    let number = |pragma| moment.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let foreign = || GalleryError::Foreign {
        path: database.to_path_buf(),
    };
    let application = number("application_id").map_err(|error| match GalleryError::from(error) {
        GalleryError::Damaged(_) => foreign(),
        other => other,
    })?;
    let version = number("user_version")?;
    let tables: i64 = moment.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    drop(moment);
    let is_fresh = application == 0 && version == 0 && tables == 0;
    if application != APPLICATION_ID && !is_fresh {
        return Err(foreign());
    }
    if version > newest {
        return Err(GalleryError::NewerSchema {
            path: database.to_path_buf(),
            found: version,
            known: newest,
        });
    }
    Ok(version)
}

/// Writes a copy under another name first, so that a backup that exists is whole.
fn back_up(connection: &Connection, backup: &Path) -> Result<(), GalleryError> {
    let unfinished = backup.with_extension("unfinished");
    let unusable = |source| GalleryError::Unusable {
        path: backup.to_path_buf(),
        source,
    };
    let file = state_dir::open_private_file(&unfinished).map_err(unusable)?;
    file.set_len(0).map_err(unusable)?;
    connection.backup(MAIN_DB, &unfinished, None)?;
    file.sync_all().map_err(unusable)?;
    fs::rename(&unfinished, backup).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gallery::{FILE_NAME, Gallery};

    #[test]
    fn the_steps_make_a_valid_schema() {
        migrations().validate().unwrap();
    }

    /// The steps that there are, and one more.
    fn with_step(step: &'static str) -> Migrations<'static> {
        Migrations::new(STEPS.iter().copied().chain([step]).map(M::up).collect())
    }

    /// A gallery as Kith made it before there were heads.
    #[test]
    fn people_of_version_1_are_there_after_the_migration_and_heads_can_be_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join(FILE_NAME);
        let mut connection = Connection::open(&database).unwrap();
        Migrations::new(vec![M::up(STEPS[0])])
            .to_latest(&mut connection)
            .unwrap();
        connection
            .execute_batch(
                "INSERT INTO person (id, uid, name) VALUES ('ann', '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'Ann');
                 INSERT INTO face (person, source_sha256, box, landmarks, probability, size_px, sharpness, yaw_degrees)
                 VALUES (1, zeroblob(32), zeroblob(16), zeroblob(40), 1.0, 100.0, 0.5, 0.0);
                 INSERT INTO embedding VALUES (1, 'space', x'0000803f00000000');",
            )
            .unwrap();
        drop(connection);
        let mut gallery = Gallery::open(folder.path()).unwrap();
        assert!(backup_path(&database, newest_version()).exists());
        let ann = gallery.find("ann").unwrap();
        assert_eq!(gallery.vectors("space").unwrap()[0].faces[0].as_slice(), [1.0, 0.0]);
        let mapped = gallery
            .map_classes("head", &["Ann".to_owned()], crate::gallery::Removed::Stay)
            .unwrap();
        assert_eq!(mapped[0].person.as_ref(), Some(&ann));
        gallery.remove(&["ann".to_owned()]).unwrap();
        assert_eq!(gallery.class_people("head").unwrap(), [("Ann".to_owned(), None)]);
        gallery.check().unwrap();
    }

    #[test]
    fn a_migration_leaves_a_private_backup_of_the_old_version() {
        let folder = tempfile::tempdir().unwrap();
        drop(Gallery::open(folder.path()).unwrap());
        let database = folder.path().join(FILE_NAME);
        let mut connection = Connection::open(&database).unwrap();
        let newest = newest_version();
        let later = with_step("ALTER TABLE person ADD COLUMN hat TEXT");
        migrate(&mut connection, &database, &later, newest + 1).unwrap();
        connection
            .query_row("SELECT count(hat) FROM person", [], |_| Ok(()))
            .unwrap();

        let backup = backup_path(&database, newest + 1);
        assert_eq!(copies(&database), std::slice::from_ref(&backup));
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&backup).unwrap()) & 0o777;
        assert_eq!(mode, 0o600);
        let old = Connection::open(backup).unwrap();
        assert_eq!(
            old.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
                .unwrap(),
            newest
        );
        drop(connection);

        let refusal = Gallery::open(folder.path()).unwrap_err();
        assert!(
            matches!(refusal, GalleryError::NewerSchema { found, known, .. } if (found, known) == (newest + 1, newest)),
            "{refusal}"
        );
    }

    #[test]
    fn a_failed_migration_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(Gallery::open(folder.path()).unwrap());
        let database = folder.path().join(FILE_NAME);
        let mut connection = Connection::open(&database).unwrap();
        let broken = with_step("DROP TABLE embedding; DROP TABLE nonsense");
        let newest = newest_version();
        let error = migrate(&mut connection, &database, &broken, newest + 1).unwrap_err();
        assert!(
            matches!(error, GalleryError::Migration { from, to, .. } if (from, to) == (newest, newest + 1)),
            "{error}"
        );
        drop(connection);
        assert!(Gallery::open(folder.path()).unwrap().people().unwrap().is_empty());
    }

    #[test]
    fn somebody_elses_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join(FILE_NAME);
        fs::write(
            &database,
            "dear diary, this is no database at all, but it is long enough to have a header; ".repeat(20),
        )
        .unwrap();
        let before = fs::read(&database).unwrap();
        assert!(matches!(
            Gallery::open(folder.path()).unwrap_err(),
            GalleryError::Foreign { .. }
        ));
        assert_eq!(fs::read(&database).unwrap(), before);

        fs::remove_file(&database).unwrap();
        Connection::open(&database)
            .unwrap()
            .execute_batch("CREATE TABLE recipe (text)")
            .unwrap();
        let before = fs::read(&database).unwrap();
        assert!(matches!(
            Gallery::open(folder.path()).unwrap_err(),
            GalleryError::Foreign { .. }
        ));
        assert_eq!(fs::read(&database).unwrap(), before);
    }

    #[test]
    fn many_programs_may_start_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Gallery::open(folder.path()).map(drop)))
                .collect();
            for start in starts {
                start.join().unwrap().unwrap();
            }
        });
    }
}
