use std::sync::Arc;

use ulid::Ulid;

use super::*;
use crate::gallery::{Name, Person};
use crate::playback::Spoken;

fn verdict(person: Option<&str>) -> Verdict {
    let person = person.map(|id| Arc::new(Person::new(id, Ulid::from(1_u128), Name::parse(id).unwrap())));
    Verdict {
        person,
        similar_to: None,
        confidence: 0.9,
        shots: 3,
    }
}

/// A track from `from_s` to `to_s`, whose first shot is taken at once; `verdicts` are given at their times.
fn track(from_s: f64, to_s: f64, verdicts: &[(f64, Option<&str>)]) -> Visit {
    let mut said = vec![Spoken {
        at_s: from_s,
        judgement: Judgement::Preliminary(verdict(None)),
    }];
    said.extend(verdicts.iter().map(|(at_s, person)| Spoken {
        at_s: *at_s,
        judgement: Judgement::Voted(verdict(*person)),
    }));
    Visit {
        track: Ulid::from(7_u128),
        first_s: from_s,
        last_s: to_s,
        first_shot_s: Some(from_s),
        shots: 3,
        said,
        verdict: verdicts.last().map(|(_, person)| verdict(*person)),
        faces: Vec::new(),
    }
}

fn evaluate(tracks: Vec<Visit>, others: bool) -> Evaluation {
    let expected = |from_s, to_s| ExpectedVisit {
        person: "ada".into(),
        from_s,
        to_s,
        face_px: 80.0,
    };
    let truth = ClipTruth {
        enrolled_from: [
            ("ada".to_owned(), "ada.png".into()),
            ("bob".to_owned(), "bob.png".into()),
        ]
        .into(),
        visits: vec![expected(1.0, 4.0), expected(10.0, 12.0)],
        others,
    };
    let played = Playback {
        visits: tracks,
        ..Playback::default()
    };
    Evaluation::of(&played, &truth)
}

#[test]
fn everybody_named_and_strangers_unknown_is_right() {
    let found = evaluate(
        vec![
            track(1.1, 4.0, &[(1.6, Some("ada"))]),
            track(2.0, 6.0, &[(3.0, None)]),
            track(9.9, 11.0, &[(10.5, Some("ada"))]),
        ],
        true,
    );
    assert!(found.is_right(), "{found:?}");
    assert_eq!((found.named(), found.strangers.len()), (2, 1));
    let after: Vec<f64> = found
        .visits
        .iter()
        .filter_map(|visit| visit.named.as_ref())
        .map(|named| named.after_s)
        .collect();
    assert_eq!(after, [0.6, 0.5]);
    assert_eq!(
        (found.verdict.median_s, found.verdict.longest_s),
        (Some(0.6), Some(1.0))
    );
    // The same where nobody else was there: the stranger is one too many.
    let found = evaluate(vec![track(2.0, 6.0, &[(3.0, None)])], false);
    assert_eq!((found.extra(), found.is_right()), (1, false));
}

#[test]
fn a_visit_without_its_name_is_missed() {
    let found = evaluate(
        vec![
            track(1.1, 4.0, &[(1.6, Some("ada"))]),
            track(10.0, 12.0, &[(11.0, None)]),
        ],
        true,
    );
    assert_eq!((found.named(), found.is_right()), (1, false));
    assert_eq!(found.visits[1].instead, ["unknown"]);
}

#[test]
fn a_name_of_somebody_who_is_not_there_is_false_even_when_it_is_corrected() {
    let right = || {
        vec![
            track(1.1, 4.0, &[(1.6, Some("ada"))]),
            track(10.0, 12.0, &[(10.5, Some("ada"))]),
        ]
    };
    for wrong in [
        // Ada between her visits, Bob at any time, and Bob for a moment.
        track(6.0, 8.0, &[(6.5, Some("ada"))]),
        track(1.0, 3.0, &[(1.5, Some("bob"))]),
        track(2.0, 3.0, &[(2.4, Some("bob")), (2.8, None)]),
    ] {
        let mut tracks = right();
        tracks.push(wrong);
        let found = evaluate(tracks, true);
        assert_eq!((found.false_names.len(), found.is_right()), (1, false), "{found:?}");
    }
}

#[test]
fn others_who_never_came_out_unknown_are_missed() {
    let right = || {
        vec![
            track(1.1, 4.0, &[(1.6, Some("ada"))]),
            track(10.0, 12.0, &[(10.5, Some("ada"))]),
        ]
    };
    assert!(evaluate(right(), false).is_right());
    let found = evaluate(right(), true);
    assert!(found.stranger_missed && !found.is_right());
}

#[test]
fn a_late_verdict_is_wrong() {
    let found = evaluate(
        vec![
            track(1.1, 4.0, &[(3.2, Some("ada"))]),
            track(10.0, 12.0, &[(10.5, Some("ada"))]),
        ],
        false,
    );
    assert_eq!((found.verdict.late, found.named(), found.is_right()), (1, 2, false));
}
