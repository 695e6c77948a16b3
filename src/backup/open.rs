//! From the file back to files in a folder, each checked. Nothing of a backup is believed before all of it was read.

use std::cell::OnceCell;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use anyhow::{Context, bail, ensure};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tar::{Archive, Entry};

use super::cipher::Input;
use super::manifest::{self, CONFIG, FileEntry, Manifest};
use super::place::adopt;
use super::seal::Sealed;
use crate::state_dir::{FILE_MODE, FOLDER_MODE};

const CHUNK_BYTES: usize = 64 * 1024;
/// No configuration is longer.
const MAX_CONFIG_BYTES: u64 = 4 * 1024 * 1024;

type Reader = Sealed<Input<BufReader<File>>>;

/// A backup, not believed yet.
pub struct Backup<'a> {
    file: PathBuf,
    ask: &'a dyn Fn() -> anyhow::Result<SecretString>,
    passphrase: OnceCell<SecretString>,
}

impl<'a> Backup<'a> {
    /// The backup in `file`; `ask` gives the passphrase, if there has to be one.
    pub fn new(file: &Path, ask: &'a dyn Fn() -> anyhow::Result<SecretString>) -> Self {
        Self {
            file: file.to_path_buf(),
            ask,
            passphrase: OnceCell::new(),
        }
    }

    fn archive(&self) -> anyhow::Result<Archive<Reader>> {
        let file = File::open(&self.file).context("it can't be opened")?;
        ensure!(file.metadata()?.is_file(), "it is no file");
        let input = Input::new(BufReader::with_capacity(CHUNK_BYTES, file), || {
            if let Some(known) = self.passphrase.get() {
                return Ok(known.clone());
            }
            let asked = (self.ask)()?;
            Ok(self.passphrase.get_or_init(|| asked).clone())
        })?;
        Ok(Archive::new(Sealed::new(input)))
    }

    /// What it says of itself, and the configuration, which says where the rest goes. Not checked as a whole.
    ///
    /// # Errors
    /// When it is no backup, is of a newer format, damaged at its beginning, or has another passphrase.
    pub fn peek(&self) -> anyhow::Result<(Manifest, Option<String>)> {
        let mut archive = self.archive()?;
        let mut entries = archive.entries()?;
        let manifest = manifest_of(entries.next())?;
        let Some(first) = manifest.files.first().filter(|file| file.name == CONFIG) else {
            return Ok((manifest, None));
        };
        ensure!(
            first.bytes <= MAX_CONFIG_BYTES,
            "its configuration is too long to be one"
        );
        let mut text = Vec::new();
        unpack_to(&mut entry_of(entries.next(), first)?, first, &mut text)?;
        let text = String::from_utf8(text).context("its configuration is no text")?;
        Ok((manifest, Some(text)))
    }

    /// Unpacks everything into the empty folder `into`, and checks each file and the whole. `progress` is told how many
    /// bytes were done each time.
    ///
    /// # Errors
    /// When any byte of it is not as it was written, or the disk is full.
    pub fn unpack(&self, into: &Path, progress: &dyn Fn(u64)) -> anyhow::Result<Manifest> {
        let mut archive = self.archive()?;
        let mut entries = archive.entries()?;
        let manifest = manifest_of(entries.next())?;
        for file in &manifest.files {
            let mut entry = entry_of(entries.next(), file)?;
            let target = into.join(&file.name);
            let write = || format!("can't write {}; is the disk full?", target.display());
            if let Some(folder) = target.parent() {
                DirBuilder::new()
                    .recursive(true)
                    .mode(FOLDER_MODE)
                    .create(folder)
                    .with_context(write)?;
                adopt(folder, into);
            }
            let mut options = OpenOptions::new();
            let to = options.write(true).create_new(true).mode(FILE_MODE).open(&target);
            let mut to = Telling {
                to: to.with_context(write)?,
                progress,
            };
            unpack_to(&mut entry, file, &mut to)?;
        }
        ensure!(entries.next().is_none(), "it holds more than its manifest says");
        let is_whole = archive.into_inner().check().context(DAMAGED)?;
        ensure!(is_whole, "{DAMAGED}");
        Ok(manifest)
    }
}

const DAMAGED: &str = "it is damaged or cut off";

fn manifest_of(entry: Option<std::io::Result<Entry<'_, Reader>>>) -> anyhow::Result<Manifest> {
    let Some(entry) = entry else { bail!(DAMAGED) };
    let entry = entry.context(DAMAGED)?;
    let is_it = *entry.path_bytes() == *manifest::FILE_NAME.as_bytes() && entry.header().entry_type().is_file();
    ensure!(is_it, "it is no backup of Kith");
    ensure!(
        entry.size() <= manifest::MAX_BYTES,
        "its manifest is too long to be one"
    );
    let mut json = Vec::new();
    entry
        .take(manifest::MAX_BYTES)
        .read_to_end(&mut json)
        .context(DAMAGED)?;
    Manifest::parse(&json)
}

/// The next entry, if it is the one of `file`.
fn entry_of<'a>(
    entry: Option<std::io::Result<Entry<'a, Reader>>>,
    file: &FileEntry,
) -> anyhow::Result<Entry<'a, Reader>> {
    let Some(entry) = entry else {
        bail!("{DAMAGED}: {} is not in it", file.name)
    };
    let entry = entry.context(DAMAGED)?;
    let is_it = *entry.path_bytes() == *file.name.as_bytes()
        && entry.header().entry_type().is_file()
        && entry.size() == file.bytes;
    ensure!(is_it, "{DAMAGED}: {} is not where its manifest says", file.name);
    Ok(entry)
}

/// Writes the content of an entry, and checks that it is that of the manifest.
fn unpack_to(entry: &mut impl Read, file: &FileEntry, to: &mut impl Write) -> anyhow::Result<()> {
    let mut sum = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = entry.read(&mut chunk).context(DAMAGED)?;
        if read == 0 {
            break;
        }
        sum.update(&chunk[..read]);
        to.write_all(&chunk[..read])
            .with_context(|| format!("can't unpack {}; is the disk full?", file.name))?;
    }
    ensure!(
        HEXLOWER.encode(&sum.finalize()) == file.sha256,
        "{DAMAGED}: {} has another sha256 than its manifest says",
        file.name
    );
    Ok(())
}

/// Tells how much was written.
struct Telling<'a> {
    to: File,
    progress: &'a dyn Fn(u64),
}

impl Write for Telling<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        (self.progress)(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Removes folders in `state` that killed restores left, whose names begin with `prefix`.
pub(super) fn remove_leftovers(state: &Path, prefix: &str) {
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
