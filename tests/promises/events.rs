//! Every event is accounted for, whatever is killed: acknowledged by the broker (a proxy reads along), in the outbox,
//! or named in a `gap` record. The outbox numbers its rows and uses no number twice, so none can be missing unseen.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;

use crate::broker::{Broker, free_port};
use crate::crowd;
use crate::daemon::{Home, said};
use crate::proxy::{Notes, Proxy};
use crate::recorder::Recorder;
use crate::trials::Trials;

/// Events between two faults.
const A_ROUND: usize = 200;
/// As many as a camera may deliver.
const PICTURES_PER_SECOND: f64 = 60.0;

#[test]
fn every_event_is_accounted_for() {
    let mut events = Trials::counting("events", "events", 500, 20_000);
    let mut stops = Trials::counting("events", "broker-stops", 2, 50);
    let mut kills = Trials::counting("events", "daemon-kills", 2, 50);
    let broker_port = free_port();
    let mut broker = Some(Broker::start_on(broker_port, "allow_anonymous true"));
    let proxy = Proxy::start(broker_port);
    let home = a_crowd(&proxy);
    let mut daemon = home.run();
    let mut round = 0_u64;
    while events.left() + stops.left() + kills.left() > 0 {
        let began = Instant::now();
        let before = proxy.notes().acknowledged.len();
        let after = proxy.wait("a round of events", |notes| {
            notes.acknowledged.len() >= before + A_ROUND
        });
        let count = (after.acknowledged.len() - before) as u64;
        if round.is_multiple_of(2) {
            let old = broker.take();
            if round.is_multiple_of(4) {
                drop(old); // Killed.
            } else if let Some(old) = old {
                old.stop();
            }
            broker = Some(Broker::start_on(broker_port, "allow_anonymous true"));
            stops.done(1, began.elapsed(), Vec::new());
            events.done(count, began.elapsed(), Vec::new());
        } else {
            drop(daemon);
            let failures = unaccounted(&home.state(), &proxy.notes());
            kills.done(1, began.elapsed(), failures.clone());
            events.done(count, began.elapsed(), failures);
            daemon = home.run();
        }
        round += 1;
    }
    drop(daemon);
    events.done(0, began_now(), unaccounted(&home.state(), &proxy.notes()));
    events.finish();
    stops.finish();
    kills.finish();
}

#[test]
fn clean_stops_lose_nothing_at_a_subscriber() {
    let mut stops = Trials::counting("events", "clean-stops", 2, 50);
    let kept = tempfile::tempdir().unwrap();
    let broker_port = free_port();
    // No bounds: what a broker throws away when its queue is full is the broker's.
    let lines = format!(
        "allow_anonymous true\npersistence true\npersistence_location {}/\nmax_queued_messages 0\nmax_queued_bytes 0",
        kept.path().display()
    );
    let mut broker = Broker::start_on(broker_port, &lines);
    let recorder = Recorder::to(broker_port);
    let proxy = Proxy::start(broker_port);
    let home = a_crowd(&proxy);
    let mut daemon = home.run();
    while stops.left() > 0 {
        let began = Instant::now();
        let before = proxy.notes().acknowledged.len();
        proxy.wait("some events", |notes| notes.acknowledged.len() >= before + A_ROUND / 2);
        broker.stop();
        broker = Broker::start_on(broker_port, &lines);
        stops.done(1, began.elapsed(), Vec::new());
    }
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait();
    let acknowledged = proxy.notes().acknowledged;
    let ids = |heard: &[crate::recorder::Recorded]| -> BTreeSet<String> {
        heard
            .iter()
            .filter(|message| message.topic.ends_with("/log"))
            .filter_map(|message| message.json["id"].as_str().map(str::to_owned))
            .collect()
    };
    let heard = ids(&recorder.wait("the last event", |heard| acknowledged.is_subset(&ids(heard))));
    assert!(acknowledged.is_subset(&heard));
    stops.finish();
    drop(broker);
}

fn began_now() -> std::time::Duration {
    std::time::Duration::ZERO
}

/// A house with one camera that makes events without end.
fn a_crowd(proxy: &Proxy) -> Home {
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let pictures = crowd::pictures(home.path(), 4);
    let camera = crowd::camera(&pictures, PICTURES_PER_SECOND, true);
    home.configure(proxy.port, "announce_again_s = 0", &camera);
    let checked = home.kith().args(["people", "list", "--json"]).output().unwrap();
    assert!(checked.status.success(), "{}", said(&checked));
    home
}

/// What is missing, in words, while no daemon runs.
fn unaccounted(state: &Path, notes: &Notes) -> Vec<String> {
    let outbox = Connection::open(state.join("outbox.sqlite")).unwrap();
    let rows_ever: i64 = outbox
        .query_row(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let mut waiting = BTreeSet::new();
    let mut named = notes.in_gaps.clone();
    let mut rows = outbox.prepare("SELECT id, json FROM event").unwrap();
    let found = rows
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
        .unwrap();
    for row in found {
        let (id, json) = row.unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let ids = json["ids"].as_array().into_iter().flatten();
        named.extend(ids.filter_map(|id| id.as_str().map(str::to_owned)));
        waiting.insert(id);
    }
    let mut failures = Vec::new();
    let known: BTreeSet<&String> = notes.acknowledged.iter().chain(&waiting).collect();
    if known.len() as i64 != rows_ever - named.len() as i64 {
        failures.push(format!(
            "the outbox has had {rows_ever} rows, but {} were acknowledged or wait, and {} are named in gaps",
            known.len(),
            named.len()
        ));
    }
    for id in &notes.on_event {
        if !known.contains(id) && !named.contains(id) {
            failures.push(format!("{id} was sent on `event` and is nowhere in the log"));
        }
    }
    failures
}
