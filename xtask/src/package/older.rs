//! A package of before, to upgrade from: this one with another version, another default configuration and a file more,
//! and a gallery in the form of schema version 1.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::checkout::{self, Checkout};
use crate::root::Copy;

/// Where SQLite keeps `user_version`.
const VERSION_AT: u64 = 60;
/// The version of [`package`].
pub(super) const VERSION: &str = "0.0.1-1";
/// What the older package had, and the new one has not.
pub(super) const FILE: &str = "usr/share/kith/models/forgotten.onnx";

/// Makes the older package of `/new.deb` inside `copy`, as `/old.deb`.
///
/// # Errors
/// When dpkg-deb fails.
pub(super) fn package(copy: &Copy) -> Result<()> {
    let script = format!(
        "set -e; dpkg-deb -R /new.deb /old; cd /old
         sed -i 's/^Version: .*/Version: {VERSION}/' DEBIAN/control
         echo '# of before' >>etc/kith/kith.toml; echo nothing >{FILE}
         dpkg-deb -Znone --build /old /old.deb; cd /; rm -r /old"
    );
    checkout::capture(copy.command_offline("sh").args(["-c", &script])).map(drop)
}

/// Takes the gallery back to schema version 1; the version that it had.
///
/// # Errors
/// When it isn't a gallery.
pub(super) fn gallery(checkout: &Checkout, database: &Path) -> Result<u32> {
    let mut python = checkout.command("python3");
    python.args(["-I", "-c", include_str!("older.py")]).arg(database);
    let version = checkout::capture(&mut python)?;
    version.trim().parse().context("older.py prints the version")
}

/// The schema version of a database: SQLite's `user_version`, in the file's header.
///
/// # Errors
/// When the file can't be read.
pub(super) fn version(database: &Path) -> Result<u32> {
    let mut version = [0; 4];
    let failed = || format!("can't read {}", database.display());
    let file = File::open(database).with_context(failed)?;
    file.read_exact_at(&mut version, VERSION_AT).with_context(failed)?;
    Ok(u32::from_be_bytes(version))
}

/// Gives the database another version, and nothing else.
///
/// # Errors
/// When the file can't be written.
pub(super) fn claim_version(database: &Path, version: u32) -> Result<()> {
    let failed = || format!("can't write {}", database.display());
    let file = File::options().write(true).open(database).with_context(failed)?;
    file.write_all_at(&version.to_be_bytes(), VERSION_AT)
        .with_context(failed)
}
