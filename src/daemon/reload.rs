//! A configuration that was read again: what of it can be taken over while the daemon runs, and what can't.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cameras::Changes;
use crate::config::{LogSettings, Settings};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The parts of `new` that differ and take a restart, as they are named in the file.
pub(super) fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let mut parts = Vec::new();
    let mut part = |name, differs: bool| {
        if differs {
            parts.push(name);
        }
    };
    part("node", old.node != new.node);
    part("state", old.state != new.state);
    part("mqtt", old.mqtt != new.mqtt);
    part("home_assistant", old.home_assistant != new.home_assistant);
    part("requests", old.requests != new.requests);
    part("runtime", old.runtime != new.runtime);
    part("identify", old.identify_by != new.identify_by);
    part("log.format", old.log.format != new.log.format);
    part("http", old.http != new.http);
    part("watchdog", old.watchdog_silence != new.watchdog_silence);
    part("retain", old.retention != new.retention);
    parts
}

/// `new`, but with the parts of `old` that take a restart: what the daemon works with from now on.
pub(super) fn taken_over(old: &Settings, new: Settings) -> Settings {
    let old = old.clone();
    Settings {
        node: old.node,
        state: old.state,
        mqtt: old.mqtt,
        home_assistant: old.home_assistant,
        requests: old.requests,
        runtime: old.runtime,
        identify_by: old.identify_by,
        http: old.http,
        watchdog_silence: old.watchdog_silence,
        retention: old.retention,
        log: LogSettings {
            format: old.log.format,
            ..new.log
        },
        ..new
    }
}

/// Whether what the workers decide by differs, beside the cameras' own settings.
pub(super) fn rules_differ(old: &Settings, new: &Settings) -> bool {
    let rules = |settings: &Settings| {
        (
            (settings.min_shots, settings.decide_within, settings.announce_again),
            (settings.publish_faces, settings.retention.crops),
        )
    };
    rules(old) != rules(new)
}

/// The answer to `reload`.
pub(super) fn answer(changes: &Changes, needs_restart: &[&str]) -> Value {
    let names =
        |cameras: &[crate::frame::CameraId]| -> Vec<String> { cameras.iter().map(ToString::to_string).collect() };
    json!({
        "cameras": {
            "added": names(&changes.added),
            "removed": names(&changes.removed),
            "restarted": names(&changes.restarted),
        },
        "needs_restart": needs_restart,
    })
}

/// Notices that a file has another content. By content, since an editor may replace the file, write it in place, or
/// touch it without a change.
pub(super) struct FileWatch {
    file: PathBuf,
    known: Option<Vec<u8>>,
    /// The content at the last look: what is being written is taken when it has come to rest.
    last: Option<Vec<u8>>,
    looked_at: Instant,
}

impl FileWatch {
    /// Watches `file` as it is now.
    pub(super) fn new(file: &Path) -> Self {
        let known = fs::read(file).ok();
        Self {
            file: file.to_path_buf(),
            last: known.clone(),
            known,
            looked_at: Instant::now(),
        }
    }

    /// Whether the file has come to rest with another content since it was known. Cheap; looks now and then only.
    pub(super) fn changed(&mut self) -> bool {
        if self.looked_at.elapsed() < LOOK {
            return false;
        }
        self.look()
    }

    fn look(&mut self) -> bool {
        self.looked_at = Instant::now();
        // A file that is away for a moment is being replaced.
        let Ok(now) = fs::read(&self.file) else { return false };
        let now = Some(now);
        let rests = now == self.last;
        self.last = now;
        if rests && self.last != self.known {
            self.known.clone_from(&self.last);
            return true;
        }
        false
    }

    /// The file was read for another reason.
    pub(super) fn known(&mut self) {
        self.known = fs::read(&self.file).ok();
        self.last.clone_from(&self.known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_noticed_once_it_rests_however_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kith.toml");
        fs::write(&file, "a").unwrap();
        let mut watch = FileWatch::new(&file);
        assert!(!watch.look());
        // In place, in two steps.
        fs::write(&file, "b").unwrap();
        assert!(!watch.look(), "it may still be written");
        fs::write(&file, "bb").unwrap();
        assert!(!watch.look());
        assert!(watch.look());
        assert!(!watch.look());
        // Replaced, and away for a moment.
        fs::remove_file(&file).unwrap();
        assert!(!watch.look());
        fs::write(folder.path().join("new"), "c").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert!(!watch.look());
        assert!(watch.look());
        // Touched only.
        fs::write(&file, "c").unwrap();
        assert!(!watch.look() && !watch.look());
        fs::write(&file, "d").unwrap();
        watch.known();
        assert!(!watch.look() && !watch.look());
    }
}
