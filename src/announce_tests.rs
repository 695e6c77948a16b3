use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::*;
use crate::detect::{Face, FaceBox};
use crate::embed::Embedding;
use crate::gallery::Name;
use crate::quality::Quality;
use crate::track::Tracker;

struct Stage {
    announcer: Announcer,
    outbox: Receiver<ToOutbox>,
    _sayings: tokio_mpsc::Receiver<Saying>,
    now: Instant,
}

fn stage() -> Stage {
    let (outbox_in, outbox) = sync_channel(64);
    let (say, sayings) = tokio_mpsc::channel(64);
    Stage {
        announcer: Announcer::new(
            "box".into(),
            "door".into(),
            "net".into(),
            Duration::from_secs(30),
            outbox_in,
            say,
            None,
            false,
            Arc::default(),
        ),
        outbox,
        _sayings: sayings,
        now: Instant::now(),
    }
}

impl Stage {
    /// A track with one shot.
    fn track(&self) -> Track {
        let face = Face {
            box_in_frame: FaceBox {
                left: 0.0,
                top: 0.0,
                right: 100.0,
                bottom: 120.0,
            },
            probability: 1.0,
            landmarks: [[0.0; 2]; 5],
        };
        let at = CapturedAt {
            monotonic: self.now,
            wall: Timestamp::UNIX_EPOCH,
        };
        let mut tracker = Tracker::default();
        tracker.see(&[face], at);
        let mut track = tracker.take_all().remove(0);
        let quality = Quality {
            size_px: 120.0,
            sharpness: 0.6,
            yaw_degrees: 0.0,
            probability: 1.0,
        };
        let taken = ShotTaken::new(&face, quality, at, (640, 480));
        track
            .shots
            .keep(taken, Embedding::from_raw(&[1.0, 0.0]).unwrap().into());
        track
    }

    /// Tells a judgement of `track`, as the visits do.
    fn tell(&self, track: &mut Track, judgement: &Judgement) {
        let was = track.shots.verdict.clone();
        if let Judgement::Voted(verdict) | Judgement::Corrected(verdict) = judgement {
            track.shots.verdict = Some(verdict.clone());
        }
        self.announcer.judged(track, judgement, was.as_ref(), self.now);
    }

    /// The events since the last call: kind and person.
    fn events(&self) -> Vec<String> {
        self.outbox
            .try_iter()
            .filter_map(|sent| match sent {
                ToOutbox::Event(event) => {
                    let who = event.person.as_ref().map_or("nobody", |person| person.id.as_str());
                    Some(format!("{} {who}", event.kind.name()))
                }
                _ => None,
            })
            .collect()
    }
}

fn verdict(name: Option<&str>, ignored: bool) -> Verdict {
    let person = |name: &str| {
        let mut person = Person::new(name, Ulid(name.len() as u128), Name::parse(name).unwrap());
        person.ignored = ignored;
        Arc::new(person)
    };
    Verdict {
        person: name.map(person),
        similar_to: None,
        confidence: 0.9,
        shots: 3,
    }
}

fn named(name: &str) -> Verdict {
    verdict(Some(name), false)
}

#[test]
fn somebody_who_is_ignored_makes_no_event() {
    let stage = stage();
    let postman = || verdict(Some("postman"), true);
    let mut track = stage.track();
    stage.tell(&mut track, &Judgement::Preliminary(postman()));
    stage.tell(&mut track, &Judgement::Voted(postman()));
    stage.announcer.ended(&track);
    assert!(stage.events().is_empty());

    // A first shot that named nobody was said; the rest is not.
    let mut track = stage.track();
    stage.tell(&mut track, &Judgement::Preliminary(verdict(None, false)));
    stage.tell(&mut track, &Judgement::Voted(postman()));
    stage.announcer.ended(&track);
    assert_eq!(stage.events(), ["preliminary nobody"]);

    // What was said wrongly is taken back, and who was announced leaves.
    let mut track = stage.track();
    stage.tell(&mut track, &Judgement::Voted(named("alice")));
    stage.tell(&mut track, &Judgement::Corrected(postman()));
    stage.announcer.ended(&track);
    assert_eq!(
        stage.events(),
        ["recognized alice", "corrected postman", "left postman"]
    );
}

#[test]
fn a_name_that_was_taken_back_is_announced_where_it_belongs() {
    let stage = stage();
    let (mut lookalike, mut alice) = (stage.track(), stage.track());
    stage.tell(&mut lookalike, &Judgement::Voted(named("alice")));
    stage.tell(&mut alice, &Judgement::Voted(named("alice")));
    assert_eq!(stage.events(), ["recognized alice"], "announced a moment ago");
    stage.tell(&mut lookalike, &Judgement::Corrected(verdict(None, false)));
    let mut again = stage.track();
    stage.tell(&mut again, &Judgement::Voted(named("alice")));
    assert_eq!(stage.events(), ["corrected nobody", "recognized alice"]);
}

#[test]
fn whoever_was_corrected_to_a_name_was_announced_with_it() {
    let stage = stage();
    let mut track = stage.track();
    stage.tell(&mut track, &Judgement::Voted(verdict(None, false)));
    stage.tell(&mut track, &Judgement::Corrected(named("alice")));
    let mut broken = stage.track();
    stage.tell(&mut broken, &Judgement::Voted(named("alice")));
    assert_eq!(stage.events(), ["unknown nobody", "corrected alice"]);
}

#[test]
fn a_track_that_was_joined_says_nothing_more() {
    let stage = stage();
    let mut track = stage.track();
    stage.tell(&mut track, &Judgement::Preliminary(named("alice")));
    stage.announcer.joined(track.id, Ulid::generate());
    track.shots.verdict = Some(named("alice"));
    stage.announcer.ended(&track);
    assert_eq!(stage.events(), ["preliminary alice"]);
}
