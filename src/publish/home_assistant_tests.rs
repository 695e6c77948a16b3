//! The discovery messages against Home Assistant's rules for them, written down here as a table (from its
//! documentation of the MQTT integration and the schemas that its source checks messages with).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use minijinja::{Environment, context};
use ulid::Ulid;

use super::*;
use crate::event::{BoxFraction, Event, EventKind};
use crate::frame::CapturedAt;
use crate::gallery::Name;

/// A platform: keys that it requires, and further keys that it knows, besides those of every entity.
struct Platform {
    name: &'static str,
    requires: &'static [&'static str],
    knows: &'static [&'static str],
    device_classes: &'static [&'static str],
    is_entity: bool,
}

const PLATFORMS: &[Platform] = &[
    Platform {
        name: "binary_sensor",
        requires: &["state_topic"],
        knows: &[
            "device_class",
            "payload_on",
            "payload_off",
            "value_template",
            "off_delay",
        ],
        device_classes: &["occupancy", "connectivity", "presence", "motion", "problem"],
        is_entity: true,
    },
    Platform {
        name: "sensor",
        requires: &["state_topic"],
        knows: &["device_class", "state_class", "unit_of_measurement", "value_template"],
        device_classes: &["data_size", "duration"],
        is_entity: true,
    },
    Platform {
        name: "event",
        requires: &["state_topic", "event_types"],
        knows: &["device_class", "value_template"],
        device_classes: &["doorbell", "button", "motion"],
        is_entity: true,
    },
    Platform {
        name: "image",
        requires: &["image_topic"],
        knows: &["content_type", "image_encoding", "url_topic", "url_template"],
        device_classes: &[],
        is_entity: true,
    },
    Platform {
        name: "device_automation",
        requires: &["automation_type", "topic", "type", "subtype"],
        knows: &["payload", "value_template"],
        device_classes: &[],
        is_entity: false,
    },
];
/// Keys of every entity.
const ENTITY: &[&str] = &[
    "platform",
    "unique_id",
    "default_entity_id",
    "name",
    "icon",
    "entity_category",
    "json_attributes_topic",
    "json_attributes_template",
    "enabled_by_default",
];
/// Keys beside `components`.
const SHARED: &[&str] = &[
    "device",
    "origin",
    "components",
    "availability",
    "availability_mode",
    "state_topic",
    "command_topic",
    "qos",
    "encoding",
];
const DEVICE: &[&str] = &[
    "identifiers",
    "connections",
    "name",
    "manufacturer",
    "model",
    "sw_version",
    "hw_version",
    "serial_number",
    "via_device",
    "suggested_area",
    "configuration_url",
];

fn person(id: &str, name: &str) -> Person {
    Person::new(id, Ulid::generate(), Name::parse(name).unwrap())
}

fn told<'a>(topics: &'a Topics, cameras: &'a [CameraId], people: &'a [Person], faces: bool) -> Vec<Device> {
    devices(&Told {
        prefix: "homeassistant",
        node: "hall-box",
        topics,
        cameras: cameras.iter().collect(),
        people: people.iter().collect(),
        faces,
    })
}

fn parsed(device: &Device) -> Value {
    serde_json::from_str(&device.payload()).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Holds one discovery message to the rules.
fn check(topic: &str, message: &Value, unique: &mut BTreeSet<String>) {
    let id = topic
        .strip_prefix("homeassistant/device/")
        .unwrap()
        .strip_suffix("/config")
        .unwrap();
    assert!(
        id.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')),
        "{topic}"
    );
    for key in keys(message) {
        assert!(SHARED.contains(&key), "{topic}: {key}");
    }
    for key in keys(&message["device"]) {
        assert!(DEVICE.contains(&key), "{topic}: device.{key}");
    }
    assert_eq!(message["device"]["identifiers"], json!([id]));
    assert!(message["origin"]["name"].is_string());
    assert_eq!(message["availability_mode"], "all");
    for availability in message["availability"].as_array().unwrap() {
        assert_eq!(keys(availability), ["topic"]);
    }
    for (id, component) in message["components"].as_object().unwrap() {
        let name = component["platform"].as_str().unwrap();
        let platform = PLATFORMS.iter().find(|platform| platform.name == name).unwrap();
        for required in platform.requires {
            assert!(!component[*required].is_null(), "{id} lacks {required}");
        }
        for key in keys(component) {
            let known = platform.requires.contains(&key) || platform.knows.contains(&key);
            let of_entities = platform.is_entity && ENTITY.contains(&key);
            assert!(known || of_entities || key == "platform", "{id}: {name} has no {key}");
        }
        if let Some(class) = component["device_class"].as_str() {
            assert!(platform.device_classes.contains(&class), "{id}: {class}");
        }
        if platform.is_entity {
            // The key in the record, so that both name the same.
            assert_eq!(component["unique_id"], **id);
            let entity = component["default_entity_id"].as_str().unwrap();
            let object = entity
                .strip_prefix(&format!("{name}."))
                .expect("an entity id names its domain");
            let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            assert!(object.bytes().all(letters), "{entity}");
            assert!(unique.insert(entity.to_owned()), "{entity} twice");
        }
        assert!(unique.insert(id.clone()), "{id} twice");
    }
}

#[test]
fn every_message_follows_the_rules() {
    let topics = Topics::new("kith", "hall-box");
    let cameras: Vec<CameraId> = vec!["door".into(), "back-yard".into()];
    let people = [person("alice", "Alice"), person("bob-2", "Bob \"the\" Builder {{ 1 }}")];
    let mut unique = BTreeSet::new();
    let devices = told(&topics, &cameras, &people, true);
    assert_eq!(devices.len(), 4);
    for device in &devices {
        check(&device.topic, &parsed(device), &mut unique);
    }
    assert_eq!(
        parsed(&devices[1])["device"]["via_device"],
        parsed(&devices[0])["device"]["identifiers"][0]
    );
    let availability = |device: &Device| parsed(device)["availability"].to_string();
    assert!(availability(&devices[1]).contains("kith/hall-box/camera/door/status"));
    assert!(availability(&devices[3]).contains("kith/hall-box/sight"));
    let all: String = devices.iter().map(Device::payload).collect();
    assert!(!all.contains("expire_after") && !all.contains("object_id"));
    // No pictures, no entity of them; nobody, no device of people.
    let bare = told(&topics, &cameras, &[], false);
    assert_eq!(bare.len(), 3);
    assert!(!bare.iter().any(|device| device.payload().contains("\"image\"")));
}

#[test]
fn a_rename_changes_what_people_read_and_nothing_else() {
    let topics = Topics::new("kith", "box");
    let mut people = [person("alice", "Alice")];
    let before = told(&topics, &[], &people, false).pop().unwrap().payload();
    people[0].name = Name::parse("Alicia").unwrap();
    let after = told(&topics, &[], &people, false).pop().unwrap().payload();
    assert_eq!(before.replace("\"Alice\"", "\"Alicia\""), after);
}

#[test]
fn who_goes_is_announced_by_platform_only_and_anew_with_all_that_is_required() {
    let topics = Topics::new("kith", "hall-box");
    let cameras: Vec<CameraId> = vec!["door".into()];
    let device = told(&topics, &cameras, &[], true).pop().unwrap();
    let parts: Vec<Component> = device.components().collect();
    let bare = told(&topics, &cameras, &[], false).pop().unwrap();
    let gone: Vec<&Component> = parts.iter().filter(|part| part.platform == "image").collect();
    let message: Value = serde_json::from_str(&bare.payload_with(&gone, false)).unwrap();
    assert_eq!(message["components"][&gone[0].id], json!({"platform": "image"}));
    let all: Vec<&Component> = parts.iter().collect();
    let message: Value = serde_json::from_str(&device_anew(&device.topic, &all)).unwrap();
    assert_eq!(
        message["device"]["identifiers"][0],
        parsed(&device)["device"]["identifiers"][0]
    );
    for platform in PLATFORMS {
        for component in message["components"].as_object().unwrap().values() {
            if component["platform"] == platform.name {
                assert!(
                    platform.requires.iter().all(|key| !component[*key].is_null()),
                    "{component}"
                );
            }
        }
    }
}

/// What Home Assistant makes of a payload: `value_json` is the payload, if it is JSON.
fn render(template: &str, payload: &str) -> String {
    let value: Value = serde_json::from_str(payload).unwrap();
    Environment::new()
        .render_str(template, context! { value_json => value })
        .unwrap()
}

#[test]
fn triggers_fire_for_their_events_also_where_nobody_is_named() {
    let alice = Arc::new(person("alice", "Alice"));
    let corrected = |was: Option<&Arc<Person>>| EventKind::Corrected {
        corrects: Ulid::generate(),
        was: was.cloned(),
    };
    let left = EventKind::Left {
        duration: std::time::Duration::from_secs(3),
    };
    let cases: [(EventKind, Option<&Arc<Person>>, bool, bool); 7] = [
        (EventKind::Preliminary, Some(&alice), false, false),
        (EventKind::Preliminary, None, false, false),
        (EventKind::Recognized, Some(&alice), true, false),
        (EventKind::Unknown, None, false, true),
        (corrected(None), Some(&alice), true, false),
        (corrected(Some(&alice)), None, false, true),
        (left, None, false, false),
    ];
    for (kind, person, recognized, unknown) in cases {
        let json = serde_json::to_string(&event(kind, person)).unwrap();
        assert_eq!(render(RECOGNIZED, &json) == "recognized", recognized, "{json}");
        assert_eq!(render(UNKNOWN, &json) == "unknown", unknown, "{json}");
    }
}

fn event(kind: EventKind, person: Option<&Arc<Person>>) -> Event {
    Event {
        id: Ulid::generate(),
        kind,
        node: "n".into(),
        camera: "c".into(),
        zones: Vec::new(),
        track: Ulid::generate(),
        captured_at: CapturedAt {
            monotonic: Instant::now(),
            wall: Timestamp::now(),
        },
        published_at: Timestamp::now(),
        person: person.cloned(),
        similar_to: None,
        confidence: 0.5,
        shots: 1,
        box_frame_fraction: BoxFraction {
            x: 0.0,
            y: 0.0,
            width: 0.1,
            height: 0.1,
        },
        face_height_px: 50,
        model: Arc::from("m"),
    }
}

/// All value templates over the payloads of their topics, as the daemon makes them.
#[test]
fn templates_render_over_real_payloads() {
    let topics = Topics::new("kith", "box");
    let cameras: Vec<CameraId> = vec!["door".into()];
    let alice = person("alice", "Alice");
    let devices = told(&topics, &cameras, std::slice::from_ref(&alice), true);
    let camera = parsed(&devices[1]);
    let people = &camera["components"]["kith_hall-box_C_door_people"]["value_template"];
    let people = people.as_str().unwrap();
    assert_eq!(render(people, &super::super::states::in_view(&[], 0).to_string()), "0");
    assert_eq!(
        render(people, &super::super::states::in_view(&[&alice], 2).to_string()),
        "3"
    );
    let stats = super::super::states::StatsSource::new(
        crate::camera::Roster::default(),
        Arc::default(),
        super::super::Depth::default(),
    )
    .json()
    .to_string();
    for sensor in parsed(&devices[0])["components"].as_object().unwrap().values() {
        let rendered = render(sensor["value_template"].as_str().unwrap(), &stats);
        // A mean of nothing is null, which Home Assistant takes for "unknown".
        assert!(
            rendered.eq_ignore_ascii_case("none") || rendered.parse::<f64>().is_ok(),
            "{rendered}: {sensor}"
        );
    }
}

/// 200 people and 16 cameras: the largest message, and all together, stay far below what brokers take (Mosquitto's
/// own limit, where it has one, is 2 MB).
#[test]
fn sizes_hold_for_two_hundred_people_and_sixteen_cameras() {
    let topics = Topics::new("kith", "hall-box");
    let cameras: Vec<CameraId> = (0..16).map(|n| format!("camera-number-{n}").into()).collect();
    let people: Vec<Person> = (0..200)
        .map(|n| person(&format!("firstname-lastname-{n}"), &format!("Firstname Lastname {n}")))
        .collect();
    let sizes: Vec<usize> = told(&topics, &cameras, &people, true)
        .iter()
        .map(|device| device.payload().len())
        .collect();
    eprintln!("people {}, camera {}, node {}", sizes[17], sizes[1], sizes[0]);
    assert_eq!(sizes.len(), 18);
    assert!(
        sizes[17] > 10 * 1024,
        "otherwise the client's default limit would never have mattered"
    );
    assert!(sizes[17] < 128 * 1024, "{} bytes for the people", sizes[17]);
    assert!(sizes[1] < 4 * 1024, "{} bytes for a camera", sizes[1]);
}

/// The longest name and camera id that there can be.
#[test]
fn attributes_stay_below_a_kibibyte() {
    let longest = "\u{1F600}".repeat(1000);
    let name = (1..=1000)
        .rev()
        .find_map(|n| Name::parse(&longest.chars().take(n).collect::<String>()).ok());
    let person = Person::new("p".repeat(64), Ulid::generate(), name.unwrap());
    let sighting = super::super::presence::Sighting {
        person: Arc::new(person.clone()),
        camera: "c".repeat(64).into(),
        at: CapturedAt {
            monotonic: Instant::now(),
            wall: Timestamp::now(),
        },
        confidence: 0.123_456,
        event: Some(Ulid::generate()),
    };
    let payload = super::super::states::attributes(&person, Some(&sighting)).to_string();
    assert!(payload.len() < 1024, "{} bytes", payload.len());
}
