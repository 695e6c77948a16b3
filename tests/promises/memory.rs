//! Memory is flat: the daemon's own process, with its readers, decoders, engine, tracks, gallery, outbox and memory of
//! visits, is fed from several cameras with frames of different sizes and changing numbers of faces. What it had after
//! the warm-up it must have at the end: resident memory within 5 %, no more descriptors, no more threads. Half of the
//! time there is a broker, then none.
//!
//! A second run has a day's frames. No box of ours runs the networks on so many in an hour, so there they are replaced (a
//! mock): the build with `--features fault` makes up faces and vectors. Everything else is the real thing.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use image::imageops::{FilterType, overlay};
use image::{Rgb, RgbImage};

use crate::PATIENCE;
use crate::broker::Broker;
use crate::daemon::{Daemon, Home, camera};
use crate::given::photos;
use crate::trials::Trials;

/// More than this times the memory after the warm-up is a leak.
const GROWTH: f64 = 1.05;
/// The people in the clips; the first is enrolled.
const PEOPLE: [&str; 4] = ["obama2", "biden", "obama3", "obama"];

/// What the process holds.
#[derive(Debug, Clone, Copy)]
struct Holds {
    resident_kib: u64,
    descriptors: usize,
    threads: usize,
}

impl Holds {
    /// The least of a second: a connection that was just there, or a picture on its way, is no leak.
    fn of(daemon: &Daemon) -> Self {
        let until = Instant::now() + Duration::from_secs(1);
        let mut least = Self::now(daemon);
        while Instant::now() < until {
            let now = Self::now(daemon);
            least = Self {
                resident_kib: least.resident_kib.min(now.resident_kib),
                descriptors: least.descriptors.min(now.descriptors),
                threads: least.threads.min(now.threads),
            };
            std::thread::park_timeout(Duration::from_millis(50));
        }
        least
    }

    fn now(daemon: &Daemon) -> Self {
        let process = PathBuf::from(format!("/proc/{}", daemon.pid().as_raw_nonzero()));
        let status = fs::read_to_string(process.join("status")).expect("the daemon runs");
        let number = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        Self {
            resident_kib: number("VmRSS:"),
            descriptors: fs::read_dir(process.join("fd")).unwrap().count(),
            threads: usize::try_from(number("Threads:")).unwrap(),
        }
    }

    /// What is more now than it was.
    fn grown_to(&self, now: &Self) -> Vec<String> {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let growth = now.resident_kib as f64 / self.resident_kib as f64;
        let mut grown = Vec::new();
        if growth > GROWTH {
            grown.push(format!("memory: {} KiB to {} KiB", self.resident_kib, now.resident_kib));
        }
        if now.descriptors > self.descriptors {
            grown.push(format!("descriptors: {} to {}", self.descriptors, now.descriptors));
        }
        if now.threads > self.threads {
            grown.push(format!("threads: {} to {}", self.threads, now.threads));
        }
        grown
    }
}

/// A clip in which the number of people changes every one and a half seconds, at 30 frames a second.
fn clip(folder: &Path, width: u32, height: u32, faces: &[u32]) -> PathBuf {
    let most = faces.iter().copied().max().unwrap_or(1).max(1);
    let pictures = folder.join(format!("{width}x{height}"));
    fs::create_dir(&pictures).unwrap();
    for (index, count) in faces.iter().enumerate() {
        let mut picture = RgbImage::from_pixel(width, height, Rgb([120, 124, 130]));
        for place in 0..*count {
            let person = PEOPLE[place as usize % PEOPLE.len()];
            let photo = image::open(photos().join(format!("{person}.jpg"))).unwrap().to_rgb8();
            // The upper part, where the face is.
            let side = photo.width().min(photo.height());
            let head = image::imageops::crop_imm(&photo, (photo.width() - side) / 2, 0, side, side).to_image();
            let size = (width / most).min(height);
            let head = image::imageops::resize(&head, size, size, FilterType::Triangle);
            overlay(&mut picture, &head, i64::from(width / most * place), 0);
        }
        picture.save(pictures.join(format!("{index:02}.png"))).unwrap();
    }
    let clip = folder.join(format!("{width}x{height}.mp4"));
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-framerate", "2/3", "-i"])
        .arg(pictures.join("%02d.png"))
        .args([
            "-r",
            "30",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-pix_fmt",
            "yuv420p",
        ])
        .arg(&clip)
        .output()
        .expect("ffmpeg is missing; `cargo xtask test` sets it up");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    clip
}

/// How many frames went through the detector so far.
fn frames(daemon: &Daemon) -> u64 {
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("are served over HTTP")).unwrap();
    let (_, address) = line.split_once("address=").unwrap();
    let mut stream = TcpStream::connect(address.split_whitespace().next().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let name = "kith_detect_seconds_count ";
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}in {page}"))
        .trim()
        .parse()
        .unwrap()
}

/// Waits until so many frames went through.
fn wait_for(daemon: &Daemon, wanted: u64) -> u64 {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let now = frames(daemon);
        if now >= wanted {
            return now;
        }
        if now > last {
            (last, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "no frame for {PATIENCE:?} after {now}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// Feeds the daemon of `home`, and looks at it again after each `chunk` frames. The warm-up has `warm_up` frames, or a
/// fiftieth of a long run: the caches of the databases fill in some ten thousand.
fn check(mut trials: Trials, home: &Home, mut broker: Option<Broker>, (warm_up, chunk): (u64, u64)) {
    let warm_up = warm_up.max(trials.left() / 50);
    let daemon = home.run_with(&[("RUST_LOG", "kith=info".to_owned())]);
    daemon.wait_for_log("are served over HTTP");
    let mut seen = wait_for(&daemon, warm_up);
    let before = Holds::of(&daemon);
    let half = trials.left() / 2;
    let mut now = before;
    while trials.left() > 0 {
        let began = Instant::now();
        if trials.left() <= half {
            broker = None;
        }
        let next = wait_for(&daemon, seen + trials.left().min(chunk));
        now = Holds::of(&daemon);
        trials.done(next - seen, began.elapsed(), before.grown_to(&now));
        seen = next;
    }
    drop(broker);
    println!("after {warm_up} frames: {before:?}; after {seen}: {now:?}");
    trials.finish();
}

#[test]
fn with_the_real_networks() {
    let trials = Trials::counting("memory", "frames", 400, 100_000);
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let mut cameras = String::from("[http]\nlisten = \"127.0.0.1:0\"\n");
    let shows: [(u32, u32, &[u32]); 4] = [
        (320, 240, &[0, 1, 2, 1]),
        (640, 480, &[1, 3, 0, 2]),
        (960, 540, &[2, 0, 1, 4]),
        (1280, 720, &[3, 6, 1, 0]),
    ];
    for (width, height, faces) in shows {
        let clip = clip(home.path(), width, height, faces);
        cameras += &camera(&format!("c{width}"), &format!("file:{}", clip.display()));
        cameras += "frames_per_second = 30\nloop = true\nmotion = false\n";
    }
    home.configure(broker.port, "announce_again_s = 0", &cameras);
    // The warm-up has every number of faces at every size.
    check(trials, &home, Some(broker), (300, 200));
}

#[test]
fn a_day_with_made_up_faces() {
    if !cfg!(feature = "fault") {
        eprintln!("skipped: needs --features fault (cargo xtask test --only faults)");
        return;
    }
    let trials = Trials::counting("memory", "frames-without-networks", 5_000, 2_600_000);
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    fs::write(home.state().join("kith-fault-made-up"), "").unwrap();
    let mut cameras = String::from("[http]\nlisten = \"127.0.0.1:0\"\n");
    for number in 0..16_u32 {
        let size = format!("{}x{}", 160 + 16 * number, 120 + 8 * number);
        let clip = home.path().join(format!("{size}.mp4"));
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-t", "5", "-i"])
            .arg(format!("testsrc2=size={size}:rate=60"))
            .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"])
            .arg(&clip)
            .output()
            .expect("ffmpeg is missing; `cargo xtask test` sets it up");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        cameras += &camera(&format!("c{number}"), &format!("file:{}", clip.display()));
        cameras += "frames_per_second = 60\nloop = true\nmotion = false\n";
    }
    home.configure(broker.port, "announce_again_s = 0", &cameras);
    check(trials, &home, Some(broker), (3_000, 1_000));
}
