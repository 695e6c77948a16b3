//! The real daemon with real networks on a real clip, under the limits of its unit.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;
use crate::broker::{Broker, free_port, jsons};
use crate::clip::clip;
use crate::daemon::{Daemon, Home, children, door};
use crate::limits::Limits;
use crate::supervisor::Supervisor;
use crate::unit::{Settings, Variant};

/// A box with Obama enrolled and a clip of him before the door, for ever.
fn home(port: u16) -> Home {
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    // `required`: without its own limits inside of these the decoder must not run.
    let camera = format!("{}loop = true\nsandbox = \"required\"\n", door(&clip(&["obama2"], 4.0)));
    home.configure(port, "", &format!("[http]\nlisten = \"off\"\n{camera}"));
    home
}

fn start(home: &Home, settings: &Settings, variant: Variant, supervisor: &Supervisor) -> Daemon {
    let environment = supervisor.environment();
    let notify = environment.iter().find(|(name, _)| *name == "NOTIFY_SOCKET").unwrap();
    let config = home.path().join("kith.toml");
    let limits = Limits {
        settings,
        variant,
        state: home.state(),
        read: vec![
            config.clone(),
            PathBuf::from(&notify.1).parent().unwrap().to_path_buf(),
            clip(&["obama2"], 4.0).parent().unwrap().to_path_buf(),
        ],
    };
    let mut command = limits.command(Path::new(env!("CARGO_BIN_EXE_kith")));
    command.args(["run", "--config"]).arg(config);
    command.env("RUST_LOG", "kith=debug").envs(environment);
    Daemon::spawn(command)
}

/// The daemon itself, below bwrap and its first process.
fn kith(bwrap: &Daemon) -> Pid {
    let first = bwrap.children("bwrap");
    let found: Vec<Pid> = first.iter().flat_map(|first| children(*first, "kith")).collect();
    assert_eq!(found.len(), 1, "{}", bwrap.log());
    found[0]
}

fn runs_restricted(variant: Variant) {
    let broker = Broker::start();
    let home = home(broker.port);
    let subscriber = broker.subscribe();
    let mut supervisor = Supervisor::start(Some(Duration::from_secs(2)));
    let mut daemon = start(&home, &Settings::of(variant), variant, &supervisor);
    supervisor.wait_for("READY=1");
    supervisor.wait_for("WATCHDOG=1");
    subscriber.wait("who it is", |heard| {
        let events = jsons(heard, "kith/box/camera/door/event");
        events
            .iter()
            .any(|event| event["event_type"] == "recognized" && event["person"]["id"] == "barack-obama")
    });
    let pid = kith(&daemon);
    let decoders = children(pid, "ffmpeg");
    assert_eq!(decoders.len(), 1, "{}", daemon.log());
    // The decoder has the unit's filters and its own two.
    let filters = |pid: Pid| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:\t"));
        line.unwrap().parse::<u32>().unwrap()
    };
    assert_eq!(filters(decoders[0]), filters(pid) + 2);
    // Nothing was refused that somebody complains about, such as the group of the socket.
    let log = daemon.log();
    let complaints: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .collect();
    assert!(
        complaints
            .iter()
            .all(|line| line.contains("provider") || line.contains("falls back")),
        "{complaints:#?}"
    );

    kill_process(pid, Signal::TERM).unwrap();
    assert!(daemon.wait().success(), "{}", daemon.log());
    subscriber.wait("offline", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "offline"))
    });
}

#[test]
fn the_daemon_recognises_and_stops_well_under_the_limits_for_a_card() {
    runs_restricted(Variant::Gpu);
}

#[test]
fn the_daemon_recognises_and_stops_well_under_the_limits_without_a_card() {
    runs_restricted(Variant::Cpu);
}

/// The filter is really there, and the test above would notice that it is too narrow.
#[test]
fn without_the_calls_of_its_own_limits_the_decoder_does_not_run() {
    let home = home(free_port());
    let narrow =
        Settings::of(Variant::Cpu).without(|key, value| key == "SystemCallFilter" && value.contains("landlock"));
    let supervisor = Supervisor::start(None);
    let daemon = start(&home, &narrow, Variant::Cpu, &supervisor);
    let deadline = Instant::now() + PATIENCE;
    while !daemon.log().contains("can't be limited") {
        assert!(Instant::now() < deadline, "{}", daemon.log());
        assert!(!daemon.log().contains("the camera delivers"), "{}", daemon.log());
        daemon.wait_a_moment();
    }
}

/// Far too narrow: it does not even start.
#[test]
fn without_a_call_that_it_needs_the_daemon_does_not_start() {
    let home = home(free_port());
    let narrow = Settings::of(Variant::Cpu).without(|key, _| key == "RestrictAddressFamilies");
    let narrow = narrow.with("SystemCallFilter", "~epoll_create1");
    let supervisor = Supervisor::start(None);
    let mut daemon = start(&home, &narrow, Variant::Cpu, &supervisor);
    let ended = daemon.wait();
    // By Kith's own words, not those of whatever puts it under the limits.
    let says = daemon.log().lines().any(|line| line.starts_with("kith: "));
    assert!(ended.code() == Some(1) && says, "{ended}\n{}", daemon.log());
}
