//! However the daemon ends, subscribers learn it.

use std::time::Duration;

use rustix::process::{Signal, test_kill_process};

use crate::broker::{Broker, Message, list};
use crate::clip::clip;
use crate::daemon::{Daemon, Home, door};

fn looped(broker: &Broker, home: &Home) -> Daemon {
    let looped = format!("{}loop = true\n", door(&clip(&["obama2"], 3.0)));
    home.configure(broker.port, "", &looped);
    home.run()
}

fn statuses(heard: &[Message]) -> Vec<String> {
    heard
        .iter()
        .filter(|message| message.topic == "kith/box/status")
        .map(Message::text)
        .collect()
}

#[test]
fn sigterm_flushes_says_offline_and_exits_with_0() {
    let broker = Broker::start();
    let home = Home::new();
    let subscriber = broker.subscribe();
    let mut daemon = looped(&broker, &home);
    subscriber.wait("somebody in view", |heard| {
        heard.iter().any(|m| m.text().contains("\"unknown\":1"))
    });
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success(), "{}", daemon.log());
    let heard = subscriber.wait("offline", |heard| statuses(heard) == ["online", "offline"]);
    // Who was in view has left, and was said to have.
    assert!(
        heard
            .iter()
            .any(|message| message.text().contains("\"event_type\":\"left\"")),
        "{}",
        list(&heard)
    );
    let last_view = heard
        .iter()
        .rfind(|message| message.topic == "kith/box/camera/door/people")
        .unwrap();
    assert_eq!(last_view.text(), r#"{"people":[],"unknown":0}"#);
    let offline = heard.iter().rposition(|message| message.topic == "kith/box/status");
    assert_eq!(
        offline,
        Some(heard.len() - 1),
        "offline is the last word: {}",
        list(&heard)
    );
}

#[test]
fn after_kill_9_the_will_says_offline_and_no_decoder_is_left() {
    let broker = Broker::start();
    let home = Home::new();
    let subscriber = broker.subscribe();
    let mut daemon = looped(&broker, &home);
    subscriber.wait("a camera", |heard| {
        heard.iter().any(|m| m.is("kith/box/camera/door/status", "online"))
    });
    let decoders = daemon.children("ffmpeg");
    assert_eq!(decoders.len(), 1);
    daemon.signal(Signal::KILL);
    daemon.wait();
    subscriber.wait("offline", |heard| statuses(heard) == ["online", "offline"]);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    // It is no child of ours, so there is nothing to wait on but its pid.
    while test_kill_process(decoders[0]).is_ok() {
        assert!(std::time::Instant::now() < deadline, "the decoder outlived the daemon");
        std::thread::yield_now();
    }
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let broker = Broker::start();
    let home = Home::new();
    let mut daemon = looped(&broker, &home);
    daemon.wait_for_log("the camera delivers");
    // A broker that is stopped hears no farewell, so the daemon would wait for it.
    drop(broker);
    daemon.signal(Signal::INT);
    daemon.wait_for_log("once more stops at once");
    daemon.signal(Signal::INT);
    assert!(!daemon.wait().success() || daemon.log().contains("stopping"));
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused() {
    let broker = Broker::start();
    let home = Home::new();
    let first = looped(&broker, &home);
    first.wait_for_log("started");
    let mut second = home.run();
    assert!(!second.wait().success());
    second.wait_for_log("another `kith run`");
}
