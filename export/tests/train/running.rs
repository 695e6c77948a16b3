//! The command as a command: what it says is shown when a test fails.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// `kith-export` with these arguments.
pub(crate) fn kith_export<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith-export"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The same, on a disk where no file can grow beyond `blocks` of 512 bytes.
pub(crate) fn on_a_full_disk(command: &Command, blocks: u32) -> Command {
    // Ignored, the signal becomes the error that a full disk would be.
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut limited = Command::new("sh");
    limited.args(["-c", &script, "sh"]).arg(command.get_program());
    limited.args(command.get_args()).stdin(Stdio::null());
    limited
}

/// What it said, once it has succeeded.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> String {
    let said = output(command);
    assert!(said.status.success(), "{command:?}: {}\n{}", said.status, both(&said));
    both(&said)
}

/// Runs a command that has to fail with exit code 1 and a sentence in which all of `words` are.
#[track_caller]
pub(crate) fn refuses(command: &mut Command, words: &[&str]) -> String {
    let said = output(command);
    let errors = String::from_utf8_lossy(&said.stderr).into_owned();
    println!("{errors}");
    assert_eq!(
        said.status.code(),
        Some(1),
        "{command:?}: {}\n{}",
        said.status,
        both(&said)
    );
    let last = errors.trim_end().lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("kith-export: "), "no sentence at the end:\n{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    for word in words {
        assert!(last.contains(word), "{word:?} is not in: {last}");
    }
    last
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn both(said: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    )
}

/// Waits; the other process gives no sign of the moments at which it is to be killed.
#[expect(
    clippy::disallowed_methods,
    reason = "a test that kills at any moment; nobody stops it meanwhile"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// The folder that an environment variable names; without it the test says that it is skipped.
pub(crate) fn folder_of(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: {variable} is not set");
    }
    folder
}

/// Whether there is an ONNX Runtime and a catalogue; without them the test says that it is skipped.
pub(crate) fn has_runtime() -> bool {
    folder_of("KITH_RUNTIME_LIBRARY").is_some() && folder_of("KITH_MODELS").is_some()
}
