//! The form of the database of visits, and opening it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

use super::error::SightingsError;
use crate::state_dir;

/// The database's name in the state directory.
pub const FILE_NAME: &str = "sightings.sqlite";

/// Marks the file as Kith's visits (`PRAGMA application_id`): `Kitv` in ASCII.
const APPLICATION_ID: i64 = 0x4b69_7476;

/// How long one program waits for another one's write. Writes take milliseconds; a slow card may take seconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// One entry per schema version, never changed once released. Times are milliseconds since 1970, ULIDs in capitals.
const STEPS: &[&str] = &["
    PRAGMA application_id = 0x4b697476;
    CREATE TABLE visit (
        visit INTEGER PRIMARY KEY,
        track TEXT NOT NULL UNIQUE CHECK (length(track) = 26),
        camera TEXT NOT NULL CHECK (camera <> ''),
        -- uids of people in the gallery; no names, so that a rename or removal leaves none here.
        person TEXT CHECK (length(person) = 26),
        similar_to TEXT CHECK (length(similar_to) = 26),
        from_ms INTEGER NOT NULL,
        to_ms INTEGER NOT NULL CHECK (to_ms >= from_ms),
        is_open INTEGER NOT NULL CHECK (is_open IN (0, 1)),
        -- NULL: named by hand, when it was over or nearly.
        confidence REAL CHECK (confidence BETWEEN 0 AND 1),
        shots INTEGER NOT NULL,
        -- JSON arrays of strings.
        zones TEXT NOT NULL,
        events TEXT NOT NULL
    ) STRICT;
    CREATE INDEX visit_from ON visit (from_ms);
    CREATE INDEX visit_person ON visit (person);
    -- What unknown visitors looked like; others have no rows here.
    CREATE TABLE shot (
        shot INTEGER PRIMARY KEY,
        visit INTEGER NOT NULL REFERENCES visit ON DELETE CASCADE,
        captured_at_ms INTEGER NOT NULL,
        -- Little-endian f32 in pixels of the frame: left, top, right, bottom; five times x, y.
        box BLOB NOT NULL CHECK (length(box) = 16),
        landmarks BLOB NOT NULL CHECK (length(landmarks) = 40),
        probability REAL NOT NULL,
        size_px REAL NOT NULL,
        sharpness REAL NOT NULL,
        yaw_degrees REAL NOT NULL,
        space TEXT NOT NULL CHECK (space <> ''),
        -- Little-endian f32, unit length.
        vector BLOB NOT NULL CHECK (length(vector) > 0 AND length(vector) % 4 = 0),
        UNIQUE (visit, captured_at_ms)
    ) STRICT;
    CREATE TABLE crop (
        visit INTEGER PRIMARY KEY REFERENCES visit ON DELETE CASCADE,
        jpeg BLOB NOT NULL CHECK (length(jpeg) > 0)
    ) STRICT;
"];

fn migrations() -> Migrations<'static> {
    Migrations::new(STEPS.iter().map(|step| M::up(step)).collect())
}

/// Opens the database in `state_dir`, makes or migrates it if need be. Gives the file's path, too.
pub(super) fn open(state_dir: &Path) -> Result<(Connection, PathBuf), SightingsError> {
    state_dir::prepare(state_dir)?;
    let path = state_dir.join(FILE_NAME);
    // SQLite gives its other files (-wal, -shm) the permissions of this one.
    state_dir::open_private_file(&path).map_err(|source| SightingsError::Unusable {
        path: path.clone(),
        source,
    })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    check_is_ours(&connection, &path)?;
    // What is deleted, and what a migration leaves behind, is overwritten with zeros.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    connection.pragma_update(None, "foreign_keys", false)?;
    migrations().to_latest(&mut connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // A power cut may take the last visits, but never the file.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok((connection, path))
}

fn check_is_ours(connection: &Connection, path: &Path) -> Result<(), SightingsError> {
    let foreign = || SightingsError::Foreign {
        path: path.to_path_buf(),
    };
    // One transaction, so that the three numbers are of one moment: another program may be making the schema.
    let moment = connection.unchecked_transaction()?;
    let number = |pragma| moment.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let application = number("application_id").map_err(|error| match SightingsError::from(error) {
        SightingsError::Damaged(_) => foreign(),
        other => other,
    })?;
    let version = number("user_version")?;
    let tables: i64 = moment.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_fresh = application == 0 && version == 0 && tables == 0;
    if application != APPLICATION_ID && !is_fresh {
        return Err(foreign());
    }
    let known = STEPS.len();
    if usize::try_from(version).is_ok_and(|version| version > known) {
        return Err(SightingsError::NewerSchema {
            path: path.to_path_buf(),
            found: version,
            known,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_make_a_valid_schema() {
        migrations().validate().unwrap();
    }

    #[test]
    fn other_files_and_newer_schemas_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, path) = open(folder.path()).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        assert!(matches!(
            open(folder.path()).unwrap_err(),
            SightingsError::NewerSchema { found: 99, .. }
        ));
        let text = "this is no database, but it is long enough to have a header; ".repeat(20);
        for side in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{side}", path.display()));
        }
        std::fs::write(&path, &text).unwrap();
        assert!(matches!(
            open(folder.path()).unwrap_err(),
            SightingsError::Foreign { .. }
        ));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
