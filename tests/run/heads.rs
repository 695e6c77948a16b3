//! The daemon asks a trained head.

use serde_json::{Value, json};

use crate::broker::{Broker, jsons, list};
use crate::clip::clip;
use crate::daemon::{Home, door, said};
use crate::given::head::{deliver, embedding};

const EVENT: &str = "kith/box/camera/door/event";

/// A home with models.d in its configuration, and a head for these people in it.
fn home_with_head(port: u16, classes: &[(&str, &str)], rest: &str) -> Home {
    let home = Home::new();
    let classes: Vec<_> = classes
        .iter()
        .map(|(class, photo)| (*class, embedding(photo)))
        .collect();
    deliver(&home.path().join("trained"), "family", &classes);
    let settings = "[identify]\nby = \"head:family\"\n[runtime]\nmodels_d = \"models.d\"\n";
    home.configure(port, "announce_again_s = 1", &format!("{settings}{rest}"));
    home
}

fn install(home: &Home) {
    let done = home
        .kith()
        .args(["heads", "install"])
        .arg(home.path().join("trained"))
        .arg("--models-d")
        .arg(home.path().join("models.d"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", said(&done));
}

#[test]
fn people_of_a_head_are_named_and_announced_though_they_have_no_photos() {
    let broker = Broker::start();
    let classes = [("barack", "obama.jpg"), ("joe", "biden.jpg")];
    let home = home_with_head(broker.port, &classes, &door(&clip(&["obama2", "biden"], 3.0)));
    install(&home);
    let subscriber = broker.subscribe();
    assert!(home.run().wait().success());
    let heard = subscriber.wait("the farewell", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "offline"))
    });
    let events = jsons(&heard, EVENT);
    let recognized: Vec<_> = events.iter().filter(|e| e["event_type"] == "recognized").collect();
    let who: Vec<_> = recognized
        .iter()
        .map(|event| event["person"]["id"].as_str().unwrap())
        .collect();
    assert_eq!(who, ["barack", "joe"], "{}", list(&heard));
    for event in recognized {
        assert!(event["confidence"].as_f64().unwrap() > 0.95, "{event}");
        let model = event["model"].as_str().unwrap();
        assert!(
            model.starts_with("mobilefacenet-") && model.contains("+family-"),
            "{model}"
        );
    }
    let state = |person: &str, state: &str| {
        heard
            .iter()
            .any(|m| m.is(&format!("kith/box/person/{person}/state"), state))
    };
    assert!(
        state("barack", "OFF") && state("barack", "ON") && state("joe", "ON"),
        "{}",
        list(&heard)
    );
    let info = jsons(&heard, "kith/box/info");
    let info = info.last().unwrap();
    assert_eq!(info["people"], 2);
    let names: Vec<_> = info["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["name"].clone())
        .collect();
    let expected = [
        "mtcnn/onet",
        "mtcnn/pnet",
        "mtcnn/rnet",
        "mobilefacenet/network",
        "family/network",
    ];
    assert_eq!(json!(names), json!(expected));
}

#[test]
fn somebody_who_is_removed_while_the_daemon_runs_is_unknown_from_then_on() {
    let broker = Broker::start();
    let looped = format!("{}loop = true\n", door(&clip(&["obama2"], 3.0)));
    let home = home_with_head(broker.port, &[("barack", "obama.jpg"), ("joe", "biden.jpg")], &looped);
    // Into models.d by hand: the daemon makes the people itself.
    std::fs::rename(home.path().join("trained"), home.path().join("models.d")).unwrap();
    let subscriber = broker.subscribe();
    let daemon = home.run();
    subscriber.wait("a recognition", |heard| {
        jsons(heard, EVENT)
            .iter()
            .any(|event| event["event_type"] == "recognized" && event["person"]["id"] == "barack")
    });
    let removed = home
        .kith()
        .args(["people", "remove", "barack", "--yes"])
        .output()
        .unwrap();
    assert!(removed.status.success(), "{}", said(&removed));
    daemon.wait_for_log("the gallery changed");
    // The visit of the moment is corrected; the next one would be unknown.
    let is_unknown = |event: &Value| {
        event["person"].is_null() && (event["event_type"] == "unknown" || event["event_type"] == "corrected")
    };
    let heard = subscriber.wait("an unknown", |heard| jsons(heard, EVENT).iter().any(is_unknown));
    let events = jsons(&heard, EVENT);
    let unknown = events.iter().rfind(|event| is_unknown(event)).unwrap();
    assert_eq!(unknown["similar_to"], json!(null), "{unknown}");
    drop(daemon);
}

#[test]
fn a_head_that_is_not_there_is_a_clear_end() {
    let broker = Broker::start();
    let home = home_with_head(
        broker.port,
        &[("barack", "obama.jpg"), ("joe", "biden.jpg")],
        &door(&clip(&["biden"], 1.0)),
    );
    let mut daemon = home.run();
    assert!(!daemon.wait().success());
    daemon.wait_for_log("no head named family");
}
