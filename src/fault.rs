//! Faults on demand, for tests: only in builds with the feature `fault`, which no release has. Files in the state folder
//! ask for them, so that a test can do it to the real program at any moment.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

/// What the files' names begin with. A test looks for this text in the program to tell whether it has faults.
const PREFIX: &str = "kith-fault-";

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Takes orders from files in the state folder from now on.
pub fn listen(state: &Path) {
    if FOLDER.set(state.to_path_buf()).is_ok() {
        tracing::warn!("this build has faults on demand; it is for tests only");
    }
}

fn is_ordered(what: &str) -> bool {
    FOLDER
        .get()
        .is_some_and(|folder| folder.join(format!("{PREFIX}{what}")).exists())
}

/// Stands still as long as there is a file `kith-fault-freeze-WORKER`.
pub fn freeze(worker: &str) {
    if !is_ordered(&format!("freeze-{worker}")) {
        return;
    }
    tracing::warn!(worker, "frozen on demand");
    while is_ordered(&format!("freeze-{worker}")) {
        thread::park_timeout(Duration::from_millis(50));
    }
}

/// Whether every run of a network shall fail now: there is a file `kith-fault-run-error`.
pub fn run_fails() -> bool {
    is_ordered("run-error")
}
