//! A package of before, to upgrade from: this one with another version, another default configuration and a file more,
//! and a gallery in the form of schema version 1.

use std::path::Path;

use anyhow::Result;

use crate::checkout::{self, Checkout};
use crate::root::Copy;

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

/// Takes the gallery back to version 1.
///
/// # Errors
/// When it isn't as the newest Kith leaves it.
pub(super) fn gallery(checkout: &Checkout, database: &Path) -> Result<()> {
    let mut python = checkout.command("python3");
    python.args(["-I", "-c", include_str!("older.py")]).arg(database);
    checkout::capture(&mut python).map(drop)
}
