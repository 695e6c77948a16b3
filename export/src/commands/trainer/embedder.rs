//! Which embedder a command means: one of the catalogue, a checkpoint, or a run of `fit` for each fold.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::ValueEnum as _;
use kith::embed::Embedder;

use super::runtime::RuntimeArgs;
use crate::nets::Network;
use crate::train::about::About;
use crate::train::checkpoint::{self, BEST};
use crate::train::course::State;
use crate::train::served::{self, Written};
use crate::weights::Weights;

/// Which embedder.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub struct EmbedderArgs {
    /// An embedder of the catalogue, by name
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// A run of `fit` or `distil`, or its best.safetensors; what is measured on photos that it learned from is too good
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// The folder of `fit --fold all`, with a run for each fold
    #[arg(long, value_name = "DIR")]
    pub runs: Option<PathBuf>,
}

/// A checkpoint that was read.
pub struct Checkpoint {
    /// The network.
    pub network: Network,
    /// Its weights.
    pub weights: Weights,
    /// What it says about itself.
    pub state: State<About>,
}

impl Checkpoint {
    /// Reads a checkpoint, or the best one of a run's folder.
    ///
    /// # Errors
    /// When there is none; names the file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let path = if path.is_dir() {
            path.join(BEST)
        } else {
            path.to_owned()
        };
        let (weights, state) = checkpoint::read_weights::<State<About>>(&path)?;
        let name = &state.about.network;
        let network = Network::from_str(name, false)
            .map_err(|_| anyhow!("{} is of {name:?}, a network not known here", path.display()))?;
        Ok(Self {
            network,
            weights,
            state,
        })
    }

    /// As ONNX, called `name`.
    ///
    /// # Errors
    /// When the weights are another network's.
    pub fn write(&self, name: &str) -> anyhow::Result<Written> {
        served::write(name, self.network, &self.weights, &self.state.about)
    }
}

impl EmbedderArgs {
    /// What it is called in reports.
    pub fn name(&self) -> String {
        let path = self.checkpoint.as_ref().or(self.runs.as_ref());
        match (&self.model, path) {
            (Some(model), _) => model.clone(),
            (None, Some(path)) => path.display().to_string(),
            (None, None) => String::new(),
        }
    }

    /// The embedder, where it is one for all folds.
    ///
    /// # Errors
    /// When it can't be read or run.
    pub fn open(&self, runtime: &RuntimeArgs) -> anyhow::Result<Option<Embedder>> {
        let mut settings = runtime.settings();
        if let Some(model) = &self.model {
            settings.embedder = Some(model.clone());
            return served::open_from_catalogue(&settings).map(Some);
        }
        let Some(path) = &self.checkpoint else { return Ok(None) };
        served::open(Checkpoint::read(path)?.write("checkpoint")?, &settings).map(Some)
    }

    /// The embedder of a run of `fit`, by the run's name.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn open_run(&self, run: &str, runtime: &RuntimeArgs) -> anyhow::Result<Embedder> {
        let folder = self.runs.as_deref().unwrap_or(Path::new("")).join(run);
        let checkpoint = Checkpoint::read(&folder).with_context(|| {
            format!(
                "the measurement needs the run {run}; `kith-export fit --fold all` and `--leave-out each` make them"
            )
        })?;
        served::open(checkpoint.write(run)?, &runtime.settings())
    }
}
