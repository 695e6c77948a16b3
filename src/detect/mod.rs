//! Finding faces: [`Detector`], and MTCNN behind it.

mod area;
mod crops;
mod face;
mod mtcnn;
mod nms;
mod photo;

use std::time::Duration;

pub use face::{Face, FaceBox, Landmarks, most_prominent};
use image::RgbImage;
pub use mtcnn::Mtcnn;
pub(crate) use mtcnn::{ONET_SIDE_PX, RNET_SIDE_PX};
pub use photo::detect_in_photo;

/// Finds faces in a picture. A trait, since small faces are the most common complaint and another detector
/// must be able to move in.
pub trait Detector: Send {
    /// The faces of `picture` that are at least about `min_face_px` high, most probable first.
    ///
    /// # Errors
    /// When the runtime can't run a network.
    fn detect(&mut self, picture: &RgbImage, min_face_px: u32) -> Result<Vec<Face>, DetectError>;

    /// The time spent inside the runtime's sessions since the last call; the rest of a call is our own.
    fn take_session_time(&mut self) -> Duration;
}

/// Why a picture could not be searched.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// A network failed to run.
    #[error("the {network} network failed to run: {source}")]
    Run {
        /// Which one: `pnet`, `rnet`, `onet`.
        network: &'static str,
        /// What the runtime said.
        source: ort::Error,
    },
    /// A network answered with something else than was asked for.
    #[error("the {network} network has no usable output {output:?}; is this the file that the catalogue names?")]
    Output {
        /// Which one.
        network: &'static str,
        /// The output's name.
        output: &'static str,
    },
}
