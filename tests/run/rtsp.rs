//! A camera that speaks RTSP: plays H.264 and H.265 files over the connection itself (RFC 2326 §10.12, RFC 6184, RFC
//! 7798), and can misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PICTURES_PER_SECOND: u32 = 15;
/// Of RTP's clock for video.
const TICKS: u32 = 90_000 / PICTURES_PER_SECOND;
const MAX_PACKET: usize = 1400;

/// What one connection shows.
#[derive(Clone, Default)]
pub(crate) struct Show {
    /// Files that end with `.h264` or `.h265`, all of one kind, one after the other, again and again.
    pub(crate) films: Vec<PathBuf>,
}

/// How a camera misbehaves, on all its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Connections stay open, and nothing comes.
    Silent,
    /// The last quarter of each picture is missing.
    Truncated,
    /// Each picture has a time of its own, anywhere within thirteen hours.
    WildTimes,
}

/// The camera; falls over when dropped.
pub(crate) struct Camera {
    pub(crate) url: String,
    fault: Arc<Mutex<Fault>>,
    _stop: Sender<()>,
}

impl Camera {
    /// The first connections show what `shows` says, all later ones the last of it.
    pub(crate) fn start(shows: Vec<Show>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("rtsp://127.0.0.1:{}/live", listener.local_addr().unwrap().port());
        let (stop, stopped) = channel();
        let fault = Arc::new(Mutex::new(Fault::None));
        let shared = Arc::clone(&fault);
        thread::spawn(move || {
            let mut shows = shows.into_iter().peekable();
            let mut players = Vec::new();
            for connection in listener.incoming().map_while(Result::ok) {
                if stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                    break;
                }
                let show = shows.peek().unwrap().clone();
                if shows.len() > 1 {
                    shows.next();
                }
                let (alive, ended) = channel();
                players.push(alive);
                let fault = Arc::clone(&shared);
                thread::spawn(move || {
                    let _ = answer(&connection, &show, &fault, &ended);
                });
            }
        });
        Self {
            url,
            fault,
            _stop: stop,
        }
    }

    /// Misbehaves from now on, or no longer.
    pub(crate) fn misbehave(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }
}

/// The pictures of `clip` as an H.264 stream of the size `size`.
pub(crate) fn film(clip: &Path, size: &str) -> PathBuf {
    film_as(clip, size, "h264")
}

/// The pictures of `clip` as a stream of the size `size`, `h264` or `h265`.
pub(crate) fn film_as(clip: &Path, size: &str, kind: &str) -> PathBuf {
    let name = clip.file_stem().unwrap().to_string_lossy();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{size}.{kind}"));
    if path.exists() {
        return path;
    }
    let new = tempfile::Builder::new()
        .suffix(&format!(".{kind}"))
        .tempfile_in(path.parent().unwrap())
        .unwrap()
        .into_temp_path();
    let rate = PICTURES_PER_SECOND.to_string();
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-i"])
        .arg(clip)
        .args([
            "-s",
            size,
            "-r",
            &rate,
            "-preset",
            "veryfast",
            "-tune",
            "zerolatency",
            "-pix_fmt",
            "yuv420p",
        ])
        .args(match kind {
            "h265" => [
                "-c:v",
                "libx265",
                "-x265-params",
                "keyint=15:log-level=error",
                "-f",
                "hevc",
            ],
            _ => [
                "-c:v",
                "libx264",
                "-x264-params",
                "sliced-threads=0:keyint=15",
                "-f",
                "h264",
            ],
        })
        .arg(&new)
        .output()
        .expect("ffmpeg is missing; `cargo xtask test` sets it up");
    assert!(
        made.status.success(),
        "ffmpeg: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    std::fs::rename(&new, &path).unwrap();
    path
}

/// Answers the requests of one connection, and plays when it is told to.
fn answer(connection: &TcpStream, show: &Show, fault: &Mutex<Fault>, ended: &Receiver<()>) -> std::io::Result<()> {
    let codec = Codec::of(&show.films[0]);
    let mut requests = BufReader::new(connection.try_clone()?);
    let mut reply = connection;
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if requests.read_line(&mut request)? == 0 {
                return Ok(());
            }
        }
        let number = request
            .lines()
            .find_map(|line| line.strip_prefix("CSeq: "))
            .unwrap_or("0");
        let description = format!(
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n{}a=control:track1\r\n",
            match codec {
                Codec::H264 => "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n",
                Codec::H265 => "a=rtpmap:96 H265/90000\r\n",
            }
        );
        let (headers, body) = match request.split(' ').next().unwrap_or_default() {
            "OPTIONS" => ("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n", ""),
            "DESCRIBE" => ("Content-Type: application/sdp\r\n", description.as_str()),
            "SETUP" => ("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", ""),
            _ => ("", ""),
        };
        let length = body.len();
        write!(
            reply,
            "RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )?;
        if request.starts_with("PLAY") {
            return play(connection, show, fault, ended);
        }
    }
}

fn play(connection: &TcpStream, show: &Show, fault: &Mutex<Fault>, ended: &Receiver<()>) -> std::io::Result<()> {
    let codec = Codec::of(&show.films[0]);
    let mut rtp = Rtp {
        connection,
        codec,
        sequence: 0,
        time: 0,
    };
    let (mut time, mut due) = (0_u32, Instant::now());
    loop {
        for film in &show.films {
            let bytes = std::fs::read(film)?;
            for unit in units(&bytes) {
                let begins_picture = codec.begins_picture(unit);
                let fault_now = *fault.lock().unwrap();
                if fault_now == Fault::WildTimes && begins_picture {
                    rtp.time = fastrand::u32(..);
                }
                if fault_now == Fault::Silent {
                    if !wait_for_better(fault, ended) {
                        return Ok(());
                    }
                    due = Instant::now();
                }
                let whole = !(begins_picture && fault_now == Fault::Truncated);
                rtp.send(
                    &unit[..if whole { unit.len() } else { (unit.len() * 3 / 4).max(2) }],
                    begins_picture,
                )?;
                if begins_picture {
                    time = time.wrapping_add(TICKS);
                    rtp.time = time;
                    // Real time, and an end when the test is over.
                    due += Duration::from_secs(1) / PICTURES_PER_SECOND;
                    let pause = due.saturating_duration_since(Instant::now());
                    if ended.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Waits until the camera is no longer silent; `false` when the test is over.
fn wait_for_better(fault: &Mutex<Fault>, ended: &Receiver<()>) -> bool {
    while *fault.lock().unwrap() == Fault::Silent {
        if ended.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Disconnected) {
            return false;
        }
    }
    true
}

#[derive(Clone, Copy)]
enum Codec {
    H264,
    H265,
}

impl Codec {
    fn of(film: &Path) -> Self {
        match film.extension().and_then(|ending| ending.to_str()) {
            Some("h265") => Self::H265,
            _ => Self::H264,
        }
    }

    /// Whether the unit is a slice that begins with the first part of a picture.
    fn begins_picture(self, unit: &[u8]) -> bool {
        let first = |at: usize| unit.get(at).is_some_and(|byte| byte & 0x80 != 0);
        match self {
            Self::H264 => matches!(unit[0] & 0x1F, 1 | 5) && first(1),
            Self::H265 => (unit[0] >> 1) & 0x3F < 32 && first(2),
        }
    }

    /// What stands before the part of a unit that begins with `unit`, and how much of the unit it stands for.
    fn fragment(self, unit: &[u8], first: bool, last: bool) -> (Vec<u8>, usize) {
        let ends = (u8::from(first) << 7) | (u8::from(last) << 6);
        match self {
            Self::H264 => (vec![(unit[0] & 0xE0) | 28, ends | (unit[0] & 0x1F)], 1),
            Self::H265 => (
                vec![(unit[0] & 0x81) | 49 << 1, unit[1], ends | ((unit[0] >> 1) & 0x3F)],
                2,
            ),
        }
    }
}

/// The parts between the start codes.
fn units(bytes: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = bytes
        .windows(3)
        .enumerate()
        .filter(|(_, window)| *window == [0, 0, 1])
        .map(|(at, _)| at + 3)
        .collect();
    let ends = starts.iter().skip(1).map(|next| next - 3).chain([bytes.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| {
            let unit = &bytes[*start..end];
            // A start code may have one more zero.
            unit.strip_suffix(&[0]).unwrap_or(unit)
        })
        .filter(|unit| !unit.is_empty())
        .collect()
}

struct Rtp<'a> {
    connection: &'a TcpStream,
    codec: Codec,
    sequence: u16,
    time: u32,
}

impl Rtp<'_> {
    /// Sends one unit, in fragments if it is long.
    fn send(&mut self, unit: &[u8], last_of_picture: bool) -> std::io::Result<()> {
        if unit.len() <= MAX_PACKET {
            return self.packet(&[], unit, last_of_picture);
        }
        let rest = &unit[self.codec.fragment(unit, true, false).1..];
        let count = rest.chunks(MAX_PACKET).len();
        for (index, part) in rest.chunks(MAX_PACKET).enumerate() {
            let (first, last) = (index == 0, index + 1 == count);
            let (fragment, _) = self.codec.fragment(unit, first, last);
            self.packet(&fragment, part, last && last_of_picture)?;
        }
        Ok(())
    }

    fn packet(&mut self, head: &[u8], payload: &[u8], marked: bool) -> std::io::Result<()> {
        let mut packet = vec![b'$', 0];
        packet.extend(u16::try_from(12 + head.len() + payload.len()).unwrap().to_be_bytes());
        packet.extend([0x80, 96 | (u8::from(marked) << 7)]);
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.time.to_be_bytes());
        packet.extend(7_u32.to_be_bytes());
        packet.extend(head);
        packet.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.connection.write_all(&packet)
    }
}
