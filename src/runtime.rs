//! The ONNX Runtime: finding its library, choosing an execution provider, proving it, making sessions.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::ep;
use ort::session::{Session, SessionOutputs};
use ort::value::TensorRef;
use serde::{Deserialize, Serialize};

use crate::paths;

/// An execution provider, or the wish for the best one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// TensorRT, then CUDA, then the CPU; a fallback is announced.
    #[default]
    Auto,
    /// TensorRT or an error.
    Tensorrt,
    /// CUDA or an error.
    Cuda,
    /// The CPU.
    Cpu,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Tensorrt => "tensorrt",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        })
    }
}

/// How to run the networks; the `[runtime]` table of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// Which execution provider.
    pub provider: Provider,
    /// Threads that the networks run in on the CPU; `None`: as many as there are cores, four at most.
    pub threads: Option<usize>,
    /// The runtime library, if not the one that [`crate::paths`] finds.
    pub library: Option<PathBuf>,
    /// The folder with `models.toml`, if not the one that [`crate::paths`] finds.
    pub models: Option<PathBuf>,
    /// The folder of the user's own models, if not the one that [`crate::paths`] finds.
    pub models_d: Option<PathBuf>,
    /// The catalogue's name of the embedder, if not [`crate::networks::EMBEDDER`].
    pub embedder: Option<String>,
}

/// Why the networks can't run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The library is missing, of another machine, or too old.
    #[error(
        "can't load the ONNX Runtime library {path}: {reason}; name it with --runtime-library, runtime.library or \
         KITH_RUNTIME_LIBRARY (in a checkout, `cargo xtask models` brings it)"
    )]
    Library {
        /// What was tried.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The library is there, but does not start.
    #[error("ONNX Runtime does not start: {0}")]
    Environment(ort::Error),
    /// The provider that was asked for by name can't be had.
    #[error(
        "the execution provider {provider} can't be had: {reason}; set runtime.provider to \"auto\" or \"cpu\" to go \
         on without it"
    )]
    Provider {
        /// Which one.
        provider: Provider,
        /// What the runtime said.
        reason: String,
    },
    /// A network's weights are in another file, whose sha256 nobody would check.
    #[error("the network {network} keeps data outside of its file, which is refused; save it as one file")]
    ExternalData {
        /// Which one.
        network: &'static str,
    },
    /// The runtime refuses a network.
    #[error("ONNX Runtime refuses the network {network}: {source}")]
    Network {
        /// Which one.
        network: &'static str,
        /// What the runtime said.
        source: ort::Error,
    },
}

/// One per process: ONNX Runtime allows one environment, and its library can't be exchanged once it is loaded.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Threads where nobody says how many: more lanes than this cost more memory than they save time.
const MOST_THREADS_UNASKED: usize = 4;

/// Pixels of crops in one run of a network on the CPU: 16 crops for R-Net, 4 for O-Net, one for an embedder.
const CPU_BATCH_PX: usize = 16 * 24 * 24;
/// The same on a card, which wants many at once.
const CARD_BATCH_PX: usize = 32 * 112 * 112;

/// The loaded runtime library.
pub struct Runtime {
    environment: Environment,
    threads: usize,
}

impl Runtime {
    /// Loads the library that `settings` or [`crate::paths`] names. A second call of the process gets the library of
    /// the first.
    ///
    /// # Errors
    /// [`RuntimeError::Library`], [`RuntimeError::Environment`].
    pub fn load(settings: &RuntimeSettings) -> Result<Self, RuntimeError> {
        let cores = || {
            std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(MOST_THREADS_UNASKED)
        };
        let threads = settings.threads.unwrap_or_else(cores).max(1);
        let mut held = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(environment) = held.as_ref() {
            return Ok(Self {
                environment: environment.clone(),
                threads,
            });
        }
        let path = paths::runtime_library(settings.library.as_deref());
        let environment = ort::init_from(&path)
            .map_err(|error| RuntimeError::Library {
                path: path.clone(),
                reason: why_not_loaded(&path, &error),
            })?
            .with_name("kith")
            .with_telemetry(false)
            .build()
            .map_err(RuntimeError::Environment)?;
        // The lanes run in rayon's threads. A program that set up rayon before keeps its threads.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        *held = Some(environment.clone());
        Ok(Self { environment, threads })
    }

    /// The runtime's own words about its version and build.
    pub fn version(&self) -> &'static str {
        ort::info()
    }

    /// Opens `networks` (name, ONNX bytes) on the best provider that `wish` allows. Every network runs on the same
    /// one, and wholly: a session that would leave a node to another provider is not accepted, which is the proof
    /// that the provider is really in use.
    ///
    /// # Errors
    /// [`RuntimeError::Provider`] when a provider was asked for by name and can't be had, [`RuntimeError::Network`].
    pub fn open<const N: usize>(
        &self,
        wish: Provider,
        networks: [(&'static str, &[u8]); N],
    ) -> Result<([Network; N], ProviderInUse), RuntimeError> {
        let candidates: &[Provider] = match wish {
            Provider::Auto => &[Provider::Tensorrt, Provider::Cuda],
            Provider::Tensorrt => &[Provider::Tensorrt],
            Provider::Cuda => &[Provider::Cuda],
            Provider::Cpu => &[],
        };
        let mut passed_over = Vec::new();
        for &provider in candidates {
            match self.open_on(provider, networks) {
                Ok(opened) => return Ok((opened, ProviderInUse { provider, passed_over })),
                Err((_, error)) => passed_over.push((provider, first_line(&error.to_string()))),
            }
        }
        if matches!(wish, Provider::Tensorrt | Provider::Cuda)
            && let Some((provider, reason)) = passed_over.pop()
        {
            return Err(RuntimeError::Provider { provider, reason });
        }
        let opened = self
            .open_on(Provider::Cpu, networks)
            .map_err(|(network, source)| refused(network, source))?;
        Ok((
            opened,
            ProviderInUse {
                provider: Provider::Cpu,
                passed_over,
            },
        ))
    }

    /// Opens one network on the CPU, for one thread at a time. `input` is its only input.
    ///
    /// # Errors
    /// [`RuntimeError::ExternalData`], [`RuntimeError::Network`].
    pub fn open_small(&self, network: &'static str, onnx: &[u8], input: &'static str) -> Result<Lane, RuntimeError> {
        let session = self
            .session(Provider::Cpu, onnx)
            .map_err(|source| refused(network, source))?;
        Ok(Lane {
            session,
            input,
            spent: Duration::ZERO,
        })
    }

    fn open_on<const N: usize>(
        &self,
        provider: Provider,
        networks: [(&'static str, &[u8]); N],
    ) -> Result<[Network; N], (&'static str, ort::Error)> {
        // A card runs one thing at a time anyway.
        let (lanes, batch_px) = if provider == Provider::Cpu {
            (self.threads, CPU_BATCH_PX)
        } else {
            (1, CARD_BATCH_PX)
        };
        let mut opened = Vec::with_capacity(N);
        for (name, onnx) in networks {
            let lane = || {
                Ok(Lane {
                    session: self.session(provider, onnx)?,
                    input: PICTURES,
                    spent: Duration::ZERO,
                })
            };
            let lanes = (0..lanes)
                .map(|_| lane())
                .collect::<ort::Result<_>>()
                .map_err(|error| (name, error))?;
            opened.push(Network { lanes, batch_px });
        }
        // One was pushed for each of the N networks.
        opened
            .try_into()
            .map_err(|_| ("networks", ort::Error::new("a network went missing while opening")))
    }

    fn session(&self, provider: Provider, onnx: &[u8]) -> ort::Result<Session> {
        let builder = Session::builder(&self.environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?;
        let mut builder = match provider {
            Provider::Tensorrt => builder
                .with_execution_providers([ep::TensorRT::default().build().error_on_failure()])?
                .with_disable_cpu_fallback()?,
            Provider::Cuda => builder
                .with_execution_providers([ep::CUDA::default().build().error_on_failure()])?
                .with_disable_cpu_fallback()?,
            Provider::Auto | Provider::Cpu => builder,
        };
        builder.commit_from_memory(onnx)
    }
}

/// The provider that runs the networks, and why not a better one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderInUse {
    /// Never `Auto`.
    pub provider: Provider,
    /// The better ones that `auto` tried first, with the runtime's reason.
    pub passed_over: Vec<(Provider, String)>,
}

impl fmt::Display for ProviderInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.provider)?;
        for (index, (provider, reason)) in self.passed_over.iter().enumerate() {
            write!(f, "{}{provider}: {reason}", if index == 0 { " (" } else { "; " })?;
        }
        if self.passed_over.is_empty() {
            Ok(())
        } else {
            f.write_str(")")
        }
    }
}

/// The only input of every network that takes pictures.
const PICTURES: &str = "image";

/// One network, in as many lanes as there are threads.
///
/// A lane is a session that computes in the thread that calls it. Work is divided among lanes (scales of a picture,
/// crops of a batch) rather than inside operators: on two cores that is 1.3 to 2.4 times as fast
/// (`docs/reference/performance.md`), and no thread of the runtime spins beside ours.
pub struct Network {
    lanes: Vec<Lane>,
    batch_px: usize,
}

impl Network {
    /// As many crops of `side_px` times `side_px` are to go through a lane at once: on the CPU so few that their features
    /// stay in the second-level cache and take little memory (more are no faster), on a card many.
    pub fn batch(&self, side_px: usize) -> usize {
        (self.batch_px / (side_px * side_px)).max(1)
    }

    /// At least one; each is to be used by one thread at a time.
    pub fn lanes(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }

    /// The time spent inside the runtime since the last call, by the lane that spent most: the others ran beside it.
    pub fn take_spent(&mut self) -> Duration {
        self.lanes
            .iter_mut()
            .map(|lane| std::mem::take(&mut lane.spent))
            .max()
            .unwrap_or_default()
    }
}

/// A session of one thread, with a stopwatch.
pub struct Lane {
    session: Session,
    input: &'static str,
    spent: Duration,
}

impl Lane {
    /// Runs the network on `values` of `shape` (N, channels, height, width; N, values for a head) and hands its outputs
    /// to `read`.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn run<const AXES: usize, R>(
        &mut self,
        shape: [usize; AXES],
        values: &[f32],
        read: impl FnOnce(&SessionOutputs<'_>) -> R,
    ) -> ort::Result<R> {
        let input = TensorRef::from_array_view((shape, values))?;
        let begun = Instant::now();
        let outputs = self.session.run(ort::inputs![self.input => input])?;
        self.spent += begun.elapsed();
        Ok(read(&outputs))
    }
}

fn refused(network: &'static str, source: ort::Error) -> RuntimeError {
    // Networks are given as bytes, so that the runtime has no folder to look for other files in.
    let said = source.to_string().to_lowercase();
    let signs = ["external data", "external_data", "model_path must not be empty"];
    if signs.iter().any(|sign| said.contains(sign)) {
        RuntimeError::ExternalData { network }
    } else {
        RuntimeError::Network { network, source }
    }
}

/// The loader's error does not tell a missing file from one that is no library.
fn why_not_loaded(path: &Path, error: &dyn fmt::Display) -> String {
    // A bare name is looked up by the system's loader, in folders that we don't know.
    if path.parent() == Some(Path::new("")) {
        return format!("{error} (the system's loader looked for it)");
    }
    match fs::metadata(path) {
        Err(missing) => missing.to_string(),
        Ok(metadata) if metadata.is_dir() => "it is a folder, not a library".into(),
        Ok(_) => format!(
            "{}; is it ONNX Runtime 1.17 or newer for {}?",
            first_line(&error.to_string()),
            std::env::consts::ARCH
        ),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_string()
}
