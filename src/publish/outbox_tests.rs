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
    outbox.write(&written, &[]).unwrap();
    let first_two: Vec<i64> = all(&outbox).iter().take(2).map(|(number, _)| *number).collect();
    outbox.write(&[], &first_two).unwrap();
    drop(outbox);
    let mut outbox = Outbox::open(state.path()).unwrap();
    let rest: Vec<String> = outbox.read(0, 10).unwrap().into_iter().map(|(_, json)| json).collect();
    let expected: Vec<String> = written.iter().skip(2).map(|(json, _)| json.clone()).collect();
    assert_eq!(rest, expected);
    assert_eq!(outbox.depth().rows(), 3);
    // A number is never used twice, even when the last rows are gone.
    let numbers: Vec<i64> = all(&outbox).iter().map(|(number, _)| *number).collect();
    outbox.write(&[], &numbers).unwrap();
    outbox.write(&events(1), &[]).unwrap();
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
        outbox.write(&[one], &[]).unwrap();
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
    outbox.write(&events(1), &[]).unwrap();
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
