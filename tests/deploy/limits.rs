//! The unit's limits by hand, where no systemd runs: bwrap makes the view of the file system and puts the system call
//! filters on. What it can't do (control groups, their memory limit, capabilities of a real root) is left to
//! `cargo xtask boot`.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::filter;
use crate::given::photos;
use crate::unit::{Settings, Variant};

/// The id that the daemon's user has in there.
const ID: &str = "990";

/// What a program under the limits is given.
pub(crate) struct Limits<'s> {
    pub(crate) settings: &'s Settings,
    pub(crate) variant: Variant,
    /// Becomes /var/lib/kith.
    pub(crate) state: PathBuf,
    /// What it reads besides, at the same place.
    pub(crate) read: Vec<PathBuf>,
}

impl Limits<'_> {
    /// `program` under these limits, with the environment that systemd makes.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let settings = self.settings;
        let mut bwrap = Command::new("bwrap");
        let users = [
            // The name services of the box may be far away; these are what sysusers would write.
            (
                "/etc/passwd",
                format!("root:x:0:0::/root:/bin/sh\nkith:x:{ID}:{ID}:Kith:/var/lib/kith:/usr/sbin/nologin\n"),
            ),
            ("/etc/group", format!("root:x:0:\nkith:x:{ID}:\n")),
        ];
        let mut handed = Vec::<OwnedFd>::new();
        bwrap.args(["--unshare-user", "--uid", ID, "--gid", ID, "--cap-drop", "ALL"]);
        // ProtectProc=invisible: its own processes only.
        bwrap.args(["--unshare-pid", "--die-with-parent", "--new-session"]);
        assert_eq!(settings.get("ProtectSystem"), Some("strict"));
        bwrap.args(["--ro-bind", "/", "/", "--proc", "/proc"]);
        if settings.is_on("ProtectKernelTunables") {
            bwrap.args(["--ro-bind", "/proc/sys", "/proc/sys"]);
        }
        match (self.variant, settings.is_on("PrivateDevices")) {
            (Variant::Cpu, true) => bwrap.args(["--dev", "/dev"]),
            (Variant::Gpu, false) => bwrap.args(["--dev-bind", "/dev", "/dev"]),
            other => panic!("PrivateDevices does not fit: {other:?}"),
        };
        if settings.is_on("PrivateIPC") {
            bwrap.arg("--unshare-ipc");
        }
        if settings.is_on("ProtectHostname") {
            bwrap.arg("--unshare-uts");
        }
        if settings.is_on("ProtectHome") {
            bwrap.args(["--tmpfs", "/home", "--tmpfs", "/root"]);
        }
        if settings.is_on("PrivateTmp") {
            bwrap.args(["--tmpfs", "/tmp", "--tmpfs", "/var/tmp"]);
        }
        for (path, text) in users {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let file = OwnedFd::from(File::open(file.path()).unwrap());
            bwrap.args(["--ro-bind-data", &file.as_raw_fd().to_string(), path]);
            handed.push(file);
        }
        // systemd mounts its directories into what is read-only.
        for parent in ["/var/lib", "/var/cache", "/run"] {
            bwrap.args(["--tmpfs", parent]);
        }
        bwrap.arg("--bind").arg(&self.state).arg("/var/lib/kith");
        bwrap.args(["--tmpfs", "/var/cache/kith", "--tmpfs", "/run/kith"]);
        for parent in ["/var/lib", "/var/cache", "/run"] {
            bwrap.args(["--remount-ro", parent]);
        }
        let mut read = self.read.clone();
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
        read.extend(["onnx", ".cache/onnxruntime"].map(|folder| checkout.join(folder)));
        for variable in ["KITH_MODELS", "KITH_RUNTIME_LIBRARY"] {
            read.extend(std::env::var_os(variable).map(PathBuf::from));
        }
        // Where the libraries' links lead, too.
        let leads = read.iter().filter_map(|path| path.canonicalize().ok());
        read.extend(leads.collect::<Vec<_>>());
        read.extend(photos().canonicalize().ok());
        read.extend(Path::new(env!("CARGO_BIN_EXE_kith")).parent().map(Path::to_path_buf));
        read.extend(program.parent().map(Path::to_path_buf));
        for path in read.iter().filter(|path| path.exists()) {
            bwrap.arg("--ro-bind").arg(path).arg(path);
        }
        for (name, value) in [
            ("STATE_DIRECTORY", "/var/lib/kith"),
            ("CACHE_DIRECTORY", "/var/cache/kith"),
            ("RUNTIME_DIRECTORY", "/run/kith"),
            ("HOME", "/var/lib/kith"),
        ] {
            bwrap.env(name, value);
        }
        bwrap.env_remove("KITH_STATE").args(["--chdir", "/"]);
        for program in filter::programs(settings) {
            let file = filter::file(&program);
            let file = OwnedFd::from(File::open(file.path()).unwrap());
            bwrap.args(["--add-seccomp-fd", &file.as_raw_fd().to_string()]);
            handed.push(file);
        }
        bwrap.arg("--").arg(program);
        hand_over(&mut bwrap, handed);
        bwrap
    }
}

/// Lets the program that `command` becomes have these files.
#[expect(
    unsafe_code,
    reason = "files are kept open over exec between fork and exec only, so that no other child gets them"
)]
fn hand_over(command: &mut Command, files: Vec<OwnedFd>) {
    // SAFETY: makes system calls only.
    unsafe {
        command.pre_exec(move || {
            for file in &files {
                fcntl_setfd(file, FdFlags::empty())?;
            }
            Ok(())
        });
    }
}
