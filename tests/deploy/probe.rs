//! A program under the unit's limits tries what it must not do, and what it must be able to do.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::{env, thread};

use crate::daemon::said;
use crate::limits::Limits;
use crate::unit::{Settings, Variant};

/// Where the child finds out that it is the child.
const CHILD: &str = "KITH_TEST_UNDER_LIMITS";

/// Not a test by itself: what the child does. Prints a line for each thing that worked.
#[test]
#[ignore = "the other tests run it under the limits"]
#[expect(unsafe_code, reason = "the system calls that are tried have no safe form")]
fn tries_everything() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let tell = |what: &str, worked: bool| {
        if worked {
            println!("worked: {what}");
        }
    };
    let writes = |path: &str| fs::write(path, "x").is_ok();
    tell("write state", writes("/var/lib/kith/probe"));
    tell("write cache", writes("/var/cache/kith/probe"));
    tell("write runtime", writes("/run/kith/probe"));
    tell("write /tmp", writes("/tmp/probe"));
    for folder in ["/usr", "/etc", "/var/lib", "/var/cache", "/boot", "/srv", "/"] {
        tell(&format!("write {folder}"), writes(&format!("{folder}/kith-probe")));
    }
    // Only opened: the test may run as root.
    let tunable = fs::File::options().write(true).open("/proc/sys/kernel/core_pattern");
    tell("change the kernel", tunable.is_ok());
    let someone = fs::read_dir("/home")
        .into_iter()
        .flatten()
        .chain(fs::read_dir("/root").into_iter().flatten());
    tell("see homes", someone.flatten().any(|entry| entry.path().is_file()));
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let processes = processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    // bwrap's first process, and this one.
    tell("see others", processes.count() > 2);
    let mode = |mode| fs::set_permissions("/var/lib/kith/probe", fs::Permissions::from_mode(mode)).is_ok();
    tell("close a file", mode(0o600));
    tell("set-user-id", mode(0o4755));
    tell(
        "a thread",
        thread::Builder::new()
            .spawn(|| ())
            .is_ok_and(|thread| thread.join().is_ok()),
    );
    tell(
        "a program",
        Command::new("/bin/true").status().is_ok_and(|status| status.success()),
    );
    // SAFETY: plain numbers go in; what is made is not touched, and the process ends soon.
    unsafe {
        for (what, family) in [
            ("socket unix", libc::AF_UNIX),
            ("socket inet", libc::AF_INET),
            ("socket netlink", libc::AF_NETLINK),
            ("socket packet", libc::AF_PACKET),
            ("socket vsock", libc::AF_VSOCK),
            ("socket bluetooth", libc::AF_BLUETOOTH),
        ] {
            let made = libc::socket(family, libc::SOCK_DGRAM, 0);
            // Whether it got as far as to be asked for rights.
            let error = io::Error::last_os_error().raw_os_error();
            tell(what, made >= 0 || error != Some(libc::EAFNOSUPPORT));
        }
        let code = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let mapped = libc::mmap(std::ptr::null_mut(), 4096, code, anonymous, -1, 0);
        tell("writable code", mapped != libc::MAP_FAILED);
        let data = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            anonymous,
            -1,
            0,
        );
        tell("memory", data != libc::MAP_FAILED);
        tell(
            "data to code",
            libc::mprotect(data, 4096, libc::PROT_READ | libc::PROT_EXEC) == 0,
        );
    }
    for (what, number) in [
        ("mount", libc::SYS_mount),
        ("unshare", libc::SYS_unshare),
        ("trace", libc::SYS_ptrace),
        ("bpf", libc::SYS_bpf),
        ("load a module", libc::SYS_finit_module),
        ("set the clock", libc::SYS_clock_settime),
        ("keys", libc::SYS_keyctl),
        ("io_uring", libc::SYS_io_uring_setup),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("give files away", libc::SYS_fchownat),
        ("another user", libc::SYS_setresuid),
        ("priority", libc::SYS_sched_setscheduler),
        ("perf", libc::SYS_perf_event_open),
        ("reboot", libc::SYS_reboot),
        ("landlock", libc::SYS_landlock_create_ruleset),
        ("seccomp", libc::SYS_seccomp),
    ] {
        // SAFETY: the first argument is valid for none of them, and the others are no places in memory.
        let result = unsafe { libc::syscall(number, -1, 0, 0, 0, 0) };
        let error = io::Error::last_os_error().raw_os_error();
        tell(what, result >= 0 || error != Some(libc::EPERM));
    }
    // It lacks all rights, and can't come by any.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let has = |line: &str| status.lines().any(|one| one == line);
    tell(
        "no rights",
        has("CapEff:\t0000000000000000") && has("CapBnd:\t0000000000000000"),
    );
    tell("no new rights", has("NoNewPrivs:\t1"));
}

/// What worked under the limits of `settings`.
fn worked(settings: &Settings, variant: Variant) -> BTreeSet<String> {
    let state = tempfile::tempdir().unwrap();
    let limits = Limits {
        settings,
        variant,
        state: state.path().to_path_buf(),
        read: Vec::new(),
    };
    let done = limits
        .command(&env::current_exe().unwrap())
        .args(["probe::tries_everything", "--exact", "--ignored", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("bwrap is missing; `cargo xtask test` sets it up");
    assert!(done.status.success(), "{}", said(&done));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    // The test harness writes its own line's beginning before the first of ours.
    let lines = text
        .lines()
        .filter_map(|line| Some(line.split_once("worked: ")?.1.to_owned()));
    lines.collect()
}

/// What a daemon has to be able to do.
const NEEDED: &[&str] = &[
    "a program",
    "a thread",
    "close a file",
    "landlock",
    "memory",
    "no new rights",
    "no rights",
    "seccomp",
    "socket inet",
    "socket netlink",
    "socket unix",
    "write /tmp",
    "write cache",
    "write runtime",
    "write state",
];
/// What a card's libraries do besides.
const NEEDED_BY_CARDS: &[&str] = &["data to code", "writable code"];

#[test]
fn under_the_units_limits_only_what_is_needed_works() {
    let cpu = worked(&Settings::of(Variant::Cpu), Variant::Cpu);
    assert_eq!(cpu.iter().map(String::as_str).collect::<Vec<_>>(), NEEDED);
    let gpu = worked(&Settings::of(Variant::Gpu), Variant::Gpu);
    let more: Vec<&str> = gpu.difference(&cpu).map(String::as_str).collect();
    assert_eq!(more, NEEDED_BY_CARDS);
    assert!(cpu.is_subset(&gpu));
}

/// The probe can tell: each setting that is taken out opens what it is there for.
#[test]
fn without_a_setting_its_danger_is_back() {
    let all = Settings::of(Variant::Cpu);
    for (key, danger) in [
        ("MemoryDenyWriteExecute", "writable code"),
        ("RestrictAddressFamilies", "socket packet"),
        ("RestrictSUIDSGID", "set-user-id"),
    ] {
        let fewer = all.without(|one, _| one == key);
        assert!(worked(&fewer, Variant::Cpu).contains(danger), "{key} against {danger}");
    }
    let fewer = all.without(|key, value| key == "SystemCallFilter" && value.starts_with('~'));
    let open = worked(&fewer, Variant::Cpu);
    for danger in ["keys", "io_uring", "userfaultfd", "give files away", "priority"] {
        assert!(open.contains(danger), "{danger}: {open:?}");
    }
}
