use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use tempfile::TempDir;
use ulid::Ulid;

use super::*;
use crate::gallery::{Gallery, Name, Source, Who, tests as gallery_tests};
use crate::heartbeat::Pulse;

const HOUR_MS: i64 = 3_600_000;
/// A day in 2026.
const DAY_MS: i64 = 1_790_000_000_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(DAY_MS + ms).unwrap()
}

/// What somebody whom `seed` names looks like; seeds of different tens are different people.
fn looks(seed: u8, crop: bool) -> StrangerNow {
    let shots = (0..3_u8).map(|shot| {
        let mut face = gallery_tests::face(seed);
        face.quality.sharpness += f32::from(shot) * 0.01;
        StrangerShot {
            captured_at: at(i64::from(seed) * HOUR_MS + i64::from(shot) * 200),
            face: face.face,
            quality: face.quality,
            embedding: face.embedding,
        }
    });
    StrangerNow {
        space: "space".into(),
        shots: shots.collect(),
        crop: crop.then(|| Arc::new(image::RgbImage::new(30, 40))),
    }
}

fn track(number: u128) -> Ulid {
    Ulid::from(0x0192_0000_0000_0000_0000_0000_0000_0000 + number * 0x1_0001)
}

fn uid(number: u128) -> Ulid {
    Ulid::from(0x0193_0000_0000_0000_0000_0000_0000_0000 + number)
}

/// The visit number `number`: at that hour, for a minute, judged and over.
fn visit(number: u8, person: Option<Ulid>) -> VisitNow {
    let from = i64::from(number) * HOUR_MS;
    VisitNow {
        track: track(u128::from(number)),
        camera: "door".into(),
        person,
        similar_to: None,
        from: at(from),
        to: at(from + 60_000),
        ended: true,
        confidence: 0.9,
        shots: 3,
        zones: Vec::new(),
        event: None,
        looks: person.is_none().then(|| looks(number, false)),
    }
}

fn open(folder: &TempDir) -> Sightings {
    Sightings::open(folder.path()).unwrap()
}

fn all(sightings: &Sightings) -> Vec<Visit> {
    sightings.visits(&Query::default()).unwrap()
}

/// Whether a file of the folder holds these bytes.
fn holds(folder: &TempDir, needle: &[u8]) -> bool {
    fs::read_dir(folder.path()).unwrap().flatten().any(|entry| {
        let bytes = fs::read(entry.path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

fn vector_bytes(seed: u8) -> Vec<u8> {
    crate::gallery::bytes::to_bytes(gallery_tests::face(seed).embedding.as_slice())
}

#[test]
fn files_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let mut sightings = open(&folder);
    sightings.remember(&[visit(1, None)]).unwrap();
    for entry in fs::read_dir(folder.path()).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn a_visit_is_one_row_from_verdict_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut sightings = open(&folder);
    let judged = VisitNow {
        ended: false,
        to: at(HOUR_MS + 2_000),
        zones: vec!["porch".into()],
        event: Some(uid(11)),
        similar_to: Some(uid(2)),
        ..visit(1, None)
    };
    sightings.remember(std::slice::from_ref(&judged)).unwrap();
    let row = &all(&sightings)[0];
    assert!(row.is_open && row.has_looks && !row.has_crop);
    assert_eq!((row.similar_to, row.confidence), (Some(uid(2)), Some(0.9)));

    let corrected = VisitNow {
        person: Some(uid(1)),
        similar_to: None,
        confidence: 0.8,
        shots: 5,
        zones: vec!["porch".into(), "gate".into()],
        event: Some(uid(12)),
        looks: None,
        to: at(HOUR_MS + 9_000),
        ..judged
    };
    sightings.remember(std::slice::from_ref(&corrected)).unwrap();
    assert!(!holds(&folder, b"no such bytes"));
    let ended = VisitNow {
        ended: true,
        to: at(HOUR_MS + 60_000),
        event: Some(uid(12)),
        ..corrected
    };
    // Said twice by mistake: the same.
    sightings.remember(&[ended.clone(), ended]).unwrap();
    let rows = all(&sightings);
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(
        (
            row.person,
            row.similar_to,
            row.confidence,
            row.shots,
            row.is_open,
            row.has_looks
        ),
        (Some(uid(1)), None, Some(0.8), 5, false, false)
    );
    assert_eq!((row.from, row.to), (at(HOUR_MS), at(HOUR_MS + 60_000)));
    assert_eq!(row.zones, ["porch", "gate"]);
    assert_eq!(row.events, [uid(11), uid(12)]);
}

#[test]
fn json_of_a_visit_has_small_ids() {
    let folder = tempfile::tempdir().unwrap();
    let mut sightings = open(&folder);
    sightings.remember(&[visit(1, Some(uid(1)))]).unwrap();
    let json = serde_json::to_value(&all(&sightings)[0]).unwrap();
    let small = uid(1).to_string().to_ascii_lowercase();
    assert_eq!(
        (json["person"].as_str(), &json["similar_to"]),
        (Some(small.as_str()), &serde_json::Value::Null)
    );
    assert_eq!(json["from"], "2026-09-21T15:13:20Z");
}

#[test]
fn only_the_best_shots_are_kept_and_a_crop_only_if_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut sightings = open(&folder);
    let mut now = visit(1, None);
    let mut many = looks(1, true);
    many.shots = (0..9_u8)
        .map(|number| {
            let mut shot = many.shots[0].clone();
            shot.captured_at = at(i64::from(number));
            shot.quality.sharpness = 0.1 + f32::from(number) * 0.05;
            shot
        })
        .collect();
    now.looks = Some(many);
    sightings.remember(&[now]).unwrap();
    let (space, shots) = sightings.shots(track(1)).unwrap();
    assert_eq!(space, "space");
    let sharpness: Vec<f32> = shots.iter().map(|shot| shot.quality.sharpness).collect();
    assert_eq!(sharpness.len(), 5);
    assert!(
        (sharpness[0] - 0.5).abs() < 1e-6 && (sharpness[4] - 0.3).abs() < 1e-6,
        "{sharpness:?}"
    );
    let jpeg = sightings.crop(track(1)).unwrap().unwrap();
    assert_eq!(image::load_from_memory(&jpeg).unwrap().width(), 30);
    assert_eq!(sightings.crop(track(2)).unwrap(), None);
}

#[test]
fn questions_are_answered_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut sightings = open(&folder);
    let mut visits: Vec<VisitNow> = (1..=6).map(|n| visit(n, (n % 2 == 0).then(|| uid(1)))).collect();
    visits[5].camera = "hall".into();
    sightings.remember(&visits).unwrap();
    let ask = |query: Query| -> Vec<i64> {
        let found = sightings.visits(&query).unwrap();
        found
            .iter()
            .map(|one| (one.from.as_millisecond() - DAY_MS) / HOUR_MS)
            .collect()
    };
    assert_eq!(ask(Query::default()), [6, 5, 4, 3, 2, 1]);
    let since = Query {
        since: Some(at(2 * HOUR_MS + 30_000)),
        until: Some(at(5 * HOUR_MS)),
        ..Query::default()
    };
    assert_eq!(ask(since), [4, 3, 2], "the second one lasted until then");
    let whose = |whose| Query {
        whose,
        ..Query::default()
    };
    assert_eq!(ask(whose(Whose::Person(uid(1)))), [6, 4, 2]);
    assert_eq!(ask(whose(Whose::Unknown)), [5, 3, 1]);
    let hall = Query {
        camera: Some("hall".into()),
        ..Query::default()
    };
    assert_eq!(ask(hall), [6]);
    let two = Query {
        limit: Some(2),
        ..Query::default()
    };
    assert_eq!(ask(two), [6, 5]);
}

#[test]
fn what_is_old_is_forgotten_and_what_lasts_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut sightings = open(&folder);
    let mut lasting = visit(1, None);
    lasting.ended = false;
    lasting.track = track(99);
    let with_crop = VisitNow {
        looks: Some(looks(1, true)),
        ..visit(1, None)
    };
    sightings
        .remember(&[with_crop, visit(1 + 24, None), visit(1 + 2 * 24, Some(uid(1))), lasting])
        .unwrap();
    assert!(holds(&folder, &vector_bytes(1)));
    let retention = Retention {
        sightings: Duration::from_secs(3 * 24 * 3600),
        unknown: Duration::from_secs(24 * 3600),
        crops: true,
    };
    let nothing = sightings.prune(&retention, at(3 * HOUR_MS)).unwrap();
    assert_eq!(nothing, Forgotten::default());
    let looks_only = sightings.prune(&retention, at(30 * HOUR_MS)).unwrap();
    assert_eq!((looks_only.visits, looks_only.looks), (0, 1));
    assert_eq!(all(&sightings).len(), 4);
    // The one that lasts has these looks, too.
    sightings.forget_visits(&[track(99)]).unwrap();
    assert!(
        !holds(&folder, &vector_bytes(1)),
        "the bytes are gone, not only the row"
    );
    let first = sightings.prune(&retention, at(2 * HOUR_MS + 72 * HOUR_MS)).unwrap();
    assert_eq!((first.visits, first.looks), (1, 1));
    assert_eq!(all(&sightings).len(), 2);
}

#[test]
fn crops_go_when_they_are_no_longer_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let mut sightings = open(&folder);
    sightings
        .remember(&[VisitNow {
            looks: Some(looks(1, true)),
            ..visit(1, None)
        }])
        .unwrap();
    sightings.prune(&Retention::default(), at(2 * HOUR_MS)).unwrap();
    assert_eq!(sightings.crop(track(1)).unwrap(), None);
    assert!(all(&sightings)[0].has_looks);
}

#[test]
fn visits_of_one_stranger_are_one_line_that_any_of_their_ids_finds() {
    let folder = tempfile::tempdir().unwrap();
    let mut sightings = open(&folder);
    // The first and the third are one person.
    let mut third = visit(3, None);
    third.looks = Some(looks(1, false));
    sightings.remember(&[visit(1, None), visit(2, None), third]).unwrap();
    let strangers = sightings.strangers().unwrap();
    let lines: Vec<(String, usize)> = strangers.iter().map(|one| (one.id.clone(), one.visits.len())).collect();
    assert_eq!(lines, [(short_id(track(1)), 2), (short_id(track(2)), 1)]);
    for wanted in [
        short_id(track(3)),
        track(1).to_string(),
        short_id(track(1)).to_uppercase(),
    ] {
        assert_eq!(sightings.stranger(&wanted).unwrap().id, short_id(track(1)));
    }
    for wanted in ["", "x", "zzzzzz"] {
        assert!(matches!(
            sightings.stranger(wanted).unwrap_err(),
            SightingsError::NoSuchStranger(_)
        ));
    }
    // A further visit of the same person keeps the id.
    let mut fourth = visit(4, None);
    fourth.looks = Some(looks(1, false));
    sightings.remember(&[fourth]).unwrap();
    assert_eq!(sightings.strangers().unwrap()[0].id, short_id(track(1)));
}

#[test]
fn a_name_goes_to_all_visits_and_the_shots_go_to_the_gallery() {
    let folder = tempfile::tempdir().unwrap();
    let (mut sightings, mut gallery) = (open(&folder), Gallery::open(folder.path()).unwrap());
    let mut third = visit(3, None);
    third.looks = Some(looks(1, true));
    sightings.remember(&[visit(1, None), visit(2, None), third]).unwrap();
    let who = Who::Named(Name::parse("Postwoman").unwrap());
    let newcomer = name_stranger(&mut gallery, &mut sightings, &short_id(track(3)), who.clone(), None).unwrap();
    assert_eq!(
        (newcomer.is_new, newcomer.faces, newcomer.visits, newcomer.poor_faces),
        (true, 5, 2, 0)
    );
    let uid = newcomer.person.uid;
    let named: Vec<Option<Ulid>> = all(&sightings).iter().map(|one| one.person).collect();
    assert_eq!(named, [Some(uid), None, Some(uid)]);
    let row = &all(&sightings)[0];
    assert_eq!((row.confidence, row.has_looks, row.has_crop), (None, false, false));
    assert_eq!(sightings.strangers().unwrap().len(), 1);
    let faces = gallery.faces("postwoman").unwrap();
    assert!(matches!(faces[0].source, Source::Visit(shot) if [track(1), track(3)].contains(&shot.track)));
    // The vector is in the gallery now, and nowhere in the visits.
    let bytes = fs::read(sightings.path()).unwrap();
    let vector = vector_bytes(1);
    assert!(!bytes.windows(vector.len()).any(|window| window == vector));

    // What the daemon says later about the same visit doesn't take the name away, and knows better if it does.
    let late = visit(3, None);
    sightings.remember(&[late]).unwrap();
    assert_eq!(
        (all(&sightings)[0].person, all(&sightings)[0].has_looks),
        (Some(uid), false)
    );
    sightings.remember(&[visit(3, Some(self::uid(4)))]).unwrap();
    assert_eq!(all(&sightings)[0].person, Some(self::uid(4)));
    // A second visitor goes to the same person.
    let more = name_stranger(&mut gallery, &mut sightings, &short_id(track(2)), who, None).unwrap();
    assert!(!more.is_new && more.person.uid == uid);
    gallery.check().unwrap();
}

#[test]
fn poor_shots_are_enrolled_only_where_there_are_no_better_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (mut sightings, mut gallery) = (open(&folder), Gallery::open(folder.path()).unwrap());
    let poor = |number: u8| {
        let mut visit = visit(number, None);
        for shot in &mut visit.looks.as_mut().unwrap().shots {
            shot.quality.size_px = 41.0;
        }
        visit
    };
    let mut mixed = poor(1);
    mixed.looks.as_mut().unwrap().shots[1].quality.size_px = 80.0;
    sightings.remember(&[mixed, poor(2)]).unwrap();
    let who = |name: &str| Who::Named(Name::parse(name).unwrap());
    let good = name_stranger(&mut gallery, &mut sightings, &short_id(track(1)), who("Ann"), None).unwrap();
    assert_eq!((good.faces, good.poor_faces), (1, 0));
    let bad = name_stranger(&mut gallery, &mut sightings, &short_id(track(2)), who("Bea"), None).unwrap();
    assert_eq!((bad.faces, bad.poor_faces), (3, 3));
}

#[test]
fn the_last_unknown_of_a_camera_gets_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let (mut sightings, mut gallery) = (open(&folder), Gallery::open(folder.path()).unwrap());
    let now = Timestamp::now();
    let ago = |minutes: u64, number: u8, camera: &str| VisitNow {
        from: now - Duration::from_secs(60 * minutes + 30),
        to: now - Duration::from_secs(60 * minutes),
        camera: camera.into(),
        ..visit(number, None)
    };
    sightings
        .remember(&[ago(9, 1, "door"), ago(3, 2, "door"), ago(1, 3, "hall")])
        .unwrap();
    let mut name = |camera: &str, minutes: u64| {
        let within = Duration::from_secs(60 * minutes);
        let who = Who::Named(Name::parse("Guest").unwrap());
        name_last_unknown(&mut gallery, &mut sightings, camera, within, who, None)
    };
    assert!(matches!(
        name("door", 2).unwrap_err(),
        SightingsError::NobodyUnknown { minutes: 2, .. }
    ));
    assert!(name("cellar", 60).is_err());
    assert_eq!(name("door", 5).unwrap().visits, 1);
    let named: Vec<u64> = all(&sightings)
        .iter()
        .filter(|one| one.person.is_some())
        .map(|one| one.track.random() as u64)
        .collect();
    assert_eq!(named, [track(2).random() as u64]);
}

#[test]
fn removed_people_leave_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let mut sightings = open(&folder);
    let like = VisitNow {
        similar_to: Some(uid(1)),
        ..visit(3, None)
    };
    sightings
        .remember(&[visit(1, Some(uid(1))), visit(2, Some(uid(2))), like])
        .unwrap();
    let needle = uid(1).to_string();
    assert!(holds(&folder, needle.as_bytes()));
    assert_eq!(sightings.keep_people(&[uid(2), uid(7)]).unwrap(), 1);
    assert!(!holds(&folder, needle.as_bytes()));
    let left: Vec<Option<Ulid>> = all(&sightings).iter().map(|one| one.person).collect();
    assert_eq!(left, [None, Some(uid(2))]);
    assert_eq!(sightings.keep_people(&[]).unwrap(), 1);
    assert_eq!(sightings.forget(&Query::default()).unwrap(), 1);
    assert!(all(&sightings).is_empty());
}

#[test]
fn the_thread_remembers_closes_and_forgets() {
    let folder = tempfile::tempdir().unwrap();
    // A daemon that was killed in mid-visit.
    let now = Timestamp::now();
    let recent = |number: u8, person: Option<Ulid>| VisitNow {
        from: now - Duration::from_secs(60),
        to: now,
        ..visit(number, person)
    };
    let open_one = VisitNow {
        ended: false,
        ..recent(1, None)
    };
    open(&folder).remember(&[open_one, visit(2, Some(uid(1)))]).unwrap();
    let retention = Retention {
        sightings: Duration::from_secs(3600),
        ..Retention::default()
    };
    let (memory, thread) = Sightings::start(folder.path(), retention, Pulse::default()).unwrap();
    memory.people(vec![uid(1), uid(2)]);
    memory.visit(recent(3, Some(uid(1))));
    memory.visit(recent(4, Some(uid(2))));
    memory.visit(recent(5, Some(uid(9))));
    memory.visit(VisitNow {
        looks: Some(looks(6, true)),
        ..recent(6, None)
    });
    memory.visit(recent(7, None));
    memory.ignore(track(7));
    memory.people(vec![uid(2)]);
    // A worker that has not heard yet.
    memory.visit(recent(8, Some(uid(1))));
    memory.close();
    thread.join().unwrap();
    let mut left: Vec<(u128, bool, bool)> = all(&open(&folder))
        .iter()
        .map(|one| ((one.track.0 & 0xffff), one.is_open, one.has_crop))
        .collect();
    left.sort_unstable();
    assert_eq!(left, [(1, false, false), (4, false, false), (6, false, false)]);
    assert_eq!((memory.kept().dropped(), memory.kept().failed()), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever is told in whatever order about three visits, there is one row for each that was told about, and it says
    /// what the last word about it said.
    #[test]
    fn the_last_word_about_a_visit_counts(
        words in prop::collection::vec((1_u8..4, prop::option::of(1_u128..3), any::<bool>(), 1_usize..9, 0_i64..90_000), 1..12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut sightings = open(&folder);
        let told: Vec<VisitNow> = words
            .iter()
            .map(|(number, person, ended, shots, to)| VisitNow {
                ended: *ended,
                shots: *shots,
                to: at(i64::from(*number) * HOUR_MS + to),
                ..visit(*number, person.map(uid))
            })
            .collect();
        for chunk in told.chunks(3) {
            sightings.remember(chunk).unwrap();
        }
        let rows = all(&sightings);
        for number in 1_u8..4 {
            let of: Vec<&VisitNow> = told.iter().filter(|one| one.track == track(u128::from(number))).collect();
            let row = rows.iter().find(|row| row.track == track(u128::from(number)));
            prop_assert_eq!(row.is_some(), !of.is_empty());
            let (Some(row), Some(last)) = (row, of.last()) else { continue };
            prop_assert_eq!((row.person, row.shots as usize), (last.person, last.shots));
            prop_assert_eq!(row.is_open, !of.iter().any(|one| one.ended));
            prop_assert_eq!(row.has_looks, last.person.is_none());
            prop_assert_eq!(Some(row.to), of.iter().map(|one| one.to).max());
        }
    }
}
