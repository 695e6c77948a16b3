//! Visits are remembered; unknown visitors get names while the daemon runs; ignored people leave no trace.

use std::collections::HashSet;
use std::fs;
use std::time::Instant;

use kith::sightings::{Query, Sightings, Visit};
use rustix::process::Signal;
use serde_json::Value;

use crate::PATIENCE;
use crate::broker::{Broker, Message, jsons};
use crate::clip::clip;
use crate::daemon::{Home, door, said};

const EVENT: &str = "kith/box/camera/door/event";

/// Runs `kith` with `args`, which ends well, and gives what it says.
fn ok(home: &Home, args: &[&str]) -> String {
    let output = home.kith().args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn count(heard: &[Message], event_type: &str) -> usize {
    jsons(heard, EVENT)
        .iter()
        .filter(|event| event["event_type"] == event_type)
        .count()
}

fn visits(home: &Home) -> Vec<Visit> {
    Sightings::open(&home.state())
        .unwrap()
        .visits(&Query::default())
        .unwrap()
}

#[test]
fn strangers_come_again_get_a_name_and_are_ignored() {
    let broker = Broker::start();
    let home = Home::new();
    let looped = format!("{}loop = true\n", door(&clip(&["obama2", "biden"], 3.0)));
    home.configure(
        broker.port,
        "announce_again_s = 0",
        &format!("[retain]\ncrops = true\n{looped}"),
    );
    let subscriber = broker.subscribe();
    let daemon = home.run();
    let heard = subscriber.wait("both strangers twice", |heard| count(heard, "left") >= 4);
    let first_track = jsons(&heard, EVENT)[0]["track"].as_str().unwrap().to_owned();

    // Each in a line of their own.
    let strangers: Value = serde_json::from_str(&ok(&home, &["unknown", "--json"])).unwrap();
    let strangers = strangers.as_array().unwrap();
    assert_eq!(strangers.len(), 2, "{strangers:?}\n{}", daemon.log());
    for stranger in strangers {
        assert!(stranger["visits"].as_array().unwrap().len() >= 2, "{stranger}");
    }
    // Every verdict's event is in the row of its visit.
    let remembered = visits(&home);
    for event in jsons(&heard, EVENT)
        .iter()
        .filter(|event| event["event_type"] != "preliminary")
    {
        let track = event["track"].as_str().unwrap().to_ascii_uppercase();
        let row = remembered.iter().find(|visit| visit.track.to_string() == track);
        let id = event["id"].as_str().unwrap().to_ascii_uppercase();
        assert!(
            row.is_some_and(|row| row.events.iter().any(|event| event.to_string() == id)),
            "{event}"
        );
    }

    // The picture is one of a face.
    let picture = home.path().join("face.jpg");
    ok(
        &home,
        &["unknown", "show", &first_track, "--out", picture.to_str().unwrap()],
    );
    let detected: Value = serde_json::from_str(&ok(&home, &["detect", "--json", picture.to_str().unwrap()])).unwrap();
    assert_eq!(detected["faces"].as_array().unwrap().len(), 1, "{detected}");

    // Named, and live in the daemon.
    let named = ok(&home, &["unknown", "name", &first_track, "Barack"]);
    assert!(named.starts_with("Barack (barack): enrolled with "), "{named}");
    subscriber.wait("the name", |heard| {
        jsons(heard, EVENT)
            .iter()
            .any(|event| event["event_type"] == "recognized" && event["person"]["id"] == "barack")
    });
    let by_hand = visits(&home).iter().filter(|visit| visit.confidence.is_none()).count();
    assert!(by_hand >= 2, "the visits of before have the name");

    // Ignored: known, but nobody is told.
    ok(&home, &["people", "ignore", "barack"]);
    subscriber.wait("the entity to go", |heard| {
        heard
            .iter()
            .rev()
            .any(|message| message.topic == "kith/box/person/barack/state" && message.payload.is_empty())
    });
    let before = subscriber.wait("nothing", |_| true).len();
    let heard = subscriber.wait("the other one twice more", |heard| count(&heard[before..], "left") >= 2);
    let people: HashSet<&str> = heard[before..]
        .iter()
        .filter(|message| message.topic.ends_with("/people") || message.topic == EVENT)
        .filter(|message| message.text().contains("barack") && !message.text().contains("\"left\""))
        .map(|message| message.topic.as_str())
        .collect();
    assert!(people.is_empty(), "{people:?} told of somebody who is ignored");
    let named = visits(&home).iter().filter(|visit| visit.person.is_some()).count();

    // Killed in mid-visit.
    let lefts = count(&heard, "left");
    subscriber.wait("another visit", |heard| {
        let events = jsons(heard, EVENT);
        count(heard, "left") >= lefts && events.last().is_some_and(|event| event["event_type"] == "unknown")
    });
    // The event may be heard before the row of its visit is written.
    let deadline = Instant::now() + PATIENCE;
    while !visits(&home).iter().any(|visit| visit.is_open) {
        assert!(Instant::now() < deadline, "no visit goes on:\n{}", daemon.log());
        std::thread::yield_now();
    }
    daemon.signal(Signal::KILL);
    drop(daemon);
    assert_eq!(
        visits(&home).iter().filter(|visit| visit.person.is_some()).count(),
        named,
        "no row while ignored"
    );
    let daemon = home.run();
    daemon.wait_for_log("visits that were going on when Kith ended are closed");

    // Removed: no row, no byte.
    let uid = ok(&home, &["people", "--json"]);
    let uid: Value = serde_json::from_str(&uid).unwrap();
    let uid = uid[0]["uid"].as_str().unwrap().to_owned();
    ok(&home, &["people", "remove", "barack", "--yes"]);
    let bytes = fs::read(home.state().join("sightings.sqlite")).unwrap();
    assert!(!bytes.windows(uid.len()).any(|window| window == uid.as_bytes()));
    assert!(visits(&home).iter().all(|visit| visit.person.is_none()));
}
