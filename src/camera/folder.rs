//! A folder of pictures as a camera.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use jiff::Timestamp;

use super::{CameraError, CameraSource, Picture};
use crate::frame::CapturedAt;
use crate::photo;
use crate::stop::Stop;

const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// The pictures of a folder in the order of their names.
pub(super) struct FolderSource {
    folder: PathBuf,
    looped: bool,
    pause: Duration,
    due: Instant,
    rest: IntoIter<PathBuf>,
    stop: Stop,
}

impl FolderSource {
    /// Lists `folder`; a picture is delivered `per_second` times a second at most.
    pub(super) fn open(folder: &Path, looped: bool, per_second: f64, stop: Stop) -> Result<Self, CameraError> {
        Ok(Self {
            rest: pictures(folder)?.into_iter(),
            folder: folder.to_path_buf(),
            looped,
            pause: Duration::from_secs_f64(1.0 / per_second),
            due: Instant::now(),
            stop,
        })
    }
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>, CameraError> {
    let missing = |source| CameraError::Missing {
        path: folder.to_path_buf(),
        source,
    };
    let mut found = Vec::new();
    for entry in folder.read_dir().map_err(missing)? {
        let path = entry.map_err(missing)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if ENDINGS.contains(&ending.to_ascii_lowercase().as_str()) {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(CameraError::NoPictures(folder.to_path_buf()));
    }
    found.sort();
    Ok(found)
}

impl CameraSource for FolderSource {
    fn next_picture(&mut self) -> Result<Option<Picture>, CameraError> {
        loop {
            if self.stop.wait(self.due.saturating_duration_since(Instant::now())) {
                return Err(CameraError::Stopped);
            }
            self.due = Instant::now() + self.pause;
            let Some(path) = self.rest.next() else {
                if !self.looped {
                    return Ok(None);
                }
                self.rest = pictures(&self.folder)?.into_iter();
                continue;
            };
            match photo::read(&path) {
                Ok(pixels) => {
                    return Ok(Some(Picture {
                        pixels: Arc::new(pixels),
                        captured_at: CapturedAt {
                            monotonic: Instant::now(),
                            wall: Timestamp::now(),
                        },
                    }));
                }
                // One bad picture stays one bad picture.
                Err(error) => tracing::warn!(file = %path.display(), %error, "a picture is left out"),
            }
        }
    }
}
