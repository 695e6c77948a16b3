//! The shots of a track: which face of which frame is worth embedding, and which embedded shots are kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use image::RgbImage;
use ulid::Ulid;

use crate::detect::{Face, FaceBox};
use crate::embed::{Embedded, Embedding};
use crate::event::BoxFraction;
use crate::frame::CapturedAt;
use crate::gallery::Person;
use crate::identify::Identification;
use crate::quality::Quality;
use crate::verdict::{Shot, Verdict};

/// Below this, see [`Quality::score`], a shot says more about its blur than about a person.
const LEAST_SCORE: f32 = 0.1;
/// Below this, the detector itself doubts that it is a face.
const LEAST_PROBABILITY: f32 = 0.9;
/// Somebody who is still coming into view looks like nobody, with half a face black.
const LEAST_SHARE_IN_FRAME: f32 = 0.75;
/// Shots that are nearer in time show the same thing twice.
const LEAST_PAUSE: Duration = Duration::from_millis(150);
/// However good the shots are, one is taken so often, to notice when somebody else is there by now.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// So many of the best are kept.
const MAX_KEPT: usize = 8;
/// So many are taken before a shot has to be better than those that are kept.
const WANTED: usize = 5;
/// How much better.
const BETTER: f32 = 1.1;
/// So many answers are waited for at once.
const MAX_WAITED_FOR: usize = 3;
/// Below this cosine similarity to every kept shot it is another person. The calibration's pairs of one person are
/// this far apart in less than one of a thousand cases.
const SOMEBODY_ELSE_COSINE: f32 = 0.1;
/// Whether it is somebody else is only asked of shots that are good.
const TRUSTED_SCORE: f32 = 0.25;

/// A face that was cut out to be embedded.
#[derive(Debug, Clone)]
pub struct ShotTaken {
    /// When.
    pub captured_at: CapturedAt,
    /// Where it was, in pixels of the frame.
    pub face: Face,
    /// How good it is, part by part.
    pub quality: Quality,
    /// How good it is, 0 to 1.
    pub score: f32,
    /// Where it was.
    pub box_frame_fraction: BoxFraction,
    /// Its height in pixels of the frame.
    pub face_height_px: u32,
    /// The camera's zones that it was in.
    pub zones: Vec<Arc<str>>,
    /// The face with a margin, if pictures are published.
    pub picture: Option<RgbImage>,
}

impl ShotTaken {
    /// Describes `face` in a frame of `width` times `height` pixels.
    pub fn new(face: &Face, quality: Quality, captured_at: CapturedAt, (width, height): (u32, u32)) -> Self {
        Self {
            captured_at,
            face: *face,
            quality,
            score: quality.score(),
            box_frame_fraction: fraction(&face.box_in_frame, width, height),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a face's height in pixels"
            )]
            face_height_px: face.box_in_frame.height().round().max(0.0) as u32,
            zones: Vec::new(),
            picture: None,
        }
    }
}

/// `face`'s part within the frame.
fn fraction(face: &FaceBox, width: u32, height: u32) -> BoxFraction {
    let along = |from: f32, to: f32, side: u32| {
        let side = f64::from(side.max(1));
        let from = (f64::from(from) / side).clamp(0.0, 1.0);
        (from, (f64::from(to) / side).clamp(0.0, 1.0) - from)
    };
    let (x, box_width) = along(face.left, face.right, width);
    let (y, box_height) = along(face.top, face.bottom, height);
    BoxFraction {
        x,
        y,
        width: box_width,
        height: box_height,
    }
}

/// The share of the box's area that lies in the frame.
fn share_in_frame(face: &FaceBox, (width, height): (u32, u32)) -> f32 {
    let inside = FaceBox {
        left: face.left.max(0.0),
        top: face.top.max(0.0),
        right: face.right.min(width as f32),
        bottom: face.bottom.min(height as f32),
    };
    if face.area() > 0.0 {
        inside.area() / face.area()
    } else {
        0.0
    }
}

/// Why a face of a track was not embedded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PassedOver {
    /// The detector itself doubts that it is a face.
    Doubtful {
        /// The detector's probability, 0 to 1.
        probability: f32,
        /// What is asked for.
        least: f32,
    },
    /// It is cut off by the frame's edge.
    CutOff {
        /// The share of its box that lies in the frame, 0 to 1.
        share_in_frame: f32,
        /// What is asked for.
        least: f32,
    },
    /// Its landmarks are no face's, so that it can't be brought upright.
    NotAligned,
    /// The picture of it is too poor.
    Poor {
        /// In which way; see [`Quality::weakest`].
        quality: Quality,
        /// The score that is asked for, 0 to 1.
        least: f32,
    },
    /// A shot was taken a moment ago.
    JustTaken,
    /// There are enough shots, and this one is not better.
    NoBetter {
        /// Its score, 0 to 1.
        score: f32,
        /// The score of the worst shot that is kept.
        worst: f32,
    },
    /// Several shots are at the networks.
    Busy,
}

/// A shot with its embedding.
#[derive(Debug, Clone)]
struct Kept {
    taken: ShotTaken,
    embedded: Embedded,
}

/// What is known of a track beyond where it is.
#[derive(Debug, Default)]
pub struct Shots {
    /// The best, in the order in which they came.
    kept: Vec<Kept>,
    waited_for: usize,
    last_taken: Option<Instant>,
    first_kept: Option<Instant>,
    /// Whether there was a preliminary word.
    pub preliminary: bool,
    /// The last vote's verdict.
    pub verdict: Option<Verdict>,
    /// The names that it doesn't get since another track has them.
    pub refused: Vec<RefusedName>,
}

/// A name that a track doesn't get: another track that was in one frame with it has it, and is nearer.
#[derive(Debug, Clone)]
pub struct RefusedName {
    /// Whose.
    pub person: Arc<Person>,
    /// The track that has it.
    pub held_by: Ulid,
    /// How near that track's shots are to the person, by the identifier's own measure.
    pub similarity: f32,
}

/// The best shot of a track, for its events.
pub type Best = ShotTaken;

impl Shots {
    /// Whether it is time to look at how good the face is.
    ///
    /// # Errors
    /// With the reason why not.
    pub fn may_take(&self, face: &Face, frame_size: (u32, u32), now: Instant) -> Result<(), PassedOver> {
        let share = share_in_frame(&face.box_in_frame, frame_size);
        if face.probability < LEAST_PROBABILITY {
            Err(PassedOver::Doubtful {
                probability: face.probability,
                least: LEAST_PROBABILITY,
            })
        } else if share < LEAST_SHARE_IN_FRAME {
            Err(PassedOver::CutOff {
                share_in_frame: share,
                least: LEAST_SHARE_IN_FRAME,
            })
        } else if self.waited_for >= MAX_WAITED_FOR {
            Err(PassedOver::Busy)
        } else if self.since_last(now).is_some_and(|since| since < LEAST_PAUSE) {
            Err(PassedOver::JustTaken)
        } else {
            Ok(())
        }
    }

    /// Whether a shot of this quality is worth embedding; at least `min_shots` are always wanted. If so it counts as
    /// taken.
    ///
    /// # Errors
    /// With the reason why not.
    pub fn take(&mut self, quality: &Quality, min_shots: usize, now: Instant) -> Result<(), PassedOver> {
        let score = quality.score();
        if score < LEAST_SCORE {
            return Err(PassedOver::Poor {
                quality: *quality,
                least: LEAST_SCORE,
            });
        }
        let worst = self
            .kept
            .iter()
            .map(|kept| kept.taken.score)
            .fold(f32::INFINITY, f32::min);
        let wanted = self.kept.len() + self.waited_for < WANTED.max(min_shots)
            || score > worst * BETTER
            || self.since_last(now).is_none_or(|since| since >= LOOK_AGAIN);
        if !wanted {
            return Err(PassedOver::NoBetter { score, worst });
        }
        self.waited_for += 1;
        self.last_taken = Some(now);
        Ok(())
    }

    fn since_last(&self, now: Instant) -> Option<Duration> {
        self.last_taken.map(|last| now.saturating_duration_since(last))
    }

    /// An answer came, or failed to.
    pub fn answered(&mut self) {
        self.waited_for = self.waited_for.saturating_sub(1);
    }

    /// Whether answers are still to come.
    pub fn waits(&self) -> bool {
        self.waited_for > 0
    }

    /// Whether `embedding` can't be of the person whom the kept shots show.
    pub fn is_somebody_else(&self, taken: &ShotTaken, embedding: &Embedding) -> bool {
        let trusted = |score: f32| score >= TRUSTED_SCORE;
        trusted(taken.score)
            && self.kept.iter().any(|kept| trusted(kept.taken.score))
            && self
                .kept
                .iter()
                .all(|kept| kept.embedded.embedding.cosine(embedding) < SOMEBODY_ELSE_COSINE)
    }

    /// Keeps a shot, in place of the worst one if there are enough.
    pub fn keep(&mut self, taken: ShotTaken, embedded: Embedded) {
        if self.kept.len() >= MAX_KEPT {
            let worst = (0..self.kept.len()).min_by(|a, b| {
                let score = |index: &usize| self.kept[*index].taken.score;
                score(a).total_cmp(&score(b))
            });
            if let Some(worst) = worst {
                self.kept.remove(worst);
            }
        }
        self.first_kept.get_or_insert(taken.captured_at.monotonic);
        self.kept.push(Kept { taken, embedded });
    }

    /// Takes over the shots of a track that turned out to be this one, and got no verdict.
    pub fn absorb(&mut self, other: Self) {
        for kept in other.kept {
            self.keep(kept.taken, kept.embedded);
        }
        self.waited_for += other.waited_for;
        self.last_taken = self.last_taken.max(other.last_taken);
        self.preliminary |= other.preliminary;
        self.refused.extend(other.refused);
    }

    /// The highest cosine similarity of one of these shots to one of `others`; `None` where one has no good shot.
    pub fn nearest(&self, others: &Self) -> Option<f32> {
        self.trusted()
            .flat_map(|kept| {
                others
                    .trusted()
                    .map(|other| kept.embedded.embedding.cosine(&other.embedded.embedding))
            })
            .reduce(f32::max)
    }

    fn trusted(&self) -> impl Iterator<Item = &Kept> {
        self.kept.iter().filter(|kept| kept.taken.score >= TRUSTED_SCORE)
    }

    /// The kept shots, each with its answer by `identify`.
    pub fn identified(&self, identify: impl Fn(&Embedded) -> Identification) -> Vec<Shot> {
        let shot = |kept: &Kept| {
            let said = identify(&kept.embedded);
            Shot {
                quality: kept.taken.score,
                similarity: said.similarity(),
                answer: said.answer,
            }
        };
        self.kept.iter().map(shot).collect()
    }

    /// When the first shot was captured that could be embedded.
    pub fn first_kept(&self) -> Option<Instant> {
        self.first_kept
    }

    /// The kept shots with their vectors, in the order in which they came.
    pub fn kept(&self) -> impl Iterator<Item = (&ShotTaken, &Embedding)> {
        self.kept.iter().map(|kept| (&kept.taken, &kept.embedded.embedding))
    }

    /// The shot that came last: its time is the event's, so that an event is as fresh as what led to it.
    pub fn last(&self) -> Option<&ShotTaken> {
        self.kept.last().map(|kept| &kept.taken)
    }

    /// The best shot.
    pub fn best(&self) -> Option<&Best> {
        self.kept
            .iter()
            .map(|kept| &kept.taken)
            .max_by(|a, b| a.score.total_cmp(&b.score))
    }
}
