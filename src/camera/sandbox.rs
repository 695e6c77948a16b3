//! The limits around a decoder: what a stream that takes it over could do with this machine.
//!
//! Landlock: it reads its program, libraries, certificates, resolver files and its own clip or device, writes nothing,
//! executes nothing but itself, connects to the camera's port only. Seccomp: it can't start processes, trace others,
//! mount, load code into the kernel, listen, or open sockets if its camera needs none. A resource limit keeps it from
//! writing files even where the kernel has no Landlock. Everything is made before the fork; after it only system calls
//! are made.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use serde::Deserialize;

use super::syscalls;

/// What the configuration wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxWish {
    /// All that the kernel offers; what it lacks is announced.
    #[default]
    Auto,
    /// Without Landlock and seccomp the camera is not opened.
    Required,
    /// None.
    Off,
}

impl SandboxWish {
    /// The words of the configuration.
    pub const NAMES: &'static [&'static str] = &["auto", "required", "off"];
}

/// What one decoder needs.
#[derive(Debug, Clone, Default)]
pub(super) struct Needs {
    /// The program, as it was found.
    pub(super) program: PathBuf,
    /// A clip to read.
    pub(super) file: Option<PathBuf>,
    /// A camera device.
    pub(super) device: Option<PathBuf>,
    /// The TCP port of the camera.
    pub(super) port: Option<u16>,
    /// Whether it uses a graphics card.
    pub(super) hardware: bool,
}

/// Limits that are ready to be put on a child.
#[derive(Debug)]
pub(super) struct Sandbox {
    ruleset: Option<OwnedFd>,
    filters: Vec<BpfProgram>,
}

/// The newest rights that are asked for; an older kernel enforces those it knows.
const NEWEST: ABI = ABI::V6;
/// Where libraries, certificates, the resolver's files and the time zone are, on the systems that are known. What
/// isn't there is left out.
const READ: &[&str] = &[
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/gnutls",
    "/etc/crypto-policies",
    "/usr/share/ca-certificates",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/sys/devices/system/cpu",
    "/dev/urandom",
    "/dev/null",
];
/// What drivers of graphics cards read besides.
const READ_FOR_HARDWARE: &[&str] = &[
    "/sys",
    "/proc",
    "/usr/share",
    "/etc/OpenCL",
    "/etc/vulkan",
    "/etc/nvidia",
];
/// Programs that load programs.
const LOADERS: &[&str] = &[
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

impl Sandbox {
    /// Makes the limits for `needs`, and says in words what this kernel lacks.
    ///
    /// # Errors
    /// When they can't be made although the kernel has them.
    pub(super) fn new(needs: &Needs) -> io::Result<(Self, Vec<&'static str>)> {
        let mut lacking = Vec::new();
        let ruleset = ruleset(needs).map_err(io::Error::other)?;
        if ruleset.is_none() {
            lacking.push("Landlock");
        }
        let filters = if has_seccomp() {
            filters(needs).map_err(io::Error::other)?
        } else {
            lacking.push("seccomp");
            Vec::new()
        };
        Ok((Self { ruleset, filters }, lacking))
    }

    /// Puts the limits on the calling process. Only makes system calls, so it may be called between fork and exec.
    ///
    /// # Errors
    /// When the kernel refuses; then the child must not run.
    #[expect(
        unsafe_code,
        reason = "the system calls that put limits on a process have no safe wrapper without a lock"
    )]
    pub(super) fn apply(&self) -> io::Result<()> {
        let none = rustix::process::Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        // Pipes have no size: what it decodes still comes.
        rustix::process::setrlimit(rustix::process::Resource::Fsize, none)?;
        rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
        // SAFETY: plain numbers go in, no memory is touched.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        if let Some(ruleset) = &self.ruleset {
            // SAFETY: the descriptor is open as long as `self`; no memory is touched.
            if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        for filter in &self.filters {
            // Allocates nothing; its error is not passed on, since making one of it could.
            seccompiler::apply_filter(filter).map_err(|_| io::Error::from(io::ErrorKind::PermissionDenied))?;
        }
        Ok(())
    }
}

/// Whether the kernel takes filters that refuse with an error. Asked of itself: a service may not see `/proc/sys`.
#[expect(unsafe_code, reason = "the system call has no safe wrapper")]
fn has_seccomp() -> bool {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the pointer is to a number of the size that the call reads, and it changes nothing.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            std::ptr::from_ref(&action),
        )
    };
    let lacks = |error: io::Error| {
        matches!(
            error.raw_os_error(),
            Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP)
        )
    };
    // Whoever forbids the question (EPERM) has seccomp; then the filter itself fails, and says so.
    answer == 0 || !lacks(io::Error::last_os_error())
}

fn ruleset(needs: &Needs) -> Result<Option<OwnedFd>, landlock::RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules: Vec<(PathBuf, BitFlags<AccessFs>)> = READ.iter().map(|path| (path.into(), read)).collect();
    let program_folder = needs.program.parent().and_then(Path::parent);
    // A program that was unpacked somewhere brings its libraries along.
    rules.extend(
        program_folder
            .filter(|folder| folder.parent().is_some())
            .map(|folder| (folder.join("lib"), read)),
    );
    let search = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    rules.extend(
        env::split_paths(&search)
            .filter(|path| path.is_absolute())
            .map(|path| (path, read)),
    );
    let execute = AccessFs::Execute | AccessFs::ReadFile;
    rules.push((needs.program.clone(), execute));
    rules.extend(LOADERS.iter().map(|loader| (loader.into(), execute)));
    rules.extend(needs.file.clone().map(|file| (file, AccessFs::ReadFile.into())));
    let talk = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    rules.extend(needs.device.clone().map(|device| (device, talk)));
    if needs.hardware {
        rules.extend(READ_FOR_HARDWARE.iter().map(|path| (path.into(), read)));
        rules.extend(cards().into_iter().map(|device| (device, talk | AccessFs::ReadDir)));
    }
    let mut created = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (path, access) in rules {
        let Ok(opened) = PathFd::new(&path) else { continue };
        let access = if path.is_dir() {
            access
        } else {
            access & AccessFs::from_file(NEWEST)
        };
        created = created.add_rule(PathBeneath::new(opened, access))?;
    }
    if let Some(port) = needs.port {
        // The resolver asks over TCP when an answer is long.
        for port in [port, 53] {
            created = created.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
    }
    Ok(created.into())
}

/// The devices of graphics cards.
fn cards() -> Vec<PathBuf> {
    let names = Path::new("/dev").read_dir().into_iter().flatten().flatten();
    let ours = |name: &str| name == "dri" || name.starts_with("nv") || name == "v4l2-nvdec" || name == "video0";
    names
        .filter(|entry| entry.file_name().to_str().is_some_and(ours))
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with("nvme"))
        .map(|entry| entry.path())
        .collect()
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Two programs, since a program has one answer to what it refuses: most calls are not permitted, and one has to look
/// as if it did not exist, so that the C library takes the older way whose arguments can be looked at.
fn filters(needs: &Needs) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let mut refused: Rules = syscalls::REFUSED.iter().map(|number| (*number, Vec::new())).collect();
    if !needs.hardware {
        refused.extend(
            syscalls::REFUSED_WITHOUT_HARDWARE
                .iter()
                .map(|number| (*number, Vec::new())),
        );
    }
    let thread = u64::try_from(libc::CLONE_THREAD).unwrap_or_default();
    // A new process rather than a thread.
    let process = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(thread), 0)?;
    refused.insert(libc::SYS_clone, vec![SeccompRule::new(vec![process])?]);
    let socket = if needs.port.is_some() {
        let kinds = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
        let others: Result<Vec<_>, _> = kinds
            .iter()
            .map(|kind| {
                let kind = u64::try_from(*kind).unwrap_or_default();
                SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, kind)
            })
            .collect();
        vec![SeccompRule::new(others?)?]
    } else {
        Vec::new()
    };
    refused.insert(libc::SYS_socket, socket);
    let missing: Rules = [(libc::SYS_clone3, Vec::new())].into();
    let arch = TargetArch::try_from(env::consts::ARCH)?;
    let program = |rules, errno: libc::c_int| -> Result<BpfProgram, seccompiler::BackendError> {
        let refuse = SeccompAction::Errno(u32::try_from(errno).unwrap_or_default());
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
    };
    Ok(vec![program(refused, libc::EPERM)?, program(missing, libc::ENOSYS)?])
}

/// Where `name` is found on the path, with links followed.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let found = env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())?;
    found.canonicalize().ok()
}

#[cfg(test)]
#[path = "sandbox_tests.rs"]
mod tests;
