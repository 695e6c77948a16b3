//! The daemon on an ordinary house: two cameras with people, then one that sees nothing move. Measures what
//! `docs/reference/performance.md` promises; `cargo xtask bench --house` builds and runs it.

mod clips;
mod process;
mod subscriber;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use serde::Serialize;

use process::{Process, Use};
use subscriber::Subscriber;

/// The daemon looks at so many frames a second of each camera.
const FRAMES_PER_SECOND: u32 = 10;
/// Opening the networks and the first pictures are not what is measured.
const WARM_UP: Duration = Duration::from_secs(5);
/// More than a start needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures the daemon on two 720p cameras with people, and on one with a still scene; prints JSON.
#[derive(Parser)]
struct Args {
    /// Folder of the development data: `video/` and `enrol/`
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Folder for the clips, the gallery and the configuration; made if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long the two cameras are watched
    #[arg(long, value_name = "SECONDS", default_value_t = 125)]
    seconds: u64,
    /// How long the still scene is watched
    #[arg(long, value_name = "SECONDS", default_value_t = 40)]
    still_seconds: u64,
}

/// What came out.
#[derive(Debug, Serialize)]
struct Measured {
    two_cameras: TwoCameras,
    still_scene: StillScene,
}

#[derive(Debug, Serialize)]
struct TwoCameras {
    seconds: f64,
    /// Frames that were looked at, of both cameras, as `stats` counts them.
    frames: u64,
    dropped: u64,
    /// Messages on `event` that a frame decided; beside them those that time decided (a deadline, the end of a track),
    /// `left` not counted.
    events: usize,
    events_by_time: usize,
    /// From the arrival of the deciding frame to the message at the subscriber.
    event_median_ms: f64,
    event_p95_ms: f64,
    event_longest_ms: f64,
    #[serde(flatten)]
    used: Use,
}

#[derive(Debug, Serialize)]
struct StillScene {
    seconds: f64,
    #[serde(flatten)]
    used: Use,
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(measured) => {
            println!("{}", serde_json::json!(measured));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("house: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> anyhow::Result<Measured> {
    fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let state = args.out.join("state");
    if state.exists() {
        fs::remove_dir_all(&state).with_context(|| state.display().to_string())?;
    }
    for person in ["lin-manuel-miranda", "alex-lacamoire"] {
        let photo = args.data.join("enrol").join(format!("{person}.png"));
        let done = Command::new(process::kith()?)
            .args(["enroll", person])
            .arg(&photo)
            .arg("--state")
            .arg(&state)
            .output()
            .context("can't start kith")?;
        ensure!(
            done.status.success(),
            "can't enrol {person}: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    let clip = |name: &str| args.data.join("video").join(name);
    let (door, yard) = (args.out.join("door.mp4"), args.out.join("yard.mp4"));
    clips::scaled(&clip("hamilton.mp4"), FRAMES_PER_SECOND, &door)?;
    clips::scaled(&clip("people.mp4"), FRAMES_PER_SECOND, &yard)?;
    let still = args.out.join("still.mp4");
    clips::still(&clip("no-faces.mp4"), FRAMES_PER_SECOND, &still)?;
    let broker = Broker::start(&args.out)?;
    Ok(Measured {
        two_cameras: two_cameras(args, &broker, &state, &[("door", &door), ("yard", &yard)])?,
        still_scene: still_scene(args, &broker, &state, &still)?,
    })
}

fn two_cameras(args: &Args, broker: &Broker, state: &Path, cameras: &[(&str, &PathBuf)]) -> anyhow::Result<TwoCameras> {
    let config = configure(&args.out, broker.port, cameras)?;
    let subscriber = Subscriber::start(broker.port)?;
    let mut daemon = Process::start(&config, state)?;
    subscriber.wait_until_online(Instant::now() + PATIENCE)?;
    daemon.watch(WARM_UP)?;
    let begun = Instant::now();
    let before = daemon.cpu()?;
    daemon.watch(Duration::from_secs(args.seconds))?;
    let used = daemon.used(&before, begun.elapsed())?;
    let seconds = begun.elapsed().as_secs_f64();
    let by_a_shot = daemon.decided_by_a_shot();
    drop(daemon);
    let heard = subscriber.stop()?;
    let total = heard.events.len();
    let decided = heard
        .events
        .into_iter()
        .filter(|(track, event_type, _)| by_a_shot.contains(&(track.clone(), event_type.clone())));
    let mut late_ms: Vec<f64> = decided.map(|(_, _, late_ms)| late_ms).collect();
    ensure!(
        !late_ms.is_empty(),
        "the daemon said nothing about the people before the cameras"
    );
    late_ms.sort_by(f64::total_cmp);
    Ok(TwoCameras {
        seconds,
        frames: heard.frames,
        dropped: heard.dropped,
        events: late_ms.len(),
        events_by_time: total - late_ms.len(),
        event_median_ms: quantile(&late_ms, 0.5),
        event_p95_ms: quantile(&late_ms, 0.95),
        event_longest_ms: quantile(&late_ms, 1.0),
        used,
    })
}

fn still_scene(args: &Args, broker: &Broker, state: &Path, clip: &PathBuf) -> anyhow::Result<StillScene> {
    let config = configure(&args.out, broker.port, &[("wall", clip)])?;
    let subscriber = Subscriber::start(broker.port)?;
    let mut daemon = Process::start(&config, state)?;
    subscriber.wait_until_online(Instant::now() + PATIENCE)?;
    daemon.watch(WARM_UP)?;
    let begun = Instant::now();
    let before = daemon.cpu()?;
    daemon.watch(Duration::from_secs(args.still_seconds))?;
    let used = daemon.used(&before, begun.elapsed())?;
    Ok(StillScene {
        seconds: begun.elapsed().as_secs_f64(),
        used,
    })
}

/// The value below which `share` of the sorted values lie (nearest rank).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank within the slice"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn configure(out: &Path, port: u16, cameras: &[(&str, &PathBuf)]) -> anyhow::Result<PathBuf> {
    // Every visit is announced, however soon the clip shows it again.
    let mut text = format!("node = \"house\"\nannounce_again_s = 0\n[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n");
    for (id, clip) in cameras {
        let clip = clip.canonicalize().with_context(|| clip.display().to_string())?;
        let url = toml::Value::String(format!("file:{}", clip.display()));
        write!(
            text,
            "[[camera]]\nid = \"{id}\"\nurl = {url}\nloop = true\nframes_per_second = {FRAMES_PER_SECOND}\n"
        )?;
    }
    let file = out.join("house.toml");
    fs::write(&file, text).with_context(|| file.display().to_string())?;
    Ok(file)
}

/// A Mosquitto of our own.
struct Broker {
    child: Child,
    port: u16,
}

impl Broker {
    fn start(out: &Path) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = out.join("mosquitto.conf");
        fs::write(&config, format!("listener {port} 127.0.0.1\nallow_anonymous true\n"))?;
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&config)
            .env("PATH", process::path_with_sbin())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("can't start mosquitto (Debian package mosquitto)")?;
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(Instant::now() < deadline, "mosquitto does not answer");
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(Self { child, port })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
