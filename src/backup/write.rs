//! From what was gathered to the file.

use std::io::{self, Read, Write};

use age::secrecy::SecretString;
use anyhow::{Context, ensure};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

use super::cipher::Output;
use super::gather::{Content, Gathered};
use super::manifest;
use super::seal::Sealing;

/// Writes a backup to `to`, encrypted where there is a passphrase. `progress` is told how many bytes were done each time.
/// Gives back `to`, to which everything was written, but which was not flushed.
///
/// # Errors
/// When it can't be written, or a file changes while it is read; then what was written is no backup.
pub fn write<W: Write>(
    gathered: Gathered,
    to: W,
    passphrase: Option<&SecretString>,
    progress: &dyn Fn(u64),
) -> anyhow::Result<W> {
    let Gathered { manifest, contents } = gathered;
    let mut archive = Builder::new(Sealing::new(Output::new(to, passphrase)?));
    let header = |bytes: u64| {
        let mut header = Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(manifest.made_at.as_second()).unwrap_or_default());
        header
    };
    let json = serde_json::to_vec_pretty(&manifest)?;
    archive.append_data(&mut header(json.len() as u64), manifest::FILE_NAME, json.as_slice())?;
    for (file, content) in manifest.files.iter().zip(contents) {
        let mut reading = Reading {
            // Never more than the header says.
            content: content.take(file.bytes),
            bytes: 0,
            sum: Sha256::new(),
            progress,
        };
        archive.append_data(&mut header(file.bytes), &file.name, &mut reading)?;
        let is_the_same = reading.bytes == file.bytes && HEXLOWER.encode(&reading.sum.finalize()) == file.sha256;
        ensure!(is_the_same, "{} was changed while it was read; try again", file.name);
    }
    let output = Sealing::finish(archive).context("can't end the backup")?;
    Ok(output.finish()?)
}

/// Sums up what is read.
struct Reading<'a> {
    content: io::Take<Content>,
    bytes: u64,
    sum: Sha256,
    progress: &'a dyn Fn(u64),
}

impl Read for Reading<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(out)?;
        self.sum.update(&out[..read]);
        self.bytes += read as u64;
        (self.progress)(read as u64);
        Ok(read)
    }
}
