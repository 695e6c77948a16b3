//! The program, run in a folder of its own.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder to work in, with the state folder in it.
pub(crate) struct Desk {
    folder: TempDir,
}

/// What `kith` said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and gives its path.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("KITH_STATE", self.path("state"))
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null());
        command
    }

    /// Runs `kith`.
    pub(crate) fn kith<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        Said::of(self.command(env!("CARGO_BIN_EXE_kith")).args(args))
    }

    /// Runs `kith` with its arguments in a shell: `script` says where its output goes or what limits it has, and calls
    /// it as `"$@"`.
    pub(crate) fn shell<S: AsRef<OsStr>>(&self, script: &str, args: impl IntoIterator<Item = S>) -> Said {
        let mut command = self.command("bash");
        command
            .args(["-c", script, "bash", env!("CARGO_BIN_EXE_kith")])
            .args(args);
        Said::of(&mut command)
    }
}

impl Said {
    #[track_caller]
    fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let said = Self {
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
            code: status.code(),
        };
        // Whatever a test is about, this must not be.
        assert!(!said.err.contains("panicked"), "{said:#?}");
        assert!(said.code.is_some(), "ended by a signal: {status}, {said:#?}");
        said
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Ended with `code`, and a line of standard error has all of `words`.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self.tells(words)
    }

    /// A line of standard error has all of `words`.
    #[track_caller]
    pub(crate) fn tells(self, words: &[&str]) -> Self {
        let has_all = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(self.err.lines().any(has_all), "no line with {words:?}: {self:#?}");
        self
    }

    pub(crate) fn json(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}
