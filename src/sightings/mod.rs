//! Memory of visits: who was where and when, and what unknown visitors looked like, for as long as the configuration
//! says. One SQLite database in the state directory, which holds no names: people are uids of the gallery.
//!
//! - `record`: visits, as they are told and given back
//! - `schema`: the tables, and opening them
//! - `store`: remembering and forgetting
//! - `query`: asking
//! - `group`: which visits of unknown people are visits of one
//! - `naming`: giving an unknown visitor a name
//! - `memory`: the daemon's thread that owns the database
//! - `recorder`: what one camera tells it

mod error;
mod group;
mod memory;
mod naming;
mod query;
mod record;
mod recorder;
mod schema;
mod store;

use std::path::{Path, PathBuf};

pub use error::SightingsError;
pub use group::{Looks, SAME_VISITOR_COSINE, group};
pub use memory::{Kept, Memory, ToSightings};
pub use naming::{Newcomer, name_last_unknown, name_stranger};
pub use query::{Query, Whose};
pub use record::{Stranger, StrangerNow, StrangerShot, Visit, VisitNow, short_id};
pub use recorder::Recorder;
use rusqlite::Connection;
pub use schema::FILE_NAME;
pub use store::{Forgotten, Retention};

/// The open memory of visits, owned by one thread. Other programs may have it open, too.
#[derive(Debug)]
pub struct Sightings {
    connection: Connection,
    path: PathBuf,
}

impl Sightings {
    /// Whether there is one in `state_dir`; commands that only ask needn't make one.
    pub fn exists(state_dir: &Path) -> bool {
        state_dir.join(FILE_NAME).exists()
    }

    /// Opens the database in `state_dir`, makes or migrates it if need be. The folder gets mode 0700, the file 0600.
    ///
    /// # Errors
    /// When the folder or file can't be used, is not ours, too new, or damaged.
    pub fn open(state_dir: &Path) -> Result<Self, SightingsError> {
        let (connection, path) = schema::open(state_dir)?;
        Ok(Self { connection, path })
    }

    /// Copies the visits as they are at one moment into the empty file `into`. Others may go on writing meanwhile.
    ///
    /// # Errors
    /// When the copy can't be written or the database fails.
    pub fn snapshot(&self, into: &Path) -> Result<(), SightingsError> {
        let path = into.to_string_lossy();
        self.connection.execute("VACUUM INTO ?", [&path])?;
        Ok(())
    }

    /// Whether no visit is remembered.
    ///
    /// # Errors
    /// When the database fails.
    pub fn is_empty(&self) -> Result<bool, SightingsError> {
        Ok(!self.connection.prepare("SELECT 1 FROM visit")?.exists([])?)
    }

    /// Whether the database holds together, rows' references included.
    ///
    /// # Errors
    /// [`SightingsError::Damaged`] with SQLite's words.
    pub fn check(&self) -> Result<(), SightingsError> {
        let verdict: String = self
            .connection
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        let is_broken = self.connection.prepare("PRAGMA foreign_key_check")?.exists([])?;
        if verdict == "ok" && !is_broken {
            Ok(())
        } else {
            Err(SightingsError::Damaged(verdict))
        }
    }

    /// Replaces all visits by those of `other`, as one change.
    ///
    /// # Errors
    /// When another program is writing, or the disk is full; then nothing was changed.
    pub fn replace_with(&mut self, other: &Self) -> Result<(), SightingsError> {
        let copying = rusqlite::backup::Backup::new(&other.connection, &mut self.connection)?;
        match copying.step(-1)? {
            rusqlite::backup::StepResult::Done => Ok(()),
            _ => Err(SightingsError::Busy),
        }
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests;
