//! The checkout that xtask works in, and the processes that it starts there.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// The root folder of the checkout; absolute.
pub(crate) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// The checkout that this xtask belongs to.
    ///
    /// # Errors
    /// When the folder has gone.
    pub(crate) fn find() -> Result<Self> {
        // `cargo run` names the package's folder; a bare binary falls back on the one that it was built in.
        let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&package)
            .parent()
            .context("xtask lies in the checkout's root")?
            .canonicalize()
            .with_context(|| format!("the checkout of {} is not there any more", package.display()))?;
        Ok(Self { root })
    }

    /// The root folder; absolute.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `relative` below the root; absolute.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A command that will run in the root and never wait for a person's input.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// The cargo that started us.
    pub(crate) fn cargo(&self) -> Command {
        self.cargo_tool(&env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// A program that works with cargo, or cargo itself.
    pub(crate) fn cargo_tool(&self, program: &OsStr) -> Command {
        let mut command = self.command(program);
        // Build scripts such as ring's watch these. Handed on, they would make every build through xtask undo the one
        // without it, and the other way round.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// Makes the programs that `command` starts find the runtime library and the models of this checkout, wherever
    /// the folder of the build is.
    pub(crate) fn with_models<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env(
                "KITH_RUNTIME_LIBRARY",
                self.path(".cache/onnxruntime/libonnxruntime.so"),
            )
            .env("KITH_MODELS", self.path("onnx"))
            // The developer's own gallery has no place in demo, tests or measurements.
            .env_remove("KITH_STATE")
            .env_remove("STATE_DIRECTORY")
    }
}

/// Runs `command` with our own output, to its end.
///
/// # Errors
/// When it can't start or fails; the message has the command line.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("can't start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    Ok(())
}

/// Runs `command` to its end and returns its standard output.
///
/// # Errors
/// When it can't start or fails; the message has the command line and what it said.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("can't start {}", line(command)))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}):\n{}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `command` starts and succeeds, in silence.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as one would type it, near enough.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    command
        .get_args()
        .fold(program.to_string_lossy().into_owned(), |mut line, argument| {
            let text = argument.to_string_lossy();
            // A script given with -c is no help to anybody.
            line.push(' ');
            line.push_str(if text.contains('\n') { "…" } else { &text });
            line
        })
}

/// The sha256 of a file, in lower-case hex.
///
/// # Errors
/// When the file can't be read.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let failed = || format!("can't read {}", path.display());
    let mut file = File::open(path).with_context(failed)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block) {
            Ok(0) => break,
            Ok(count) => hash.update(block.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(failed),
        }
    }
    Ok(hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
