//! What the tests are given from outside: sample photos and, where there is one, the data folder.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod enrolment;
pub(crate) mod head;
pub(crate) mod onnx;

use std::env;
use std::path::PathBuf;

/// The folder of the six sample photos.
pub(crate) fn photos() -> PathBuf {
    let folder = env::var_os("KITH_PHOTOS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache/photos"),
        PathBuf::from,
    );
    assert!(
        folder.join("obama.jpg").is_file(),
        "no sample photos in {}: `cargo xtask models` brings them",
        folder.display()
    );
    folder
}

/// The folder that `KITH_DATA` names; says that the test skips when it is not set.
pub(crate) fn data() -> Option<PathBuf> {
    let folder = env::var_os("KITH_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: KITH_DATA does not name the folder of development data");
    }
    folder
}
