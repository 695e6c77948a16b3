//! Why the faces of a clip or photo came out as they did, from what the core said while it was played in detail.

mod reason;

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

pub use reason::{Named, Reason};

use crate::gallery::Person;
use crate::identify::{Answer, Identification};
use crate::playback::{Outcome, Playback, Seen, Visit};
use crate::verdict::Judgement;

/// What came out for a visit, and why.
#[derive(Debug)]
pub struct Explained<'a> {
    /// The visit.
    pub visit: &'a Visit,
    /// What was last said about it.
    pub answer: Spoken,
    /// Why it was not another name, the weightiest first; empty where all went well.
    pub reasons: Vec<Reason>,
    /// How many of its faces were passed over, and why; the most frequent first.
    pub passed_over: Vec<(Reason, usize)>,
}

/// What was last said about a visit.
#[derive(Debug, Clone, PartialEq)]
pub enum Spoken {
    /// Nothing.
    Nothing,
    /// A name.
    Name {
        /// Whose.
        person: Arc<Person>,
        /// Probability that it is right, 0 to 1.
        confidence: f64,
        /// Whether the vote was not held.
        preliminary: bool,
    },
    /// Nobody enrolled.
    Unknown {
        /// Who is near.
        similar_to: Option<Arc<Person>>,
        /// Probability that it is right, 0 to 1.
        confidence: f64,
        /// Whether the vote was not held.
        preliminary: bool,
    },
}

impl Spoken {
    /// What the last of `said` until `at_s` says.
    pub fn until(visit: &Visit, at_s: f64) -> Self {
        let mut said = visit.said.iter().filter(|spoken| spoken.at_s <= at_s);
        let Some(last) = said.next_back() else {
            return Self::Nothing;
        };
        let preliminary = matches!(last.judgement, Judgement::Preliminary(_));
        let verdict = last.judgement.verdict();
        match &verdict.person {
            Some(person) => Self::Name {
                person: Arc::clone(person),
                confidence: verdict.confidence,
                preliminary,
            },
            None => Self::Unknown {
                similar_to: verdict.similar_to.clone(),
                confidence: verdict.confidence,
                preliminary,
            },
        }
    }
}

/// Explains every visit of `played`, in which a vote is held with `min_shots`.
pub fn explain(played: &Playback, min_shots: usize) -> Vec<Explained<'_>> {
    played.visits.iter().map(|visit| explained(visit, min_shots)).collect()
}

fn explained(visit: &Visit, min_shots: usize) -> Explained<'_> {
    let answer = Spoken::until(visit, f64::INFINITY);
    let passed_over = passed_over(visit);
    let mut reasons = Vec::new();
    match &answer {
        Spoken::Nothing => reasons.extend(passed_over.iter().map(|(reason, _)| reason.clone())),
        Spoken::Name {
            person, preliminary, ..
        } => {
            if person.ignored {
                reasons.push(Reason::Ignored { person: person.into() });
            }
            reasons.extend(no_vote(visit, *preliminary, min_shots));
        }
        Spoken::Unknown { preliminary, .. } => {
            reasons.extend(of_shots(visit));
            reasons.extend(no_vote(visit, *preliminary, min_shots));
        }
    }
    Explained {
        visit,
        answer,
        reasons,
        passed_over,
    }
}

fn no_vote(visit: &Visit, preliminary: bool, least: usize) -> Option<Reason> {
    preliminary.then_some(Reason::VoteNotReached {
        shots: visit.shots,
        least,
    })
}

/// The reasons for which faces were not embedded, each with the face that came nearest to being good enough (the
/// largest), the most frequent first. That enough was seen is none.
fn passed_over(visit: &Visit) -> Vec<(Reason, usize)> {
    let height_px = |seen: &Seen| seen.face.box_in_frame.height();
    let reasons = visit.faces.iter().filter_map(|seen| match &seen.outcome {
        Outcome::PassedOver(_) => {
            Reason::of_face(&seen.outcome, height_px(seen)).map(|reason| (reason, height_px(seen)))
        }
        _ => None,
    });
    counted(reasons.filter(|(reason, _)| !reason.is_routine()))
}

/// Counts reasons of one kind; the one with the highest number beside it stands for its kind.
fn counted(reasons: impl Iterator<Item = (Reason, f32)>) -> Vec<(Reason, usize)> {
    let mut kinds: HashMap<Discriminant<Reason>, (Reason, f32, usize)> = HashMap::new();
    for (reason, weight) in reasons {
        kinds
            .entry(discriminant(&reason))
            .and_modify(|(best, most, count)| {
                *count += 1;
                if weight > *most {
                    (*best, *most) = (reason.clone(), weight);
                }
            })
            .or_insert((reason, weight, 1));
    }
    let mut all: Vec<_> = kinds.into_values().collect();
    // By weight too, so that the order does not hang on the map's.
    all.sort_by(|a, b| b.2.cmp(&a.2).then(b.1.total_cmp(&a.1)));
    all.into_iter().map(|(reason, _, count)| (reason, count)).collect()
}

/// Why the shots of a visit did not make a name.
fn of_shots(visit: &Visit) -> Vec<Reason> {
    let shots: Vec<(f32, &Identification)> = visit
        .faces
        .iter()
        .filter_map(|seen| match &seen.outcome {
            Outcome::Shot {
                quality,
                said: Some(said),
            } => Some((quality.score(), &**said)),
            _ => None,
        })
        .collect();
    let mut reasons = Vec::new();
    reasons.extend(outvoted(&shots));
    let doubts = shots
        .iter()
        .filter_map(|(score, said)| Reason::of_doubt(said).map(|reason| (reason, *score)));
    reasons.extend(counted(doubts).into_iter().map(|(reason, _)| reason));
    reasons
}

/// The person whom some shots named, in vain.
fn outvoted(shots: &[(f32, &Identification)]) -> Option<Reason> {
    let mut named: Vec<(&Arc<Person>, usize)> = Vec::new();
    for (_, said) in shots {
        if let Answer::Known { person, .. } = &said.answer {
            match named.iter_mut().find(|(other, _)| other.uid == person.uid) {
                Some((_, count)) => *count += 1,
                None => named.push((person, 1)),
            }
        }
    }
    let (person, count) = named.into_iter().max_by_key(|(_, count)| *count)?;
    Some(Reason::Outvoted {
        person: person.into(),
        shots: count,
        of: shots.len(),
    })
}

/// Faces of which no track was made, counted by their reasons.
pub fn unwatched(played: &Playback) -> Vec<(Reason, usize)> {
    let reasons = played.unwatched.iter().filter_map(|seen| {
        let height_px = seen.face.box_in_frame.height();
        Some((Reason::of_face(&seen.outcome, height_px)?, height_px))
    });
    counted(reasons)
}
