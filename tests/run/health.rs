//! What a container engine asks again and again: whether the daemon lives.

use std::process::Output;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::PATIENCE;
use crate::broker::free_port;
use crate::clip::clip;
use crate::daemon::{Home, door, said};

fn health(home: &Home, arguments: &[&str]) -> Output {
    home.kith().arg("health").args(arguments).output().unwrap()
}

fn line(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{}", said(output));
    text
}

#[test]
fn a_daemon_that_lives_is_told_from_one_that_hangs_and_from_none() {
    let home = Home::new();
    // HTTP is off, and no broker is there: neither is needed to live.
    let looped = format!("[http]\nlisten = \"off\"\n{}loop = true\n", door(&clip(&[], 3.0)));
    home.configure(free_port(), "", &looped);
    let none = health(&home, &[]);
    assert_eq!(none.status.code(), Some(1), "{}", said(&none));
    assert!(
        line(&none).contains("unhealthy: no daemon listens at"),
        "{}",
        said(&none)
    );

    let mut daemon = home.run();
    daemon.wait_for_log("listens for requests");
    let lives = health(&home, &[]);
    assert!(lives.status.success(), "{}", said(&lives));
    assert!(line(&lives).starts_with("healthy: up for "), "{}", said(&lives));
    let lives: Value = serde_json::from_str(&line(&health(&home, &["--json"]))).unwrap();
    assert_eq!(
        (&lives["healthy"], &lives["silent"]),
        (&true.into(), &Value::Array(Vec::new()))
    );

    // As a whole it stands still: nobody answers, and the one who asks doesn't wait for long.
    daemon.signal(Signal::STOP);
    let asked = Instant::now();
    let hangs = health(&home, &["--timeout", "1"]);
    assert_eq!(hangs.status.code(), Some(1), "{}", said(&hangs));
    assert!(line(&hangs).contains("does not answer"), "{}", said(&hangs));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    let hangs: Value = serde_json::from_str(&line(&health(&home, &["--timeout", "1", "--json"]))).unwrap();
    assert_eq!(hangs["healthy"], false);
    assert!(hangs["error"].as_str().unwrap().contains("does not answer"), "{hangs}");

    // Once it goes on it lives again, also for those who asked meanwhile.
    daemon.signal(Signal::CONT);
    let deadline = Instant::now() + PATIENCE;
    while !health(&home, &[]).status.success() {
        assert!(Instant::now() < deadline, "it does not come back:\n{}", daemon.log());
        daemon.wait_a_moment();
    }
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success(), "{}", daemon.log());
    assert_eq!(health(&home, &[]).status.code(), Some(1));
}
