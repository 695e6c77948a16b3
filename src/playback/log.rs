//! What happened while something was played, as typed records.

use std::time::{Duration, Instant};

use ulid::Ulid;

use crate::detect::Face;
use crate::frame::{CapturedAt, Frame};
use crate::identify::Identification;
use crate::quality::Quality;
use crate::track::{PassedOver, Track};
use crate::verdict::{Judgement, Verdict};
use crate::visits::Happening;

/// All of a playing. Times are seconds of the clip, from its first frame.
#[derive(Debug, Default)]
pub struct Playback {
    /// One for each track, in the order in which they were first seen.
    pub visits: Vec<Visit>,
    /// Faces that no track was made of, in order; only noted in detail.
    pub unwatched: Vec<Seen>,
    /// Frames that were looked at.
    pub frames: u64,
    /// Of these, frames in which nothing moved, so that they were not searched.
    pub still: u64,
    /// Time of the last frame.
    pub duration_s: f64,
    /// Width and height of the last frame in pixels.
    pub frame_size: (u32, u32),
    /// The longest time from a frame to what was said about it, on this machine: detection and embedding.
    pub longest_work: Duration,
}

/// A track, from its first frame to its last.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Its id.
    pub track: Ulid,
    /// First sight of the face.
    pub first_s: f64,
    /// Last sight of the face.
    pub last_s: f64,
    /// When the first shot was taken that was good enough to be embedded.
    pub first_shot_s: Option<f64>,
    /// Number of shots that were embedded.
    pub shots: usize,
    /// What was said, in order.
    pub said: Vec<Spoken>,
    /// The verdict at the end.
    pub verdict: Option<Verdict>,
    /// Every sight of the face, in order; only noted in detail.
    pub faces: Vec<Seen>,
}

/// Something that was said about a track.
#[derive(Debug, Clone)]
pub struct Spoken {
    /// When.
    pub at_s: f64,
    /// What.
    pub judgement: Judgement,
}

/// A face in a frame.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The frame's number, counted from 0.
    pub frame: u64,
    /// The frame's time.
    pub at_s: f64,
    /// Where it is.
    pub face: Face,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a face.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Smaller than the camera looks for, so that the daemon would not have found it.
    TooSmall {
        /// Height of the smallest face that is looked for, in pixels.
        least_px: u32,
    },
    /// In a mask, or outside of the zones where only those count.
    LeftOut,
    /// It belongs to a track and was not embedded.
    PassedOver(PassedOver),
    /// It was embedded.
    Shot {
        /// How good it is.
        quality: Quality,
        /// Whose face it is by itself.
        said: Option<Box<Identification>>,
    },
}

impl Visit {
    fn new(track: &Track, at_s: f64) -> Self {
        Self {
            track: track.id,
            first_s: at_s,
            last_s: at_s,
            first_shot_s: None,
            shots: 0,
            said: Vec::new(),
            verdict: None,
            faces: Vec::new(),
        }
    }

    /// When there was a preliminary word or, where the vote came first, the vote.
    pub fn first_word_s(&self) -> Option<f64> {
        self.said.first().map(|spoken| spoken.at_s)
    }

    /// When the vote was first held.
    pub fn verdict_s(&self) -> Option<f64> {
        self.verdicts().next().map(|(at_s, _)| at_s)
    }

    /// Verdicts with their times, without the preliminary word.
    pub fn verdicts(&self) -> impl Iterator<Item = (f64, &Verdict)> {
        self.said.iter().filter_map(|spoken| match &spoken.judgement {
            Judgement::Preliminary(_) => None,
            Judgement::Voted(verdict) | Judgement::Corrected(verdict) => Some((spoken.at_s, verdict)),
        })
    }
}

/// Gathers.
pub(super) struct Log {
    playback: Playback,
    in_detail: bool,
    /// The first frame's time.
    began: Option<Instant>,
    now_s: f64,
    frame: u64,
    /// What became of the faces of this frame's tracks.
    outcomes: Vec<(Ulid, Outcome)>,
}

impl Log {
    pub(super) fn new(in_detail: bool) -> Self {
        Self {
            playback: Playback::default(),
            in_detail,
            began: None,
            now_s: 0.0,
            frame: 0,
            outcomes: Vec::new(),
        }
    }

    pub(super) fn frame(&mut self, frame: &Frame, at_s: f64) {
        self.began.get_or_insert(frame.captured_at.monotonic);
        self.now_s = at_s;
        self.frame = frame.sequence;
        self.playback.frames += 1;
        self.playback.duration_s = at_s;
        self.playback.frame_size = frame.pixels.dimensions();
    }

    /// The frame is not searched.
    pub(super) fn still(&mut self) {
        self.playback.still += 1;
    }

    pub(super) fn time(&mut self, now: Instant) {
        self.now_s = self.seconds(now);
    }

    fn seconds(&self, at: Instant) -> f64 {
        self.began
            .map_or(0.0, |began| at.saturating_duration_since(began).as_secs_f64())
    }

    pub(super) fn took(&mut self, work: Duration) {
        self.playback.longest_work = self.playback.longest_work.max(work);
    }

    pub(super) fn unwatched(&mut self, face: Face, outcome: Outcome) {
        self.playback.unwatched.push(Seen {
            frame: self.frame,
            at_s: self.now_s,
            face,
            outcome,
        });
    }

    pub(super) fn note(&mut self, happening: &Happening<'_>) {
        match happening {
            Happening::Wanted(shot) => {
                let quality = shot.taken.quality;
                self.outcomes.push((shot.track, Outcome::Shot { quality, said: None }));
            }
            Happening::LeftOut(face) if self.in_detail => self.unwatched(**face, Outcome::LeftOut),
            Happening::LeftOut(_) => {}
            Happening::PassedOver(track, why) => self.outcomes.push((track.id, Outcome::PassedOver(*why))),
            Happening::Identified(track, _, said) => {
                let (frame, now_s) = (self.frame, self.now_s);
                let sight = self.playback.take_sight(frame, &track.face);
                let visit = self.playback.visit(track, now_s);
                if let Some(mut seen) = sight {
                    if let Outcome::Shot { said: answer, .. } = &mut seen.outcome {
                        *answer = Some(Box::new((*said).clone()));
                    }
                    visit.faces.push(seen);
                }
            }
            Happening::Judged { track, judgement, .. } => {
                let at_s = self.now_s;
                let visit = self.playback.visit(track, at_s);
                visit.first_shot_s = visit.first_shot_s.or(Some(at_s));
                visit.said.push(Spoken {
                    at_s,
                    judgement: (*judgement).clone(),
                });
            }
            Happening::Joined { gone, into, .. } => self.playback.join(*gone, into, self.now_s),
            Happening::Ended(track) => {
                let (first_s, last_s) = (self.seconds(track.first.monotonic), self.seconds(track.last.monotonic));
                let visit = self.playback.visit(track, first_s);
                visit.first_s = first_s;
                visit.last_s = last_s;
                visit.verdict.clone_from(&track.shots.verdict);
            }
        }
    }

    /// A frame was searched: each track that has a face in it, with what became of that.
    pub(super) fn tracked<'a>(&mut self, tracks: impl Iterator<Item = &'a Track>, at: CapturedAt) {
        let outcomes = std::mem::take(&mut self.outcomes);
        for track in tracks.filter(|track| track.last == at) {
            let (frame, at_s, in_detail) = (self.frame, self.now_s, self.in_detail);
            let visit = self.playback.visit(track, at_s);
            let Some((_, outcome)) = outcomes.iter().find(|(id, _)| *id == track.id) else {
                continue;
            };
            if matches!(outcome, Outcome::Shot { .. }) {
                visit.shots += 1;
                visit.first_shot_s.get_or_insert(at_s);
            }
            if in_detail {
                visit.faces.push(Seen {
                    frame,
                    at_s,
                    face: track.face,
                    outcome: outcome.clone(),
                });
            }
        }
    }

    pub(super) fn finish(mut self) -> Playback {
        let visits = &mut self.playback.visits;
        visits.sort_by(|a, b| a.first_s.total_cmp(&b.first_s));
        self.playback
    }
}

impl Playback {
    /// The visit of `track`, which may be new.
    fn visit(&mut self, track: &Track, at_s: f64) -> &mut Visit {
        let index = self
            .visits
            .iter()
            .position(|visit| visit.track == track.id)
            .unwrap_or_else(|| {
                self.visits.push(Visit::new(track, at_s));
                self.visits.len() - 1
            });
        &mut self.visits[index]
    }

    /// Adds what was noted of `gone` to `into`, which goes on.
    fn join(&mut self, gone: Ulid, into: &Track, at_s: f64) {
        let Some(index) = self.visits.iter().position(|visit| visit.track == gone) else {
            return;
        };
        let gone = self.visits.remove(index);
        let visit = self.visit(into, at_s);
        visit.first_s = visit.first_s.min(gone.first_s);
        visit.first_shot_s = match (visit.first_shot_s, gone.first_shot_s) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        visit.shots += gone.shots;
        visit.said.extend(gone.said);
        visit.said.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        visit.faces.extend(gone.faces);
        visit.faces.sort_by_key(|seen| seen.frame);
    }

    /// Takes out the sight of `face` in `frame`: it may belong to another track by now.
    fn take_sight(&mut self, frame: u64, face: &Face) -> Option<Seen> {
        self.visits.iter_mut().find_map(|visit| {
            let last = visit.faces.pop_if(|seen| seen.frame == frame && seen.face == *face)?;
            Some(last)
        })
    }
}
