//! `cargo xtask bench --trainer`: NN4.small2 trained by kith-export and by torch in Python, turn by turn, with the same
//! libtorch, batch and number of threads.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::python::Environment;
use super::{Args, cpu, load, median};
use crate::checkout::{self, Checkout};
use crate::progress;
use crate::setup::Setup;
use crate::setup::libtorch::Libtorch;

const ENVIRONMENT: Environment = Environment {
    folder: ".cache/rival-torch",
    requirements: "xtask/rival-torch-requirements.txt",
    headline: "torch for Python (2.5 GB to fetch, 4.7 GB on disk; it has no smaller build)",
    package: "torch 2.11",
    minor_versions: (10, 14),
};

/// Faces in a batch.
const BATCH: u32 = 64;
/// Steps that are timed in a turn, behind those that warm up.
const STEPS: u32 = 12;
const WARM_UP: u32 = 3;

/// What `kith-export speed --json` says, as far as we read it.
#[derive(Debug, Deserialize)]
struct KithTurn {
    parameters: u64,
    step_ms: f64,
    faces_per_s: f64,
    faces_per_cpu_s: f64,
    waited_share: f64,
}

/// What `nn4_small2.py` says.
#[derive(Debug, Deserialize)]
struct PythonTurn {
    torch: String,
    python: String,
    parameters: u64,
    step_ms: f64,
    faces_per_s: f64,
    faces_per_cpu_s: f64,
}

/// The result; all figures are medians over the rounds.
#[derive(Debug, Serialize)]
struct Comparison {
    cpu: String,
    /// The machine's load over the last minute, before the first turn.
    load_before: f64,
    threads: u32,
    batch: u32,
    steps: u32,
    rounds: u32,
    torch_version: String,
    python_version: String,
    /// Learned numbers of the network, the same on both sides.
    parameters: u64,
    kith: Side,
    python: Side,
    /// How many times as many faces a second kith learns from.
    ratio: f64,
    /// The same for each second of processor time.
    cpu_ratio: f64,
    /// Largest share of the time that kith's training thread waited for pictures, 0 to 1.
    waited_share: f64,
}

#[derive(Debug, Serialize)]
struct Side {
    faces_per_s: f64,
    faces_per_s_by_round: Vec<f64>,
    faces_per_cpu_s: f64,
    faces_per_cpu_s_by_round: Vec<f64>,
    step_ms: f64,
}

impl Side {
    /// Of each round's faces a second, faces a second of processor time, and milliseconds a step.
    fn of(rounds: &[(f64, f64, f64)]) -> Self {
        let all = |read: fn(&(f64, f64, f64)) -> f64| rounds.iter().map(read).collect::<Vec<f64>>();
        let (faces_per_s_by_round, faces_per_cpu_s_by_round) = (all(|round| round.0), all(|round| round.1));
        Self {
            faces_per_s: median(faces_per_s_by_round.clone()),
            faces_per_s_by_round,
            faces_per_cpu_s: median(faces_per_cpu_s_by_round.clone()),
            faces_per_cpu_s_by_round,
            step_ms: median(all(|round| round.2)),
        }
    }
}

/// Sets both sides up, measures, prints.
///
/// # Errors
/// When a side can't be set up or measured, or the two don't train the same network.
pub(super) fn run(args: &Args, checkout: &Checkout) -> Result<()> {
    progress::headline("set-up");
    let setup = Setup::new(checkout)?;
    let libtorch = setup.libtorch()?;
    let python = ENVIRONMENT.set_up(checkout, &setup)?;
    progress::headline("building the trainer");
    let mut build = checkout.cargo();
    libtorch.tell(&mut build);
    checkout::run(build.args(["build", "--release", "--package", "kith-export", "--features", "train"]))?;

    progress::headline("measuring");
    let load_before = load();
    if load_before > 0.5 {
        eprintln!("    this machine is busy (load {load_before}): the times will say little, the ratios something");
    }
    let (mut kith_turns, mut python_turns) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let kith = kith_turn(checkout, &libtorch, args.threads)?;
        let rival = python_turn(checkout, &python, args.threads)?;
        ensure!(
            kith.parameters == rival.parameters,
            "kith's network has {} learned numbers, that of nn4_small2.py {}: they are not the same network",
            kith.parameters,
            rival.parameters
        );
        eprintln!(
            "    round {round} of {}: kith {:.1} faces/s, Python {:.1} faces/s",
            args.rounds, kith.faces_per_s, rival.faces_per_s
        );
        kith_turns.push(kith);
        python_turns.push(rival);
    }
    let last = python_turns.last().context("there is at least one round")?;
    let (torch_version, python_version, parameters) = (last.torch.clone(), last.python.clone(), last.parameters);
    let kith: Vec<_> = kith_turns
        .iter()
        .map(|turn| (turn.faces_per_s, turn.faces_per_cpu_s, turn.step_ms))
        .collect();
    let rival: Vec<_> = python_turns
        .iter()
        .map(|turn| (turn.faces_per_s, turn.faces_per_cpu_s, turn.step_ms))
        .collect();
    let (kith, rival) = (Side::of(&kith), Side::of(&rival));
    let comparison = Comparison {
        cpu: cpu(),
        load_before,
        threads: args.threads,
        batch: BATCH,
        steps: STEPS,
        rounds: args.rounds,
        torch_version,
        python_version,
        parameters,
        ratio: kith.faces_per_s / rival.faces_per_s,
        cpu_ratio: kith.faces_per_cpu_s / rival.faces_per_cpu_s,
        waited_share: kith_turns.iter().map(|turn| turn.waited_share).fold(0.0, f64::max),
        kith,
        python: rival,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        print(&comparison);
    }
    Ok(())
}

fn kith_turn(checkout: &Checkout, libtorch: &Libtorch, threads: u32) -> Result<KithTurn> {
    let mut kith = checkout.cargo();
    libtorch.tell(&mut kith);
    kith.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "kith-export",
        "--features",
        "train",
        "--",
    ]);
    // Python computes on the CPU, so kith does too, whatever card there is.
    kith.args(["speed", "--net", "nn4-small2", "--device", "cpu", "--json"]);
    for (option, number) in [("--batch", BATCH), ("--steps", STEPS), ("--threads", threads)] {
        kith.args([option, &number.to_string()]);
    }
    let said = checkout::capture(&mut kith)?;
    serde_json::from_str(&said).with_context(|| format!("can't read what kith-export speed printed: {said}"))
}

fn python_turn(checkout: &Checkout, python: &Path, threads: u32) -> Result<PythonTurn> {
    let mut command = checkout.command(python);
    command.arg(checkout.path("xtask/src/bench/nn4_small2.py"));
    command.args([BATCH, STEPS, WARM_UP, threads].map(|number| number.to_string()));
    let said = checkout::capture(&mut command)?;
    serde_json::from_str(&said).with_context(|| format!("can't read what nn4_small2.py printed: {said}"))
}

fn print(comparison: &Comparison) {
    let Comparison { kith, python, .. } = comparison;
    println!(
        "NN4.small2 ({} learned numbers), batches of {}, {} threads; medians of {} rounds of {} steps on {}, load {} before",
        comparison.parameters,
        comparison.batch,
        comparison.threads,
        comparison.rounds,
        comparison.steps,
        comparison.cpu,
        comparison.load_before
    );
    println!(
        "torch {}, Python {}",
        comparison.torch_version, comparison.python_version
    );
    println!("{:<44}{:>9}{:>9}{:>9}", "", "kith", "Python", "ratio");
    let row = |what: &str, kith: f64, python: f64| {
        println!("{what:<44}{kith:>9.1}{python:>9.1}{:>9.2}", kith / python);
    };
    row("faces a second", kith.faces_per_s, python.faces_per_s);
    row(
        "faces a second of processor time",
        kith.faces_per_cpu_s,
        python.faces_per_cpu_s,
    );
    row("ms a step", kith.step_ms, python.step_ms);
    println!(
        "kith draws and changes its pictures meanwhile, and waited for them {:.2} % of the time at most; Python's lie in \
         memory",
        100.0 * comparison.waited_share
    );
}
