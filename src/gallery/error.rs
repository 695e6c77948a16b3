//! What can go wrong with the gallery.

use std::path::PathBuf;

use rusqlite::{ErrorCode, ffi};

use super::name::NameError;
use crate::state_dir::StateDirError;

/// Why the gallery can't do what it was asked for. Whatever it was, nothing of it was done.
#[derive(Debug, thiserror::Error)]
pub enum GalleryError {
    /// The folder can't be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The database file can't be made or opened.
    #[error("can't open the gallery {path}: {source}")]
    Unusable {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Some other program's database.
    #[error("{path} is not a Kith gallery; move it away or name another folder with --state")]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// Written by a later Kith.
    #[error(
        "the gallery {path} has schema version {found}, but this Kith knows only up to {known}; \
         use the Kith that wrote it or a newer one"
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// The file's version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A step of the schema failed; the old version is untouched.
    #[error("can't bring the gallery to schema version {to}: {source}; it is still at version {from}")]
    Migration {
        /// The version that it has.
        from: i64,
        /// The version that it should get.
        to: i64,
        /// What failed.
        source: Box<rusqlite_migration::Error>,
    },
    /// Another command is writing.
    #[error("another command is writing to the gallery; try again when it has ended")]
    Busy,
    /// The disk is full, a file may not grow any more (a quota, a limit), or writing fails.
    #[error(
        "the disk can't take more (it is full, a file may not grow, or it fails), so nothing was changed; \
         free space and try again"
    )]
    DiskFull,
    /// The change itself is on the disk, but what was before it is still in the database's log.
    #[error(
        "it is done, but the old content is still in the database's log, because {0}; \
         it goes with the next change of the gallery that ends well"
    )]
    NotForgotten(Box<GalleryError>),
    /// The file does not hold together.
    #[error(
        "the gallery is damaged ({0}); move gallery.sqlite* away and bring people back with `kith people import` \
         or `kith enroll`"
    )]
    Damaged(String),
    /// Anything else that SQLite says.
    #[error("the gallery's database failed: {}{}", .0, extended_code(.0))]
    Sqlite(rusqlite::Error),
    /// A name that can't be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nobody has this id or name.
    #[error("nobody in the gallery has the id or name {0:?}; `kith people` lists them")]
    NoSuchPerson(String),
    /// Several people have this name.
    #[error("{} people are called {name:?}; say which one by id: {}", ids.len(), ids.join(", "))]
    Ambiguous {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// A face can't be somebody's and not theirs.
    #[error(
        "one of the faces is already {} {id}; {} and try again",
        if *is_negative { "a negative example of" } else { "enrolled for" },
        if *is_negative { format!("forget those with `kith people not {id} --forget`") }
        else { format!("remove {id} with `kith people remove {id}`, enrol the right photos") }
    )]
    Contradiction {
        /// The person's id.
        id: String,
        /// Whether the gallery has it as a negative example.
        is_negative: bool,
    },
    /// People have no vector of the active model.
    #[error(
        "the gallery was made with another model: {} no vector in the space {space}, and no kept crop to make one \
         from; enrol new photos with `kith enroll ID PHOTO…` or remove them with `kith people remove ID`, \
         or go back to the model of {}",
        have_no(ids), stored.join(", ")
    )]
    OtherSpace {
        /// The active model's space.
        space: String,
        /// Ids of the people without.
        ids: Vec<String>,
        /// The spaces that their faces have.
        stored: Vec<String>,
    },
    /// An export that can't be imported.
    #[error("line {line} of the export: {reason}; nothing was imported")]
    Import {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Reading or writing an export failed.
    #[error("can't read or write the export: {0}")]
    ExportFile(#[from] std::io::Error),
}

/// "Disk I/O error" alone would not say whether reading, writing or locking failed.
fn extended_code(error: &rusqlite::Error) -> String {
    error
        .sqlite_error()
        .map(|failure| format!(" (SQLite code {})", failure.extended_code))
        .unwrap_or_default()
}

fn have_no(ids: &[String]) -> String {
    let verb = if ids.len() == 1 { "has" } else { "have" };
    format!("{} {verb}", ids.join(", "))
}

impl From<rusqlite::Error> for GalleryError {
    fn from(error: rusqlite::Error) -> Self {
        match error
            .sqlite_error()
            .map(|failure| (failure.code, failure.extended_code))
        {
            Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => Self::Busy,
            // A file that hits its size limit shows as a failed write or a failed shared-memory file.
            Some((ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE)) => Self::DiskFull,
            Some((ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _)) => Self::Damaged(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}
