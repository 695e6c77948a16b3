use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::event::{BoxFraction, EventKind};
use crate::frame::CapturedAt;

fn event() -> (String, Box<Event>) {
    let event = Event {
        id: Ulid::generate(),
        kind: EventKind::Unknown,
        node: "n".into(),
        camera: "c".into(),
        track: Ulid::generate(),
        captured_at: CapturedAt {
            monotonic: Instant::now(),
            wall: Timestamp::now(),
        },
        published_at: Timestamp::now(),
        person: None,
        similar_to: None,
        confidence: 0.5,
        shots: 1,
        box_frame_fraction: BoxFraction {
            x: 0.0,
            y: 0.0,
            width: 0.1,
            height: 0.1,
        },
        zones: Vec::new(),
        face_height_px: 50,
        model: Arc::from("m"),
    };
    (json_of(&event), Box::new(event))
}

impl Outbox {
    fn put(&mut self, events: Vec<(String, Box<Event>)>, acknowledged: &[i64]) {
        let batch = Batch {
            events,
            acknowledged: acknowledged.to_vec(),
            ..Batch::default()
        };
        self.write(&batch).unwrap();
    }
}

fn events(count: usize) -> Vec<(String, Box<Event>)> {
    (0..count).map(|_| event()).collect()
}

fn all(outbox: &Outbox) -> Vec<(i64, Value)> {
    let rows = outbox.read(0, usize::MAX).unwrap();
    rows.into_iter()
        .map(|(number, json)| (number, serde_json::from_str(&json).unwrap()))
        .collect()
}

#[test]
fn what_is_not_acknowledged_is_there_after_a_restart_in_order() {
    let state = tempfile::tempdir().unwrap();
    let written = events(5);
    let mut outbox = Outbox::open(state.path()).unwrap();
    let texts: Vec<String> = written.iter().map(|(json, _)| json.clone()).collect();
    outbox.put(written, &[]);
    let first_two: Vec<i64> = all(&outbox).iter().take(2).map(|(number, _)| *number).collect();
    outbox.put(vec![], &first_two);
    drop(outbox);
    let mut outbox = Outbox::open(state.path()).unwrap();
    let rest: Vec<String> = outbox.read(0, 10).unwrap().into_iter().map(|(_, json)| json).collect();
    assert_eq!(rest, texts[2..]);
    assert_eq!(outbox.depth().rows(), 3);
    // A number is never used twice, even when the last rows are gone.
    let numbers: Vec<i64> = all(&outbox).iter().map(|(number, _)| *number).collect();
    outbox.put(vec![], &numbers);
    outbox.put(events(1), &[]);
    assert!(all(&outbox)[0].0 > numbers[2]);
}

#[test]
fn what_falls_out_of_a_full_outbox_is_named_once() {
    let state = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::open(state.path()).unwrap();
    outbox.max_rows = 20;
    let mut ids = Vec::new();
    for _ in 0..100 {
        let one = event();
        ids.push(ulid_text(one.1.id));
        outbox.put(vec![one], &[]);
    }
    let mut accounted: Vec<String> = Vec::new();
    let rows = all(&outbox);
    assert!(rows.len() <= 21, "{} rows", rows.len());
    for (_, row) in &rows {
        if row["event_type"] == "gap" {
            accounted.extend(
                row["ids"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|id| id.as_str().unwrap().to_owned()),
            );
        } else {
            accounted.push(row["id"].as_str().unwrap().to_owned());
        }
    }
    accounted.sort();
    ids.sort();
    assert_eq!(accounted, ids);
}

#[test]
fn what_could_not_be_written_is_named_when_something_can() {
    let state = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::open(state.path()).unwrap();
    let lost = ulid_text(Ulid::generate());
    outbox.lost.push(lost.clone());
    outbox.put(events(1), &[]);
    let rows = all(&outbox);
    assert_eq!(rows[0].1["event_type"], "gap");
    assert_eq!(rows[0].1["ids"][0], lost);
    assert!(outbox.lost.is_empty());
}

#[test]
fn an_outbox_of_another_kind_is_refused() {
    let state = tempfile::tempdir().unwrap();
    std::fs::write(
        state.path().join(FILE_NAME),
        "this is no database at all, but long enough to look at",
    )
    .unwrap();
    let error = Outbox::open(state.path()).err().unwrap().to_string();
    assert!(error.contains("outbox.sqlite"), "{error}");
}

#[test]
fn the_record_survives_a_restart_and_forgets_what_it_is_told_to() {
    let state = tempfile::tempdir().unwrap();
    let topic = |name: &str| Kept::Topic(name.to_owned());
    let component = |leaving| {
        Kept::Component(record::Component {
            topic: "d".to_owned(),
            id: "c".to_owned(),
            platform: "sensor".to_owned(),
            leaving,
        })
    };
    let mut outbox = Outbox::open(state.path()).unwrap();
    outbox
        .remember(&[topic("a"), topic("b"), topic("a"), component(false)])
        .unwrap();
    outbox.remember(&[component(true)]).unwrap();
    drop(outbox);
    let mut outbox = Outbox::open(state.path()).unwrap();
    assert_eq!(outbox.record().unwrap(), [topic("a"), topic("b"), component(true)]);
    let batch = Batch {
        record: vec![(false, topic("a")), (false, component(true)), (true, topic("c"))],
        ..Batch::default()
    };
    outbox.write(&batch).unwrap();
    assert_eq!(outbox.record().unwrap(), [topic("b"), topic("c")]);
}

#[test]
fn events_of_somebody_who_was_removed_leave_only_their_ids() {
    let state = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::open(state.path()).unwrap();
    let person = Arc::new(crate::gallery::Person::new(
        "alice",
        Ulid::generate(),
        crate::gallery::Name::parse("Alice Zweistein").unwrap(),
    ));
    let (_, mut named) = event();
    named.person = Some(Arc::clone(&person));
    let id = ulid_text(named.id);
    outbox.put(vec![event(), (json_of(&named), named), event()], &[]);
    outbox.enrolled = Some([Ulid::generate()].into());
    outbox.forgetting = true;
    outbox.write(&Batch::default()).unwrap();
    assert!(!outbox.owes());
    let rows = all(&outbox);
    assert_eq!((rows.len(), outbox.depth().rows()), (3, 3));
    assert_eq!(rows[2].1["event_type"], "gap");
    assert_eq!(rows[2].1["ids"], serde_json::json!([id]));
    for file in std::fs::read_dir(state.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(9).any(|window| window == b"Zweistein"));
    }
}

#[test]
fn the_depth_that_is_carried_along_is_the_number_of_rows() {
    let state = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::open(state.path()).unwrap();
    outbox.put(events(50), &[]);
    let numbers: Vec<i64> = all(&outbox).iter().map(|(number, _)| *number).collect();
    outbox.put(events(3), &numbers[..20]);
    outbox.put(vec![], &numbers[..20]);
    assert_eq!(outbox.depth().rows(), 33);
    outbox.count().unwrap();
    assert_eq!(outbox.depth().rows(), 33);
}

#[test]
fn who_is_removed_in_view_is_not_named_afterwards() {
    let person = Arc::new(crate::gallery::Person::new(
        "alice",
        Ulid::generate(),
        crate::gallery::Name::parse("Alice Zweistein").unwrap(),
    ));
    let enrolled = [Ulid::generate()].into();
    let (_, mut left) = event();
    left.person = Some(Arc::clone(&person));
    left.kind = crate::event::EventKind::Corrected {
        corrects: Ulid::generate(),
        was: Some(Arc::clone(&person)),
    };
    assert!(left.forget_others(Some(&enrolled)));
    assert!(!json_of(&left).contains("lice"), "{}", json_of(&left));
    let (_, mut recognized) = event();
    recognized.person = Some(Arc::clone(&person));
    recognized.kind = crate::event::EventKind::Recognized;
    assert!(recognized.clone().forget_others(None), "nothing is known yet");
    assert!(!recognized.forget_others(Some(&enrolled)));
}
