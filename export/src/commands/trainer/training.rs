//! Arguments that the training commands share.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kith::align::Alignment;
use kith::commands::terminal::say;

use crate::faces::Strength;
use crate::make::{read_weight_file, sha256, weights_of};
use crate::nets::Network;
use crate::train::about::{input_of, usual_preprocessing};
use crate::train::course::{Course, Outcome};
use crate::train::device::DeviceChoice;
use crate::train::net::{Net, Precision};
use crate::train::samples::Preprocessing;

/// Where and with which numbers a network is trained.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Training")]
pub struct TrainingArgs {
    /// Folder for the run: best.safetensors, last.safetensors, log.jsonl
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Go on with the run in that folder
    #[arg(long)]
    pub resume: bool,
    /// Weights to begin with: .safetensors, or a file that `import` reads
    #[arg(long, value_name = "FILE")]
    pub start: Option<PathBuf>,
    /// How faces are cut out [default: as the network usually takes them]
    #[arg(long, value_name = "NAME", value_parser = parse_alignment)]
    pub alignment: Option<Alignment>,
    /// Passes over the photos, at most
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    pub epochs: u16,
    /// Highest learning rate
    #[arg(long, value_name = "X")]
    pub learning_rate: Option<f64>,
    /// How strongly weights are drawn to zero
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub weight_decay: f64,
    /// End when so many epochs in a row brought nothing better
    #[arg(long, value_name = "N")]
    pub patience: Option<usize>,
    /// Layers that stay as they are; `layer1*` means all that begin so
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub freeze: Vec<String>,
    /// Leave the running statistics of batch normalisation as they are
    #[arg(long)]
    pub freeze_statistics: bool,
    /// How much faces are changed by chance each time they come up
    #[arg(long, value_enum, value_name = "NAME", default_value = "strong")]
    pub augmentation: Strength,
    /// Of everything drawn by chance; the same seed gives the same result on a CPU
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// bfloat16 arithmetic; the default on a GPU is 32-bit floats too
    #[arg(long)]
    pub bfloat16: bool,
    /// Threads of libtorch [default: one for each core]
    #[arg(long, value_name = "N")]
    pub threads: Option<i32>,
    /// One JSON object about the outcome instead of words
    #[arg(long)]
    pub json: bool,
}

fn parse_alignment(name: &str) -> Result<Alignment, String> {
    Alignment::named(name).ok_or_else(|| {
        let known: Vec<&str> = Alignment::ALL.iter().map(|alignment| alignment.name()).collect();
        format!("{name:?} is no alignment; there are {}", known.join(", "))
    })
}

impl TrainingArgs {
    /// How the network takes faces.
    ///
    /// # Errors
    /// When the network is no embedder, or does not take faces of that size.
    pub fn preprocessing(&self, network: Network) -> anyhow::Result<Preprocessing> {
        let usual = usual_preprocessing(network)?;
        let Some(alignment) = self.alignment else {
            return Ok(usual);
        };
        anyhow::ensure!(
            alignment.side_px() == usual.alignment.side_px(),
            "{} gives faces of {} pixels, but the network takes {}",
            alignment.name(),
            alignment.side_px(),
            usual.alignment.side_px()
        );
        Ok(Preprocessing {
            input: input_of(alignment, usual.input.mean, usual.input.scale),
            alignment,
        })
    }

    /// The network to begin with, and the sha256 of the weights that it has, if they came from a file.
    ///
    /// # Errors
    /// When the device is not there or the weights are another network's.
    pub fn network(&self, network: Network) -> anyhow::Result<(Net, Option<String>)> {
        if let Some(threads) = self.threads {
            tch::set_num_threads(threads.max(1));
        }
        let device = self.device.open()?;
        let (net, started_from) = match &self.start {
            Some(path) => {
                let file = read_weight_file(path)?;
                let net = weights_of(network, &file)
                    .and_then(|weights| Ok(Net::new(network.graph(), &weights, device)?))
                    .with_context(|| format!("can't use {}", path.display()))?;
                (net, Some(sha256(&file)))
            }
            None => (Net::at_random(network.graph(), self.seed, device)?, None),
        };
        let precision = if self.bfloat16 {
            Precision::BFloat16
        } else {
            Precision::Full
        };
        let mut net = net
            .with_precision(precision)
            .with_frozen_statistics(self.freeze_statistics);
        net.freeze(&self.freeze)?;
        Ok((net, started_from))
    }

    /// How long and how fast to train.
    pub fn course(&self, usual_learning_rate: f64) -> Course {
        Course {
            epochs: self.epochs.into(),
            learning_rate: self.learning_rate.unwrap_or(usual_learning_rate),
            warm_up_epochs: usize::from(self.epochs > 10),
            weight_decay: self.weight_decay,
            clip: 5.0,
            patience: self.patience,
            seed: self.seed,
        }
    }
}

/// Tells how a run ended.
///
/// # Errors
/// When there is nobody to tell.
pub fn tell_outcome(folder: &Path, outcome: &Outcome, json: bool) -> anyhow::Result<()> {
    if json {
        return Ok(say(serde_json::to_string(outcome)?)?);
    }
    let speed = outcome.faces_per_s.map_or_else(String::new, |speed| {
        format!(
            "\n{speed:.1} faces a second; waited for photos {:.1} % of the time",
            100.0 * outcome.waited_share
        )
    });
    Ok(say(format!(
        "{}: {} epochs, the best was {}: held-out loss {:.4}, accuracy {:.1} %{speed}",
        folder.display(),
        outcome.epochs_done,
        outcome.best_epoch,
        outcome.best.loss,
        100.0 * outcome.best.accuracy,
    ))?)
}
