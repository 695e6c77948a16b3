//! How right the daemon is about a clip whose visitors are known: counted by visits, not by frames, since a visit is
//! what people are told about.

mod truth;

pub use truth::{ClipTruth, ExpectedVisit, Truth};

use serde::Serialize;

use crate::event::two_decimals_down;
use crate::playback::{Playback, Visit};
use crate::verdict::{Judgement, Verdict};

/// So much a track may begin before or end after the visit that it is of: who wrote down the visits looked at every
/// sixth frame.
const SLACK_S: f64 = 0.5;
/// A verdict this long after the end of a visit is of that visit; a track is waited for for a while.
const LAST_WORD_S: f64 = 2.0;
/// From the first usable shot to the first word, at most.
pub const FIRST_WORD_WITHIN_S: f64 = 0.5;
/// From the first usable shot to the verdict, at most.
pub const VERDICT_WITHIN_S: f64 = 2.0;
/// Times of the clip are counted in frames; what is over a limit by less than this is not over it.
const ROUNDING_S: f64 = 1e-3;

/// What came out for a clip.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Every visit that was expected.
    pub visits: Vec<VisitOutcome>,
    /// Everybody who was named and was not there.
    pub false_names: Vec<FalseName>,
    /// Visits that ended as unknown.
    pub strangers: Vec<Stranger>,
    /// Whether there had to be a visit that ends as unknown, and there was none.
    pub stranger_missed: bool,
    /// Whether nobody but the expected was there, so that every other visit is one too many.
    pub strangers_are_extra: bool,
    /// Tracks about which no verdict was given: nothing of them could be used.
    pub without_verdict: usize,
    /// From the first usable shot to the first word.
    pub first_word: Delays,
    /// From the first usable shot to the verdict.
    pub verdict: Delays,
}

/// A visit that was expected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VisitOutcome {
    /// As it was expected.
    #[serde(flatten)]
    pub expected: ExpectedVisit,
    /// How the person was named; `null` when missed.
    pub named: Option<Naming>,
    /// What was said meanwhile, where the person was missed.
    pub instead: Vec<String>,
}

/// How a visitor was named.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Naming {
    /// The clip's time of the verdict.
    pub at_s: f64,
    /// From the visit's begin to the first word that names the person.
    pub first_word_after_s: Option<f64>,
    /// From the visit's begin to the verdict.
    pub after_s: f64,
    /// The last verdict's confidence, 0 to 1.
    pub confidence: f64,
    /// Number of tracks that the visit broke into.
    pub tracks: usize,
}

/// Somebody who was named without being there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FalseName {
    /// The person's id.
    pub person: String,
    /// When.
    pub at_s: f64,
    /// Probability that was claimed, 0 to 1.
    pub confidence: f64,
    /// Whether it was the preliminary word only.
    pub preliminary: bool,
}

/// A visit that ended as unknown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stranger {
    /// First sight of the face.
    pub from_s: f64,
    /// Last sight of the face.
    pub to_s: f64,
    /// Whom it is like, by id.
    pub similar_to: Option<String>,
    /// Probability that it is nobody enrolled, 0 to 1.
    pub confidence: f64,
}

/// How long something took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Delays {
    /// Visits that were counted.
    pub visits: usize,
    /// In the middle; `null` for no visit.
    pub median_s: Option<f64>,
    /// The longest.
    pub longest_s: Option<f64>,
    /// What is allowed.
    pub within_s: f64,
    /// Visits that took longer.
    pub late: usize,
}

impl Delays {
    fn of(mut delays_s: Vec<f64>, within_s: f64) -> Self {
        delays_s.sort_by(f64::total_cmp);
        let middle = delays_s.len() / 2;
        let median_s = match delays_s.len() {
            0 => None,
            count if count % 2 == 1 => Some(delays_s[middle]),
            _ => Some(f64::midpoint(delays_s[middle - 1], delays_s[middle])),
        };
        Self {
            visits: delays_s.len(),
            median_s: median_s.map(thousandths),
            longest_s: delays_s.last().copied().map(thousandths),
            within_s,
            late: delays_s.iter().filter(|delay| **delay > within_s + ROUNDING_S).count(),
        }
    }
}

impl Evaluation {
    /// Compares what was said with what is true.
    pub fn of(played: &Playback, truth: &ClipTruth) -> Self {
        let tracks = &played.visits;
        let strangers = tracks.iter().filter_map(stranger).collect::<Vec<_>>();
        let delays = |word: fn(&Visit) -> Option<f64>, within_s| {
            let each = tracks
                .iter()
                .filter_map(|track| Some((word(track)? - track.first_shot_s?).max(0.0)));
            Delays::of(each.collect(), within_s)
        };
        Self {
            visits: truth.visits.iter().map(|visit| outcome(visit, tracks)).collect(),
            false_names: tracks.iter().flat_map(|track| false_names(track, truth)).collect(),
            stranger_missed: truth.others && strangers.is_empty(),
            strangers_are_extra: !truth.others,
            strangers,
            without_verdict: tracks.iter().filter(|track| track.verdict.is_none()).count(),
            first_word: delays(Visit::first_word_s, FIRST_WORD_WITHIN_S),
            verdict: delays(Visit::verdict_s, VERDICT_WITHIN_S),
        }
    }

    /// Visits in which the person was named.
    pub fn named(&self) -> usize {
        self.visits.iter().filter(|visit| visit.named.is_some()).count()
    }

    /// Visits that nobody made.
    pub fn extra(&self) -> usize {
        if self.strangers_are_extra {
            self.strangers.len()
        } else {
            0
        }
    }

    /// Whether everybody was named, nobody falsely, and all in time.
    pub fn is_right(&self) -> bool {
        self.named() == self.visits.len()
            && self.false_names.is_empty()
            && !self.stranger_missed
            && self.extra() == 0
            && self.first_word.late == 0
            && self.verdict.late == 0
    }
}

fn outcome(expected: &ExpectedVisit, tracks: &[Visit]) -> VisitOutcome {
    let meanwhile: Vec<&Visit> = tracks.iter().filter(|track| overlaps(track, expected)).collect();
    let names = |verdict: &Verdict| {
        verdict
            .person
            .as_ref()
            .is_some_and(|person| person.id == expected.person)
    };
    // What is said long after the end is about the next visit.
    let in_time = |at_s: f64| at_s <= expected.to_s + LAST_WORD_S;
    let first_verdict = |track: &&Visit| {
        let mut verdicts = track
            .verdicts()
            .filter(|(at_s, verdict)| names(verdict) && in_time(*at_s));
        verdicts.next().map(|(at_s, _)| at_s)
    };
    let first_word = |track: &&Visit| {
        let mut words = track.said.iter();
        let named = words.find(|spoken| names(spoken.judgement.verdict()) && in_time(spoken.at_s));
        named.map(|spoken| spoken.at_s)
    };
    let of_person: Vec<&Visit> = meanwhile
        .iter()
        .copied()
        .filter(|track| track.verdict.as_ref().is_some_and(names) && first_verdict(track).is_some())
        .collect();
    let earliest = |times: &mut dyn Iterator<Item = f64>| times.reduce(f64::min);
    let at_s = earliest(&mut of_person.iter().filter_map(first_verdict));
    let after = |at_s: f64| thousandths((at_s - expected.from_s).max(0.0));
    let named = at_s.map(|at_s| Naming {
        at_s: thousandths(at_s),
        first_word_after_s: earliest(&mut of_person.iter().filter_map(first_word)).map(after),
        after_s: after(at_s),
        confidence: of_person
            .iter()
            .filter_map(|track| track.verdict.as_ref())
            .map(|verdict| two_decimals_down(verdict.confidence))
            .fold(0.0, f64::max),
        tracks: of_person.len(),
    });
    let instead = if named.is_some() {
        Vec::new()
    } else {
        meanwhile.iter().map(|track| said_of(track)).collect()
    };
    VisitOutcome {
        expected: expected.clone(),
        named,
        instead,
    }
}

/// What was said about a track, in a few words.
fn said_of(track: &Visit) -> String {
    match &track.verdict {
        Some(Verdict {
            person: Some(person), ..
        }) => person.id.clone(),
        Some(Verdict {
            similar_to: Some(person),
            ..
        }) => format!("unknown, most like {}", person.id),
        Some(_) => "unknown".to_owned(),
        None if track.shots == 0 => "a face of which no shot could be used".to_owned(),
        None => "no verdict".to_owned(),
    }
}

fn false_names(track: &Visit, truth: &ClipTruth) -> Vec<FalseName> {
    let is_there = |id: &str| {
        let mut visits = truth.visits.iter();
        visits.any(|visit| visit.person == id && overlaps(track, visit))
    };
    let words = track.said.iter().filter_map(|spoken| {
        let verdict = spoken.judgement.verdict();
        let person = verdict.person.as_ref().filter(|person| !is_there(&person.id))?;
        Some(FalseName {
            person: person.id.clone(),
            at_s: thousandths(spoken.at_s),
            confidence: two_decimals_down(verdict.confidence),
            preliminary: matches!(spoken.judgement, Judgement::Preliminary(_)),
        })
    });
    words.collect()
}

fn stranger(track: &Visit) -> Option<Stranger> {
    let verdict = track.verdict.as_ref().filter(|verdict| verdict.person.is_none())?;
    Some(Stranger {
        from_s: thousandths(track.first_s),
        to_s: thousandths(track.last_s),
        similar_to: verdict.similar_to.as_ref().map(|person| person.id.clone()),
        confidence: two_decimals_down(verdict.confidence),
    })
}

fn overlaps(track: &Visit, visit: &ExpectedVisit) -> bool {
    track.first_s <= visit.to_s + SLACK_S && track.last_s >= visit.from_s - SLACK_S
}

fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests;
