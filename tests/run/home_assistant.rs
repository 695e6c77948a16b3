//! What Home Assistant hears of us, over a real broker: when, and in which order.

use serde_json::{Value, json};

use crate::broker::{Broker, Message, jsons, list};
use crate::clip::clip;
use crate::daemon::{Daemon, Home, camera, said};

const PEOPLE: &str = "homeassistant/device/kith_box_P/config";
const BIRTH: &str = "homeassistant/status";

fn start(broker: &Broker, home: &Home) -> Daemon {
    let nobody = camera("door", &format!("file:{}", clip(&[], 0.0).display()));
    home.configure(
        broker.port,
        "",
        &format!("[home_assistant]\nenabled = true\n{nobody}loop = true\n"),
    );
    home.run()
}

fn count(heard: &[Message], what: impl Fn(&Message) -> bool) -> usize {
    heard.iter().filter(|message| what(message)).count()
}

/// Place of a topic among what ranks when all is announced.
fn rank(topic: &str) -> Option<u8> {
    let what = topic.strip_prefix("kith/box/");
    match what {
        None if topic.starts_with("homeassistant/device/") => Some(0),
        Some("info") => Some(1),
        Some(what) if what.ends_with("/people") || what.starts_with("person/") => Some(1),
        Some("sight") => Some(2),
        Some(what) if what.starts_with("camera/") && what.ends_with("/status") => Some(2),
        Some("status") => Some(3),
        _ => None,
    }
}

#[test]
fn people_are_there_from_enrolment_on_and_all_is_announced_in_order_at_each_birth() {
    let broker = Broker::start();
    let home = Home::new();
    let subscriber = broker.subscribe();
    let daemon = start(&broker, &home);
    let online = |heard: &[Message]| count(heard, |m| m.is("kith/box/status", "online"));
    subscriber.wait("the camera", |heard| {
        online(heard) == 1 && heard.iter().any(|m| m.is("kith/box/camera/door/status", "online"))
    });
    assert!(jsons(&subscriber.all(), PEOPLE).is_empty(), "nobody is enrolled");

    // She was never seen, and is there.
    home.enrol("Barack Obama", &["obama"]);
    let heard = subscriber.wait("the person", |heard| !jsons(heard, PEOPLE).is_empty());
    let people = jsons(&heard, PEOPLE).pop().unwrap();
    let sensors: Vec<&Value> = people["components"].as_object().unwrap().values().collect();
    assert_eq!(sensors.len(), 1);
    assert_eq!(
        (&sensors[0]["name"], &sensors[0]["device_class"]),
        (&json!("Barack Obama"), &json!("occupancy"))
    );
    subscriber.wait("her state", |heard| {
        heard.iter().any(|m| m.is("kith/box/person/barack-obama/state", "OFF"))
    });

    // Home Assistant starts.
    let before = subscriber.all().len();
    broker.publish(BIRTH, b"online");
    let heard = subscriber.wait("everything again", |heard| online(&heard[before..]) == 1);
    let ranks: Vec<u8> = heard[before..]
        .iter()
        .filter_map(|message| rank(&message.topic))
        .collect();
    assert!(ranks.is_sorted(), "{}", list(&heard[before..]));
    let devices = count(&heard[before..], |m| rank(&m.topic) == Some(0));
    assert_eq!(devices, 3, "node, camera and people: {}", list(&heard[before..]));
    assert_eq!(count(&heard[before..], |m| rank(&m.topic) == Some(2)), 2);

    // A retained birth is no news: all was announced when we connected, and `offline` asks for nothing.
    let before = subscriber.all().len();
    broker.publish(BIRTH, b"offline");
    home.enrol("Joe Biden", &["biden"]);
    subscriber.wait("the other one", |heard| {
        heard.iter().any(|m| m.is("kith/box/person/joe-biden/state", "OFF"))
    });
    assert_eq!(online(&subscriber.all()[before..]), 0);
    drop(daemon);
}

#[test]
fn who_is_removed_is_announced_by_platform_only_then_left_out_and_once_more_at_the_next_birth() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.enrol("Joe Biden", &["biden"]);
    let subscriber = broker.subscribe();
    let daemon = start(&broker, &home);
    let heard = subscriber.wait("two people, and the start over", |heard| {
        !jsons(heard, PEOPLE).is_empty() && heard.iter().any(|m| m.is("kith/box/status", "online"))
    });
    let before = jsons(&heard, PEOPLE).pop().unwrap();
    let (id, _) = before["components"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(_, sensor)| sensor["name"] == "Joe Biden")
        .unwrap();
    let of_him = |heard: &[Message]| -> Vec<Option<Value>> {
        let messages = jsons(heard, PEOPLE);
        messages
            .iter()
            .map(|message| message["components"].get(id).cloned())
            .collect()
    };
    let mut heard_before = subscriber.all().len();
    let removed = home
        .kith()
        .args(["people", "remove", "joe-biden", "--yes"])
        .output()
        .unwrap();
    assert!(removed.status.success(), "{}", said(&removed));
    let by_platform = Some(json!({"platform": "binary_sensor"}));
    let heard = subscriber.wait("his going", |heard| of_him(&heard[heard_before..]).len() == 2);
    assert_eq!(of_him(&heard[heard_before..]), [by_platform.clone(), None]);
    let gone = &heard.iter().rfind(|message| message.topic == PEOPLE).unwrap();
    assert!(!gone.text().contains("Biden"));

    // Home Assistant may have been down: it finds him in its registry when he is announced, and then he goes.
    for repeated in [true, false] {
        heard_before = subscriber.all().len();
        broker.publish(BIRTH, b"online");
        let online = |heard: &[Message]| count(heard, |m| m.is("kith/box/status", "online"));
        let heard = subscriber.wait("everything again", |heard| online(&heard[heard_before..]) == 1);
        let of_him = of_him(&heard[heard_before..]);
        if repeated {
            assert_eq!(of_him.len(), 3, "{of_him:?}");
            assert_eq!(of_him[0].as_ref().unwrap()["unique_id"], **id);
            assert_eq!(of_him[1..], [by_platform.clone(), None]);
        } else {
            assert_eq!(of_him, [None]);
        }
    }
    drop(daemon);
}
