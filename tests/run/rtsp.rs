//! A camera that speaks RTSP: plays H.264 files over the connection itself (RFC 2326 §10.12, RFC 6184), and can fall
//! silent.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

const PICTURES_PER_SECOND: u32 = 15;
/// Of RTP's clock for video.
const TICKS: u32 = 90_000 / PICTURES_PER_SECOND;
const MAX_PACKET: usize = 1400;

/// What one connection shows.
#[derive(Clone)]
pub(crate) struct Show {
    /// H.264 files, one after the other.
    pub(crate) films: Vec<PathBuf>,
    /// Whether it stays open and silent afterwards, instead of beginning again.
    pub(crate) then_silent: bool,
}

/// The camera; falls over when dropped.
pub(crate) struct Camera {
    pub(crate) url: String,
    _stop: Sender<()>,
}

impl Camera {
    /// The first connections show what `shows` says, all later ones the last of it.
    pub(crate) fn start(shows: Vec<Show>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("rtsp://127.0.0.1:{}/live", listener.local_addr().unwrap().port());
        let (stop, stopped) = channel();
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
                thread::spawn(move || {
                    let _ = answer(&connection, &show, &ended);
                });
            }
        });
        Self { url, _stop: stop }
    }
}

/// The pictures of `clip` as an H.264 stream of the size `size`.
pub(crate) fn film(clip: &Path, size: &str) -> PathBuf {
    let name = clip.file_stem().unwrap().to_string_lossy();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{size}.h264"));
    if path.exists() {
        return path;
    }
    let new = tempfile::Builder::new()
        .suffix(".h264")
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
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-tune",
            "zerolatency",
        ])
        .args([
            "-x264-params",
            "sliced-threads=0:keyint=15",
            "-pix_fmt",
            "yuv420p",
            "-f",
            "h264",
        ])
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
fn answer(connection: &TcpStream, show: &Show, ended: &Receiver<()>) -> std::io::Result<()> {
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
        let (headers, body) = match request.split(' ').next().unwrap_or_default() {
            "OPTIONS" => ("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n", ""),
            "DESCRIBE" => (
                "Content-Type: application/sdp\r\n",
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
                 a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n",
            ),
            "SETUP" => ("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", ""),
            _ => ("", ""),
        };
        let length = body.len();
        write!(
            reply,
            "RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )?;
        if request.starts_with("PLAY") {
            return play(connection, show, ended);
        }
    }
}

fn play(connection: &TcpStream, show: &Show, ended: &Receiver<()>) -> std::io::Result<()> {
    let mut rtp = Rtp {
        connection,
        sequence: 0,
        time: 0,
    };
    loop {
        for film in &show.films {
            let bytes = std::fs::read(film)?;
            for unit in units(&bytes) {
                // A slice that begins with its first macroblock begins a picture.
                let begins_picture =
                    matches!(unit[0] & 0x1F, 1 | 5) && unit.get(1).is_some_and(|byte| byte & 0x80 != 0);
                rtp.send(unit, begins_picture)?;
                if begins_picture {
                    rtp.time = rtp.time.wrapping_add(TICKS);
                    // Real time, and an end when the test is over.
                    let _ = ended.recv_timeout(Duration::from_secs(1) / PICTURES_PER_SECOND);
                }
            }
        }
        if show.then_silent {
            let _ = ended.recv();
            return Ok(());
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
    sequence: u16,
    time: u32,
}

impl Rtp<'_> {
    /// Sends one unit, in fragments if it is long.
    fn send(&mut self, unit: &[u8], last_of_picture: bool) -> std::io::Result<()> {
        if unit.len() <= MAX_PACKET {
            return self.packet(&[], unit, last_of_picture);
        }
        let (head, rest) = (unit[0], &unit[1..]);
        let count = rest.chunks(MAX_PACKET).len();
        for (index, part) in rest.chunks(MAX_PACKET).enumerate() {
            let (first, last) = (index == 0, index + 1 == count);
            let fragment = [
                (head & 0xE0) | 28,
                (u8::from(first) << 7) | (u8::from(last) << 6) | (head & 0x1F),
            ];
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
