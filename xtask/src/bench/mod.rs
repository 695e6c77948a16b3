//! `cargo xtask bench`: kith and facenet-pytorch, turn by turn on the same picture with the same number of threads;
//! then the daemon's start and memory. With `--trainer`, training against torch in Python instead; with `--house`, the
//! daemon on two cameras and on a still scene.

mod footprint;
mod house;
mod python;
mod rival;
mod trainer;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::checkout::{self, Checkout};
use crate::setup::{Role, Setup, Tool};
use crate::{models, progress};
use footprint::Footprint;
use rival::Rival;

/// Measure kith against facenet-pytorch, turn by turn on the same picture
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The picture; sample photos side by side if none is given
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Smallest face to look for, in pixels
    #[arg(long, value_name = "PX", default_value_t = 40)]
    min_face: u32,
    /// Threads that either side may use
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: u32,
    /// Measure instead how fast NN4.small2 trains, against torch in Python (fetches 2.5 GB the first time)
    #[arg(long, conflicts_with_all = ["image", "min_face"])]
    trainer: bool,
    /// Measure instead the daemon on two 720p cameras and on a still scene (needs KITH_DATA)
    #[arg(long, conflicts_with_all = ["image", "min_face", "trainer"])]
    house: bool,
    /// How often each side has its turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The size that the numbers are about; the default picture is made so.
const WIDTH_PX: u32 = 1280;
const HEIGHT_PX: u32 = 720;
/// Detections that facenet-pytorch does in one of its turns.
const REPEATS: u32 = 10;

/// What `kith bench --json` says, as far as we read it.
#[derive(Debug, Deserialize)]
struct KithTurn {
    stages: Stages,
    frame_median_ms: f64,
    sessions_median_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Stages {
    detect: Stage,
}

#[derive(Debug, Deserialize)]
struct Stage {
    median_ms: f64,
}

/// The result; all times are medians over the rounds, in milliseconds.
#[derive(Debug, Serialize)]
struct Comparison {
    cpu: String,
    picture: String,
    width_px: u32,
    height_px: u32,
    min_face_px: u32,
    threads: u32,
    rounds: u32,
    /// The machine's load over the last minute, before the first turn.
    load_before: f64,
    kith_version: String,
    facenet_pytorch_version: String,
    torch_version: String,
    python_version: String,
    facenet_pytorch_faces: u32,
    facenet_pytorch_detect_ms: f64,
    facenet_pytorch_rounds_ms: Vec<f64>,
    kith_detect_ms: f64,
    kith_rounds_ms: Vec<f64>,
    /// How many times as fast kith's detection is.
    detect_ratio: f64,
    kith_frame_ms: f64,
    kith_sessions_ms: f64,
    /// The frame's time over the time of its sessions.
    kith_overhead: f64,
    footprint: Footprint,
}

/// Sets both sides up, measures, prints.
///
/// # Errors
/// When a side can't be set up or measured.
pub(crate) fn run(args: &Args, checkout: &Checkout) -> Result<()> {
    if args.trainer {
        return trainer::run(args, checkout);
    }
    if args.house {
        return house::run(args, checkout);
    }
    // What the person named is below their folder, not below the root, where the two sides run.
    let given = match &args.image {
        Some(image) => Some(
            image
                .canonicalize()
                .with_context(|| format!("can't find {}", image.display()))?,
        ),
        None => None,
    };
    progress::headline("set-up");
    let setup = Setup::new(checkout)?;
    setup.tools(&[Tool::Ffmpeg])?;
    setup.packages(&[Role::Photos, Role::Runtime])?;
    models::make(checkout, &setup)?;
    let rival = Rival::set_up(checkout, &setup)?;

    progress::headline("building kith");
    checkout::run(
        checkout
            .cargo()
            .args(["build", "--release", "--package", "kith", "--bins", "--example", "demo"]),
    )?;
    // Both sides read the same file in the same size, so that neither has to scale it its own way.
    let source = given.unwrap_or_else(|| checkout.path(".cache/photos"));
    let image = rival.picture(&source, WIDTH_PX, HEIGHT_PX)?;

    progress::headline("measuring");
    let load_before = load();
    if load_before > 0.5 {
        eprintln!(
            "    this machine is busy (load {load_before}): times and ratio will say little, wait until it is quiet"
        );
    }
    let mut rival_turns = Vec::new();
    let mut kith_turns = Vec::new();
    for round in 1..=args.rounds {
        let rival_turn = rival.measure(&image, args.min_face, args.threads, REPEATS)?;
        let kith_turn = kith_turn(checkout, &image, args)?;
        eprintln!(
            "    round {round} of {}: facenet-pytorch {:.1} ms, kith {:.1} ms",
            args.rounds,
            median(rival_turn.times_ms.clone()),
            kith_turn.stages.detect.median_ms
        );
        rival_turns.push(rival_turn);
        kith_turns.push(kith_turn);
    }
    progress::headline("measuring the daemon with one 720p camera");
    let footprint = footprint::measure(checkout)?;
    let of_kith = |read: fn(&KithTurn) -> f64| kith_turns.iter().map(read).collect::<Vec<f64>>();
    let rival_rounds: Vec<f64> = rival_turns.iter().map(|turn| median(turn.times_ms.clone())).collect();
    let kith_rounds = of_kith(|turn| turn.stages.detect.median_ms);
    let last = rival_turns.last().context("there is at least one round")?;
    let comparison = Comparison {
        cpu: cpu(),
        picture: args.image.as_ref().map_or_else(
            || String::from("sample photos side by side"),
            |image| image.display().to_string(),
        ),
        width_px: WIDTH_PX,
        height_px: HEIGHT_PX,
        min_face_px: args.min_face,
        threads: args.threads,
        rounds: args.rounds,
        load_before,
        kith_version: kith_version(checkout)?,
        facenet_pytorch_version: last.facenet_pytorch.clone(),
        torch_version: last.torch.clone(),
        python_version: last.python.clone(),
        facenet_pytorch_faces: last.faces,
        facenet_pytorch_detect_ms: median(rival_rounds.clone()),
        kith_detect_ms: median(kith_rounds.clone()),
        detect_ratio: median(rival_rounds.clone()) / median(kith_rounds.clone()),
        facenet_pytorch_rounds_ms: rival_rounds,
        kith_rounds_ms: kith_rounds,
        kith_frame_ms: median(of_kith(|turn| turn.frame_median_ms)),
        kith_sessions_ms: median(of_kith(|turn| turn.sessions_median_ms)),
        kith_overhead: median(of_kith(|turn| turn.frame_median_ms / turn.sessions_median_ms)),
        footprint,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        print(&comparison);
    }
    Ok(())
}

fn print(comparison: &Comparison) {
    println!(
        "{WIDTH_PX}x{HEIGHT_PX}, smallest face {} px, {} threads, {}; medians of {} rounds on {}",
        comparison.min_face_px, comparison.threads, comparison.picture, comparison.rounds, comparison.cpu
    );
    let row = |what: &str, value: f64, unit: &str| println!("{what:<44}{value:>9.2} {unit}");
    println!(
        "facenet-pytorch {} (torch {}, Python {}), {}",
        comparison.facenet_pytorch_version,
        comparison.torch_version,
        comparison.python_version,
        comparison.kith_version
    );
    row(
        "facenet-pytorch, MTCNN.detect",
        comparison.facenet_pytorch_detect_ms,
        "ms",
    );
    row("kith, detection", comparison.kith_detect_ms, "ms");
    row("so kith's detection is faster by", comparison.detect_ratio, "times");
    row("kith, whole frame", comparison.kith_frame_ms, "ms");
    row("kith, its sessions alone", comparison.kith_sessions_ms, "ms");
    row("whole frame over sessions", comparison.kith_overhead, "times");
    let footprint = &comparison.footprint;
    println!("kith run with one 720p camera");
    row(
        "start to the first recognition, at a client",
        footprint.first_recognition_ms,
        "ms",
    );
    row("daemon, largest resident memory", footprint.daemon_peak_rss_mb, "MB");
    row("its model files", footprint.models_mb, "MB");
    row(
        "its ffmpeg, largest resident memory",
        footprint.ffmpeg_peak_rss_mb,
        "MB",
    );
}

fn kith_turn(checkout: &Checkout, image: &Path, args: &Args) -> Result<KithTurn> {
    let mut kith = checkout.cargo();
    checkout.with_models(&mut kith);
    kith.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "kith",
        "--bin",
        "kith",
        "--",
    ]);
    // The rival runs on the CPU, so kith does too, whatever card there is.
    kith.args(["bench", "--json", "--provider", "cpu", "--image"])
        .arg(image);
    kith.args(["--size", &format!("{WIDTH_PX}x{HEIGHT_PX}")]);
    kith.args(["--min-face", &args.min_face.to_string()]);
    kith.args(["--threads", &args.threads.to_string()]);
    let said = checkout::capture(&mut kith)?;
    serde_json::from_str(&said).with_context(|| format!("can't read what kith bench printed: {said}"))
}

fn kith_version(checkout: &Checkout) -> Result<String> {
    let mut kith = checkout.cargo();
    kith.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "kith",
        "--bin",
        "kith",
        "--",
        "--version",
    ]);
    Ok(checkout::capture(&mut kith)?.trim().to_owned())
}

/// The processor's name; its architecture where Linux doesn't tell the name.
fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with("model name"))
        .find_map(|line| line.split_once(':'))
        .map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// The machine's load over the last minute; 0 where Linux doesn't tell.
fn load() -> f64 {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// The middle of `values`; of an even number the mean of the middle two. Not a number for none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 {
        at(middle)
    } else {
        (at(middle.wrapping_sub(1)) + at(middle)) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
