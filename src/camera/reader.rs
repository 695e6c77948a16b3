//! The thread that reads a camera: puts frames into the slot, opens it again when it fails.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{CameraError, CameraSource, Slot};
use crate::frame::{CameraId, Frame};
use crate::stop::Stop;

/// The first pause after a failure; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause. A camera that is well again is to be seen within 30 s: after a stall that takes 15 s to notice,
/// this pause, a quarter more by chance, and the opening.
const LAST_PAUSE: Duration = Duration::from_secs(8);
/// A camera that delivered for so long begins with the first pause again.
const PROVEN: Duration = Duration::from_secs(30);

/// How often the debug log says how many frames there were.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What a camera does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameraState {
    /// It delivers frames.
    Online,
    /// It failed, and is tried again.
    Offline,
    /// It came to its end, as a file does.
    Over,
}

/// Opens a camera, again and again.
pub type Opener = Box<dyn FnMut() -> Result<Box<dyn CameraSource>, CameraError> + Send>;

/// What the thread needs.
pub struct Reader {
    /// Whose frames these are.
    pub camera: CameraId,
    /// How it is opened.
    pub opener: Opener,
    /// Where frames go.
    pub slot: Arc<Slot>,
    /// Whether each picture has to be looked at, as those of a folder; otherwise a late worker misses some.
    pub every_picture: bool,
    /// The wish to stop.
    pub stop: Stop,
}

impl Reader {
    /// Starts the thread. `frame_ready` is called when a frame comes into an empty slot, `changed` when the camera's
    /// state does.
    ///
    /// # Errors
    /// When the system can't start a thread.
    pub fn start(
        self,
        frame_ready: impl Fn() + Send + 'static,
        changed: impl Fn(CameraState) + Send + 'static,
    ) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new()
            .name(format!("read-{}", self.camera))
            .spawn(move || {
                let span = tracing::info_span!("camera", camera = %self.camera);
                span.in_scope(|| self.run(&frame_ready, &changed));
            })
    }

    fn run(mut self, frame_ready: &dyn Fn(), changed: &dyn Fn(CameraState)) {
        let mut sequence = 0;
        let mut pause = FIRST_PAUSE;
        while !self.stop.is_set() {
            let began = Instant::now();
            let before = sequence;
            let end =
                (self.opener)().and_then(|mut source| self.read(source.as_mut(), &mut sequence, frame_ready, changed));
            match end {
                Ok(()) => {
                    tracing::info!(frames = sequence, "the camera came to its end");
                    return changed(CameraState::Over);
                }
                Err(CameraError::Stopped) => return,
                Err(error) => {
                    if sequence > before && began.elapsed() > PROVEN {
                        pause = FIRST_PAUSE;
                    }
                    let jittered = pause.mul_f64(0.75 + 0.5 * fastrand::f64());
                    tracing::warn!(%error, again_in_ms = jittered.as_millis(), "the camera delivers nothing");
                    changed(CameraState::Offline);
                    self.stop.wait(jittered);
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }

    fn read(
        &self,
        source: &mut dyn CameraSource,
        sequence: &mut u64,
        frame_ready: &dyn Fn(),
        changed: &dyn Fn(CameraState),
    ) -> Result<(), CameraError> {
        let mut delivers = source.waits();
        let mut told = Instant::now();
        if delivers {
            tracing::info!("the camera waits for pictures");
            changed(CameraState::Online);
        }
        while let Some(picture) = source.next_picture()? {
            if !delivers {
                delivers = true;
                let (width, height) = picture.pixels.dimensions();
                tracing::info!(width, height, "the camera delivers");
                changed(CameraState::Online);
            }
            while self.every_picture && !self.slot.wait_empty(Duration::from_millis(100)) {
                if self.stop.is_set() {
                    return Err(CameraError::Stopped);
                }
            }
            let frame = Frame {
                camera: self.camera.clone(),
                sequence: *sequence,
                captured_at: picture.captured_at,
                pixels: picture.pixels,
            };
            *sequence += 1;
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                tracing::debug!(frames = *sequence, "the camera goes on");
            }
            if self.slot.put(frame) {
                frame_ready();
            }
        }
        Ok(())
    }
}
