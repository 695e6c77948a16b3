//! Cameras: an [`Address`] becomes a [`CameraSource`], a thread reads it into a latest-frame [`Slot`], starts it again
//! when it fails, and says whether it delivers.

mod address;
mod ffmpeg;
mod folder;
mod lag;
pub mod nut;
mod reader;
mod slot;

use std::path::PathBuf;
use std::sync::Arc;

use image::RgbImage;

pub use address::{Address, AddressError};
pub use reader::{CameraState, Opener, Reader};
pub use slot::Slot;

use crate::config::CameraSettings;
use crate::frame::CapturedAt;
use crate::photo::PhotoError;
use crate::stop::Stop;

/// A decoded picture, before it is a frame of a camera.
#[derive(Debug, Clone)]
pub struct Picture {
    /// 8-bit sRGB.
    pub pixels: Arc<RgbImage>,
    /// When it was taken.
    pub captured_at: CapturedAt,
}

/// Delivers pictures. A trait, since tests play a script and other decoders (Jetson's) will move in.
pub trait CameraSource: Send {
    /// Waits for the next picture; `None` when there will be no more, as at the end of a file.
    ///
    /// # Errors
    /// When the camera fails; then this source is dropped and opened again later.
    fn next_picture(&mut self) -> Result<Option<Picture>, CameraError>;
}

/// Opens the camera of `settings`. The source gives up soon after `stop` is set.
///
/// # Errors
/// When its decoder can't be started or its folder can't be read. A stream that doesn't answer fails at its first
/// picture.
pub fn open(settings: &CameraSettings, stop: &Stop) -> Result<Box<dyn CameraSource>, CameraError> {
    match &settings.address {
        Address::Folder(folder) => Ok(Box::new(folder::FolderSource::open(
            folder,
            settings.looped,
            settings.frames_per_second,
            stop.clone(),
        )?)),
        _ => Ok(Box::new(ffmpeg::FfmpegSource::open(settings, stop.clone())?)),
    }
}

/// Why a camera delivers nothing.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// No `ffmpeg` on this machine.
    #[error("can't start ffmpeg: {0}; install it (Debian, Ubuntu: sudo apt install ffmpeg)")]
    NoDecoder(std::io::Error),
    /// A file, folder or device that isn't there.
    #[error("can't open {}: {source}", path.display())]
    Missing {
        /// What was to be opened.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder without pictures.
    #[error("there are no pictures in {} (jpg, png, webp, bmp, gif, tif)", .0.display())]
    NoPictures(PathBuf),
    /// FFmpeg gave up; its own words, without passwords.
    #[error("ffmpeg gave up: {0}")]
    Decoder(String),
    /// No picture for a long time.
    #[error("no picture for {0} s")]
    Stalled(u64),
    /// A live stream that came to an end.
    #[error("the stream ended")]
    Ended,
    /// What the decoder sent can't be read, or changed its size.
    #[error(transparent)]
    Stream(#[from] nut::NutError),
    /// A picture of a folder was refused.
    #[error("{}: {source}", path.display())]
    Photo {
        /// The picture.
        path: PathBuf,
        /// Why.
        source: PhotoError,
    },
    /// The daemon stops.
    #[error("stopped")]
    Stopped,
}
