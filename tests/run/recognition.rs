//! Who passes is named, and only in the ways that the contract allows.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use serde_json::{Value, json};

use crate::broker::{Broker, Message, jsons, list};
use crate::clip::clip;
use crate::daemon::{Home, camera, door};
use crate::given::photos;

const EVENT: &str = "kith/box/camera/door/event";
const LOG: &str = "kith/box/log";

fn of_type<'a>(events: &'a [Value], event_type: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["event_type"] == event_type)
        .collect()
}

/// The main job: somebody passes twice, a stranger between, and everything that is said fits the contract.
#[test]
fn two_visits_and_a_stranger_between_them() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.configure(
        broker.port,
        "announce_again_s = 1",
        &door(&clip(&["obama2", "biden", "obama3"], 4.0)),
    );
    let subscriber = broker.subscribe();
    let mut daemon = home.run();
    assert!(daemon.wait().success(), "a daemon whose clips ended exits with 0");

    let heard = subscriber.wait("the farewell", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "offline"))
    });
    let events = jsons(&heard, EVENT);
    check_events(&heard, &events);

    let verdicts: Vec<&str> = events
        .iter()
        .filter(|event| event["event_type"] == "recognized" || event["event_type"] == "unknown")
        .map(|event| event["person"]["id"].as_str().unwrap_or("nobody"))
        .collect();
    assert_eq!(verdicts, ["barack-obama", "nobody", "barack-obama"], "{}", list(&heard));
    let unknown = of_type(&events, "unknown")[0];
    assert_eq!(unknown["similar_to"]["name"], "Barack Obama");
    assert_eq!(of_type(&events, "left").len(), 3, "{}", list(&heard));
    for left in of_type(&events, "left") {
        assert!((2.0..8.0).contains(&left["duration_s"].as_f64().unwrap()), "{left}");
    }

    // The log has the same events, word for word, in the order in which they were made.
    let log = jsons(&heard, LOG);
    assert_eq!(log, events);

    check_states(&heard);
}

/// What holds for every event, whatever happened.
fn check_events(heard: &[Message], events: &[Value]) {
    let mut ids = HashSet::new();
    let mut preliminary: HashMap<&str, usize> = HashMap::new();
    for event in events {
        assert_eq!(event["v"], 1);
        assert!(ids.insert(event["id"].as_str().unwrap()), "an id twice: {event}");
        assert_eq!((&event["node"], &event["camera"]), (&json!("box"), &json!("door")));
        assert_eq!((&event["zones"], &event["liveness"]), (&json!([]), &Value::Null));
        let confidence = event["confidence"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&confidence));
        assert!(
            (confidence * 100.0 - (confidence * 100.0).round()).abs() < 1e-6,
            "two decimals: {event}"
        );
        assert_eq!(event["person"].is_null(), event.get("similar_to").is_some());
        assert!(event["model"].as_str().unwrap().starts_with("mobilefacenet-"));
        if event["event_type"] == "preliminary" {
            *preliminary.entry(event["track"].as_str().unwrap()).or_default() += 1;
        }
    }
    assert!(
        preliminary.values().all(|count| *count == 1),
        "one preliminary a track: {preliminary:?}"
    );
    for message in heard.iter().filter(|message| message.topic == EVENT) {
        assert!(!message.retained && message.qos == QoS::AtLeastOnce);
        assert!((1..=10).contains(&message.expiry_s.unwrap()), "{message:?}");
        let captured: jiff::Timestamp = message.json()["captured_at"].as_str().unwrap().parse().unwrap();
        let age = Duration::try_from(message.heard_at.duration_since(captured)).unwrap();
        assert!(age < Duration::from_secs(10), "{age:?} old: {}", message.text());
    }
}

fn check_states(heard: &[Message]) {
    let of = |topic: &str| -> Vec<String> {
        heard
            .iter()
            .filter(|message| message.topic == topic)
            .map(Message::text)
            .collect()
    };
    assert_eq!(of("kith/box/status"), ["online", "offline"]);
    // `online` is said when all the rest holds.
    let online = heard.iter().position(|message| message.is("kith/box/status", "online"));
    for state in ["info", "sight", "camera/door/status", "person/barack-obama/state"] {
        let topic = format!("kith/box/{state}");
        let first = heard.iter().position(|message| message.topic == topic);
        assert!(
            first.is_some() && first < online,
            "{state} before online: {}",
            list(heard)
        );
    }
    assert_eq!(of("kith/box/camera/door/status"), ["offline", "online", "offline"]);
    assert_eq!(of("kith/box/sight"), ["offline", "online", "offline"]);
    assert_eq!(of("kith/box/person/barack-obama/state"), ["OFF", "ON"]);
    let attributes = jsons(heard, "kith/box/person/barack-obama/attributes");
    // Known by name from the start on, and then at most once a minute.
    let shown: Vec<(&Value, &Value)> = attributes.iter().map(|all| (&all["name"], &all["camera"])).collect();
    let name = json!("Barack Obama");
    assert_eq!(shown, [(&name, &Value::Null), (&name, &json!("door"))]);
    assert!(attributes[0]["event"].is_null() && attributes[1]["event"].is_string());

    let in_view = jsons(heard, "kith/box/camera/door/people");
    let shown: Vec<String> = in_view
        .iter()
        .map(|view| format!("{} {}", view["people"].as_array().unwrap().len(), view["unknown"]))
        .collect();
    assert_eq!(shown, ["0 0", "1 0", "0 0", "0 1", "0 0", "1 0", "0 0"]);

    let info = jsons(heard, "kith/box/info");
    let info = info.last().unwrap();
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&info["people"], &info["cameras"]), (&json!(1), &json!(["door"])));
    assert!(info["provider"].as_str().unwrap().starts_with("cpu"));
    let models = info["models"].as_array().unwrap();
    assert_eq!(models.len(), 4, "{info}");
    for model in models {
        assert_eq!(model["sha256"].as_str().unwrap().len(), 64);
        assert_eq!(
            (&model["provider"], &model["proven"]),
            (&json!("cpu"), &json!("every_node"))
        );
    }
    assert!(info["card"].is_null() || info["card"].is_string(), "{info}");
    assert!(jsons(heard, "kith/box/stats")[0]["memory_mib"].as_u64().unwrap() > 10);
    assert!(
        of("kith/box/camera/door/face").is_empty(),
        "no pictures unless they are asked for"
    );
}

#[test]
fn after_the_daemon_nothing_retained_is_an_event() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.configure(broker.port, "", &door(&clip(&["obama2"], 3.0)));
    let mut daemon = home.run();
    assert!(daemon.wait().success());
    let retained = broker.subscribe().wait("retained states", |heard| {
        heard.iter().any(|m| m.topic == "kith/box/status")
    });
    assert!(retained.iter().all(|message| message.retained));
    assert!(
        !retained
            .iter()
            .any(|message| message.topic.ends_with("/event") || message.topic == LOG)
    );
    assert!(
        retained.iter().any(|message| message.is("kith/box/status", "offline")),
        "{}",
        list(&retained)
    );
}

/// Shorter than the vote: at two frames a second half a second is one shot.
#[test]
fn a_visit_shorter_than_the_vote_gets_its_answer() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let camera = format!("{}frames_per_second = 2\n", door(&clip(&["obama2"], 0.6)));
    home.configure(broker.port, "", &format!("[verdict]\nmin_shots = 8\n{camera}"));
    let subscriber = broker.subscribe();
    assert!(home.run().wait().success());
    let heard = subscriber.wait("the farewell", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "offline"))
    });
    let recognized = jsons(&heard, EVENT);
    let recognized = of_type(&recognized, "recognized");
    assert_eq!(recognized.len(), 1, "{}", list(&heard));
    assert!(recognized[0]["shots"].as_u64().unwrap() < 8);
}

#[test]
fn tracks_that_break_do_not_announce_somebody_again() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.configure(
        broker.port,
        "announce_again_s = 60",
        &door(&clip(&["obama2", "obama3"], 3.0)),
    );
    let subscriber = broker.subscribe();
    assert!(home.run().wait().success());
    let heard = subscriber.wait("the farewell", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "offline"))
    });
    assert_eq!(
        of_type(&jsons(&heard, EVENT), "recognized").len(),
        1,
        "{}",
        list(&heard)
    );
    // Who is in view is said all the same.
    let views = jsons(&heard, "kith/box/camera/door/people");
    assert_eq!(
        views
            .iter()
            .filter(|view| !view["people"].as_array().unwrap().is_empty())
            .count(),
        2
    );
}

/// A source of single pictures says `preliminary` at most, unless one shot is declared to be enough.
#[test]
fn a_folder_of_pictures_reaches_preliminary_at_most() {
    for (rules, expected) in [("", "preliminary"), ("[verdict]\nmin_shots = 1\n", "recognized")] {
        let broker = Broker::start();
        let home = Home::new();
        home.enrol("Barack Obama", &["obama"]);
        let folder = home.path().join("pictures");
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(photos().join("obama2.jpg"), folder.join("1.jpg")).unwrap();
        std::fs::write(folder.join("2.jpg"), b"no picture").unwrap();
        std::fs::copy(photos().join("biden.jpg"), folder.join("3.jpg")).unwrap();
        home.configure(broker.port, "", &format!("{rules}{}", camera("door", "dir:pictures")));
        let subscriber = broker.subscribe();
        assert!(home.run().wait().success());
        let heard = subscriber.wait("the farewell", |heard| {
            heard.iter().any(|m| m.is("kith/box/status", "offline"))
        });
        let said: Vec<(String, String)> = jsons(&heard, EVENT)
            .iter()
            .filter(|event| event["event_type"] != "left")
            .map(|event| (event["event_type"].to_string(), event["person"]["id"].to_string()))
            .collect();
        let unknown = if expected == "preliminary" { expected } else { "unknown" };
        let quoted = |text: &str| format!("\"{text}\"");
        assert_eq!(
            said,
            [
                (quoted(expected), quoted("barack-obama")),
                (quoted(unknown), "null".to_owned())
            ],
            "{}",
            list(&heard)
        );
    }
}

#[test]
fn somebody_who_is_enrolled_meanwhile_is_named_and_somebody_removed_is_not() {
    let broker = Broker::start();
    let home = Home::new();
    let looped = format!("{}loop = true\n", door(&clip(&["obama2"], 3.0)));
    home.configure(broker.port, "announce_again_s = 0", &looped);
    let subscriber = broker.subscribe();
    let daemon = home.run();
    let types = |heard: &[Message], event_type: &str| of_type(&jsons(heard, EVENT), event_type).len();
    subscriber.wait("an unknown", |heard| types(heard, "unknown") > 0);
    home.enrol("Barack Obama", &["obama"]);
    subscriber.wait("a recognition", |heard| {
        types(heard, "recognized") + types(heard, "corrected") > 0
    });
    let state = "kith/box/person/barack-obama/state";
    subscriber.wait("ON", |heard| heard.iter().any(|message| message.is(state, "ON")));

    let removed = home
        .kith()
        .args(["people", "remove", "barack-obama", "--yes"])
        .output()
        .unwrap();
    assert!(removed.status.success(), "{}", crate::daemon::said(&removed));
    // In the same visit, which the short gaps of the clip don't end, as a correction.
    let nobodies = |heard: &[Message]| {
        let events = jsons(heard, EVENT);
        let verdicts = of_type(&events, "unknown")
            .into_iter()
            .chain(of_type(&events, "corrected"));
        verdicts.filter(|event| event["person"].is_null()).count()
    };
    let before = nobodies(&subscriber.all());
    subscriber.wait("unknown again", |heard| nobodies(heard) > before);
    // The retained topics of a removed person are gone.
    let retained = broker
        .subscribe()
        .wait("retained", |heard| heard.iter().any(|m| m.topic == "kith/box/status"));
    assert!(
        !retained.iter().any(|message| message.topic.contains("/person/")),
        "{}",
        list(&retained)
    );
    drop(daemon);
}

#[test]
fn pictures_of_faces_are_published_when_asked_for() {
    let broker = Broker::start();
    let home = Home::new();
    let face = format!("[publish]\nfaces = true\n{}", door(&clip(&["obama2"], 3.0)));
    home.configure(broker.port, "", &face);
    let subscriber = broker.subscribe();
    assert!(home.run().wait().success());
    let heard = subscriber.wait("a face", |heard| {
        heard.iter().any(|m| m.topic == "kith/box/camera/door/face")
    });
    let face = heard.iter().find(|message| message.topic.ends_with("/face")).unwrap();
    assert!(!face.retained);
    let picture = image::load_from_memory(&face.payload).unwrap();
    assert!(picture.width() > 50 && picture.height() > 50);
}
