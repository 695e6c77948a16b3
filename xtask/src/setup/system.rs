//! Programs from the system's package manager: installed where we may, otherwise named with the command that would.
//!
//! A C compiler is not among them. Rust links with it, so without one this program would not be running.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::checkout::{self, Checkout};

/// A program that the machine has to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Python 3.9 or later.
    Python,
    /// pip, where a private environment can't bring it.
    Pip,
    /// Environments of Python packages.
    Venv,
    /// ffmpeg, which decodes cameras and makes the demo's clip.
    Ffmpeg,
    /// The broker of the tests.
    Mosquitto,
    /// Makes Debian roots.
    Mmdebstrap,
    /// bwrap, which puts the daemon under the limits of its systemd unit in tests.
    Bubblewrap,
    /// systemd-analyze, which judges the unit.
    Systemd,
    /// Boots a machine with the unit.
    Qemu,
}

impl Tool {
    /// As a person would call it.
    fn name(self) -> &'static str {
        match self {
            Self::Python => "python3 (3.9 or later)",
            Self::Pip => "pip",
            Self::Venv => "python3's venv",
            Self::Ffmpeg => "ffmpeg",
            Self::Mosquitto => "mosquitto",
            Self::Mmdebstrap => "mmdebstrap",
            Self::Bubblewrap => "bubblewrap",
            Self::Systemd => "systemd-analyze",
            Self::Qemu => "qemu-system-x86_64",
        }
    }

    fn is_there(self, checkout: &Checkout) -> bool {
        let works = |program: &str, arguments: &[&str]| checkout::succeeds(checkout.command(program).args(arguments));
        match self {
            Self::Python => works("python3", &["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]),
            Self::Pip => works("python3", &["-m", "pip", "--version"]),
            Self::Venv => works("python3", &["-c", "import venv, ensurepip"]),
            Self::Ffmpeg => works("ffmpeg", &["-version"]),
            // Debian keeps it where only root's path leads. `-h` exits with 3 and so says nothing about presence.
            Self::Mosquitto => ["mosquitto", "/usr/sbin/mosquitto"]
                .iter()
                .any(|program| checkout.command(program).arg("-h").output().is_ok()),
            Self::Mmdebstrap => works("mmdebstrap", &["--version"]),
            Self::Bubblewrap => works("bwrap", &["--version"]),
            Self::Systemd => works("systemd-analyze", &["--version"]),
            Self::Qemu => works("qemu-system-x86_64", &["--version"]),
        }
    }

    /// The package's name in apt, dnf and pacman.
    fn package(self, manager: &Manager) -> &'static str {
        let [apt, dnf, pacman] = match self {
            Self::Python => ["python3", "python3", "python"],
            Self::Pip => ["python3-pip", "python3-pip", "python-pip"],
            Self::Venv => ["python3-venv", "python3", "python"],
            Self::Ffmpeg => ["ffmpeg", "ffmpeg-free", "ffmpeg"],
            Self::Mosquitto => ["mosquitto"; 3],
            Self::Mmdebstrap => ["mmdebstrap"; 3],
            Self::Bubblewrap => ["bubblewrap"; 3],
            Self::Systemd => ["systemd"; 3],
            Self::Qemu => ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86"],
        };
        match manager.program {
            "dnf" => dnf,
            "pacman" => pacman,
            _ => apt,
        }
    }
}

/// A package manager and how it installs without asking.
struct Manager {
    program: &'static str,
    install: &'static [&'static str],
}

const MANAGERS: [Manager; 3] = [
    Manager {
        program: "apt-get",
        install: &["install", "-y", "--no-install-recommends"],
    },
    Manager {
        program: "dnf",
        install: &["install", "-y"],
    },
    Manager {
        program: "pacman",
        install: &["-S", "--noconfirm"],
    },
];

/// Sees to it that all `tools` are there.
///
/// # Errors
/// With the command that installs them, when we may not or it failed.
pub(super) fn ensure(checkout: &Checkout, tools: &[Tool]) -> Result<()> {
    let missing: Vec<Tool> = tools.iter().copied().filter(|tool| !tool.is_there(checkout)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|tool| tool.name()).collect::<Vec<_>>().join(", ");
    let Some(manager) = MANAGERS
        .iter()
        .find(|manager| checkout::succeeds(checkout.command(manager.program).arg("--version")))
    else {
        bail!("missing: {names}. Install it with your system's package manager, then run this again");
    };
    let mut arguments: Vec<&str> = manager.install.to_vec();
    arguments.extend(missing.iter().map(|tool| tool.package(manager)));
    let by_hand = format!("sudo {} {}", manager.program, arguments.join(" "));

    let id = checkout::capture(checkout.command("id").arg("-u")).unwrap_or_default();
    let is_root = id.trim() == "0";
    // -n: never asks for a password, so it only succeeds where the user may already.
    if !is_root && !checkout::succeeds(checkout.command("sudo").args(["-n", "true"])) {
        bail!("missing: {names}. Install with: {by_hand}");
    }
    let elevated = || {
        let mut command = if is_root {
            checkout.command("env")
        } else {
            let mut sudo = checkout.command("sudo");
            sudo.args(["-n", "env"]);
            sudo
        };
        command.args(["DEBIAN_FRONTEND=noninteractive", manager.program]);
        command
    };
    eprintln!(
        "missing: {names}; installing: {} {}",
        manager.program,
        arguments.join(" ")
    );
    if manager.program == "apt-get" {
        // A fresh machine has no package lists, an old one stale ones. What matters is whether the install works.
        quietly(elevated().args(["update", "-q"])).ok();
    }
    quietly(elevated().args(&arguments)).with_context(|| format!("can't install {names} (with {by_hand})"))?;
    let still: Vec<&str> = missing
        .iter()
        .filter(|tool| !tool.is_there(checkout))
        .map(|tool| tool.name())
        .collect();
    if !still.is_empty() {
        bail!("{} did not bring {}", by_hand, still.join(", "));
    }
    Ok(())
}

fn quietly(command: &mut Command) -> Result<()> {
    checkout::capture(command).map(drop)
}
