//! A picture from a camera, with where and when it was taken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use image::RgbImage;
use jiff::Timestamp;

/// The id of a camera as the configuration names it: `[a-z0-9_-]+`, cheap to clone.
pub type CameraId = Arc<str>;

/// When a frame was captured, on both clocks: ages are counted on the monotonic one, people read the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapturedAt {
    /// The monotonic clock; the only one that expiry and presence may use.
    pub monotonic: Instant,
    /// The wall clock, UTC; for messages and logs.
    pub wall: Timestamp,
}

impl CapturedAt {
    /// Both clocks' now.
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: Timestamp::now(),
        }
    }

    /// `seconds` later; the same moment where that is no time that a clock could show.
    #[must_use]
    pub fn after(self, seconds: f64) -> Self {
        let Ok(passed) = Duration::try_from_secs_f64(seconds) else {
            return self;
        };
        match (self.monotonic.checked_add(passed), self.wall.checked_add(passed)) {
            (Some(monotonic), Ok(wall)) => Self { monotonic, wall },
            _ => self,
        }
    }
}

/// One decoded picture of one camera.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The camera that took it.
    pub camera: CameraId,
    /// Counts the frames of this camera since the daemon started, dropped ones included.
    pub sequence: u64,
    /// When it was taken.
    pub captured_at: CapturedAt,
    /// 8-bit sRGB pixels, row by row, no padding.
    pub pixels: Arc<RgbImage>,
}
