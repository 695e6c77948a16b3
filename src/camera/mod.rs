//! Cameras: an [`Address`] becomes a [`CameraSource`], a thread reads it into a latest-frame [`Slot`], starts it again
//! when it fails, and says whether it delivers.
//!
//! - `ffmpeg`: what a decoder child sends, over `command_line`, `decoder`, `sandbox` and `nut`
//! - `folder`, `snapshot`, `messages`: pictures from files, over HTTP, from the broker and Frigate
//! - `reader`: opens, again and again; `probe` opens for a moment
//! - `view`, `motion`: what of the pictures is looked at

mod address;
mod command_line;
mod decode;
mod decoder;
mod ffmpeg;
mod folder;
mod frigate;
mod lag;
mod messages;
mod meter;
mod motion;
pub mod nut;
mod nut_numbers;
mod probe;
mod reader;
mod roster;
mod sandbox;
mod slot;
mod snapshot;
mod syscalls;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use image::RgbImage;

pub(crate) use address::percent_decoded;
pub use address::{Address, AddressError};
pub use decode::Decode;
pub use meter::{Meter, Reading};
pub use motion::Live;
pub use probe::{Probed, probe};
pub use reader::{CameraState, Opener, Reader};
pub use roster::Roster;
pub use sandbox::{SandboxWish, find as find_program};
pub use slot::Slot;
pub use view::{Gate, Polygon, View, ViewSettings, Zone};

use decode::Ways;

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

    /// Whether it delivers already, though there was no picture yet: it waits for what others send.
    fn waits(&self) -> bool {
        false
    }
}

/// Opens the camera of `settings` once. The source gives up soon after `stop` is set.
///
/// # Errors
/// When its decoder can't be started or its folder can't be read. A stream that doesn't answer fails at its first
/// picture.
pub fn open(settings: &CameraSettings, stop: &Stop) -> Result<Box<dyn CameraSource>, CameraError> {
    Opening::new(settings, Arc::default(), stop).open()
}

/// Opens a camera again and again, and remembers which way of decoding it delivers nothing.
pub struct Opening {
    settings: CameraSettings,
    ways: Ways,
    delivered: Arc<AtomicBool>,
    meter: Arc<Meter>,
    stop: Stop,
    opened: bool,
}

impl Opening {
    /// Nothing is opened yet. What happens is counted in `meter`.
    pub fn new(settings: &CameraSettings, meter: Arc<Meter>, stop: &Stop) -> Self {
        Self {
            ways: Ways::new(settings.decode, &settings.address),
            settings: settings.clone(),
            delivered: Arc::default(),
            meter,
            stop: stop.clone(),
            opened: false,
        }
    }

    /// How many ways there are to decode this camera on this machine.
    pub(super) fn ways(&self) -> usize {
        self.ways.count()
    }

    /// As [`open`].
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(&mut self) -> Result<Box<dyn CameraSource>, CameraError> {
        let (settings, stop) = (&self.settings, self.stop.clone());
        let delivered = self.delivered.swap(false, Ordering::Relaxed);
        self.meter.opened();
        if self.opened && !delivered {
            let before = self.ways.current();
            if let Some(next) = self.ways.failed() {
                tracing::warn!(%before, %next, "the camera delivered nothing; another way to decode it is tried");
            }
        }
        self.opened = true;
        Ok(match &settings.address {
            Address::Folder(folder) => Box::new(folder::FolderSource::open(
                folder,
                settings.looped,
                settings.frames_per_second,
                stop,
            )?),
            Address::Snapshot(url) => Box::new(snapshot::SnapshotSource::new(url, settings.frames_per_second, stop)),
            Address::Topic(_) | Address::Frigate { .. } => Box::new(messages::MessageSource::open(settings, stop)?),
            Address::File(_) | Address::Clip(_) | Address::Device(_) | Address::Rtsp(_) | Address::Http(_) => {
                let way = self.ways.current();
                let delivered = Arc::clone(&self.delivered);
                Box::new(ffmpeg::FfmpegSource::open(settings, way, &self.meter, delivered, stop)?)
            }
        })
    }
}

/// Why a camera delivers nothing.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// No `ffmpeg` on this machine, or no `gst-launch-1.0`.
    #[error(
        "can't start {program}: {source}; install it (Debian, Ubuntu: sudo apt install {})",
        if *program == "ffmpeg" { "ffmpeg" } else { "gstreamer1.0-tools" }
    )]
    NoDecoder {
        /// What was to be started.
        program: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The limits around the decoder can't be had.
    #[error("the decoder can't be limited: {0}; `sandbox = \"auto\"` opens the camera with what limits there are")]
    Unlimited(String),
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
    /// A camera that answers over HTTP with something else than a picture, or not at all.
    #[error("{0}")]
    Snapshot(String),
    /// The broker that the pictures come over.
    #[error("no pictures from the broker: {0}")]
    Broker(String),
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
