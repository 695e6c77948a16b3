//! Backups: one file with the gallery, the configuration and the user's own models, encrypted with a passphrase unless
//! that is refused. `docs/reference/backup.md` describes the file.
//!
//! - `manifest`: what is in it
//! - `seal`: the sum over the whole file, in its last blocks
//! - `cipher`: the age format around it
//! - `configuration`: what of `kith.toml` concerns a backup
//! - `gather`: from a running or stopped Kith to what goes in
//! - `write`: from there to the file
//! - `open`: from the file to files in a folder
//! - `plan`: whether they are good, and what they would change
//! - `place`: changing it

mod cipher;
mod configuration;
mod gather;
mod manifest;
mod open;
mod place;
mod plan;
mod seal;
mod write;

pub use configuration::Configuration;
pub use gather::{Gathered, Source, gather};
pub use manifest::{CONFIG, FORMAT_VERSION, FileEntry, GALLERY, LeftOut, MODELS_D, Manifest, NODE_ID, SIGHTINGS};
pub use open::Backup;
pub use place::{Placed, place};
pub use plan::{Change, Plan, Staged, Target, stage};
pub use write::write;
