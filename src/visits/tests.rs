//! Visits played frame by frame: faces are where the test puts them, embeddings point where it says.

use std::collections::HashMap;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use jiff::Timestamp;

use super::*;
use crate::detect::FaceBox;
use crate::embed::Embedding;
use crate::frame::CapturedAt;
use crate::gallery::{Name, Person, Vectors};
use crate::identify::GalleryMatcher;
use crate::identify::tests::{CALIBRATION, THRESHOLDS};

/// The directions of four people's faces, and of faces between two of them.
fn vector(who: &str) -> Embedding {
    let raw: [f32; 4] = match who {
        "alice" => [1.0, 0.0, 0.0, 0.0],
        // Near enough to Alice to be named, and less near than she is: cosine 0.6.
        "lookalike" => [0.6, 0.0, 0.0, 0.8],
        "bob" => [0.0, 1.0, 0.0, 0.0],
        "stranger" => [0.0, 0.0, 1.0, 0.0],
        // Alice from the side: not near enough to be named, cosine 0.35.
        "alice-aside" => [0.35, 0.0, 0.0, 0.9367],
        other => panic!("who is {other}?"),
    };
    Embedding::from_raw(&raw).unwrap()
}

/// A frame full of fine detail, so that a face in it is sharp.
fn pixels() -> Arc<RgbImage> {
    Arc::new(RgbImage::from_fn(640, 200, |x, y| {
        let mixed = (x.wrapping_mul(0x9e37_79b9) ^ y.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0xc2b2_ae35);
        Rgb([(mixed >> 24) as u8; 3])
    }))
}

/// A good face whose left edge is at `left`.
fn face(left: f32) -> Face {
    let landmarks = [[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]];
    Face {
        box_in_frame: FaceBox {
            left,
            top: 20.0,
            right: left + 100.0,
            bottom: 140.0,
        },
        probability: 1.0,
        landmarks: landmarks.map(|[x, y]: [f32; 2]| [x + left, y + 30.0]),
    }
}

struct Play {
    visits: Visits,
    matcher: GalleryMatcher,
    pixels: Arc<RgbImage>,
    start: Instant,
    ms: u64,
    /// Small numbers for the tracks' ids.
    numbers: HashMap<Ulid, usize>,
    said: Vec<String>,
    /// How many shots were embedded.
    embedded: usize,
}

impl Play {
    fn new() -> Self {
        Self::with(3, Duration::from_secs(2))
    }

    fn with(min_shots: usize, decide_within: Duration) -> Self {
        let enrolled = ["alice", "bob"].iter().enumerate().map(|(number, name)| Vectors {
            person: Person::new(*name, Ulid(number as u128 + 1), Name::parse(name).unwrap()),
            faces: vec![vector(name)],
            negatives: Vec::new(),
        });
        Self {
            visits: Visits::new(VisitRules {
                min_shots,
                decide_within,
                strictness: Strictness::default(),
                single_pictures: false,
                pictures: false,
                alignment: Alignment::FivePoint112,
                same_face_cosine: Some(0.7),
                view: Arc::default(),
            }),
            matcher: GalleryMatcher::new(enrolled.collect(), THRESHOLDS, CALIBRATION),
            pixels: pixels(),
            start: Instant::now(),
            ms: 0,
            numbers: HashMap::new(),
            said: Vec::new(),
            embedded: 0,
        }
    }

    /// For `ms` milliseconds, a frame each `step`, these faces are where they are (x of the left edge).
    fn show(&mut self, ms: u64, step: u64, faces: &[(&str, f32)]) -> &mut Self {
        let until = self.ms + ms;
        while self.ms < until {
            let at = CapturedAt {
                monotonic: self.start + Duration::from_millis(self.ms),
                wall: Timestamp::UNIX_EPOCH,
            };
            let frame = Frame {
                camera: "door".into(),
                sequence: self.ms,
                captured_at: at,
                pixels: Arc::clone(&self.pixels),
            };
            let shown: Vec<Face> = faces.iter().map(|(_, left)| face(*left)).collect();
            let mut wanted = Vec::new();
            self.step(|visits, matcher, tell| {
                visits.saw(&frame, &shown, matcher, &mut |happening| match happening {
                    Happening::Wanted(shot) => wanted.push(shot),
                    other => tell(other),
                });
            });
            self.embedded += wanted.len();
            for shot in wanted {
                let left = shot.taken.box_frame_fraction.x * 640.0;
                let (who, _) = faces.iter().find(|(_, x)| (f64::from(*x) - left).abs() < 1.0).unwrap();
                let shot = EmbeddedShot {
                    track: shot.track,
                    taken: shot.taken,
                    embedded: Some(vector(who).into()),
                };
                self.step(|visits, matcher, tell| visits.embedded(shot, at.monotonic, matcher, tell));
            }
            self.step(|visits, matcher, tell| visits.passed(at.monotonic, matcher, tell));
            self.ms += step;
        }
        self
    }

    fn step(&mut self, step: impl FnOnce(&mut Visits, &dyn Identifier, &mut Tell<'_>)) {
        let (numbers, said, ms) = (&mut self.numbers, &mut self.said, self.ms);
        let mut number = |id: Ulid| {
            let next = numbers.len() + 1;
            *numbers.entry(id).or_insert(next)
        };
        let matcher = &self.matcher;
        step(&mut self.visits, matcher, &mut |happening| match happening {
            Happening::Wanted(_) | Happening::LeftOut(_) | Happening::PassedOver(..) | Happening::Identified(..) => {}
            Happening::Judged { track, judgement, .. } => {
                let (kind, verdict) = match judgement {
                    Judgement::Preliminary(verdict) => ("preliminary", verdict),
                    Judgement::Voted(verdict) => ("voted", verdict),
                    Judgement::Corrected(verdict) => ("corrected", verdict),
                };
                let who = verdict.person.as_ref().map_or("nobody", |person| person.id.as_str());
                said.push(format!("{ms} {kind} {} {who}", number(track.id)));
            }
            Happening::Joined { gone, into, by } => {
                let by = match by {
                    JoinedBy::Face(_) => "face",
                    JoinedBy::Name => "name",
                };
                said.push(format!("{ms} joined {} into {} by {by}", number(gone), number(into.id)));
            }
            Happening::Ended(track) => {
                let seen = track.last.monotonic.saturating_duration_since(track.first.monotonic);
                said.push(format!("{ms} ended {} after {}", number(track.id), seen.as_millis()));
            }
        });
    }

    /// What was said, without times and preliminary words.
    fn story(&self) -> Vec<String> {
        let without_time = |line: &String| line.split_once(' ').map(|(_, rest)| rest.to_owned());
        let told = self.said.iter().filter_map(without_time);
        told.filter(|line| !line.starts_with("preliminary")).collect()
    }

    /// When the line that contains `what` was said.
    fn time_of(&self, what: &str) -> u64 {
        let line = self.said.iter().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("no {what:?} in {:#?}", self.said));
        line.split(' ').next().unwrap().parse().unwrap()
    }
}

#[test]
fn a_hand_before_the_face_is_one_visit() {
    let mut play = Play::new();
    play.show(1000, 100, &[("alice", 50.0)]).show(3000, 100, &[]);
    play.show(1000, 100, &[("alice", 80.0)]).show(7000, 100, &[]);
    assert_eq!(
        play.story(),
        ["voted 1 alice", "joined 2 into 1 by face", "ended 1 after 4900"]
    );
}

#[test]
fn a_face_that_reappears_elsewhere_is_the_same_visit() {
    let mut play = Play::new();
    play.show(1000, 100, &[("alice", 20.0)]);
    play.show(1000, 100, &[("alice", 400.0)]).show(7000, 100, &[]);
    assert_eq!(
        play.story(),
        ["voted 1 alice", "joined 2 into 1 by face", "ended 1 after 1900"]
    );
}

/// The stranger too: nobody has to be enrolled to be known again.
#[test]
fn an_unknown_visitor_who_turns_away_is_one_visit() {
    let mut play = Play::new();
    play.show(1000, 100, &[("stranger", 50.0)]).show(2500, 100, &[]);
    play.show(1000, 100, &[("stranger", 90.0)]).show(7000, 100, &[]);
    assert_eq!(
        play.story(),
        ["voted 1 nobody", "joined 2 into 1 by face", "ended 1 after 4400"]
    );
}

#[test]
fn somebody_else_after_a_gap_is_another_visit() {
    let mut play = Play::new();
    play.show(1000, 100, &[("alice", 50.0)]).show(2000, 100, &[]);
    play.show(1000, 100, &[("bob", 50.0)]).show(7000, 100, &[]);
    assert_eq!(
        play.story(),
        ["voted 1 alice", "voted 2 bob", "ended 1 after 900", "ended 2 after 900"]
    );
}

#[test]
fn whoever_stays_away_for_long_comes_for_another_visit() {
    let mut play = Play::new();
    play.show(1000, 100, &[("alice", 50.0)]).show(6000, 100, &[]);
    play.show(1000, 100, &[("alice", 50.0)]);
    assert_eq!(play.story(), ["voted 1 alice", "ended 1 after 900", "voted 2 alice"]);
}

/// First from the side, then with the same name as the visit before: one visit by its name.
#[test]
fn a_track_that_gets_the_name_of_the_visit_before_goes_on_as_that() {
    let mut play = Play::with(2, Duration::from_secs(2));
    play.visits.rules.same_face_cosine = None;
    play.show(1000, 100, &[("alice", 50.0)]).show(2000, 100, &[]);
    play.show(1000, 100, &[("alice", 300.0)]).show(7000, 100, &[]);
    assert_eq!(
        play.story(),
        ["voted 1 alice", "joined 2 into 1 by name", "ended 1 after 3900"]
    );
}

#[test]
fn of_two_who_look_like_alice_the_one_who_is_gets_the_name() {
    let mut play = Play::new();
    play.show(1500, 100, &[("alice", 20.0), ("lookalike", 400.0)]);
    assert_eq!(play.story(), ["voted 1 alice", "voted 2 nobody"]);
    let track = play.visits.tracks().find(|track| play.numbers[&track.id] == 2).unwrap();
    assert_eq!(track.shots.refused[0].person.id, "alice");
}

/// The lookalike came first and had the name; Alice is nearer, so it is taken back.
#[test]
fn a_name_goes_to_the_nearer_one_and_is_taken_back_first() {
    let mut play = Play::new();
    play.show(1500, 100, &[("lookalike", 400.0)]);
    play.show(1500, 100, &[("alice", 20.0), ("lookalike", 400.0)]);
    // Alone again, the lookalike stays nobody.
    play.show(4000, 100, &[("lookalike", 400.0)]);
    assert_eq!(play.story(), ["voted 1 alice", "corrected 1 nobody", "voted 2 alice"],);
}

#[test]
fn somebody_else_in_the_same_place_is_another_visit() {
    let mut play = Play::new();
    play.show(1000, 100, &[("alice", 50.0)]);
    play.show(3000, 100, &[("bob", 50.0)]);
    let story = play.story();
    assert!(
        story.contains(&"voted 1 alice".to_owned()) && story.contains(&"voted 2 bob".to_owned()),
        "{story:?}"
    );
}

/// At two frames a second three shots take a second; at one in 1.2 seconds the deadline holds the vote with two.
#[test]
fn a_slow_camera_decides_in_time() {
    for (step, latest) in [(100, 400), (500, 1000), (1200, 2400)] {
        for (who, expected) in [("alice", "voted 1 alice"), ("stranger", "voted 1 nobody")] {
            let mut play = Play::new();
            play.show(6000, step, &[(who, 50.0)]);
            assert_eq!(play.time_of("preliminary"), 0);
            let voted = play.time_of(expected);
            assert!(voted <= latest, "{who} each {step} ms: {voted} ms");
        }
    }
}

/// Nothing comes any more, and the time alone holds the vote.
#[test]
fn the_deadline_needs_no_further_shot() {
    let mut play = Play::with(8, Duration::from_secs(1));
    play.show(400, 200, &[("alice", 50.0)]);
    let now = play.start + Duration::from_millis(500);
    assert_eq!(play.visits.due_in(now), Some(Duration::from_millis(400)));
    play.ms = 900;
    let due = play.start + Duration::from_millis(900);
    play.step(|visits, matcher, tell| visits.passed(due, matcher, tell));
    assert_eq!(play.story(), ["voted 1 alice"]);
    assert_eq!(play.visits.due_in(due), None);
}

/// Shots of a track are few: the best are embedded, not every frame.
#[test]
fn a_minute_before_the_camera_costs_few_embeddings() {
    let mut play = Play::new();
    play.show(60_000, 100, &[("alice", 50.0)]);
    let kept = play
        .visits
        .tracks()
        .next()
        .map_or(0, |track| track.shots.kept().count());
    // Five good ones, then one each two seconds, to see whether it is still her.
    assert!(
        (5..=8).contains(&kept) && play.embedded <= 36,
        "{kept} kept of {}",
        play.embedded
    );
    assert_eq!(play.story(), ["voted 1 alice"]);
}

/// What holds whatever happens before the camera.
fn check_story(play: &Play) {
    let named: Vec<(&Track, Ulid)> = play
        .visits
        .tracks()
        .filter_map(|track| Some((track, track.shots.verdict.as_ref()?.person.as_ref()?.uid)))
        .collect();
    for (index, (track, person)) in named.iter().enumerate() {
        for (other, name) in &named[index + 1..] {
            assert!(
                person != name || !track.met(other),
                "two have one name: {:#?}",
                play.said
            );
        }
    }
    let mut over: Vec<&str> = Vec::new();
    let (mut first, mut voted): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for line in &play.said {
        let words: Vec<&str> = line.split(' ').collect();
        let (what, track) = (words[1], words[2]);
        assert!(!over.contains(&track), "{line:?} after its end: {:#?}", play.said);
        match what {
            "preliminary" => {
                assert!(!first.contains(&track) && !voted.contains(&track), "{:#?}", play.said);
                first.push(track);
            }
            "voted" => {
                assert!(!voted.contains(&track), "{:#?}", play.said);
                voted.push(track);
            }
            "corrected" => assert!(voted.contains(&track), "{:#?}", play.said),
            "joined" => {
                assert!(!voted.contains(&track), "{:#?}", play.said);
                over.push(track);
            }
            _ => over.push(track),
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 24, ..Default::default() })]
    #[test]
    fn nobody_is_in_two_places_and_every_visit_has_one_end(
        scenes in proptest::collection::vec((proptest::array::uniform3(0_usize..6), 2_u64..25), 1..8),
    ) {
        let people = ["alice", "lookalike", "bob", "stranger", "alice-aside"];
        let mut play = Play::new();
        for (places, tenths) in scenes {
            let faces: Vec<(&str, f32)> = places
                .iter()
                .zip([20.0, 240.0, 460.0])
                .filter_map(|(who, left)| Some((*people.get(*who)?, left)))
                .collect();
            play.show(tenths * 100, 100, &faces);
            check_story(&play);
        }
        play.step(|visits, matcher, tell| visits.finish(matcher, tell));
        check_story(&play);
        proptest::prop_assert_eq!(play.visits.tracker.iter().count(), 0);
    }
}
