//! What a track's shots say together: a pure function, so that the same shots always get the same verdict.
//!
//! A shot votes for its answer with its quality. Somebody is named only by more than half of the weight; a verdict
//! that was given is changed only by two thirds, so that it doesn't flap.

use std::sync::Arc;

use crate::gallery::Person;
use crate::identify::Answer;

/// The share of the weight that changes a verdict.
const CORRECTING_SHARE: f64 = 2.0 / 3.0;
/// Even the poorest shot that was let through has a voice.
const LEAST_WEIGHT: f64 = 0.01;

/// An embedded and identified shot of a track.
#[derive(Debug, Clone, PartialEq)]
pub struct Shot {
    /// How good it is, 0 to 1.
    pub quality: f32,
    /// Whose face it is, by itself.
    pub answer: Answer,
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
    /// Whether a track that ended votes with the shots that it has.
    pub ended: bool,
}

/// Says what `shots` say that was not said before, if anything.
pub fn judge(shots: &[Shot], said: Said<'_>, rules: Rules) -> Option<Judgement> {
    let enough = shots.len() >= rules.min_shots;
    if shots.is_empty() {
        return None;
    }
    let (verdict, share) = vote(shots);
    match said.verdict {
        Some(before) if before.agrees_with(&verdict) || !enough => None,
        Some(_) => (share >= CORRECTING_SHARE).then_some(Judgement::Corrected(verdict)),
        // An even split is no vote; it is waited on until the track ends.
        None if rules.ended || (enough && share > 0.5) => Some(Judgement::Voted(verdict)),
        None if !said.preliminary => Some(Judgement::Preliminary(verdict)),
        None => None,
    }
}

/// The verdict and its share of the weight. Without a majority nobody is named.
fn vote(shots: &[Shot]) -> (Verdict, f64) {
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
    let named = winner.filter(|_| share > 0.5);
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
    (verdict, share)
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

fn uid(person: Option<&Arc<Person>>) -> Option<ulid::Ulid> {
    person.map(|person| person.uid)
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
