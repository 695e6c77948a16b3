//! Why a photo was refused, and what else is worth knowing about one.

use std::fmt;

use super::check::{MIN_FACE_PX, MIN_SHARPNESS};
use crate::detect::Face;
use crate::gallery::Name;
use crate::photo::PhotoError;

/// Why a photo was refused, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The photo can't be read.
    #[error("{0}")]
    Photo(#[from] PhotoError),
    /// There is no face.
    #[error("no face was found; use a photo that shows the whole face from the front")]
    NoFace,
    /// There is more than one face.
    #[error(
        "{} faces were found, from left to right {}; say which with --face N, or --largest",
        .0.len(), Sizes(.0)
    )]
    Several(Vec<Face>),
    /// There are fewer faces than the number asked for.
    #[error("there is no face number {asked}, only {found}")]
    NoSuchFace {
        /// `--face`.
        asked: usize,
        /// Faces found.
        found: usize,
    },
    /// The face has too few pixels.
    #[error("the face is too small: {height_px:.0} px high, at least {MIN_FACE_PX:.0} are needed; come closer")]
    TooSmall {
        /// Of its box.
        height_px: f32,
    },
    /// The face lacks detail.
    #[error(
        "the face is too blurred: sharpness {sharpness:.2}, at least {MIN_SHARPNESS:.2} is needed; \
         use a photo in focus, without motion, not enlarged"
    )]
    TooBlurred {
        /// See [`crate::quality::sharpness`].
        sharpness: f32,
    },
    /// The landmarks don't make a face.
    #[error("the face can't be aligned; use another photo")]
    NotAlignable,
}

/// The heights of faces, for a sentence.
struct Sizes<'a>(&'a [Face]);

impl fmt::Display for Sizes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, face) in (1..).zip(self.0) {
            let separator = if number == 1 { "" } else { ", " };
            write!(f, "{separator}{number}: {:.0} px high", face.box_in_frame.height())?;
        }
        Ok(())
    }
}

/// What is worth knowing about a face that was enrolled all the same.
#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// It looks like somebody else in the gallery.
    LooksLike(Name),
    /// It does not look like the person's other photos.
    UnlikeOwn,
    /// It is turned far to the side.
    TurnedAway,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LooksLike(name) => {
                write!(
                    f,
                    "this face looks like {name}, who is another person in the gallery; is it the right photo?"
                )
            }
            Self::UnlikeOwn => {
                f.write_str("this face does not look like the person's other photos; is it the right one?")
            }
            Self::TurnedAway => f.write_str("this face is turned far to the side; add one that looks at the camera"),
        }
    }
}
