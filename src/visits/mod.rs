//! The visits before one camera, from faces to verdicts: no threads, no channels, no clock. Faces of frames and
//! embeddings of shots go in, each with its time; what is to be embedded and what there is to say comes out. The daemon
//! drives it in real time ([`crate::watcher`]), `kith evaluate` and `kith explain` as fast as they can.

mod bridge;
mod picture;
mod rivals;
mod tally;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use bridge::same_face_cosine;
use rivals::Held;
pub use tally::Tally;
use ulid::Ulid;

use crate::align::Alignment;
use crate::camera::{Live, View};
use crate::config::{CameraSettings, DECIDE_WITHIN, MIN_SHOTS, Settings};
use crate::detect::Face;
use crate::embed::Embedded;
use crate::event::ulid_text;
use crate::frame::Frame;
use crate::identify::{Identification, Identifier, Strictness};
use crate::model::EmbedderModel;
use crate::quality::Quality;
use crate::track::{PassedOver, RefusedName, ShotTaken, Track, Tracker};
use crate::verdict::{Judgement, Rules, Said, Shot, Time, Verdict, judge, nearness, without};

/// The vote is held so long before its deadline, so that the message is out in time.
const AHEAD_OF_DEADLINE: Duration = Duration::from_millis(100);

/// A verdict is there within two seconds of a good shot; somebody who has given none for so long won't soon.
const SOON: Duration = Duration::from_secs(5);

/// How the visits before a camera are watched.
#[derive(Debug, Clone)]
pub struct VisitRules {
    /// Good shots before the vote, 1 or more.
    pub min_shots: usize,
    /// So long after the first good shot the vote is held with the shots that there are.
    pub decide_within: Duration,
    /// From when on a match is a match, where this camera differs.
    pub strictness: Strictness,
    /// Whether each picture stands alone: no visit lasts from one to the next, and no vote is held on one shot.
    pub single_pictures: bool,
    /// Whether faces are cut out for publishing.
    pub pictures: bool,
    /// How a face is cut out for the embedding network.
    pub alignment: Alignment,
    /// From which cosine similarity on two faces that come one after the other are one visitor; see [`same_face_cosine`].
    /// `None`: they never are.
    pub same_face_cosine: Option<f32>,
    /// Where faces count, and the zones that they are in.
    pub view: Arc<View>,
}

impl VisitRules {
    /// What holds for a camera that no configuration names.
    pub fn usual(camera: &CameraSettings, view: Arc<View>, embedder: &EmbedderModel, alignment: Alignment) -> Self {
        Self {
            min_shots: camera.min_shots.unwrap_or(MIN_SHOTS),
            decide_within: DECIDE_WITHIN,
            strictness: camera.strictness,
            single_pictures: camera.address.single_pictures(),
            pictures: false,
            alignment,
            same_face_cosine: same_face_cosine(embedder),
            view,
        }
    }

    /// What holds for `camera` by the configuration.
    pub fn of(
        settings: &Settings,
        camera: &CameraSettings,
        view: Arc<View>,
        embedder: &EmbedderModel,
        alignment: Alignment,
    ) -> Self {
        Self {
            min_shots: camera.min_shots.unwrap_or(settings.min_shots),
            decide_within: settings.decide_within,
            pictures: settings.publish_faces || settings.retention.crops,
            ..Self::usual(camera, view, embedder, alignment)
        }
    }
}

/// A face of a frame that is worth embedding.
#[derive(Debug, Clone)]
pub struct WantedShot {
    /// Its track.
    pub track: Ulid,
    /// Where and when.
    pub taken: ShotTaken,
    /// Cut out as the embedding network takes it.
    pub aligned: image::RgbImage,
}

/// A shot that was wanted, with its embedding; `None` where the network failed.
#[derive(Debug, Clone)]
pub struct EmbeddedShot {
    /// Its track when it was taken.
    pub track: Ulid,
    /// Where and when.
    pub taken: ShotTaken,
    /// What the network said.
    pub embedded: Option<Embedded>,
}

/// What comes out.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "handed over and taken apart at once; none is kept"
)]
pub enum Happening<'a> {
    /// A shot is to be embedded; the answer goes to [`Visits::embedded`].
    Wanted(WantedShot),
    /// A face is in a mask, or outside of the zones where only those count.
    LeftOut(&'a Face),
    /// A track's face in this frame is not to be embedded.
    PassedOver(&'a Track, PassedOver),
    /// The network answered about a shot of a track, and this is whose face it is by itself. Told by
    /// [`Visits::in_detail`] only.
    Identified(&'a Track, &'a ShotTaken, &'a Identification),
    /// There is something to say about a track.
    Judged {
        /// The track, with the shots that were judged and the new verdict.
        track: &'a Track,
        /// What there is to say.
        judgement: &'a Judgement,
        /// The verdict before, if there was one.
        was: Option<&'a Verdict>,
    },
    /// A track turned out to be an older one, which goes on; nothing more will be said about it.
    Joined {
        /// The track that is none any more. It had no verdict.
        gone: Ulid,
        /// The track that goes on.
        into: &'a Track,
        /// What made them one.
        by: JoinedBy,
    },
    /// A track ended; nothing more will be said about it.
    Ended(&'a Track),
}

/// What makes two tracks one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum JoinedBy {
    /// Their faces are so alike: the cosine similarity.
    Face(f32),
    /// Both have the same name.
    Name,
}

/// Takes what comes out, in order.
pub type Tell<'a> = dyn FnMut(Happening<'_>) + 'a;

/// The visits before one camera.
#[derive(Debug)]
pub struct Visits {
    rules: VisitRules,
    tracker: Tracker,
    /// Answers that came after their track's end.
    late: u64,
    /// Whether each shot's own answer is told.
    in_detail: bool,
}

impl Visits {
    /// Nobody there yet.
    pub fn new(rules: VisitRules) -> Self {
        Self {
            rules,
            tracker: Tracker::default(),
            late: 0,
            in_detail: false,
        }
    }

    /// As [`Visits::new`], but [`Happening::Identified`] is told too, which costs a comparison for each shot.
    pub fn in_detail(rules: VisitRules) -> Self {
        Self {
            in_detail: true,
            ..Self::new(rules)
        }
    }

    /// The tracks that are in view.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.tracker.iter().filter(|track| !track.rests)
    }

    /// What is tracked at `now`. A face that gets no verdict within [`SOON`], such as one on a poster, counts as settled.
    pub fn live(&self, now: Instant) -> Live {
        let undecided = |track: &Track| {
            track.shots.verdict.is_none() && now.saturating_duration_since(track.first.monotonic) < SOON
        };
        if self.tracks().next().is_none() {
            Live::Nobody
        } else if self.tracks().any(undecided) {
            Live::Undecided
        } else {
            Live::Settled
        }
    }

    /// How many answers came after their track's end.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// A frame was searched, and these are its faces.
    pub fn saw(&mut self, frame: &Frame, faces: &[Face], identifier: &dyn Identifier, tell: &mut Tell<'_>) {
        if self.rules.single_pictures {
            self.finish(identifier, tell);
        }
        let size = frame.pixels.dimensions();
        let (admitted, left_out): (Vec<Face>, Vec<Face>) = faces
            .iter()
            .partition(|face| self.rules.view.admits(&face.box_in_frame, size));
        for face in &left_out {
            tell(Happening::LeftOut(face));
        }
        self.tracker.see(&admitted, frame.captured_at);
        for track in self.tracker.iter_mut() {
            if track.last == frame.captured_at {
                match wanted(track, frame, &self.rules) {
                    Ok(shot) => tell(Happening::Wanted(shot)),
                    Err(why) => tell(Happening::PassedOver(track, why)),
                }
            }
        }
    }

    /// At `now` a shot that was wanted comes back.
    pub fn embedded(&mut self, shot: EmbeddedShot, now: Instant, identifier: &dyn Identifier, tell: &mut Tell<'_>) {
        let EmbeddedShot {
            track: id,
            taken,
            embedded,
        } = shot;
        // What was taken after the end of a resting track shows somebody else.
        let track = self.tracker.get_mut(id);
        let Some(track) = track.filter(|track| taken.captured_at.monotonic <= track.last.monotonic) else {
            self.late += 1;
            return;
        };
        let mut of = track.id;
        track.shots.answered();
        let Some(embedded) = embedded else { return };
        if track.shots.is_somebody_else(&taken, &embedded.embedding) {
            if track.rests {
                return;
            }
            tracing::debug!(track = ulid_text(of), "somebody else is there now");
            let new = self.tracker.split(of, taken.captured_at);
            self.judge(of, Time::Ended, identifier, tell);
            of = new.unwrap_or(of);
        }
        let Some(track) = self.tracker.get_mut(of) else { return };
        if self.in_detail {
            tell(Happening::Identified(
                track,
                &taken,
                &identifier.identify(&embedded, &self.rules.strictness),
            ));
        }
        track.shots.keep(taken, embedded);
        let time = if track.rests {
            Time::Ended
        } else {
            self.rules.time_of(track, now)
        };
        if track.shots.verdict.is_none()
            && let Some(least) = self.rules.same_face_cosine
            && let Some((old, cosine)) = bridge::goes_on(&self.tracker, of, least)
        {
            self.join(old, of, JoinedBy::Face(cosine), tell);
            of = old;
        }
        self.judge(of, time, identifier, tell);
    }

    /// It is `now`: ends the tracks that have not been seen for a while, and holds the votes that are due. A visit shorter
    /// than the vote gets its answer from what there is.
    pub fn passed(&mut self, now: Instant, identifier: &dyn Identifier, tell: &mut Tell<'_>) {
        // A picture that stands alone stays until the next one comes.
        if self.rules.single_pictures {
            return;
        }
        for lost in self.tracker.rest_lost(now) {
            self.judge(lost, Time::Ended, identifier, tell);
        }
        for gone in self.tracker.take_gone(now) {
            tell(Happening::Ended(&gone));
        }
        let due = |track: &&Track| track.shots.verdict.is_none() && self.rules.time_of(track, now) == Time::Due;
        let due: Vec<Ulid> = self.tracks().filter(due).map(|track| track.id).collect();
        for track in due {
            self.judge(track, Time::Due, identifier, tell);
        }
    }

    /// How long from `now` until a vote is due; `None` when none is waited for.
    pub fn due_in(&self, now: Instant) -> Option<Duration> {
        self.tracks()
            .filter(|track| track.shots.verdict.is_none())
            .filter_map(|track| self.rules.deadline_of(track))
            .map(|deadline| deadline.saturating_duration_since(now))
            // What is overdue waits for a shot, not for the time.
            .filter(|left| !left.is_zero())
            .min()
    }

    /// The camera is over: ends all tracks.
    pub fn finish(&mut self, identifier: &dyn Identifier, tell: &mut Tell<'_>) {
        let live: Vec<Ulid> = self.tracks().map(|track| track.id).collect();
        for track in live {
            self.judge(track, Time::Ended, identifier, tell);
        }
        for track in self.tracker.take_all() {
            tell(Happening::Ended(&track));
        }
    }

    /// Makes two tracks one: `old` goes on as `new`.
    fn join(&mut self, old: Ulid, new: Ulid, by: JoinedBy, tell: &mut Tell<'_>) {
        self.tracker.join(old, new);
        if let Some(into) = self.tracker.get(old) {
            tracing::debug!(track = ulid_text(old), gone = ulid_text(new), ?by, "a track goes on");
            tell(Happening::Joined { gone: new, into, by });
        }
    }

    /// Says what there is to say about a track.
    fn judge(&mut self, id: Ulid, time: Time, identifier: &dyn Identifier, tell: &mut Tell<'_>) {
        let Some(track) = self.tracker.get(id) else { return };
        let by_themselves = self.identified(track, identifier);
        let refused = self.refused(track, &by_themselves, identifier);
        let impossible: Vec<Ulid> = refused.iter().map(|refused| refused.person.uid).collect();
        let shots = without(by_themselves, &impossible);
        let said = Said {
            preliminary: track.shots.preliminary,
            verdict: track.shots.verdict.as_ref(),
        };
        let rules = Rules {
            min_shots: self.rules.min_shots,
            time: if self.rules.single_pictures { Time::Early } else { time },
        };
        let judgement = judge(&shots, said, rules);
        let held = judgement.as_ref().and_then(|judgement| self.held(track, judgement));
        if let Some(track) = self.tracker.get_mut(id) {
            track.shots.refused = refused;
        }
        let Some(judgement) = judgement else { return };
        match held {
            Some(Held::Before(old)) if matches!(judgement, Judgement::Voted(_)) => {
                self.join(old, id, JoinedBy::Name, tell);
                return self.judge(old, time, identifier, tell);
            }
            // It was told from its old track before: that one is over, since its person is here.
            Some(Held::Before(old)) => {
                if let Some(old) = self.tracker.take(old) {
                    tell(Happening::Ended(&old));
                }
            }
            Some(Held::Beside(rival, person)) => {
                let similarity = nearness(&shots, person.uid).unwrap_or_default();
                let winner = RefusedName {
                    person,
                    held_by: id,
                    similarity,
                };
                self.give_up(rival, winner, identifier, tell);
            }
            None => {}
        }
        self.say(id, &judgement, tell);
    }

    /// The shots of a track, each with its answer.
    fn identified(&self, track: &Track, identifier: &dyn Identifier) -> Vec<Shot> {
        let strictness = &self.rules.strictness;
        track
            .shots
            .identified(|embedded| identifier.identify(embedded, strictness))
    }

    /// Remembers a judgement and tells it.
    fn say(&mut self, id: Ulid, judgement: &Judgement, tell: &mut Tell<'_>) {
        let Some(track) = self.tracker.get_mut(id) else { return };
        let was = track.shots.verdict.clone();
        match judgement {
            Judgement::Preliminary(_) => track.shots.preliminary = true,
            Judgement::Voted(verdict) | Judgement::Corrected(verdict) => track.shots.verdict = Some(verdict.clone()),
        }
        tell(Happening::Judged {
            track,
            judgement,
            was: was.as_ref(),
        });
    }
}

impl VisitRules {
    /// When the vote on `track` is due at the latest.
    fn deadline_of(&self, track: &Track) -> Option<Instant> {
        let first = track.shots.first_kept().filter(|_| !self.single_pictures)?;
        Some(first + self.decide_within.saturating_sub(AHEAD_OF_DEADLINE))
    }

    fn time_of(&self, track: &Track, now: Instant) -> Time {
        if self.deadline_of(track).is_some_and(|deadline| deadline <= now) {
            Time::Due
        } else {
            Time::Early
        }
    }
}

/// The shot of `track`'s face in `frame`, if it is worth embedding; then it counts as taken.
fn wanted(track: &mut Track, frame: &Frame, rules: &VisitRules) -> Result<WantedShot, PassedOver> {
    let (now, frame_size) = (frame.captured_at.monotonic, frame.pixels.dimensions());
    track.shots.may_take(&track.face, frame_size, now)?;
    let (quality, aligned) =
        Quality::with_aligned(&frame.pixels, &track.face, rules.alignment).ok_or(PassedOver::NotAligned)?;
    track.shots.take(&quality, rules.min_shots, now)?;
    let mut taken = ShotTaken::new(&track.face, quality, frame.captured_at, frame_size);
    taken.zones = rules.view.zones(&track.face.box_in_frame, frame_size);
    if rules.pictures {
        taken.picture = Some(picture::with_margin(&frame.pixels, &track.face.box_in_frame));
    }
    Ok(WantedShot {
        track: track.id,
        taken,
        aligned,
    })
}

#[cfg(test)]
mod tests;
