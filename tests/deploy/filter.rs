//! The system call filters that systemd would make of a unit's settings, as programs for the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::Write as _;
use std::process::Command;
use std::sync::OnceLock;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use syscalls::Sysno;

use crate::unit::Settings;

type Names = BTreeSet<String>;
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

const EPERM: i32 = libc::EPERM;

/// The groups of this machine's systemd, with what stands in them: calls and other groups.
fn groups() -> &'static BTreeMap<String, Names> {
    static GROUPS: OnceLock<BTreeMap<String, Names>> = OnceLock::new();
    GROUPS.get_or_init(|| {
        let listed = Command::new("systemd-analyze").arg("syscall-filter").output();
        let listed = listed.expect("systemd-analyze is missing; `cargo xtask test` sets it up");
        let mut groups = BTreeMap::<String, Names>::new();
        let mut group = None;
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            let word = line.trim();
            if line.starts_with('@') {
                group = Some(line.to_owned());
            } else if word.is_empty() {
                group = None;
            } else if let Some(group) = group.as_ref().filter(|_| !word.starts_with('#')) {
                groups.entry(group.clone()).or_default().insert(word.to_owned());
            }
        }
        assert!(groups.contains_key("@system-service"), "{listed:?}");
        groups
    })
}

/// The calls that `word` stands for. A group that this systemd does not know stands for none, as it does for systemd.
fn calls(word: &str) -> Names {
    if !word.starts_with('@') {
        return [word.to_owned()].into();
    }
    let members = groups().get(word).into_iter().flatten();
    members.flat_map(|member| calls(member)).collect()
}

/// The calls that the settings leave.
pub(crate) fn allowed(settings: &Settings) -> Names {
    let mut allowed = calls("@default");
    for line in settings.all("SystemCallFilter") {
        let (takes_away, words) = line.strip_prefix('~').map_or((false, line), |words| (true, words));
        for call in words.split(' ').flat_map(calls) {
            if takes_away {
                allowed.remove(&call);
            } else {
                allowed.insert(call);
            }
        }
    }
    allowed
}

fn number(name: &str) -> Option<i64> {
    // What this architecture does not have can't be called.
    let number: Sysno = name.parse().ok()?;
    Some(number.id().into())
}

fn program(rules: Rules, otherwise: SeccompAction, then: SeccompAction) -> BpfProgram {
    let arch = TargetArch::try_from(env::consts::ARCH).unwrap();
    // It ends whoever calls by the numbers of another architecture, as SystemCallArchitectures=native does.
    let filter = SeccompFilter::new(rules, otherwise, then, arch).unwrap();
    filter.try_into().unwrap()
}

/// A program that answers with `errno` where a rule fits.
fn refuse(rules: Rules, errno: i32) -> BpfProgram {
    let errno = SeccompAction::Errno(errno.try_into().unwrap());
    program(rules, SeccompAction::Allow, errno)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: i32) -> SeccompCondition {
    let value = u64::from(value.cast_unsigned());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).unwrap()
}

/// Fits where all bits of `mask` are set in the argument.
fn has(argument: u8, mask: i32) -> SeccompCondition {
    let bits = u64::from(mask.cast_unsigned());
    condition(argument, SeccompCmpOp::MaskedEq(bits), mask)
}

fn rule(conditions: Vec<SeccompCondition>) -> SeccompRule {
    SeccompRule::new(conditions).unwrap()
}

/// All programs for these settings, as systemd makes them.
pub(crate) fn programs(settings: &Settings) -> Vec<BpfProgram> {
    let mut programs = Vec::new();
    if let Some(families) = settings.get("RestrictAddressFamilies") {
        let families = families.split(' ').map(|family| match family {
            "AF_UNIX" => libc::AF_UNIX,
            "AF_INET" => libc::AF_INET,
            "AF_INET6" => libc::AF_INET6,
            "AF_NETLINK" => libc::AF_NETLINK,
            other => panic!("the test does not know {other}"),
        });
        let none = families.map(|family| condition(0, SeccompCmpOp::Ne, family)).collect();
        let rules = [(libc::SYS_socket, vec![rule(none)])];
        programs.push(refuse(rules.into(), libc::EAFNOSUPPORT));
    }
    if settings.is_on("RestrictNamespaces") {
        let kinds = [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWCGROUP,
        ];
        let each: Vec<SeccompRule> = kinds.iter().map(|kind| rule(vec![has(0, *kind)])).collect();
        let rules = [
            (libc::SYS_unshare, Vec::new()),
            (libc::SYS_setns, Vec::new()),
            (libc::SYS_clone, each),
        ];
        programs.push(refuse(rules.into(), EPERM));
        // Its flags are where no filter sees them, so that the C library has to take `clone`.
        programs.push(refuse([(libc::SYS_clone3, Vec::new())].into(), libc::ENOSYS));
    }
    if settings.is_on("RestrictSUIDSGID") {
        let bits = [libc::S_ISUID, libc::S_ISGID].map(u32::cast_signed);
        let of = |argument| bits.map(|bit| rule(vec![has(argument, bit)])).to_vec();
        let mut rules: Rules = [
            (libc::SYS_fchmod, of(1)),
            (libc::SYS_fchmodat, of(2)),
            (libc::SYS_mkdirat, of(2)),
        ]
        .into();
        #[cfg(target_arch = "x86_64")]
        rules.extend([(libc::SYS_chmod, of(1)), (libc::SYS_mkdir, of(1))]);
        let made = bits.map(|bit| rule(vec![has(2, libc::O_CREAT), has(3, bit)]));
        rules.insert(libc::SYS_openat, made.to_vec());
        programs.push(refuse(rules, EPERM));
    }
    if settings.is_on("MemoryDenyWriteExecute") {
        let both = rule(vec![has(2, libc::PROT_WRITE | libc::PROT_EXEC)]);
        let made_code = || vec![rule(vec![has(2, libc::PROT_EXEC)])];
        let rules = [
            (libc::SYS_mmap, vec![both]),
            (libc::SYS_mprotect, made_code()),
            (libc::SYS_pkey_mprotect, made_code()),
            (libc::SYS_shmat, vec![rule(vec![has(2, libc::SHM_EXEC)])]),
        ];
        programs.push(refuse(rules.into(), EPERM));
    }
    if !settings.all("SystemCallFilter").is_empty() {
        let numbers = allowed(settings).into_iter().filter_map(|name| number(&name));
        let rules = numbers.map(|number| (number, Vec::new())).collect();
        assert_eq!(settings.get("SystemCallErrorNumber"), Some("EPERM"));
        let refused = SeccompAction::Errno(EPERM.try_into().unwrap());
        programs.push(program(rules, refused, SeccompAction::Allow));
    }
    programs
}

/// A program in a file, as bwrap wants it: the kernel's instructions, eight bytes each.
pub(crate) fn file(program: &BpfProgram) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for instruction in program {
        let mut bytes = Vec::from(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
        file.write_all(&bytes).unwrap();
    }
    file.flush().unwrap();
    file
}
