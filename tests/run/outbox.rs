//! Events survive a broker that isn't there, on `log`; on `event` they don't come late.

use crate::broker::{Broker, Message, free_port, jsons, list};
use crate::clip::clip;
use crate::daemon::{Home, door};

const LOG: &str = "kith/box/log";

#[test]
fn what_happened_without_a_broker_comes_on_log_later_and_never_on_event() {
    let port = free_port();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.configure(port, "", &door(&clip(&["obama2"], 3.0)));
    let mut daemon = home.run();
    assert!(daemon.wait().success(), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("nothing listens there"), "{log}");
    assert!(log.contains("recognized"), "{log}");
    assert!(log.contains("events wait in the outbox for the next start"), "{log}");

    // The next start sees nobody, but has something to tell.
    home.configure(port, "", &door(&clip(&[], 0.0)));
    let broker = Broker::start_on(port, "allow_anonymous true");
    let subscriber = broker.subscribe();
    assert!(home.run().wait().success());
    let heard = subscriber.wait("the farewell", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "offline"))
    });
    let types: Vec<String> = jsons(&heard, LOG)
        .iter()
        .map(|event| event["event_type"].to_string())
        .collect();
    assert_eq!(
        types,
        ["\"preliminary\"", "\"recognized\"", "\"left\""],
        "{}",
        list(&heard)
    );
    assert!(
        !heard.iter().any(|message| message.topic.ends_with("/event")),
        "{}",
        list(&heard)
    );

    // And having told it, forgets it.
    let again = broker.subscribe();
    assert!(home.run().wait().success());
    let heard = again.wait("two more words", |heard| {
        heard
            .iter()
            .filter(|message| message.topic == "kith/box/status")
            .count()
            >= 3
    });
    assert!(jsons(&heard, LOG).is_empty(), "{}", list(&heard));
}

#[test]
fn a_broker_that_comes_late_hears_everything() {
    let port = free_port();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let looped = format!("{}loop = true\n", door(&clip(&["obama2"], 3.0)));
    home.configure(port, "announce_again_s = 0", &looped);
    let daemon = home.run();
    daemon.wait_for_log("can't connect to the broker");
    daemon.wait_for_log("recognized");
    let broker = Broker::start_on(port, "allow_anonymous true");
    let subscriber = broker.subscribe();
    subscriber.wait("a recognition in the log", |heard| {
        heard
            .iter()
            .any(|message| message.topic == LOG && message.text().contains("recognized"))
    });
    subscriber.wait("online", |heard| {
        heard.iter().any(|message| message.is("kith/box/status", "online"))
    });
    // Whoever comes now finds every state.
    broker.subscribe().wait("every state", |heard| {
        let states = [
            "info",
            "sight",
            "stats",
            "camera/door/status",
            "camera/door/people",
            "person/barack-obama/state",
        ];
        states
            .iter()
            .all(|state| heard.iter().any(|message| message.topic == format!("kith/box/{state}")))
    });
    drop(daemon);
}

#[test]
fn a_broker_that_restarts_loses_nothing() {
    let broker = Broker::start();
    let port = broker.port;
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let looped = format!("{}loop = true\n", door(&clip(&["obama2", "biden"], 3.0)));
    home.configure(port, "announce_again_s = 0", &looped);
    let before = broker.subscribe();
    let daemon = home.run();
    let recognized = |heard: &[Message]| heard.iter().any(|m| m.topic == LOG && m.text().contains("recognized"));
    before.wait("a recognition", recognized);
    drop(broker);
    daemon.wait_for_log("lost the broker");
    let broker = Broker::start_on(port, "allow_anonymous true");
    let after = broker.subscribe();
    after.wait("a recognition after the restart", recognized);
    let status = |message: &Message| message.is("kith/box/status", "online");
    after.wait("online again", |heard| heard.iter().any(status));
    drop(daemon);
}
