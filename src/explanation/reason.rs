//! Why a face got no name, or another one than was hoped for.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::gallery::Person;
use crate::identify::{Doubt, Identification};
use crate::playback::Outcome;
use crate::quality::{Flaw, Quality};
use crate::track::{LEAST_PROBABILITY, PassedOver};

/// Who reaches less than this share of a threshold is not even like that person.
const FAR_FROM: f32 = 0.6;

/// A reason, with the numbers behind it. Its text says what happened, [`Reason::advice`] what to do about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Reason {
    /// Smaller than the camera looks for.
    TooSmall {
        /// The face's height in pixels.
        face_px: u32,
        /// The height that is looked for.
        least_px: u32,
    },
    /// Large enough, but found only by a closer look.
    Overlooked {
        /// The face's height in pixels.
        face_px: u32,
    },
    /// In a mask, or outside of the zones where only those count.
    Masked,
    /// The detector doubts that it is a face.
    Doubtful {
        /// Its probability, 0 to 1.
        probability: f32,
        /// What is asked for.
        least: f32,
    },
    /// Cut off by the edge of the picture.
    CutOff {
        /// The share of the face that is in the picture, 0 to 1.
        share_in_frame: f32,
        /// What is asked for.
        least: f32,
    },
    /// Eyes, nose and mouth are not where a face has them.
    NotAligned,
    /// Too few pixels for a useful shot.
    FewPixels {
        /// The face's height in pixels.
        face_px: u32,
        /// How good the shot is, 0 to 1.
        score: f32,
    },
    /// Out of focus, moved, or enlarged.
    Blurred {
        /// Share of the fine detail, 0 to 1; about 0.6 in a sharp photo.
        sharpness: f32,
        /// How good the shot is, 0 to 1.
        score: f32,
    },
    /// Looks aside.
    TurnedAway {
        /// Degrees, 0 looks at the camera.
        yaw_degrees: f32,
        /// How good the shot is, 0 to 1.
        score: f32,
    },
    /// A shot was taken a moment ago.
    JustTaken,
    /// There are enough shots, and this one is not better.
    NoBetter,
    /// The gallery is empty, or the head's people were all removed.
    NobodyEnrolled,
    /// The nearest person is not near enough.
    BelowThreshold {
        /// Who.
        person: Named,
        /// How near, by the identifier's own measure.
        similarity: f32,
        /// How near at least.
        threshold: f32,
        /// Whether the person has a threshold of their own.
        own_threshold: bool,
    },
    /// Two people are nearly equally near.
    MarginTooThin {
        /// The nearest.
        person: Named,
        /// The next.
        runner_up: Option<Named>,
        /// By how much the nearest is nearer.
        margin: f32,
        /// By how much at least.
        least: f32,
    },
    /// Near enough, but among so many people a name would be likelier wrong than right.
    LikelierWrong {
        /// Who.
        person: Named,
        /// Probability that it is that person, 0 to 1.
        confidence: f64,
        /// People who are enrolled.
        people: usize,
    },
    /// A face that is marked as not the person's is nearer.
    NegativeExample {
        /// Who.
        person: Option<Named>,
        /// How near the person is.
        similarity: f32,
        /// How near the negative example is.
        negative: f32,
    },
    /// The head takes it for somebody who was removed.
    Removed,
    /// The identifier failed.
    Failed,
    /// A single picture is not enough for a verdict.
    VoteNotReached {
        /// Shots that there are.
        shots: usize,
        /// Shots that the vote is held with.
        least: usize,
    },
    /// Some shots named somebody, but not enough of them.
    Outvoted {
        /// Who.
        person: Named,
        /// Shots that named them.
        shots: usize,
        /// All shots.
        of: usize,
    },
    /// The name is another visitor's, who is in view at the same time and is nearer.
    TakenByAnother {
        /// Who.
        person: Named,
    },
    /// The person is marked to be ignored, so nothing is announced.
    Ignored {
        /// Who.
        person: Named,
    },
}

/// A person, in a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The id.
    pub id: String,
    /// The display name.
    pub name: String,
}

impl From<&Arc<Person>> for Named {
    fn from(person: &Arc<Person>) -> Self {
        Self {
            id: person.id.clone(),
            name: person.name.as_str().to_owned(),
        }
    }
}

impl Reason {
    /// Why a face of this height was not embedded, or came out as nobody's; `None` where it was named.
    pub fn of_face(outcome: &Outcome, height_px: f32) -> Option<Self> {
        match outcome {
            Outcome::TooSmall { least_px } => Some(Self::TooSmall {
                face_px: whole_px(height_px),
                least_px: *least_px,
            }),
            Outcome::Overlooked => Some(Self::Overlooked {
                face_px: whole_px(height_px),
            }),
            Outcome::LeftOut => Some(Self::Masked),
            Outcome::PassedOver(why) => Some(Self::of_passed_over(*why)),
            Outcome::Shot { said, .. } => Self::of_doubt(said.as_deref()?),
        }
    }

    fn of_passed_over(why: PassedOver) -> Self {
        match why {
            PassedOver::Doubtful { probability, least } => Self::Doubtful { probability, least },
            PassedOver::CutOff { share_in_frame, least } => Self::CutOff { share_in_frame, least },
            PassedOver::NotAligned => Self::NotAligned,
            PassedOver::Poor { quality, .. } => Self::of_flaw(quality.weakest().0, &quality),
            PassedOver::JustTaken | PassedOver::Busy => Self::JustTaken,
            PassedOver::NoBetter { .. } => Self::NoBetter,
        }
    }

    /// The way in which a shot is poor.
    pub(super) fn of_flaw(flaw: Flaw, quality: &Quality) -> Self {
        let score = quality.score();
        match flaw {
            Flaw::Small => Self::FewPixels {
                face_px: whole_px(quality.size_px),
                score,
            },
            Flaw::Blurred => Self::Blurred {
                sharpness: quality.sharpness,
                score,
            },
            Flaw::TurnedAway => Self::TurnedAway {
                yaw_degrees: quality.yaw_degrees,
                score,
            },
            Flaw::Doubtful => Self::Doubtful {
                probability: quality.probability,
                least: LEAST_PROBABILITY,
            },
        }
    }

    /// Why an identifier named nobody; `None` where it named somebody.
    pub fn of_doubt(said: &Identification) -> Option<Self> {
        let possible = || said.ranked.iter().filter(|one| one.ruled_out_by.is_none());
        let nearest = possible().next().or_else(|| said.ranked.first());
        Some(match said.doubt? {
            Doubt::NobodyEnrolled => Self::NobodyEnrolled,
            Doubt::BelowThreshold { similarity, threshold } => {
                let Some(nearest) = nearest else {
                    return Some(Self::NobodyEnrolled);
                };
                let person = &nearest.person;
                Self::BelowThreshold {
                    person: person.into(),
                    similarity,
                    threshold,
                    own_threshold: person.threshold_cosine.is_some() || person.threshold_probability.is_some(),
                }
            }
            Doubt::MarginTooThin { margin, least } => {
                let mut people = possible();
                let Some(person) = people.next() else {
                    return Some(Self::NobodyEnrolled);
                };
                Self::MarginTooThin {
                    person: (&person.person).into(),
                    runner_up: people.next().map(|next| (&next.person).into()),
                    margin,
                    least,
                }
            }
            Doubt::LikelierWrong { confidence, people } => {
                let Some(person) = possible().next() else {
                    return Some(Self::NobodyEnrolled);
                };
                Self::LikelierWrong {
                    person: (&person.person).into(),
                    confidence,
                    people,
                }
            }
            Doubt::NegativeExample { similarity, negative } => {
                let ruled_out = said.ranked.iter().find(|one| one.ruled_out_by.is_some());
                Self::NegativeExample {
                    person: ruled_out.map(|one| (&one.person).into()),
                    similarity,
                    negative,
                }
            }
            Doubt::Removed => Self::Removed,
            Doubt::Failed => Self::Failed,
        })
    }

    /// Whether nothing is wrong: the face was looked at often enough.
    pub fn is_routine(&self) -> bool {
        matches!(self, Self::JustTaken | Self::NoBetter)
    }

    /// One or two words, for a drawing.
    pub fn short(&self) -> String {
        match self {
            Self::TooSmall { face_px, .. } | Self::FewPixels { face_px, .. } => format!("too small: {face_px} px"),
            Self::Overlooked { .. } => "overlooked".to_owned(),
            Self::Masked => "masked".to_owned(),
            Self::Doubtful { probability, .. } => format!("perhaps no face: {:.0} %", probability * 100.0),
            Self::CutOff { .. } => "cut off".to_owned(),
            Self::NotAligned => "no eyes and mouth".to_owned(),
            Self::Blurred { sharpness, .. } => format!("blurred: {sharpness:.2}"),
            Self::TurnedAway { yaw_degrees, .. } => format!("turned away: {:.0}°", yaw_degrees.abs()),
            Self::JustTaken | Self::NoBetter => String::new(),
            Self::NobodyEnrolled => "nobody enrolled".to_owned(),
            Self::BelowThreshold {
                similarity, threshold, ..
            } => format!("not near enough: {similarity:.2} of {threshold:.2}"),
            Self::MarginTooThin { .. } => "two are equally near".to_owned(),
            Self::LikelierWrong { person, confidence, .. } => {
                format!("{:.0} % that it is {}", confidence * 100.0, person.name)
            }
            Self::NegativeExample { .. } => "nearer to a face that is not theirs".to_owned(),
            Self::Removed => "was removed".to_owned(),
            Self::Failed => "failed".to_owned(),
            Self::VoteNotReached { shots, least } => format!("{shots} of {least} shots"),
            Self::Outvoted { person, .. } => format!("some shots say {}", person.name),
            Self::TakenByAnother { person } => format!("{} is somebody else here", person.name),
            Self::Ignored { .. } => "ignored".to_owned(),
        }
    }

    /// What to do about it, if anything.
    pub fn advice(&self) -> Option<String> {
        let text = match self {
            Self::TooSmall { face_px, .. } => {
                return Some(format!(
                    "stands too far away: bring the camera nearer, take its larger stream, or lower min_face_px to {} \
                     (slower, and small faces look alike)",
                    (*face_px).max(12)
                ));
            }
            Self::Overlooked { .. } => {
                "the detector looks at a few sizes only, and this face lay between them; another min_face_px shifts them"
            }
            Self::Masked => "change the camera's masks and zones, if this place should count",
            Self::Doubtful { .. } => "nothing, if it is no face; otherwise more light and a face that is not covered",
            Self::CutOff { .. } => "point the camera so that faces are wholly in the picture",
            Self::NotAligned | Self::TurnedAway { .. } => {
                "place the camera where people look towards it, near the height of their faces"
            }
            Self::FewPixels { .. } => "bring the camera nearer, or take its larger stream",
            Self::Blurred { .. } => {
                "more light or a shorter exposure, a clean lens, a higher bit rate; faces that walk fast blur"
            }
            Self::NobodyEnrolled => "enrol people: kith enroll NAME PHOTO…",
            Self::BelowThreshold {
                similarity, threshold, ..
            } if *similarity < FAR_FROM * threshold => {
                "a stranger, as far as this face shows; if not, enrol a photo from this camera: kith enroll NAME PHOTO"
            }
            Self::BelowThreshold {
                person, own_threshold, ..
            } => {
                return Some(if *own_threshold {
                    format!(
                        "if it is {0}: enrol a photo from this camera, or change their own threshold (kith people threshold {1})",
                        person.name, person.id
                    )
                } else {
                    format!(
                        "if it is {0}: enrol a photo from this camera (kith enroll {1} PHOTO); if not, this is right",
                        person.name, person.id
                    )
                });
            }
            Self::MarginTooThin { .. } => {
                "enrol more photos of both, in the light of this camera; perhaps one photo is under the wrong name"
            }
            Self::LikelierWrong { person, .. } => {
                return Some(format!(
                    "if it is {0}: enrol photos from this camera (kith enroll {1} PHOTO), so that {0} is nearer",
                    person.name, person.id
                ));
            }
            Self::NegativeExample { person, .. } => {
                let who = person.as_ref().map_or("them", |person| &person.name);
                let id = person.as_ref().map_or("ID", |person| &person.id);
                return Some(format!(
                    "if it is {who}: `kith people not {id} --forget` takes all of their negative examples back"
                ));
            }
            Self::Removed => "install the head anew, or train one without this person",
            Self::Failed => "look at the log (RUST_LOG=kith=debug)",
            Self::VoteNotReached { .. } => {
                "a single picture says no more than preliminary; a camera that sends single pictures may lower min_shots"
            }
            Self::Outvoted { .. } => "better shots: nearer, sharper, or looking towards the camera",
            Self::TakenByAnother { person } => {
                return Some(format!(
                    "if it is {0}, the other one is not: mark that face (kith people not {1} PHOTO)",
                    person.name, person.id
                ));
            }
            Self::Ignored { person } => {
                return Some(format!("`kith people ignore {} --off` announces them again", person.id));
            }
            Self::JustTaken | Self::NoBetter => return None,
        };
        Some(text.to_owned())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { face_px, least_px } => {
                write!(f, "too small: {face_px} px high, at least {least_px} px are looked for")
            }
            Self::Overlooked { face_px } => write!(f, "overlooked: {face_px} px high, found only by a closer look"),
            Self::Masked => f.write_str("masked: in a mask, or outside of the zones that count"),
            Self::Doubtful { probability, least } => write!(
                f,
                "perhaps no face: probability {probability:.2}, {least:.2} is asked for"
            ),
            Self::CutOff { share_in_frame, least } => write!(
                f,
                "cut off by the edge: {:.0} % of it are in the picture, {:.0} % are asked for",
                share_in_frame * 100.0,
                least * 100.0
            ),
            Self::NotAligned => f.write_str("eyes, nose and mouth were not found where a face has them"),
            Self::FewPixels { face_px, score } => write!(f, "too few pixels: {face_px} px high (quality {score:.2})"),
            Self::Blurred { sharpness, score } => {
                write!(f, "blurred: sharpness {sharpness:.2} of about 0.6 (quality {score:.2})")
            }
            Self::TurnedAway { yaw_degrees, score } => {
                write!(f, "turned away: {:.0}° (quality {score:.2})", yaw_degrees.abs())
            }
            Self::JustTaken => f.write_str("a shot was taken a moment before"),
            Self::NoBetter => f.write_str("no better than the shots there are"),
            Self::NobodyEnrolled => f.write_str("nobody is enrolled whom it could be"),
            Self::BelowThreshold {
                person,
                similarity,
                threshold,
                own_threshold,
            } => write!(
                f,
                "not near enough: {similarity:.2} like {}, {threshold:.2} is asked for{}",
                person.name,
                if *own_threshold { " of this person" } else { "" }
            ),
            Self::MarginTooThin {
                person,
                runner_up,
                margin,
                least,
            } => write!(
                f,
                "too much alike: {} is only {margin:.2} nearer than {}, {least:.2} is asked for",
                person.name,
                runner_up.as_ref().map_or("the next", |next| &next.name)
            ),
            Self::LikelierWrong {
                person,
                confidence,
                people,
            } => write!(
                f,
                "near enough to {}, but among {people} people somebody is likely to be: {:.0} % that it is {0}",
                person.name,
                confidence * 100.0
            ),
            Self::NegativeExample {
                person,
                similarity,
                negative,
            } => {
                let name = person.as_ref().map_or("the nearest person", |person| &person.name);
                write!(
                    f,
                    "a face that is marked as not {name} is nearer: {negative:.2}, and {name} {similarity:.2}"
                )
            }
            Self::Removed => f.write_str("the head takes it for somebody who was removed"),
            Self::Failed => f.write_str("the comparison failed"),
            Self::VoteNotReached { shots, least } => write!(f, "no vote: {shots} of {least} good shots"),
            Self::Outvoted { person, shots, of } => {
                write!(f, "outvoted: {shots} of {of} shots say {}, the rest don't", person.name)
            }
            Self::TakenByAnother { person } => write!(
                f,
                "another visitor in view is nearer to {}, and nobody is in two places",
                person.name
            ),
            Self::Ignored { person } => write!(f, "{} is marked to be ignored, so nothing is said", person.name),
        }
    }
}

/// A height as it is shown.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a face's height in pixels"
)]
pub(super) fn whole_px(height_px: f32) -> u32 {
    height_px.round().max(0.0) as u32
}
