//! Writing to a terminal, pipe or file that may be closed or full, where `println!` and `eprintln!` panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write, stderr, stdout};

/// Writes a line to standard output.
///
/// # Errors
/// When it is closed or full.
pub fn say(line: impl Display) -> io::Result<()> {
    writeln!(stdout().lock(), "{line}")
}

/// Writes a line to standard error, if it can be written to; there is nobody to tell otherwise.
pub fn complain(line: impl Display) {
    // In one piece, so that lines of two threads don't mix.
    let _ = stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Whether `error` only says that the reader of our output went away, as in `kith detect … | head -1`.
pub fn reader_is_gone(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = match cause.downcast_ref::<serde_json::Error>() {
            Some(json) => json.io_error_kind(),
            None => cause.downcast_ref::<io::Error>().map(io::Error::kind),
        };
        kind == Some(ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::anyhow;
    use serde::de::Error as _;

    use super::reader_is_gone;

    #[test]
    fn a_reader_that_went_away_is_told_from_other_errors() {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(reader_is_gone(&anyhow::Error::from(gone()).context("while writing")));
        assert!(reader_is_gone(&serde_json::Error::io(gone()).into()));
        assert!(!reader_is_gone(&io::Error::from(io::ErrorKind::StorageFull).into()));
        assert!(!reader_is_gone(&serde_json::Error::custom("not JSON").into()));
        assert!(!reader_is_gone(&anyhow!("no such person")));
    }
}
