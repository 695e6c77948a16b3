//! The node's id, and that only one daemon works on a state folder.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

use crate::state_dir;

const ID_FILE: &str = "node-id";

/// The configured id; else the one in the state folder; else one made of the host name, which is kept there: a box
/// whose host name changes must not become another node.
pub(super) fn id(configured: Option<&str>, state: &Path) -> anyhow::Result<String> {
    if let Some(id) = configured {
        return Ok(id.to_owned());
    }
    let file = state.join(ID_FILE);
    if let Ok(kept) = fs::read_to_string(&file) {
        let kept = kept.trim();
        if !kept.is_empty() && slug(kept) == kept {
            return Ok(kept.to_owned());
        }
        bail!(
            "{} does not hold a node id (a-z, 0-9, _ and -); remove it or set `node`",
            file.display()
        );
    }
    let id = of_host();
    // Written beside it and renamed, so that a power cut leaves no half name.
    let mut new =
        tempfile::NamedTempFile::new_in(state).with_context(|| format!("can't write to {}", state.display()))?;
    writeln!(new, "{id}")?;
    new.as_file().sync_all()?;
    new.persist(&file)?;
    Ok(id)
}

/// The id that [`id`] would give, without keeping it; for those who only look.
pub fn would_be(configured: Option<&str>, state: &Path) -> String {
    let kept = || {
        fs::read_to_string(state.join(ID_FILE))
            .ok()
            .map(|kept| kept.trim().to_owned())
    };
    configured.map(str::to_owned).or_else(kept).unwrap_or_else(of_host)
}

fn of_host() -> String {
    let id = slug(&rustix::system::uname().nodename().to_string_lossy());
    if id.is_empty() { "kith".to_owned() } else { id }
}

/// `text` in the letters that topics have.
fn slug(text: &str) -> String {
    let small = text.to_ascii_lowercase();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let slug: String = small
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(64)
        .collect();
    slug.trim_matches('-').to_owned()
}

/// Held as long as the daemon runs; the kernel gives it up however the daemon ends.
pub(crate) fn lock(state: &Path) -> anyhow::Result<File> {
    let path = state.join("daemon.lock");
    let file = state_dir::open_private_file(&path).with_context(|| format!("can't use {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "another `kith run` works on {}; stop it, or name another folder with --state",
            state.display()
        );
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_made_once_and_then_stable() {
        let state = tempfile::tempdir().unwrap();
        let first = would_be(None, state.path());
        assert_eq!(id(None, state.path()).unwrap(), first);
        assert_eq!(slug(&first), first);
        assert_eq!(id(None, state.path()).unwrap(), first);
        fs::write(state.path().join(ID_FILE), "other-box\n").unwrap();
        assert_eq!(id(None, state.path()).unwrap(), "other-box");
        assert_eq!(id(Some("hall"), state.path()).unwrap(), "hall");
        fs::write(state.path().join(ID_FILE), "a/b\n").unwrap();
        assert!(id(None, state.path()).is_err());
    }

    #[test]
    fn host_names_become_topic_letters() {
        assert_eq!(slug("Hall-Box.local"), "hall-box-local");
        assert_eq!(slug("…"), "");
    }

    #[test]
    fn a_second_daemon_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let first = lock(state.path()).unwrap();
        assert!(lock(state.path()).unwrap_err().to_string().contains("another"));
        drop(first);
        assert!(lock(state.path()).is_ok());
    }
}
