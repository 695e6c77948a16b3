//! A hang is noticed: each kind of worker is frozen in the running program, and the test plays supervisor. Needs a build
//! with `--features fault`; `cargo xtask test --only faults` and `cargo xtask soak hang` make one.

use std::fs;
use std::time::{Duration, Instant};

use crate::broker::{Broker, list};
use crate::clip::clip;
use crate::daemon::{Home, door};
use crate::supervisor::Supervisor;
use crate::trials::Trials;

/// `watchdog.silent_s` in these tests, the least that there is.
const SILENCE: Duration = Duration::from_secs(5);
/// What the end may take beyond that: looking twice a second, the last words, and a busy machine.
const END: Duration = Duration::from_secs(20);

/// Whether the program under test was built with faults.
fn has_faults() -> bool {
    let program = fs::read(env!("CARGO_BIN_EXE_kith")).unwrap();
    let marker = b"kith-fault-";
    program.windows(marker.len()).any(|window| window == marker)
}

/// Everybody's build has none: nothing on disk can make it stand still.
#[test]
fn only_a_build_for_these_tests_has_faults() {
    assert_eq!(has_faults(), cfg!(feature = "fault"));
}

fn check(worker: &str) {
    if !cfg!(feature = "fault") {
        eprintln!("skipped: needs --features fault (cargo xtask test --only faults)");
        return;
    }
    Trials::counting("hang", worker, 1, 20).run(|_| freeze(worker));
}

fn freeze(worker: &str) -> Result<(), String> {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let home = Home::new();
    let camera = format!("{}loop = true\n", door(&clip(&["obama2"], 3.0)));
    let watchdog = format!("[watchdog]\nsilent_s = {}\n", SILENCE.as_secs());
    home.configure(broker.port, "announce_again_s = 0", &format!("{watchdog}{camera}"));
    let mut supervisor = Supervisor::start(Some(Duration::from_secs(2)));
    let mut daemon = home.run_with(&supervisor.environment());
    supervisor.wait_for("READY=1");
    let works = |offline_before: usize| {
        subscriber.wait("an event of a daemon that is online", |heard| {
            let after = heard
                .iter()
                .enumerate()
                .filter(|(_, message)| message.is("kith/box/status", "offline"))
                .nth(offline_before.wrapping_sub(1))
                .map_or(0, |(at, _)| at);
            let event = |text: &str| text.contains("\"event_type\":\"unknown\"");
            heard[after..].iter().any(|message| event(&message.text()))
                && heard[after..]
                    .iter()
                    .any(|message| message.is("kith/box/status", "online"))
        });
    };
    works(0);

    let order = home.state().join(format!("kith-fault-freeze-{worker}"));
    fs::write(&order, "").unwrap();
    daemon.wait_for_log("frozen on demand");
    let frozen = Instant::now();
    let status = daemon.wait();
    let took = frozen.elapsed();
    supervisor.hear_the_rest();
    if status.code() != Some(70) {
        return Err(format!("{worker}: it ended with {status}"));
    }
    let log = daemon.log();
    let named = log
        .lines()
        .find(|line| line.contains("a worker hangs"))
        .is_some_and(|line| line.contains(&format!("worker=\"{worker}\"")));
    if !named {
        return Err(format!("{worker} is not the first that is named:\n{log}"));
    }
    if took > SILENCE + END {
        return Err(format!("{worker}: the end took {took:?}"));
    }
    let last = |word: &str| supervisor.words().iter().rposition(|one| one == word);
    let (fed, stopped) = (last("WATCHDOG=1"), last("STOPPING=1"));
    if stopped.is_none() || fed > stopped {
        return Err(format!("{worker}: still fed: {:?}", supervisor.words()));
    }
    // By the daemon's own farewell or by its will.
    let heard = subscriber.wait("offline", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "offline"))
    });
    if heard.iter().filter(|m| m.is("kith/box/status", "online")).count() != 1 {
        return Err(format!("{worker}: online again:{}", list(&heard)));
    }

    // What a supervisor does then.
    fs::remove_file(&order).unwrap();
    let again = home.run_with(&supervisor.environment());
    supervisor.wait_for("READY=1");
    supervisor.wait_for("WATCHDOG=1");
    works(1);
    drop(again);
    Ok(())
}

#[test]
fn a_frozen_reader() {
    check("read-door");
}

#[test]
fn a_frozen_watcher() {
    check("watch-door");
}

#[test]
fn a_frozen_engine() {
    check("engine");
}

#[test]
fn a_frozen_outbox() {
    check("outbox");
}

#[test]
fn a_frozen_desk() {
    check("desk");
}

#[test]
fn a_frozen_gallery_watch() {
    check("gallery");
}

#[test]
fn a_frozen_main_thread() {
    check("main");
}

#[test]
fn a_frozen_memory_of_visits() {
    check("sightings");
}
