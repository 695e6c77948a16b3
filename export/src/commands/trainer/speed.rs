//! `kith-export speed`: how fast a network trains here.

use image::{Rgb, RgbImage};
use kith::commands::terminal::say;
use rand::RngExt;
use serde::Serialize;
use tch::{Kind, Tensor};

use crate::faces::augment::Augmentation;
use crate::nets::Network;
use crate::train::about::{name_of, usual_preprocessing};
use crate::train::batches::random_of;
use crate::train::course::Course;
use crate::train::device::DeviceChoice;
use crate::train::distil::{Distil, Lesson};
use crate::train::net::{Net, Precision};
use crate::train::samples::{Pictures, unit_rows};
use crate::train::speed::{Speed, measure};

/// Steps before the clock starts: memory is taken and kernels are chosen in the first ones.
const WARM_UP: usize = 3;
/// Faces in memory; each comes up several times, changed by chance like any photo.
const FACES: usize = 256;
const SEED: u64 = 1;

/// Arguments of `speed`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kith-export speed --net nn4-small2 --threads 2\n\n\
    Trains at random weights on random pictures, with everything that a training run does for a batch: chance changes\n\
    on threads of their own, forward, backward, clipping, Adam. `cargo xtask bench --trainer` does the same in Python.")]
pub struct Args {
    /// The network
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Network::Nn4Small2)]
    pub net: Network,
    /// Faces in a batch
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..=256))]
    pub batch: u16,
    /// Steps to time
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub steps: u16,
    /// Threads of libtorch [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub threads: Option<i32>,
    /// auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// bfloat16 arithmetic
    #[arg(long)]
    pub bfloat16: bool,
    /// One JSON object instead of words
    #[arg(long)]
    pub json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Said {
    net: String,
    device: String,
    threads: i32,
    bfloat16: bool,
    #[serde(flatten)]
    speed: Speed,
}

/// Runs `speed`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let preprocessing = usual_preprocessing(args.net)?;
    if let Some(threads) = args.threads {
        tch::set_num_threads(threads);
    }
    let precision = if args.bfloat16 {
        Precision::BFloat16
    } else {
        Precision::Full
    };
    let net = Net::at_random(args.net.graph(), SEED, args.device.open()?)?.with_precision(precision);
    let cuts: Vec<RgbImage> = (0..FACES)
        .map(|face| random_picture(preprocessing.alignment.cut().side_px(), face as u64))
        .collect();
    let values = net
        .graph()
        .outputs
        .iter()
        .find(|output| output.name == "embedding")
        .and_then(|output| output.axes.first().copied().flatten())
        .unwrap_or_default();
    let shape = [i64::try_from(FACES)?, i64::try_from(values)?];
    tch::manual_seed(1);
    let targets = unit_rows(&Tensor::f_randn(shape, (Kind::Float, tch::Device::Cpu))?)?;
    let lesson = Lesson {
        batch: args.batch.into(),
        relations_weight: 2.0,
    };
    let objective = Distil {
        pictures: Pictures {
            preprocessing: &preprocessing,
            augmentation: &Augmentation::default(),
            changed: cuts.iter().collect(),
            unchanged: Vec::new(),
        },
        lesson: &lesson,
        seed: SEED,
        targets: targets.f_to_device(net.device())?,
    };
    let course = Course {
        epochs: 1,
        learning_rate: 1e-4,
        warm_up_epochs: 0,
        weight_decay: 0.0,
        clip: 5.0,
        patience: None,
        seed: SEED,
    };
    let said = Said {
        net: name_of(args.net),
        device: format!("{:?}", net.device()).to_lowercase(),
        threads: tch::get_num_threads(),
        bfloat16: args.bfloat16,
        speed: measure(&net, &objective, &course, WARM_UP, args.steps.into())?,
    };
    if args.json {
        return Ok(say(serde_json::to_string(&said)?)?);
    }
    let Speed {
        steps,
        batch,
        step_ms,
        faces_per_s,
        faces_per_cpu_s,
        waited_share,
        ..
    } = said.speed;
    let by_cpu = faces_per_cpu_s.map_or_else(String::new, |faces| {
        format!(", {faces:.1} for each second of processor time")
    });
    Ok(say(format!(
        "{} on {}, {} threads, batches of {batch}: {faces_per_s:.1} faces a second{by_cpu}; {step_ms:.0} ms a step (median of \
         {steps}); waited for photos {:.2} % of the time",
        said.net,
        said.device,
        said.threads,
        100.0 * waited_share
    ))?)
}

/// Coloured noise on a slope: as much for JPEG and blur to do as a face, or more.
fn random_picture(side_px: u32, number: u64) -> RgbImage {
    let mut random = random_of(&[SEED, number]);
    RgbImage::from_fn(side_px, side_px, |x, y| {
        let slope = (96 * x / side_px + 96 * y / side_px).min(191);
        Rgb(std::array::from_fn(|_| {
            u8::try_from(slope + random.random_range(0..64_u32)).unwrap_or(u8::MAX)
        }))
    })
}
