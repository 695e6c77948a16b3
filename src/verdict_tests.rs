use proptest::prelude::*;
use ulid::Ulid;

use super::*;
use crate::gallery::Name;
use crate::identify::SimilarTo;

fn person(name: &str, uid: u128) -> Arc<Person> {
    Arc::new(Person::new(name.to_lowercase(), Ulid(uid), Name::parse(name).unwrap()))
}

/// `A97` is Alice with 97 %, `B97` Bob, `u80` unknown with 80 % and most like Alice; `*0.5` after it is the quality.
fn shots(text: &str) -> Vec<Shot> {
    let (alice, bob) = (person("Alice", 1), person("Bob", 2));
    text.split_whitespace()
        .map(|word| {
            let (answer, quality) = word.split_once('*').unwrap_or((word, "1"));
            let confidence = answer[1..].parse::<f64>().unwrap() / 100.0;
            let answer = match &answer[..1] {
                "A" => Answer::Known {
                    person: Arc::clone(&alice),
                    confidence,
                },
                "B" => Answer::Known {
                    person: Arc::clone(&bob),
                    confidence,
                },
                _ => Answer::Unknown {
                    confidence,
                    similar_to: Some(SimilarTo {
                        person: Arc::clone(&alice),
                        confidence: 1.0 - confidence,
                    }),
                },
            };
            Shot {
                quality: quality.parse().unwrap(),
                answer,
                similarity: 0.0,
            }
        })
        .collect()
}

/// What is said in words: `preliminary alice 0.97`, `voted unknown 0.80 like alice`.
fn words(judgement: Option<Judgement>) -> String {
    let (kind, verdict) = match judgement {
        None => return String::new(),
        Some(Judgement::Preliminary(verdict)) => ("preliminary", verdict),
        Some(Judgement::Voted(verdict)) => ("voted", verdict),
        Some(Judgement::Corrected(verdict)) => ("corrected", verdict),
    };
    let who = verdict.person.map_or("unknown".to_owned(), |person| person.id.clone());
    let like = verdict
        .similar_to
        .map_or(String::new(), |person| format!(" like {}", person.id));
    format!("{kind} {who} {:.2}{like}", verdict.confidence)
}

#[test]
fn the_table_of_verdicts() {
    const NOTHING: Option<&str> = None;
    use Time::{Due, Early, Ended};
    // Shots; whether a preliminary word was said; the shots of the verdict before; the time; the answer.
    let table = [
        ("", false, NOTHING, Early, ""),
        ("", false, NOTHING, Ended, ""),
        ("A97", false, NOTHING, Early, "preliminary alice 0.97"),
        ("A97", true, NOTHING, Early, ""),
        ("u80", false, NOTHING, Early, "preliminary unknown 0.80 like alice"),
        ("A97 A95", true, NOTHING, Early, ""),
        ("A97 A95 A96", true, NOTHING, Early, "voted alice 0.96"),
        ("A97 A95 A96", false, NOTHING, Early, "voted alice 0.96"),
        ("u80 u90 u70", true, NOTHING, Early, "voted unknown 0.80 like alice"),
        // A visit shorter than the vote still gets its answer.
        ("A97", true, NOTHING, Ended, "voted alice 0.97"),
        ("u80", false, NOTHING, Ended, "voted unknown 0.80 like alice"),
        // Good shots weigh more than poor ones.
        ("A97*0.9 u90*0.2 u90*0.2", true, NOTHING, Early, "voted alice 0.70"),
        // An even split is waited on, and names nobody in the end.
        ("A90 B90 u90 u90", true, NOTHING, Early, ""),
        ("A90 B90", true, NOTHING, Ended, "voted unknown 0.10 like alice"),
        // More than half, and hardly before the next person.
        ("A90*0.55 A90*0.55 B90*0.9", true, NOTHING, Early, ""),
        (
            "A90*0.55 A90*0.55 B90*0.9",
            true,
            NOTHING,
            Due,
            "voted unknown 0.10 like alice",
        ),
        // At the deadline two that agree are enough for a name, and one is not.
        ("A97 A95", true, NOTHING, Due, "voted alice 0.96"),
        ("A97", true, NOTHING, Due, ""),
        ("A97", false, NOTHING, Due, "preliminary alice 0.97"),
        ("u80", true, NOTHING, Due, "voted unknown 0.80 like alice"),
        // Nobody is called unknown whom a shot named, while there is time.
        ("u80 A97*0.5", true, NOTHING, Due, ""),
        ("u80 u80 A97*0.5", true, NOTHING, Due, "voted unknown 0.65 like alice"),
        // Said once.
        ("A97 A95 A96 A97", true, Some("A97 A95 A96"), Early, ""),
        ("A97 A95 A96 A97", true, Some("A97 A95 A96"), Ended, ""),
        // Changed by two thirds, not by a little more than half.
        ("u90 A97 A97", true, Some("u90 u90 u90"), Early, "corrected alice 0.68"),
        ("u90*0.9 A97 A97*0.5", true, Some("u90 u90 u90"), Early, ""),
        ("B90 B90 B90", true, Some("A90 A90 A90"), Early, "corrected bob 0.90"),
        (
            "u90 u90 u90",
            true,
            Some("A90 A90 A90"),
            Ended,
            "corrected unknown 0.90 like alice",
        ),
    ];
    for (text, preliminary, before, time, expected) in table {
        let before = before.map(|before| vote(&shots(before)).verdict);
        let said = Said {
            preliminary,
            verdict: before.as_ref(),
        };
        let answer = words(judge(&shots(text), said, Rules { min_shots: 3, time }));
        assert_eq!(answer, expected, "{text:?}, preliminary {preliminary}, {time:?}");
    }
}

#[test]
fn with_one_shot_asked_for_the_first_one_votes() {
    let rules = Rules {
        min_shots: 1,
        time: Time::Early,
    };
    assert_eq!(words(judge(&shots("A97"), Said::default(), rules)), "voted alice 0.97");
}

prop_compose! {
    fn any_shots()(words in proptest::collection::vec((0_usize..3, 0_u32..=100, 0.0_f32..=1.0), 0..9)) -> Vec<Shot> {
        let text: Vec<String> = words
            .iter()
            .map(|(who, confidence, quality)| format!("{}{confidence}*{quality:.3}", ["A", "B", "u"][*who]))
            .collect();
        shots(&text.join(" "))
    }
}

fn any_time() -> impl Strategy<Value = Time> {
    prop::sample::select(vec![Time::Early, Time::Due, Time::Ended])
}

proptest! {
    #[test]
    fn a_name_has_two_shots_behind_it_while_more_may_come(shots in any_shots(), due: bool, preliminary: bool) {
        let rules = Rules { min_shots: 3, time: if due { Time::Due } else { Time::Early } };
        if let Some(Judgement::Voted(Verdict { person: Some(named), .. })) =
            judge(&shots, Said { preliminary, verdict: None }, rules)
        {
            let agreeing = shots.iter().filter(|shot| shot.answer.person().is_some_and(|person| person.uid == named.uid));
            let weight = |shot: &Shot| f64::from(shot.quality).max(LEAST_WEIGHT);
            let (for_it, all): (f64, f64) = (agreeing.clone().map(weight).sum(), shots.iter().map(weight).sum());
            prop_assert!(for_it > all / 2.0);
            prop_assert!(agreeing.count() >= 2 || shots.len() >= 3);
        }
    }

    #[test]
    fn what_is_clear_early_is_the_same_when_due(shots in any_shots(), preliminary: bool) {
        let said = Said { preliminary, verdict: None };
        let early = judge(&shots, said, Rules { min_shots: 3, time: Time::Early });
        if let Some(Judgement::Voted(_)) = &early {
            prop_assert_eq!(&early, &judge(&shots, said, Rules { min_shots: 3, time: Time::Due }));
        }
    }

    #[test]
    fn a_correction_has_two_thirds_behind_it_and_is_final(before in any_shots(), shots in any_shots(), time in any_time()) {
        let rules = Rules { min_shots: 3, time };
        if before.is_empty() {
            return Ok(());
        }
        let before = vote(&before).verdict;
        let said = Said { preliminary: true, verdict: Some(&before) };
        match judge(&shots, said, rules) {
            None => {}
            Some(Judgement::Corrected(verdict)) => {
                prop_assert!(shots.len() >= 3 && !verdict.agrees_with(&before));
                let again = Said { verdict: Some(&verdict), ..said };
                prop_assert_eq!(judge(&shots, again, rules), None);
            }
            Some(other) => prop_assert!(false, "{other:?} after a verdict"),
        }
    }

    #[test]
    fn a_verdict_is_a_probability_and_never_said_twice(shots in any_shots(), time in any_time(), preliminary: bool) {
        let rules = Rules { min_shots: 3, time };
        let ended = time == Time::Ended;
        let first = judge(&shots, Said { preliminary, verdict: None }, rules);
        if let Some(Judgement::Voted(verdict)) = &first {
            prop_assert!((0.0..=1.0).contains(&verdict.confidence));
            prop_assert!(time != Time::Early || shots.len() >= 3);
            prop_assert!(verdict.person.is_none() || verdict.similar_to.is_none());
            prop_assert_eq!(judge(&shots, Said { preliminary, verdict: Some(verdict) }, rules), None);
        }
        if let Some(Judgement::Preliminary(_)) = &first {
            prop_assert!(!preliminary && !ended);
        }
        prop_assert!(!(ended && first.is_none()) || shots.is_empty());
    }

    #[test]
    fn nobody_is_named_whom_no_shot_names(shots in any_shots()) {
        let rules = Rules { min_shots: 1, time: Time::Ended };
        if let Some(Judgement::Voted(verdict)) = judge(&shots, Said::default(), rules)
            && let Some(named) = verdict.person
        {
            prop_assert!(shots.iter().any(|shot| shot.answer.person().is_some_and(|person| person.uid == named.uid)));
        }
    }
}
