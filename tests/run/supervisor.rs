//! Plays systemd: a socket that hears what the daemon says about itself.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::PATIENCE;

pub(crate) struct Supervisor {
    socket: UnixDatagram,
    path: PathBuf,
    watchdog: Option<Duration>,
    /// Each word by itself, such as `READY=1`, in order.
    heard: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Supervisor {
    /// One that wants to be fed within `watchdog`.
    pub(crate) fn start(watchdog: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        Self {
            socket: UnixDatagram::bind(&path).unwrap(),
            path,
            watchdog,
            heard: Vec::new(),
            _folder: folder,
        }
    }

    /// What the daemon has to find in its environment.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![("NOTIFY_SOCKET", self.path.display().to_string())];
        if let Some(period) = self.watchdog {
            environment.push(("WATCHDOG_USEC", period.as_micros().to_string()));
        }
        environment
    }

    fn hear(&mut self, within: Duration) {
        // Zero would mean for ever.
        self.socket
            .set_read_timeout(Some(within.max(Duration::from_millis(1))))
            .unwrap();
        let mut words = [0; 4096];
        if let Ok(length) = self.socket.recv(&mut words) {
            let words = String::from_utf8_lossy(&words[..length]);
            self.heard.extend(words.lines().map(str::to_owned));
        }
    }

    /// Waits until `enough` holds of the words that were heard.
    pub(crate) fn wait(&mut self, what: &str, enough: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !enough(self.words()) {
            assert!(
                Instant::now() < deadline,
                "{what} was not heard; heard: {:?}",
                self.words()
            );
            self.hear(deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// Waits until `word` was said once more.
    pub(crate) fn wait_for(&mut self, word: &str) {
        let before = self.count(word);
        self.wait(word, |words| words.iter().filter(|one| *one == word).count() > before);
    }

    /// Hears what was said until now; for when the daemon has ended.
    pub(crate) fn hear_the_rest(&mut self) {
        let mut before = usize::MAX;
        while before != self.heard.len() {
            before = self.heard.len();
            self.hear(Duration::from_millis(1));
        }
    }

    pub(crate) fn words(&self) -> &[String] {
        &self.heard
    }

    pub(crate) fn count(&self, word: &str) -> usize {
        self.heard.iter().filter(|heard| *heard == word).count()
    }
}
