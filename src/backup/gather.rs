//! From a running or stopped Kith to what goes into a backup. Everything is opened and summed up before the first byte is
//! written, since the manifest comes first.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags, flock};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::configuration::Configuration;
use super::manifest::{
    self, CONFIG, FORMAT_VERSION, FileEntry, GALLERY, LeftOut, MODELS_D, Manifest, NODE_ID, SIGHTINGS,
};
use crate::gallery::{Gallery, SNAPSHOT_PREFIX, SNAPSHOT_SUFFIX};
use crate::model::Catalogue;
use crate::sightings::Sightings;

/// What is to be backed up.
#[derive(Debug)]
pub struct Source {
    /// The state folder.
    pub state: PathBuf,
    /// The folder of the user's own models; it may not exist.
    pub models_d: PathBuf,
    /// The configuration, if there is one.
    pub configuration: Option<Configuration>,
    /// Whether visits go in.
    pub with_visits: bool,
}

/// What goes into a backup, open.
#[derive(Debug)]
pub struct Gathered {
    /// What it is.
    pub manifest: Manifest,
    /// The content of each file of the manifest, from its start.
    pub(super) contents: Vec<Content>,
}

#[derive(Debug)]
pub(super) enum Content {
    Bytes(Cursor<Vec<u8>>),
    File(File),
}

impl Read for Content {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Bytes(bytes) => bytes.read(out),
            Self::File(file) => file.read(out),
        }
    }
}

impl Seek for Content {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => bytes.seek(to),
            Self::File(file) => file.seek(to),
        }
    }
}

/// Opens what is to be backed up. The gallery is that of one moment, also while a daemon works with it.
///
/// # Errors
/// When there is no gallery, it is damaged, or a file can't be read.
pub fn gather(source: &Source) -> anyhow::Result<Gathered> {
    let Source { state, .. } = source;
    if !Gallery::exists(state) {
        bail!(
            "there is no gallery in {}; name the state folder with --state, or with --config the configuration that \
             names it",
            state.display()
        );
    }
    remove_left_copies(state);
    let copy = empty_copy(state)?;
    let snapshot = Gallery::open(state)?.snapshot(copy.path())?;
    ensure_in_place(&copy)?;
    let mut gathering = Gathering {
        files: Vec::new(),
        contents: Vec::new(),
        left_out: Vec::new(),
    };
    // From here on the copy has no name, and is gone whatever happens.
    let copy = copy.into_file();
    // First, since it says where the rest goes.
    if let Some(configuration) = &source.configuration {
        let text = configuration.text.clone().into_bytes();
        gathering.add(CONFIG, Content::Bytes(Cursor::new(text)))?;
        for (named_by, file) in configuration.files() {
            let file = file.display().to_string();
            gathering.left_out.push(LeftOut { file, named_by });
        }
    }
    // Root doesn't follow a link that the service's user laid there.
    if let Ok(node) = read_itself(&state.join(NODE_ID)) {
        gathering.add(NODE_ID, Content::Bytes(Cursor::new(node)))?;
    }
    gathering.add(GALLERY, Content::File(copy))?;
    gathering.add_models(&source.models_d)?;
    if source.with_visits && Sightings::exists(state) {
        let copy = empty_copy(state)?;
        Sightings::open(state)?.snapshot(copy.path())?;
        ensure_in_place(&copy)?;
        gathering.add(SIGHTINGS, Content::File(copy.into_file()))?;
    }
    Ok(Gathered {
        manifest: Manifest {
            kith_backup: FORMAT_VERSION,
            kith: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: Timestamp::now(),
            gallery_schema: snapshot.schema,
            people: u64::from(snapshot.people),
            faces: u64::from(snapshot.faces),
            files: gathering.files,
            left_out: gathering.left_out,
        },
        contents: gathering.contents,
    })
}

struct Gathering {
    files: Vec<FileEntry>,
    contents: Vec<Content>,
    left_out: Vec<LeftOut>,
}

impl Gathering {
    fn add(&mut self, name: &str, mut content: Content) -> anyhow::Result<()> {
        let read = || format!("can't read what is to be {name} in the backup");
        content.rewind().with_context(read)?;
        let (bytes, sha256) = sum(&mut content).with_context(read)?;
        content.rewind().with_context(read)?;
        self.files.push(FileEntry {
            name: name.to_owned(),
            bytes,
            sha256,
        });
        self.contents.push(content);
        Ok(())
    }

    /// The catalogue files in `models_d` and the networks that they name.
    fn add_models(&mut self, models_d: &Path) -> anyhow::Result<()> {
        let own = Catalogue::own(models_d)?;
        let catalogues = own.files().iter().map(|file| (file.clone(), None));
        let networks = own.entries().flat_map(|(model, file)| {
            let files = model.files.values();
            files.map(move |network| (network.path.clone(), Some((network.sha256.clone(), file.to_path_buf()))))
        });
        let mut seen = Vec::new();
        for (path, network) in catalogues.chain(networks) {
            if seen.contains(&path) {
                continue;
            }
            seen.push(path.clone());
            let name = path.strip_prefix(models_d).ok().and_then(Path::to_str);
            let name = name.map(|name| format!("{MODELS_D}/{name}"));
            let Some(name) = name.filter(|name| manifest::is_name(name)) else {
                // It lies elsewhere, and may not be ours.
                let named_by = network.map_or(path.clone(), |(_, named_by)| named_by);
                self.left_out.push(LeftOut {
                    file: path.display().to_string(),
                    named_by: named_by.display().to_string(),
                });
                continue;
            };
            let file = File::open(&path).with_context(|| format!("can't read {}", path.display()))?;
            self.add(&name, Content::File(file))?;
            let found = self.files.last().map(|file| file.sha256.as_str());
            if let Some((sha256, entry)) = network.filter(|(sha256, _)| Some(sha256.as_str()) != found) {
                bail!(
                    "{} is not the model that {} names (sha256 {sha256}); mend or remove the entry first",
                    path.display(),
                    entry.display()
                );
            }
        }
        Ok(())
    }
}

/// Reads `from` to its end. Gives its size and sha256 in lower-case hex.
pub(super) fn sum(from: &mut impl Read) -> io::Result<(u64, String)> {
    let mut sum = Summing {
        sum: Sha256::new(),
        to: io::sink(),
    };
    let bytes = io::copy(from, &mut sum)?;
    Ok((bytes, HEXLOWER.encode(&sum.sum.finalize())))
}

/// Passes on what is written, and sums it up.
pub(super) struct Summing<W> {
    pub(super) sum: Sha256,
    pub(super) to: W,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// An empty file for a copy of a database. It lies in the state folder, where the same lies anyway: faces must not come
/// unencrypted to where the backup goes, a stick or a share. Locked, so that it can be told from one left behind.
pub(super) fn empty_copy(state: &Path) -> anyhow::Result<NamedTempFile> {
    let copy = tempfile::Builder::new()
        .prefix(SNAPSHOT_PREFIX)
        .suffix(SNAPSHOT_SUFFIX)
        .tempfile_in(state)
        .with_context(|| format!("can't write to {}", state.display()))?;
    flock(copy.as_file(), FlockOperation::NonBlockingLockExclusive)?;
    Ok(copy)
}

/// Reads a file that is no link.
fn read_itself(file: &Path) -> io::Result<Vec<u8>> {
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    let mut bytes = Vec::new();
    File::options()
        .read(true)
        .custom_flags(no_link)
        .open(file)?
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes sure that `copy` is still what lies under its name: removing somebody removes copies, and SQLite would then have
/// written to a new file.
pub(super) fn ensure_in_place(copy: &NamedTempFile) -> anyhow::Result<()> {
    let number = |about: fs::Metadata| (about.dev(), about.ino());
    let open = copy.as_file().metadata().map(number);
    let named = fs::metadata(copy.path()).map(number);
    let is_same = matches!((open, named), (Ok(open), Ok(named)) if open == named);
    ensure!(is_same, "somebody changed the gallery meanwhile; try again");
    Ok(())
}

/// Removes the copies that a killed backup or restore left, and their journals.
pub(super) fn remove_left_copies(state: &Path) {
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((start, _)) = name
            .split_once(SNAPSHOT_SUFFIX)
            .filter(|(start, _)| start.starts_with(SNAPSHOT_PREFIX))
        else {
            continue;
        };
        let copy = state.join(format!("{start}{SNAPSHOT_SUFFIX}"));
        let is_in_use =
            File::open(copy).is_ok_and(|copy| flock(&copy, FlockOperation::NonBlockingLockExclusive).is_err());
        if !is_in_use {
            let _ = fs::remove_file(&path);
        }
    }
}
