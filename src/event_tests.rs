use serde_json::{Value, json};

use super::*;
use crate::gallery::Name;

fn alice() -> Arc<Person> {
    let uid = "01JC0000000000000000000000".parse().unwrap();
    Arc::new(Person::new("alice", uid, Name::parse("Alice").unwrap()))
}

fn event(kind: EventKind, person: Option<Arc<Person>>, similar_to: Option<Arc<Person>>) -> Event {
    Event {
        id: "01JDEX00000000000000000000".parse().unwrap(),
        kind,
        node: "hall-box".into(),
        camera: "door".into(),
        track: "01JDEW00000000000000000000".parse().unwrap(),
        captured_at: CapturedAt {
            monotonic: Instant::now(),
            wall: "2026-11-24T06:40:00.123456Z".parse().unwrap(),
        },
        published_at: "2026-11-24T06:40:00.201Z".parse().unwrap(),
        person,
        similar_to,
        confidence: 0.9789,
        shots: 5,
        box_frame_fraction: BoxFraction {
            x: 0.41,
            y: 0.22,
            width: 0.08,
            height: 0.14,
        },
        zones: vec!["porch".into()],
        face_height_px: 96,
        model: "mobilefacenet-1a2b3c4d".into(),
    }
}

/// The contract's example, but for the zones, which come with a later issue, and for whole ULIDs.
const EXAMPLE: &str = concat!(
    r#"{"v":1,"id":"01jdex00000000000000000000","event_type":"recognized","node":"hall-box","camera":"door","zones":["porch"],"#,
    r#""track":"01jdew00000000000000000000","captured_at":"2026-11-24T06:40:00.123Z","#,
    r#""published_at":"2026-11-24T06:40:00.201Z","#,
    r#""person":{"id":"alice","uid":"01jc0000000000000000000000","name":"Alice"},"confidence":0.97,"shots":5,"#,
    r#""liveness":null,"box_frame_fraction":{"x":0.41,"y":0.22,"width":0.08,"height":0.14},"face_height_px":96,"#,
    r#""model":"mobilefacenet-1a2b3c4d"}"#
);

#[test]
fn a_recognition_reads_as_the_contract_says() {
    let made = serde_json::to_string(&event(EventKind::Recognized, Some(alice()), None)).unwrap();
    assert_eq!(made, EXAMPLE);
}

/// What each type has beyond, or instead of, what a recognition has.
#[test]
fn each_type_has_its_own_fields() {
    let alice_json = json!({"id": "alice", "uid": "01jc0000000000000000000000", "name": "Alice"});
    let corrects: Ulid = "01JDEX00000000000000000001".parse().unwrap();
    let left = EventKind::Left {
        duration: Duration::from_millis(4_260),
    };
    let corrected = EventKind::Corrected {
        corrects,
        was: Some(alice()),
    };
    let table = [
        (
            event(EventKind::Preliminary, Some(alice()), None),
            "preliminary",
            json!({}),
        ),
        (
            event(EventKind::Unknown, None, Some(alice())),
            "unknown",
            json!({"person": null, "similar_to": alice_json}),
        ),
        (
            event(EventKind::Unknown, None, None),
            "unknown",
            json!({"person": null, "similar_to": null}),
        ),
        (
            event(corrected, None, None),
            "corrected",
            json!({
                "person": null, "similar_to": null, "corrects": "01jdex00000000000000000001", "was": alice_json
            }),
        ),
        (event(left, Some(alice()), None), "left", json!({"duration_s": 4.3})),
    ];
    for (event, name, difference) in table {
        let mut expected: Value = serde_json::from_str(EXAMPLE).unwrap();
        expected["event_type"] = json!(name);
        for (key, value) in difference.as_object().unwrap() {
            expected[key] = value.clone();
        }
        assert_eq!(serde_json::to_value(&event).unwrap(), expected, "{name}");
    }
}

#[test]
fn confidence_is_never_rounded_up_to_certainty() {
    for (value, published) in [
        (0.999, 0.99),
        (1.0, 1.0),
        (0.29, 0.29),
        (0.57, 0.57),
        (0.005, 0.0),
        (0.0, 0.0),
    ] {
        assert!((two_decimals_down(value) - published).abs() < 1e-12, "{value}");
    }
}

#[test]
fn life_counts_from_capture() {
    let event = event(EventKind::Recognized, None, None);
    let after = |seconds| event.life_left(event.captured_at.monotonic + Duration::from_secs(seconds));
    assert_eq!(after(0), LIFE);
    assert_eq!(after(4), Duration::from_secs(6));
    assert_eq!(after(700), Duration::ZERO);
}
