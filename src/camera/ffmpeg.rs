//! A camera behind an `ffmpeg` child: one process each, so that a stream that breaks its decoder breaks nothing else.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::process::ChildStdout;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use image::RgbImage;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::command_line::has_foot;
use super::decoder::Decoder;
use super::lag::{Lag, MAX_LAG};
use super::nut::{NutError, NutReader};
use super::{Address, CameraError, CameraSource, Decode, Meter, Picture};
use crate::config::CameraSettings;
use crate::frame::CapturedAt;
use crate::stop::Stop;

/// Without a picture for so long, the child is started anew. A stall is to be noticed within 20 s, wherever it began.
const STALL: Duration = Duration::from_secs(15);
/// How often a read that waits looks whether it shall stop.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// Room in the pipe; the default of 64 KiB wakes both sides forty times for one 720p picture.
const PIPE_BYTES: usize = 1024 * 1024;
/// Buffers beyond this many are given back: one is being filled, one waits in the slot, one is looked at, some belong
/// to the best shots of tracks.
const KEPT_BUFFERS: usize = 6;

/// Pictures from an `ffmpeg` child.
pub(super) struct FfmpegSource {
    child: Decoder,
    /// `None` until the first picture is asked for: the headers come with it.
    reader: Option<NutReader<BufReader<Pipe>>>,
    pipe: Option<Pipe>,
    buffers: VecDeque<Arc<RgbImage>>,
    lag: Lag,
    /// Whether arrival is capture, as for a file that is played in real time.
    arrival_is_capture: bool,
    /// When a clip that is not played in real time began; each picture was taken when its own time says.
    began: Option<CapturedAt>,
    ends: bool,
    /// Whether a row of nothing stands below each picture; see [`has_foot`].
    foot: bool,
    decode: Decode,
    /// Set at the first picture.
    delivered: Arc<AtomicBool>,
    meter: Arc<Meter>,
}

impl FfmpegSource {
    /// Starts the child, which decodes by `decode`.
    pub(super) fn open(
        settings: &CameraSettings,
        decode: Decode,
        meter: &Arc<Meter>,
        delivered: Arc<AtomicBool>,
        stop: Stop,
    ) -> Result<Self, CameraError> {
        if let Address::File(path) | Address::Clip(path) | Address::Device(path) = &settings.address {
            // FFmpeg's own words for it are less clear.
            std::fs::File::open(path).map_err(|source| CameraError::Missing {
                path: path.clone(),
                source,
            })?;
        }
        let (child, stdout) = Decoder::start(settings, decode, meter)?;
        // A smaller pipe only costs time.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
        Ok(Self {
            child,
            reader: None,
            pipe: Some(Pipe {
                stdout,
                stop,
                give_up_at: Instant::now() + STALL,
            }),
            buffers: VecDeque::new(),
            lag: Lag::default(),
            arrival_is_capture: matches!(settings.address, Address::File(_)),
            began: matches!(settings.address, Address::Clip(_)).then(CapturedAt::now),
            ends: settings.address.ends(),
            foot: has_foot(&settings.address),
            decode,
            delivered,
            meter: Arc::clone(meter),
        })
    }

    /// A buffer that nobody else looks at any more, or a new one.
    fn buffer(&mut self, width: u32, height: u32) -> Arc<RgbImage> {
        let fits = |buffer: &Arc<RgbImage>| buffer.dimensions() == (width, height) && Arc::strong_count(buffer) == 1;
        let free = self.buffers.iter().position(fits);
        free.and_then(|index| self.buffers.remove(index))
            .unwrap_or_else(|| Arc::new(RgbImage::new(width, height)))
    }

    fn read(&mut self) -> Result<Option<Picture>, NutError> {
        let mut reader = match (self.reader.take(), self.pipe.take()) {
            (Some(reader), _) => reader,
            (None, Some(pipe)) => NutReader::open(BufReader::with_capacity(4096, pipe), u32::from(self.foot))?,
            (None, None) => return Ok(None),
        };
        loop {
            let shape = reader.shape();
            let mut pixels = self.buffer(shape.width, shape.height);
            let Some(target) = Arc::get_mut(&mut pixels) else {
                continue; // `buffer` returns none that is shared.
            };
            reader.input_mut().get_mut().give_up_at = Instant::now() + STALL;
            let Some(stream_s) = reader.read_picture(target)? else {
                return Ok(None);
            };
            let arrived = Instant::now();
            let lag = if self.arrival_is_capture || self.began.is_some() {
                Duration::ZERO
            } else {
                self.lag.of(arrived, stream_s)
            };
            if !self.delivered.swap(true, Ordering::Relaxed) && self.meter.decodes(self.decode) {
                tracing::info!(decode = %self.decode, "the decoder delivers");
            }
            self.buffers.push_back(Arc::clone(&pixels));
            if self.buffers.len() > KEPT_BUFFERS {
                self.buffers.pop_front();
            }
            if lag > MAX_LAG {
                tracing::debug!(lag_ms = lag.as_millis(), "an old picture is thrown away");
                self.meter.old();
                continue;
            }
            self.reader = Some(reader);
            let captured_at = match self.began {
                Some(began) => began.after(stream_s),
                None => CapturedAt {
                    monotonic: arrived.checked_sub(lag).unwrap_or(arrived),
                    wall: Timestamp::now() - lag,
                },
            };
            return Ok(Some(Picture { pixels, captured_at }));
        }
    }
}

impl CameraSource for FfmpegSource {
    fn next_picture(&mut self) -> Result<Option<Picture>, CameraError> {
        let error = match self.read() {
            Ok(Some(picture)) => return Ok(Some(picture)),
            Ok(None) => None,
            Err(NutError::Pipe(error)) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(CameraError::Stalled(STALL.as_secs()));
            }
            Err(NutError::Pipe(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {
                return Err(CameraError::Stopped);
            }
            // The child closed the pipe: what it said about that is worth more.
            Err(NutError::Pipe(error)) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            return Err(error.into());
        }
        match self.child.finish() {
            Ok(()) if self.ends => Ok(None),
            Ok(()) => Err(CameraError::Ended),
            Err(said) => Err(CameraError::Decoder(said)),
        }
    }
}

/// The child's end of the pipe, read with a deadline.
struct Pipe {
    stdout: ChildStdout,
    stop: Stop,
    give_up_at: Instant,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.is_set() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let ready = match poll(&mut [PollFd::new(&self.stdout.as_fd(), PollFlags::IN)], Some(&LOOK)) {
                Ok(ready) => ready > 0,
                Err(rustix::io::Errno::INTR) => false,
                Err(error) => return Err(error.into()),
            };
            if ready {
                return self.stdout.read(buffer);
            }
            if Instant::now() >= self.give_up_at {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}
