//! The last file in a backup, `SHA256`: the sum over every byte before it. With it no byte of a backup can change
//! unnoticed, padding and headers included. Against a change on purpose only encryption helps.

use std::io::{self, Read, Write};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

const FILE_NAME: &str = "SHA256";
/// Header, the sum in a block, two blocks of zeros.
const SEAL_BYTES: usize = 4 * 512;
const CHUNK_BYTES: usize = 64 * 1024;

/// Passes on what is written and sums it up.
pub(super) struct Sealing<W> {
    inner: W,
    sum: Sha256,
}

impl<W: Write> Sealing<W> {
    pub(super) fn new(inner: W) -> Self {
        Self {
            inner,
            sum: Sha256::new(),
        }
    }

    /// Ends the archive with the seal. Gives what was written to.
    pub(super) fn finish(mut archive: Builder<Self>) -> io::Result<W> {
        let sum = archive.get_ref().sum.clone().finalize();
        append_seal(&mut archive, &sum)?;
        let mut sealing = archive.into_inner()?;
        sealing.flush()?;
        Ok(sealing.inner)
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn append_seal<W: Write>(archive: &mut Builder<W>, sum: &[u8]) -> io::Result<()> {
    let text = format!("{}\n", HEXLOWER.encode(sum));
    let mut header = Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    archive.append_data(&mut header, FILE_NAME, text.as_bytes())
}

/// Gives what was sealed, without the seal.
pub(super) struct Sealed<R> {
    inner: R,
    sum: Sha256,
    /// Read and not given yet, from `next` on.
    held: Vec<u8>,
    next: usize,
}

impl<R: Read> Sealed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            sum: Sha256::new(),
            held: Vec::new(),
            next: 0,
        }
    }

    /// Reads what is left, and says whether the seal is that of all that was read.
    pub(super) fn check(mut self) -> io::Result<bool> {
        io::copy(&mut self, &mut io::sink())?;
        let mut expected = Builder::new(Vec::new());
        append_seal(&mut expected, &self.sum.finalize())?;
        Ok(expected.into_inner()? == self.held[self.next..])
    }
}

impl<R: Read> Read for Sealed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        // The last bytes are held back until it is known that more follow.
        while self.held.len() - self.next <= SEAL_BYTES {
            self.held.drain(..self.next);
            self.next = 0;
            let before = self.held.len();
            self.held.resize(before + CHUNK_BYTES, 0);
            let read = self.inner.read(&mut self.held[before..]);
            self.held.truncate(before + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(0);
            }
        }
        let free = self.held.len() - self.next - SEAL_BYTES;
        let given = &self.held[self.next..][..free.min(out.len())];
        out[..given.len()].copy_from_slice(given);
        self.sum.update(given);
        self.next += given.len();
        Ok(given.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(content: &[u8]) -> Vec<u8> {
        let mut archive = Builder::new(Sealing::new(Vec::new()));
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, "a", content).unwrap();
        Sealing::finish(archive).unwrap()
    }

    #[test]
    fn any_byte_and_any_length_counts() {
        let whole = sealed(b"hello");
        assert!(Sealed::new(whole.as_slice()).check().unwrap());
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(!Sealed::new(changed.as_slice()).check().unwrap(), "byte {at}");
            assert!(!Sealed::new(&whole[..at]).check().unwrap(), "{at} bytes");
        }
        let longer = [whole, vec![0; 512]].concat();
        assert!(!Sealed::new(longer.as_slice()).check().unwrap());
    }

    #[test]
    fn what_is_given_is_what_was_sealed_and_others_can_read_it() {
        let content: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        let whole = sealed(&content);
        let mut given = Vec::new();
        Sealed::new(whole.as_slice()).read_to_end(&mut given).unwrap();
        assert_eq!(given, whole[..whole.len() - SEAL_BYTES]);
        let mut plain = tar::Archive::new(whole.as_slice());
        let names: Vec<_> = plain
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().into_owned())
            .collect();
        assert_eq!(names, [std::path::Path::new("a"), std::path::Path::new("SHA256")]);
    }
}
