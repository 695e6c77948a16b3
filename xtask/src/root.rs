//! Debian roots: a fresh system in a folder, made by mmdebstrap from the mirror that the machine's apt uses, kept as a
//! tarball, and unpacked into a throw-away copy whose commands run in namespaces of their own.
//!
//! ```ignore
//! let root = Root::prepare(checkout, &setup, &Recipe::bookworm(&["ffmpeg"]))?;   // minutes once, then nothing
//! let copy = root.unpack(checkout)?;                                              // a second; removed when dropped
//! checkout::run(copy.command("/usr/bin/ffmpeg").arg("-version"))?;                // as root, inside
//! ```

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::checkout::{self, Checkout};
use crate::progress::Spinner;
use crate::setup::{Setup, Tool};

/// Debian 12, which Kith's package is for.
const BOOKWORM: &str = "bookworm";

/// Run a command in a throw-away Debian root, or unpack one
#[derive(clap::Args)]
#[command(
    after_help = "Example: cargo xtask debian --with ffmpeg,systemd -- ffmpeg -version\n\nNeeds root; leaves the roots that it \
                  made in .cache/debian."
)]
pub(crate) struct Args {
    /// Packages beside the smallest system
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',')]
    with: Vec<String>,
    /// The release
    #[arg(long, default_value = BOOKWORM)]
    suite: String,
    /// Run it without a network
    #[arg(long)]
    offline: bool,
    /// Unpack it into this folder, which stays, instead of a throw-away one
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// What to run inside, as root
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// # Errors
/// When the root can't be made or the command can't start.
pub(crate) fn run(args: &Args, checkout: &Checkout) -> Result<ExitCode> {
    let packages: Vec<&str> = args.with.iter().map(String::as_str).collect();
    let recipe = Recipe {
        suite: &args.suite,
        ..Recipe::bookworm(&packages)
    };
    let root = Root::prepare(checkout, &Setup::new(checkout)?, &recipe)?;
    let copy = match &args.keep {
        Some(folder) => root.unpack_into(checkout, folder)?,
        None => root.unpack(checkout)?,
    };
    let Some((program, arguments)) = args.command.split_first() else {
        eprintln!("    {} is ready", copy.folder().display());
        return Ok(ExitCode::SUCCESS);
    };
    let mut command = if args.offline {
        copy.command_offline(program)
    } else {
        copy.command(program)
    };
    let status = command.args(arguments).stdin(process::Stdio::inherit()).status()?;
    Ok(ExitCode::from(
        u8::try_from(status.code().unwrap_or(1)).unwrap_or(u8::MAX),
    ))
}

/// What a root consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipe<'a> {
    /// The release, as `bookworm`.
    pub(crate) suite: &'a str,
    /// Foreign architectures beside this machine's own, as `arm64`.
    pub(crate) foreign: &'a [&'a str],
    /// Packages beside the smallest system with apt (mmdebstrap's minbase); none that these only recommend.
    pub(crate) packages: &'a [&'a str],
}

impl<'a> Recipe<'a> {
    /// Debian 12 with these packages.
    pub(crate) fn bookworm(packages: &'a [&'a str]) -> Self {
        Self {
            suite: BOOKWORM,
            foreign: &[],
            packages,
        }
    }

    /// The name of its tarball: the same whatever the order of the packages.
    fn file_name(&self) -> String {
        let sorted: BTreeSet<_> = self.packages.iter().chain(self.foreign).collect();
        let hash = Sha256::digest(format!("{sorted:?}"));
        let hex = hash.iter().take(6).fold(String::new(), |mut hex, byte| {
            // Writing to a String can't fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        format!("{}-{hex}.tar", self.suite)
    }
}

/// A root as it came from the mirror.
#[derive(Debug)]
pub(crate) struct Root {
    tarball: PathBuf,
}

impl Root {
    /// Sees to it that the root is there; the first time that takes minutes and a network.
    ///
    /// # Errors
    /// When we are not root, or mmdebstrap is missing or fails.
    pub(crate) fn prepare(checkout: &Checkout, setup: &Setup<'_>, recipe: &Recipe<'_>) -> Result<Self> {
        let id = checkout::capture(checkout.command("id").arg("-u"))?;
        if id.trim() != "0" {
            bail!("a Debian root takes mounts and files of other users: run this as root, or in a container as root");
        }
        let folder = checkout.path(".cache/debian");
        let tarball = folder.join(recipe.file_name());
        if tarball.exists() {
            return Ok(Self { tarball });
        }
        setup.tools(&[Tool::Mmdebstrap])?;
        fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        let arriving = folder.join(format!("arriving-{}.tar", process::id()));
        let mut command = checkout.command("mmdebstrap");
        command
            .args(["--variant=minbase", "--mode=root", "--skip=cleanup/reproducible"])
            .arg("--aptopt=Acquire::Languages \"none\"");
        if recipe.suite != BOOKWORM {
            // A release that moves, on a mirror that stands still, is soon past its date. Signatures count all the same.
            command.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
        }
        if !recipe.packages.is_empty() {
            command.arg(format!("--include={}", recipe.packages.join(",")));
        }
        if !recipe.foreign.is_empty() {
            let own = checkout::capture(checkout.command("dpkg").arg("--print-architecture"))?;
            let all = [&[own.trim()], recipe.foreign].concat();
            command.arg(format!("--architectures={}", all.join(",")));
        }
        command.arg(recipe.suite).arg(&arriving).args(mirror(checkout, recipe));
        {
            let _spinner = Spinner::start(&format!(
                "making a Debian {} root with {}",
                recipe.suite,
                if recipe.packages.is_empty() {
                    "nothing more".to_owned()
                } else {
                    recipe.packages.join(", ")
                }
            ));
            if let Err(error) = checkout::capture(&mut command) {
                // Perhaps mmdebstrap never began it.
                let _ = fs::remove_file(&arriving);
                return Err(error);
            }
        }
        // In one step, so that its presence says that it is whole.
        fs::rename(&arriving, &tarball).with_context(|| format!("can't name {}", tarball.display()))?;
        Ok(Self { tarball })
    }

    /// A fresh copy below `.cache/debian`, which is removed when it is dropped.
    ///
    /// # Errors
    /// When it can't be unpacked.
    pub(crate) fn unpack(&self, checkout: &Checkout) -> Result<Copy> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = checkout.path(&format!(".cache/debian/copy-{}-{count}", process::id()));
        let mut copy = self.unpack_into(checkout, &folder)?;
        copy.stays = false;
        Ok(copy)
    }

    /// A fresh copy in `folder`, which must not exist, and stays.
    ///
    /// # Errors
    /// When it can't be unpacked.
    pub(crate) fn unpack_into(&self, checkout: &Checkout, folder: &Path) -> Result<Copy> {
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        if fs::read_dir(&folder)?.next().is_some() {
            bail!("{} is not empty; name a new folder", folder.display());
        }
        let copy = Copy { folder, stays: true };
        checkout::capture(
            checkout
                .command("tar")
                .args(["--extract", "--numeric-owner", "--xattrs", "--directory"])
                .arg(copy.folder())
                .arg("--file")
                .arg(&self.tarball),
        )?;
        // Where the network is, for apt inside; a service that a package brings is not to start in a mere folder.
        fs::copy("/etc/resolv.conf", copy.path("etc/resolv.conf")).context("can't copy /etc/resolv.conf")?;
        Ok(copy)
    }
}

/// A root that commands run in and change.
#[derive(Debug)]
pub(crate) struct Copy {
    folder: PathBuf,
    stays: bool,
}

/// Mounts what programs take for granted, inside namespaces of mounts and processes, and goes in.
const ENTER: &str = r#"
set -eu
root=$1; shift
mount --bind "$root" "$root"; cd "$root"
mount -t proc proc proc
mount -t tmpfs -o mode=755,nosuid dev dev
for node in null zero full random urandom tty; do : >"dev/$node"; mount --bind "/dev/$node" "dev/$node"; done
mkdir dev/shm dev/pts; chmod 1777 dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 pts dev/pts
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin; ln -s /proc/self/fd/1 dev/stdout; ln -s /proc/self/fd/2 dev/stderr
exec chroot "$root" "$@"
"#;

impl Copy {
    /// A root that somebody else unpacked into `folder`; it stays.
    ///
    /// # Errors
    /// When there is no such folder.
    pub(crate) fn at(folder: &Path) -> Result<Self> {
        let folder = folder
            .canonicalize()
            .with_context(|| format!("there is no folder {}", folder.display()))?;
        Ok(Self { folder, stays: true })
    }

    /// The folder that is `/` inside; files may be put there and read while no command runs.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// `inside`, as it is called from outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.join(inside.trim_start_matches('/'))
    }

    /// A command that will run inside, as root, with `/proc` and a small `/dev`, in namespaces of mounts and processes,
    /// with the machine's network. What it leaves running ends with it. It starts with four environment variables; the
    /// caller may add others.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.unshared(&[], program.as_ref())
    }

    /// As [`Self::command`], with no network but a loopback device that is down.
    pub(crate) fn command_offline(&self, program: impl AsRef<OsStr>) -> Command {
        self.unshared(&["--net"], program.as_ref())
    }

    fn unshared(&self, more: &[&str], program: &OsStr) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"])
            .args(more)
            .args(["--", "sh", "-c", ENTER, "enter"])
            .arg(&self.folder)
            .arg(program)
            .current_dir("/")
            .stdin(process::Stdio::null())
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // All mounts were in the namespaces of commands, so this can't reach anything else.
        if !self.stays
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            eprintln!("can't remove {}: {error}", self.folder.display());
        }
    }
}

/// Lines of sources for `recipe`: what the machine's apt has for this release, else the archive that it uses, else
/// nothing, which lets mmdebstrap decide.
fn mirror(checkout: &Checkout, recipe: &Recipe<'_>) -> Vec<String> {
    let mut targets = checkout.command("apt-get");
    targets.args([
        "indextargets",
        "--format",
        "$(CODENAME) $(REPO_URI)",
        "Created-By: Packages",
        "Origin: Debian",
    ]);
    let listed = checkout::capture(&mut targets).unwrap_or_default();
    sources(&listed, recipe.suite)
}

/// From lines of `codename uri`, those for `suite` and its updates.
fn sources(listed: &str, suite: &str) -> Vec<String> {
    let all: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once(' ')).collect();
    let of_suite = |name: &str| name == suite || name.strip_prefix(suite).is_some_and(|rest| rest.starts_with('-'));
    let mut lines: Vec<String> = all
        .iter()
        .filter(|(name, _)| of_suite(name))
        .map(|(name, uri)| format!("deb {uri} {name} main"))
        .collect();
    if lines.is_empty() {
        // The archive itself, which is the one whose codename has no addition.
        let archive = all.iter().find(|(name, _)| !name.contains('-'));
        lines.extend(archive.map(|(_, uri)| format!("deb {uri} {suite} main")));
    }
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::{Recipe, sources};

    const LISTED: &str = "bookworm http://mirror.lan/debian/\nbookworm-updates http://mirror.lan/debian/\n\
                          bookworm-security http://mirror.lan/security/\n";

    #[test]
    fn the_machines_own_release_comes_with_its_updates() {
        assert_eq!(
            sources(LISTED, "bookworm"),
            [
                "deb http://mirror.lan/debian/ bookworm main",
                "deb http://mirror.lan/debian/ bookworm-updates main",
                "deb http://mirror.lan/security/ bookworm-security main",
            ]
        );
    }

    #[test]
    fn another_release_comes_from_the_same_archive() {
        assert_eq!(sources(LISTED, "forky"), ["deb http://mirror.lan/debian/ forky main"]);
        assert!(sources("", "bookworm").is_empty());
    }

    #[test]
    fn the_name_of_a_root_depends_on_what_is_in_it_and_not_on_the_order() {
        let name = |packages: &[&str]| Recipe::bookworm(packages).file_name();
        assert_eq!(name(&["ffmpeg", "systemd"]), name(&["systemd", "ffmpeg"]));
        assert_ne!(name(&["ffmpeg"]), name(&["systemd"]));
        assert!(name(&[]).starts_with("bookworm-"));
    }
}
