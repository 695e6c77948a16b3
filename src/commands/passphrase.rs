//! Passphrases, from a file or from the person at the terminal. Never from the command line or the environment, where
//! other programs of the box can read them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};
use anyhow::{Context, bail, ensure};

use super::terminal::complain;

/// Fewer characters are no passphrase.
const MIN_CHARS: usize = 8;
/// A longer first line is no passphrase, but some other file.
const MAX_BYTES: u64 = 4096;

/// A new passphrase: the first line of `file`, else asked for twice.
///
/// # Errors
/// When it is too short, can't be read, or there is nobody to ask.
pub(super) fn new(file: Option<&Path>) -> anyhow::Result<SecretString> {
    let passphrase = match file {
        Some(file) => from_file(file)?,
        None => {
            let first = ask("Passphrase for the backup (at least 8 characters): ")?;
            ensure_long(&first)?;
            let again = ask("The same again: ")?;
            ensure!(
                first.expose_secret() == again.expose_secret(),
                "the two passphrases differ"
            );
            first
        }
    };
    ensure_long(&passphrase)?;
    Ok(passphrase)
}

/// The passphrase of a backup that there is: the first line of `file`, else asked for.
///
/// # Errors
/// When it can't be read, or there is nobody to ask.
pub(super) fn known(file: Option<&Path>) -> anyhow::Result<SecretString> {
    match file {
        Some(file) => from_file(file),
        None => ask("Passphrase of the backup: "),
    }
}

fn ensure_long(passphrase: &SecretString) -> anyhow::Result<()> {
    ensure!(
        passphrase.expose_secret().chars().count() >= MIN_CHARS,
        "a passphrase has at least {MIN_CHARS} characters; four or more random words are good"
    );
    Ok(())
}

fn ask(prompt: &str) -> anyhow::Result<SecretString> {
    match rpassword::prompt_password(prompt) {
        Ok(text) => Ok(SecretString::from(text)),
        Err(error) => {
            bail!("can't ask for the passphrase on a terminal ({error}); --passphrase-file FILE reads it from a file")
        }
    }
}

fn from_file(file: &Path) -> anyhow::Result<SecretString> {
    let read = || format!("can't read the passphrase file {}", file.display());
    let open = File::open(file).with_context(read)?;
    let about = open.metadata().with_context(read)?;
    // systemd lets the service's user read a credential by an access list, which shows as rights of the group.
    let is_credential = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|folder| file.starts_with(folder));
    let others = if is_credential { 0o007 } else { 0o077 };
    if about.is_file() && about.mode() & others != 0 {
        complain(format_args!(
            "kith: warning: others may read {}; `chmod 600` closes it",
            file.display()
        ));
    }
    let mut line = String::new();
    BufReader::new(open)
        .take(MAX_BYTES)
        .read_line(&mut line)
        .with_context(read)?;
    let text = line.trim_end_matches(['\r', '\n']);
    ensure!(!text.is_empty(), "the first line of {} is empty", file.display());
    Ok(SecretString::from(text))
}
