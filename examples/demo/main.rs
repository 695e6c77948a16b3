//! The demo: one person is enrolled from a photo, a clip shows two other photos of that person and a stranger between
//! them, and the real daemon says over MQTT who passes. `cargo xtask demo` builds and runs it.

mod broker;
mod clip;
mod footprint;
mod listen;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;

use listen::Passage;

/// Whom the photos show.
const NAME: &str = "Barack Obama";
/// The photo that he is enrolled from.
const ENROLLED_FROM: &str = "obama.jpg";
/// Who passes, in this order.
const PASSES: [&str; 3] = ["obama2.jpg", "biden.jpg", "obama3.jpg"];
/// As long as a person takes to pass, in seconds.
const PASS_S: f64 = 5.0;
/// As long as the scene is empty before, between and after them, in seconds.
const EMPTY_S: f64 = 2.0;
/// More than the clip, the start and a slow machine need.
const PATIENCE: Duration = Duration::from_secs(120);

/// Shows the main job: people recognised in a moving picture and announced over MQTT.
#[derive(Parser)]
struct Args {
    /// Folder of the sample photos
    #[arg(long, value_name = "DIR")]
    photos: PathBuf,
    /// Folder for the clip, the gallery and the annotated picture; made if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// An MQTT broker, such as mqtt://127.0.0.1:1883 [default: one inside of this process]
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Instead of the demo, measure time to the first recognition and memory with one 720p camera; prints JSON
    #[arg(long)]
    measure: bool,
}

fn main() -> ExitCode {
    match demo(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(args: &Args) -> anyhow::Result<()> {
    fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let state = args.out.join("state");
    if state.exists() {
        fs::remove_dir_all(&state).with_context(|| state.display().to_string())?;
    }
    let url = match &args.broker {
        Some(url) => url.clone(),
        None => broker::start()?,
    };

    if args.measure {
        return footprint::measure(&args.photos, &args.out, &state, &url);
    }
    println!("Enrolling {NAME} from one photo ({ENROLLED_FROM})");
    enrol(&args.photos, &state)?;
    println!("Making a clip: {} pass by", PASSES.join(", then "));
    let film = args.out.join("passing.mp4");
    clip::make(&PASSES.map(|photo| args.photos.join(photo)), PASS_S, EMPTY_S, &film)?;

    let config = args.out.join("kith.toml");
    fs::write(&config, configuration(&url, &film)?).with_context(|| config.display().to_string())?;
    println!("Listening on {url}, topic kith/demo/camera/door/event");
    let listener = listen::start(&url)?;
    println!("Running `kith run --config {}`\n", config.display());
    let mut daemon = Daemon::start(&config, &state)?;
    let passages = listener.until_offline(Instant::now() + PATIENCE)?;
    let status = daemon.0.wait()?;
    ensure!(status.success(), "the daemon ended badly: {status}");

    let picture = args.out.join("recognised.jpg");
    annotate(&film, &state, &args.out, &picture)?;
    println!("\nThe picture: {}", picture.display());
    judge(&passages)
}

/// Ends the daemon when the demo fails before it.
struct Daemon(Child);

impl Daemon {
    fn start(config: &Path, state: &Path) -> anyhow::Result<Self> {
        let child = program()?
            .args(["run", "--config", &path(config)?, "--state", &path(state)?])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .context("can't start kith")?;
        Ok(Self(child))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn enrol(photos: &Path, state: &Path) -> anyhow::Result<()> {
    kith(
        state,
        &["enroll", NAME, "--largest", &path(&photos.join(ENROLLED_FROM))?],
    )
}

/// Whether the daemon said what is true.
fn judge(passages: &[Passage]) -> anyhow::Result<()> {
    let said: Vec<&str> = passages
        .iter()
        .map(|passage| passage.name.as_deref().unwrap_or("unknown"))
        .collect();
    if said != [NAME, "unknown", NAME] {
        bail!(
            "expected {NAME}, unknown, {NAME} to pass, but the daemon said: {}",
            said.join(", ")
        );
    }
    println!("{NAME} was recognised on both visits, and the stranger reported as unknown.");
    Ok(())
}

/// A plain configuration, as a user would write it; the second visit, soon after the first, is to be announced too.
fn configuration(url: &str, film: &Path) -> anyhow::Result<String> {
    let film = film.canonicalize().with_context(|| film.display().to_string())?;
    let film = toml::Value::String(format!("file:{}", path(&film)?));
    let url = toml::Value::String(url.to_string());
    Ok(format!(
        "node = \"demo\"\nannounce_again_s = 3\n\n[mqtt]\nurl = {url}\n\n[[camera]]\nid = \"door\"\nurl = {film}\n"
    ))
}

/// Puts the moment in the middle of each passage side by side and lets `kith identify` draw on it.
fn annotate(film: &Path, state: &Path, out: &Path, picture: &Path) -> anyhow::Result<()> {
    let moments = out.join("moments.png");
    let middles: Vec<f64> = (0_u32..)
        .zip(PASSES)
        .map(|(nth, _)| EMPTY_S + PASS_S / 2.0 + f64::from(nth) * (PASS_S + EMPTY_S))
        .collect();
    clip::side_by_side(film, &middles, &moments)?;
    kith(state, &["identify", &path(&moments)?, "--draw", &path(picture)?])
}

/// Runs a `kith` command on the demo's gallery, and shows what it says only when it fails.
fn kith(state: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = program()?
        .args(arguments)
        .arg("--state")
        .arg(state)
        .output()
        .context("can't start kith")?;
    ensure!(
        output.status.success(),
        "`kith {}` failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// The `kith` that was built beside this program.
fn program() -> anyhow::Result<Command> {
    let demo = std::env::current_exe()?;
    let kith = demo
        .parent()
        .and_then(Path::parent)
        .map(|folder| folder.join("kith"))
        .context("no folder above")?;
    ensure!(
        kith.exists(),
        "there is no {}; `cargo xtask demo` builds it",
        kith.display()
    );
    Ok(Command::new(kith))
}

fn path(path: &Path) -> anyhow::Result<String> {
    path.to_str()
        .map(str::to_string)
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
