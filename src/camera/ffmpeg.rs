//! A camera behind an `ffmpeg` child: one process each, so that a stream that breaks its decoder breaks nothing else.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::lag::{Lag, MAX_LAG};
use super::nut::{NutError, NutReader};
use super::{Address, CameraError, CameraSource, Picture};
use crate::config::CameraSettings;
use crate::frame::CapturedAt;
use crate::stop::Stop;

/// Without a picture for so long, the child is started anew.
const STALL: Duration = Duration::from_secs(20);
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
}

impl FfmpegSource {
    /// Starts the child.
    pub(super) fn open(settings: &CameraSettings, stop: Stop) -> Result<Self, CameraError> {
        if let Address::File(path) | Address::Clip(path) | Address::Device(path) = &settings.address {
            // FFmpeg's own words for it are less clear.
            std::fs::File::open(path).map_err(|source| CameraError::Missing {
                path: path.clone(),
                source,
            })?;
        }
        let (child, stdout) = Decoder::start(settings)?;
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
            (None, Some(pipe)) => NutReader::open(BufReader::with_capacity(4096, pipe))?,
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
            self.buffers.push_back(Arc::clone(&pixels));
            if self.buffers.len() > KEPT_BUFFERS {
                self.buffers.pop_front();
            }
            if lag > MAX_LAG {
                tracing::debug!(lag_ms = lag.as_millis(), "an old picture is thrown away");
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

/// The running child; killed and reaped when dropped.
struct Decoder {
    child: Child,
    words: Arc<Mutex<String>>,
    relay: Option<thread::JoinHandle<()>>,
}

impl Decoder {
    #[expect(
        unsafe_code,
        reason = "pre_exec is the only way to have the child die with us, however we die"
    )]
    fn start(settings: &CameraSettings) -> Result<(Self, ChildStdout), CameraError> {
        let mut command = Command::new("ffmpeg");
        command
            .args(arguments(settings))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // SAFETY: between fork and exec only one async-signal-safe system call is made, and nothing is allocated.
        unsafe {
            command.pre_exec(|| {
                rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
                    .map_err(io::Error::from)
            });
        }
        let mut child = command.spawn().map_err(CameraError::NoDecoder)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(CameraError::Decoder("it has no pipes".to_owned()));
        };
        let words = Arc::new(Mutex::new(String::new()));
        let address = settings.address.clone();
        let relay = {
            let words = Arc::clone(&words);
            let span = tracing::Span::current();
            thread::Builder::new()
                .name(format!("say-{}", settings.id))
                .spawn(move || span.in_scope(|| relay(stderr, &address, &words)))
                .ok()
        };
        Ok((Self { child, words, relay }, stdout))
    }

    /// Waits for the end of a child that closed its pipe.
    ///
    /// # Errors
    /// With what it said, when it did not end well.
    fn finish(&mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if let Some(relay) = self.relay.take() {
            let _ = relay.join();
        }
        if status.success() {
            return Ok(());
        }
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        Err(if words.is_empty() {
            status.to_string()
        } else {
            words.clone()
        })
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(relay) = self.relay.take() {
            let _ = relay.join();
        }
    }
}

/// Passes on what the child says, without passwords, and remembers the last of it.
fn relay(stderr: ChildStderr, address: &Address, words: &Mutex<String>) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A child that sends a line without an end must not fill the memory.
        match lines.by_ref().take(4096).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let said = address.redact(String::from_utf8_lossy(&line).trim());
        if !said.is_empty() {
            tracing::debug!(said, "ffmpeg");
            *words.lock().unwrap_or_else(PoisonError::into_inner) = said;
        }
    }
}

/// The child's arguments. No shell is involved, and no argument is made of text that could be an option.
fn arguments(settings: &CameraSettings) -> Vec<OsString> {
    let mut all: Vec<OsString> = words("-hide_banner -nostdin -nostats -loglevel error");
    // Every input names the protocols that it may open, so that a playlist can't lead elsewhere.
    match &settings.address {
        // A folder is read without FFmpeg.
        Address::Folder(path) | Address::File(path) | Address::Clip(path) => {
            if !matches!(settings.address, Address::Clip(_)) {
                all.push("-re".into());
            }
            all.extend(words("-protocol_whitelist file"));
            if settings.looped {
                all.extend(words("-stream_loop -1"));
            }
            let mut input = OsString::from("file:");
            input.push(path);
            all.extend(["-i".into(), input]);
        }
        Address::Device(path) => all.extend(["-f".into(), "v4l2".into(), "-i".into(), path.into()]),
        Address::Rtsp(url) => {
            // First picture after 0.3 s instead of 1.9 s; TCP, since lost packets make faces that aren't there.
            all.extend(words(
                "-rtsp_transport tcp -fflags nobuffer -flags low_delay -probesize 32768 -analyzeduration 0",
            ));
            all.extend(words("-protocol_whitelist rtsp,rtsps,rtp,srtp,tcp,tls"));
            all.extend(["-i".into(), url.as_str().into()]);
        }
        Address::Http(url) => {
            // Motion JPEG carries no times.
            all.extend(words(
                "-use_wallclock_as_timestamps 1 -fflags nobuffer -probesize 32768",
            ));
            all.extend(words("-format_whitelist mpjpeg,mjpeg,jpeg_pipe"));
            all.extend(words(match url.scheme() {
                "https" => "-protocol_whitelist https,tls,tcp",
                _ => "-protocol_whitelist http,tcp",
            }));
            all.extend(["-i".into(), url.as_str().into()]);
        }
    }
    let rate = settings.frames_per_second;
    // The first picture of each slice of time; unlike the fps filter this holds none back to see the next one.
    let choose = format!(
        "select='isnan(prev_selected_t)+isnan(t)+lt(t,prev_selected_t)+gt(floor(t*{rate}),floor(prev_selected_t*{rate}))'"
    );
    all.extend(["-map".into(), "0:v:0".into(), "-vf".into(), choose.into()]);
    if !settings.address.ends() {
        // So a change of resolution shows in the pictures' length, and the child is started anew, instead of in bent
        // faces. A change that keeps the number of pixels (a camera turned on its side) can't be told apart so. A file
        // would begin again and again.
        all.extend(words("-autoscale 0"));
    }
    all.extend(words("-c:v rawvideo -pix_fmt rgb24 -flush_packets 1 -f nut pipe:1"));
    all
}

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}
