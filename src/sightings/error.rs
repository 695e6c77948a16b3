//! What can go wrong with the memory of visits.

use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::gallery::GalleryError;
use crate::state_dir::StateDirError;

/// Why the visits can't be read or changed. Whatever it was, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SightingsError {
    /// The folder can't be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The database file can't be made or opened.
    #[error("can't open the visits {path}: {source}")]
    Unusable {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Some other program's database.
    #[error("{path} does not hold Kith's visits; move it away or name another folder with --state")]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// Written by a later Kith.
    #[error(
        "the visits {path} have schema version {found}, but this Kith knows only up to {known}; use the Kith that wrote \
         them or a newer one"
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// The file's version.
        found: i64,
        /// Ours.
        known: usize,
    },
    /// A step of the schema failed.
    #[error("can't bring the visits to this Kith's schema: {0}")]
    Migration(#[from] rusqlite_migration::Error),
    /// Another program is writing.
    #[error("another program is writing the visits; try again when it has ended")]
    Busy,
    /// What was deleted is still in the log.
    #[error(
        "it is done, but the old content is still in the log of sightings.sqlite, since another program reads it; it \
         goes with the next change that ends well"
    )]
    NotForgotten,
    /// The disk is full, or fails.
    #[error("the disk can't take more (it is full, a file may not grow, or it fails); free space and try again")]
    DiskFull,
    /// The file does not hold together.
    #[error("the visits are damaged ({0}); move sightings.sqlite* away, new ones will be kept in a new file")]
    Damaged(String),
    /// Anything else that SQLite says.
    #[error("the database of visits failed: {0}")]
    Sqlite(rusqlite::Error),
    /// No unknown visitor of this id.
    #[error("there is no unknown visitor {0:?}; `kith unknown list` shows who is there")]
    NoSuchStranger(String),
    /// Several visitors may be meant.
    #[error("{0:?} may be several visits; give more letters of the id")]
    Ambiguous(String),
    /// Nobody unknown was there.
    #[error("the camera {camera} saw nobody unknown in the last {minutes} minutes")]
    NobodyUnknown {
        /// The camera's id.
        camera: String,
        /// How far was looked back.
        minutes: u64,
    },
    /// The gallery can't take a visitor.
    #[error(transparent)]
    Gallery(#[from] GalleryError),
}

impl From<rusqlite::Error> for SightingsError {
    fn from(error: rusqlite::Error) -> Self {
        let failure = error.sqlite_error();
        match failure.map(|failure| (failure.code, failure.extended_code)) {
            Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => Self::Busy,
            Some(
                (ErrorCode::DiskFull, _) | (_, rusqlite::ffi::SQLITE_IOERR_WRITE | rusqlite::ffi::SQLITE_IOERR_SHMSIZE),
            ) => Self::DiskFull,
            Some((ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _)) => Self::Damaged(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}
