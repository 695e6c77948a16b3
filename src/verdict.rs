//! What a track's shots say together: a pure function, so that the same shots always get the same verdict.
//!
//! A shot votes for its answer with its quality. Somebody is named only by more than half of the weight, and clearly
//! before the next person; a verdict that was given is changed only by two thirds, so that it doesn't flap.
//!
//! The vote is held when there are enough shots and they are clear. At the deadline it is held with what there is: then
//! two shots have to agree on a name, and nobody is called unknown whom one shot named, as long as there are fewer
//! shots than the rules ask for; who is left in doubt so waits for the next shot, or for the end of the track.

use std::sync::Arc;

use ulid::Ulid;

use crate::gallery::Person;
use crate::identify::{Answer, SimilarTo};

/// The share of the weight that changes a verdict.
const CORRECTING_SHARE: f64 = 2.0 / 3.0;
/// How much more of the weight than the next person somebody needs to be named.
const LEAST_MARGIN: f64 = 0.2;
/// So many shots have to agree on a name that is given at the deadline.
const AGREEING_WHEN_DUE: usize = 2;
/// Even the poorest shot that was let through has a voice.
const LEAST_WEIGHT: f64 = 0.01;

/// An embedded and identified shot of a track.
#[derive(Debug, Clone, PartialEq)]
pub struct Shot {
    /// How good it is, 0 to 1.
    pub quality: f32,
    /// Whose face it is, by itself.
    pub answer: Answer,
    /// How near the nearest person is, by the identifier's own measure; 0 where there is nobody.
    pub similarity: f32,
}

/// Who it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The person; `None` for nobody enrolled.
    pub person: Option<Arc<Person>>,
    /// Who is near, when nobody is named; `None` where nobody is enrolled.
    pub similar_to: Option<Arc<Person>>,
    /// Probability that this is right, 0 to 1.
    pub confidence: f64,
    /// How many shots voted.
    pub shots: usize,
}

impl Verdict {
    /// Whether both name the same person, or both nobody.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.person.as_ref().map(|person| person.uid) == other.person.as_ref().map(|person| person.uid)
    }
}

/// What there is to say about a track.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// The first good shot, before the vote.
    Preliminary(Verdict),
    /// The vote is in.
    Voted(Verdict),
    /// A later vote changed it.
    Corrected(Verdict),
}

impl Judgement {
    /// The verdict in it.
    pub fn verdict(&self) -> &Verdict {
        let (Self::Preliminary(verdict) | Self::Voted(verdict) | Self::Corrected(verdict)) = self;
        verdict
    }
}

/// What was said about the track before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    /// Whether there was a preliminary word.
    pub preliminary: bool,
    /// The last vote's verdict.
    pub verdict: Option<&'a Verdict>,
}

/// When the vote is held.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// After so many shots, 1 or more.
    pub min_shots: usize,
    /// What time it is for the track.
    pub time: Time,
}

/// What time it is for a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// More shots may come in time.
    Early,
    /// The deadline is over, and more shots may come.
    Due,
    /// The face is gone.
    Ended,
}

/// Says what `shots` say that was not said before, if anything.
pub fn judge(shots: &[Shot], said: Said<'_>, rules: Rules) -> Option<Judgement> {
    let enough = shots.len() >= rules.min_shots;
    if shots.is_empty() {
        return None;
    }
    let Vote {
        verdict,
        share,
        is_clear,
    } = vote(shots);
    if let Some(before) = said.verdict {
        let corrects = enough && share >= CORRECTING_SHARE && !before.agrees_with(&verdict);
        return corrects.then_some(Judgement::Corrected(verdict));
    }
    let stands = match rules.time {
        Time::Early => enough && is_clear,
        Time::Due => enough || stands_when_due(shots, &verdict, rules),
        Time::Ended => true,
    };
    match (stands, said.preliminary) {
        (true, _) => Some(Judgement::Voted(verdict)),
        (false, false) => Some(Judgement::Preliminary(verdict)),
        (false, true) => None,
    }
}

/// The shots as they vote where some people can't be meant: who names one of `impossible` names nobody.
pub fn without(mut shots: Vec<Shot>, impossible: &[Ulid]) -> Vec<Shot> {
    for shot in &mut shots {
        if let Answer::Known { person, confidence } = &shot.answer
            && impossible.contains(&person.uid)
        {
            shot.answer = Answer::Unknown {
                confidence: 1.0 - confidence,
                similar_to: Some(SimilarTo {
                    person: Arc::clone(person),
                    confidence: *confidence,
                }),
            };
        }
    }
    shots
}

/// How near the shots that name `person` are, on average by their quality; `None` where no shot does.
pub fn nearness(shots: &[Shot], person: Ulid) -> Option<f32> {
    let naming = shots.iter().filter(|shot| uid(shot.answer.person()) == Some(person));
    let (near, all) = naming.fold((0.0, 0.0), |(near, all), shot| {
        let weight = weight_of(shot);
        (near + weight * f64::from(shot.similarity), all + weight)
    });
    #[expect(clippy::cast_possible_truncation, reason = "an average of f32")]
    (all > 0.0).then_some((near / all) as f32)
}

/// What the shots say, whatever was said before; `None` without shots.
pub fn outcome(shots: &[Shot]) -> Option<Verdict> {
    (!shots.is_empty()).then(|| vote(shots).verdict)
}

/// Whether a verdict of fewer shots than were asked for holds at the deadline.
fn stands_when_due(shots: &[Shot], verdict: &Verdict, rules: Rules) -> bool {
    match &verdict.person {
        Some(named) => {
            let agrees = |shot: &&Shot| shot.answer.person().is_some_and(|person| person.uid == named.uid);
            shots.iter().filter(agrees).count() >= AGREEING_WHEN_DUE.min(rules.min_shots)
        }
        None => shots.iter().all(|shot| shot.answer.person().is_none()),
    }
}

/// How a vote goes.
struct Vote {
    verdict: Verdict,
    /// The share of the weight that the verdict has.
    share: f64,
    /// Whether more than half are for it, and a name is well before the next one.
    is_clear: bool,
}

/// Holds the vote. Without a clear majority nobody is named.
fn vote(shots: &[Shot]) -> Vote {
    let mut votes: Vec<(Option<&Arc<Person>>, f64)> = Vec::new();
    for shot in shots {
        let person = shot.answer.person();
        match votes.iter_mut().find(|(other, _)| uid(*other) == uid(person)) {
            Some((_, weight)) => *weight += weight_of(shot),
            None => votes.push((person, weight_of(shot))),
        }
    }
    let total: f64 = votes.iter().map(|(_, weight)| weight).sum();
    // Of equal weights the first one counts: the order of the shots is part of the input.
    let (winner, weight) = votes
        .iter()
        .copied()
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .unwrap_or((None, 0.0));
    let share = weight / total;
    let runner_up = votes
        .iter()
        .filter(|(person, _)| person.is_some() && uid(*person) != uid(winner))
        .map(|(_, weight)| weight / total)
        .fold(0.0, f64::max);
    let is_clear = share > 0.5 && (winner.is_none() || share - runner_up >= LEAST_MARGIN);
    let named = winner.filter(|_| is_clear);
    let confidence = shots
        .iter()
        .map(|shot| weight_of(shot) * support(&shot.answer, named))
        .sum::<f64>()
        / total;
    let verdict = Verdict {
        person: named.cloned(),
        similar_to: match (named, winner) {
            (Some(_), _) => None,
            (None, Some(leading)) => Some(Arc::clone(leading)),
            (None, None) => nearest(shots),
        },
        confidence: confidence.clamp(0.0, 1.0),
        shots: shots.len(),
    };
    Vote {
        verdict,
        share,
        is_clear,
    }
}

/// How probable one shot holds it that the face is `named`'s, or nobody's.
fn support(answer: &Answer, named: Option<&Arc<Person>>) -> f64 {
    match (answer, named) {
        (Answer::Known { person, confidence }, Some(named)) if person.uid == named.uid => *confidence,
        (Answer::Known { .. }, Some(_)) => 0.0,
        (Answer::Known { confidence, .. }, None) => 1.0 - confidence,
        (Answer::Unknown { confidence, .. }, None) => *confidence,
        (Answer::Unknown { similar_to, .. }, Some(named)) => similar_to
            .as_ref()
            .filter(|similar| similar.person.uid == named.uid)
            .map_or(0.0, |similar| similar.confidence),
    }
}

/// Who the best unknown shot is most like.
fn nearest(shots: &[Shot]) -> Option<Arc<Person>> {
    shots
        .iter()
        .filter_map(|shot| match &shot.answer {
            Answer::Unknown {
                similar_to: Some(similar),
                ..
            } => Some((shot.quality, &similar.person)),
            _ => None,
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, person)| Arc::clone(person))
}

fn weight_of(shot: &Shot) -> f64 {
    f64::from(shot.quality).max(LEAST_WEIGHT)
}

fn uid(person: Option<&Arc<Person>>) -> Option<Ulid> {
    person.map(|person| person.uid)
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
