//! The age format around a backup: a passphrase through scrypt, then ChaCha20-Poly1305 in pieces.

use std::io::{self, BufRead, Read, Write};
use std::iter;

use age::scrypt::{Identity, Recipient};
use age::secrecy::SecretString;
use age::stream::{StreamReader, StreamWriter};
use age::{DecryptError, Decryptor, Encryptor};
use anyhow::{Context, bail};

/// scrypt with N = 2^17, r = 8: 128 MiB and about half a second, for whoever guesses at each guess. Fixed, so that what
/// a fast box wrote a small one can read.
const WORK_FACTOR: u8 = 17;
/// What is read at most: 1 GiB. A file that asks for more is meant to hurt.
const MAX_WORK_FACTOR: u8 = 20;

/// Where a backup is written to, encrypted or not.
pub(super) enum Output<W: Write> {
    Plain(W),
    Encrypted(Box<StreamWriter<W>>),
}

impl<W: Write> Output<W> {
    /// Encrypts where there is a passphrase.
    pub(super) fn new(to: W, passphrase: Option<&SecretString>) -> anyhow::Result<Self> {
        let Some(passphrase) = passphrase else {
            return Ok(Self::Plain(to));
        };
        let mut recipient = Recipient::new(passphrase.clone());
        recipient.set_work_factor(WORK_FACTOR);
        let encryptor = Encryptor::with_recipients(iter::once(&recipient as _)).context("can't encrypt")?;
        Ok(Self::Encrypted(Box::new(encryptor.wrap_output(to)?)))
    }

    /// Ends it; gives where it was written to.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(to) => Ok(to),
            Self::Encrypted(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(to) => to.write(bytes),
            Self::Encrypted(to) => to.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(to) => to.flush(),
            Self::Encrypted(to) => to.flush(),
        }
    }
}

/// What a backup is read from.
pub(super) enum Input<R: Read> {
    Plain(R),
    Encrypted(Box<StreamReader<R>>),
}

impl<R: BufRead> Input<R> {
    /// Asks for the passphrase where there is something to decrypt.
    pub(super) fn new(mut from: R, passphrase: impl FnOnce() -> anyhow::Result<SecretString>) -> anyhow::Result<Self> {
        let start = from.fill_buf().context("it can't be read")?;
        if !start.starts_with(b"age-encryption.org/") {
            // The first file in it, and what every tar archive has there.
            let is_tar = start.starts_with(b"manifest.json\0") && start.get(257..262) == Some(b"ustar");
            if !is_tar {
                bail!("it is no backup of Kith");
            }
            return Ok(Self::Plain(from));
        }
        let decryptor = Decryptor::new_buffered(from).map_err(told)?;
        if !decryptor.is_scrypt() {
            bail!(
                "it is encrypted to a key, not with a passphrase; decrypt it with `age -d -i KEY` and restore the result"
            );
        }
        let mut identity = Identity::new(passphrase()?);
        identity.set_max_work_factor(MAX_WORK_FACTOR);
        let reader = decryptor.decrypt(iter::once(&identity as _)).map_err(told)?;
        Ok(Self::Encrypted(Box::new(reader)))
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(from) => from.read(out),
            Self::Encrypted(from) => from.read(out),
        }
    }
}

fn told(error: DecryptError) -> anyhow::Error {
    match error {
        DecryptError::DecryptionFailed | DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed => {
            anyhow::anyhow!("that is not its passphrase (or its first bytes are damaged)")
        }
        DecryptError::UnknownFormat => {
            anyhow::anyhow!("its first bytes are damaged, or it is encrypted in a newer form than this Kith knows")
        }
        DecryptError::ExcessiveWork { .. } => {
            anyhow::anyhow!("its passphrase would take more than 1 GB of memory to check, which no backup of Kith does")
        }
        other => anyhow::anyhow!("its first bytes are damaged, or it is cut off ({other})"),
    }
}
