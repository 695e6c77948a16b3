//! `kith run` as a child process, with all that it said at hand when a test fails.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;
use crate::given::photos;

/// A state folder and a configuration.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Writes the configuration: the node is `box`, the broker on `port`, `top` goes before the tables, and `rest`
    /// after them.
    pub(crate) fn configure(&self, port: u16, top: &str, rest: &str) -> PathBuf {
        let mut text = String::new();
        writeln!(
            text,
            "node = \"box\"\n{top}\n[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n{rest}"
        )
        .unwrap();
        let file = self.path().join("kith.toml");
        fs::write(&file, text).unwrap();
        file
    }

    /// `kith` with this state folder.
    pub(crate) fn kith(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
        command.env("KITH_STATE", self.state()).env_remove("RUST_LOG");
        command
    }

    /// Enrols `name` from sample photos.
    pub(crate) fn enrol(&self, name: &str, people: &[&str]) {
        let files = people.iter().map(|person| photos().join(format!("{person}.jpg")));
        let done = self.kith().arg("enroll").arg(name).args(files).output().unwrap();
        assert!(done.status.success(), "{}", said(&done));
    }

    /// Starts `kith run`.
    pub(crate) fn run(&self) -> Daemon {
        Daemon::start(self, &[])
    }

    /// Starts `kith run` with more in its environment.
    pub(crate) fn run_with(&self, environment: &[(&str, String)]) -> Daemon {
        Daemon::start(self, environment)
    }
}

/// What a finished program said.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A `[[camera]]` with the id `door` on `path`.
pub(crate) fn door(path: &Path) -> String {
    camera("door", &format!("file:{}", path.display()))
}

pub(crate) fn camera(id: &str, url: &str) -> String {
    format!("[[camera]]\nid = \"{id}\"\nurl = \"{url}\"\n")
}

#[derive(Default)]
struct Log {
    lines: Mutex<String>,
    more: Condvar,
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Log>,
}

impl Daemon {
    fn start(home: &Home, environment: &[(&str, String)]) -> Self {
        let mut command = home.kith();
        command
            .args(["run", "--config"])
            .arg(home.path().join("kith.toml"))
            .env("RUST_LOG", "kith=debug")
            .envs(environment.iter().map(|(name, value)| (name, value)));
        Self::spawn(command)
    }

    /// Starts a command that becomes the daemon, or that starts it.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Log::default());
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut lines = writer.lines.lock().unwrap();
                lines.push_str(&line);
                lines.push('\n');
                writer.more.notify_all();
            }
        });
        Self { child, log }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lines.lock().unwrap().clone()
    }

    /// Waits until `text` stands in the log.
    pub(crate) fn wait_for_log(&self, text: &str) {
        let (log, timeout) = self
            .log
            .more
            .wait_timeout_while(self.log.lines.lock().unwrap(), PATIENCE, |log| !log.contains(text))
            .unwrap();
        // Out of the lock, so that a failure doesn't poison it for the next trial.
        let log = log.clone();
        assert!(
            !timeout.timed_out() || log.contains(text),
            "{text:?} is not in the log:\n{log}"
        );
    }

    /// Waits for the next line of the log, for a tenth of a second at most.
    pub(crate) fn wait_a_moment(&self) {
        let log = self.log.lines.lock().unwrap();
        drop(self.log.more.wait_timeout(log, Duration::from_millis(100)).unwrap());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The children of the daemon that run `program`.
    pub(crate) fn children(&self, program: &str) -> Vec<Pid> {
        children(self.pid(), program)
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            // Woken by each line of the log, and now and then.
            let log = self.log.lines.lock().unwrap();
            drop(self.log.more.wait_timeout(log, Duration::from_millis(50)).unwrap());
        }
    }
}

/// The children of `parent` that run `program`.
pub(crate) fn children(parent: Pid, program: &str) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // `pid (name) state ppid …`
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")) else {
            continue;
        };
        let of = rest.split(' ').nth(1).and_then(|of| of.parse::<i32>().ok());
        if name == program && of == Some(parent.as_raw_nonzero().get()) {
            found.extend(Pid::from_raw(pid));
        }
    }
    found
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}
