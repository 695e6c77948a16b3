//! What systemd is told, and when.

use std::time::Duration;

use rustix::process::Signal;

use crate::broker::{Broker, free_port};
use crate::clip::clip;
use crate::daemon::{Home, camera, door};
use crate::supervisor::Supervisor;

fn position(words: &[String], begins: &str) -> Option<usize> {
    words.iter().position(|word| word.starts_with(begins))
}

/// A broker that is away must not make systemd give up on the start: events wait in the outbox.
#[test]
fn the_daemon_is_ready_without_a_broker_and_feeds_the_watchdog_until_it_stops() {
    let home = Home::new();
    let looped = format!("{}loop = true\n", door(&clip(&["obama2"], 3.0)));
    home.configure(free_port(), "", &looped);
    let mut supervisor = Supervisor::start(Some(Duration::from_secs(2)));
    let mut daemon = home.run_with(&supervisor.environment());
    supervisor.wait_for("READY=1");
    for _ in 0..3 {
        supervisor.wait_for("WATCHDOG=1");
    }
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success());
    supervisor.hear_the_rest();
    let words = supervisor.words();
    let starting = position(words, "EXTEND_TIMEOUT_USEC=").unwrap();
    let ready = position(words, "READY=1").unwrap();
    let stopping = position(words, "STOPPING=1").unwrap();
    assert!(starting < ready && ready < stopping, "{words:?}");
    assert_eq!(supervisor.count("READY=1"), 1, "{words:?}");
}

#[test]
fn the_status_line_says_what_goes_on() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let missing = camera("yard", &format!("rtsp://127.0.0.1:{}/none", free_port()));
    let looped = format!("{}loop = true\n{missing}", door(&clip(&["obama2"], 3.0)));
    home.configure(broker.port, "", &looped);
    let mut supervisor = Supervisor::start(None);
    let _daemon = home.run_with(&supervisor.environment());
    let begins = "STATUS=1 of 2 cameras deliver, 1 people enrolled, broker connected, ";
    supervisor.wait("the state of things", |words| {
        words
            .iter()
            .any(|word| word.starts_with(begins) && word.ends_with("events wait, cpu"))
    });
    drop(broker);
    supervisor.wait("that the broker is gone", |words| {
        words.last().is_some_and(|word| word.contains(", no broker, "))
    });
}

#[test]
fn nothing_is_said_about_a_watchdog_that_nobody_keeps() {
    let broker = Broker::start();
    let home = Home::new();
    home.configure(broker.port, "", &door(&clip(&[], 1.0)));
    let mut supervisor = Supervisor::start(None);
    let mut daemon = home.run_with(&supervisor.environment());
    assert!(daemon.wait().success());
    supervisor.hear_the_rest();
    assert_eq!(
        (supervisor.count("READY=1"), supervisor.count("WATCHDOG=1")),
        (1, 0),
        "{:?}",
        supervisor.words()
    );
}
