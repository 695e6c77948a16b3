//! `manifest.json`, the first file in a backup.

use std::collections::HashSet;
use std::path::{Component, Path};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of the format that is written; a newer one is refused.
pub const FORMAT_VERSION: u32 = 1;

/// The name of this file in the backup.
pub(super) const FILE_NAME: &str = "manifest.json";
/// No manifest is longer, in bytes: some ten thousand files.
pub(super) const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The gallery's name in a backup.
pub const GALLERY: &str = "gallery.sqlite";
/// The name of the visits in a backup.
pub const SIGHTINGS: &str = "sightings.sqlite";
/// The configuration's name in a backup.
pub const CONFIG: &str = "kith.toml";
/// The name of the file with the node's name.
pub const NODE_ID: &str = "node-id";
/// The folder of the user's own models in a backup.
pub const MODELS_D: &str = "models.d";

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the Kith that wrote it.
    pub kith_backup: u32,
    /// The version of that Kith.
    pub kith: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// The schema version of the gallery.
    pub gallery_schema: i64,
    /// How many people are in the gallery.
    pub people: u64,
    /// How many faces they have, negative examples included.
    pub faces: u64,
    /// The files, in their order in the backup.
    pub files: Vec<FileEntry>,
    /// What belongs to this Kith and is not in the backup.
    pub left_out: Vec<LeftOut>,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// One of the names above, or a path in [`MODELS_D`], with `/` between folders.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// In lower-case hex.
    pub sha256: String,
}

/// Something that is not in a backup, and has to be put back by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Where it was.
    pub file: String,
    /// What named it: a key of the configuration, or a catalogue file.
    pub named_by: String,
}

impl Manifest {
    /// Reads one and checks what it names.
    ///
    /// # Errors
    /// When it is none, of a newer format, or names a file that can't be in a backup.
    pub(super) fn parse(json: &[u8]) -> anyhow::Result<Self> {
        let value: serde_json::Value = serde_json::from_slice(json).context("its manifest can't be read")?;
        match value.get("kith_backup").and_then(serde_json::Value::as_u64) {
            Some(version) if version > u64::from(FORMAT_VERSION) => bail!(
                "it has format version {version}, but this Kith ({}) knows only up to {FORMAT_VERSION}; use the Kith \
                 that made it or a newer one",
                env!("CARGO_PKG_VERSION")
            ),
            Some(version) if version > 0 => {}
            _ => bail!("its manifest has no format version"),
        }
        let manifest: Self = serde_json::from_value(value).context("its manifest can't be read")?;
        let mut seen = HashSet::new();
        for FileEntry { name, .. } in &manifest.files {
            ensure!(
                is_name(name) && seen.insert(name.as_str()),
                "its manifest names the file {name:?}, which can't be in a backup, or twice"
            );
        }
        ensure!(seen.contains(GALLERY), "its manifest names no {GALLERY}");
        Ok(manifest)
    }

    /// The entry of the file called `name`.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The files in [`MODELS_D`], each with its path there.
    pub fn models(&self) -> impl Iterator<Item = (&FileEntry, &Path)> {
        self.files.iter().filter_map(|file| {
            let path = Path::new(&file.name).strip_prefix(MODELS_D).ok()?;
            Some((file, path))
        })
    }

    /// How many bytes the files have together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

/// Whether a file in a backup may have this name. Nothing is ever written outside of the folder that it is meant for.
pub(super) fn is_name(name: &str) -> bool {
    if [GALLERY, SIGHTINGS, CONFIG, NODE_ID].contains(&name) {
        return true;
    }
    let Some(path) = name.strip_prefix("models.d/") else {
        return false;
    };
    let is_plain = |part: Component<'_>| match part {
        Component::Normal(part) => !part.as_encoded_bytes().starts_with(b"."),
        _ => false,
    };
    // `components` would pass over empty parts and dots in the middle.
    let parts = path.split('/').count();
    !path.contains('\0') && Path::new(path).components().count() == parts && Path::new(path).components().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_stay_in_their_folder_are_names() {
        for good in [
            "gallery.sqlite",
            "kith.toml",
            "models.d/a.toml",
            "models.d/nets/größe 1.onnx",
        ] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "models.d",
            "models.d/",
            "models.d/../kith.toml",
            "models.d/a/../../x",
            "models.d//a",
            "models.d/./a",
            "models.d/.hidden",
            "models.d/a/",
            "/etc/passwd",
            "../gallery.sqlite",
            "other",
            "models.d/a\0b",
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_a_broken_one() {
        let said = |json: &str| Manifest::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(said(r#"{"kith_backup":2,"something":"new"}"#).contains("format version 2"));
        assert!(said("{}").contains("no format version"));
        assert!(said("[").contains("can't be read"));
        assert!(said(r#"{"kith_backup":1,"hat":1}"#).contains("can't be read"));
    }
}
