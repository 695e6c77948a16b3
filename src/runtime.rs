//! The ONNX Runtime: finding its library, choosing an execution provider, proving it, making sessions.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ort::environment::{Environment, GlobalThreadPoolOptions};
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
#[derive(Debug, Clone, Default)]
pub struct RuntimeSettings {
    /// Which execution provider.
    pub provider: Provider,
    /// Threads inside an operator; `None`: as many as there are cores. The first [`Runtime`] of a process decides.
    pub threads: Option<usize>,
    /// The runtime library, if not the one that [`crate::paths`] finds.
    pub library: Option<PathBuf>,
    /// The folder with `models.toml`, if not the one that [`crate::paths`] finds.
    pub models: Option<PathBuf>,
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

/// The loaded runtime library.
pub struct Runtime {
    environment: Environment,
}

impl Runtime {
    /// Loads the library that `settings` or [`crate::paths`] names. A second call of the process gets the library and
    /// the threads of the first.
    ///
    /// # Errors
    /// [`RuntimeError::Library`], [`RuntimeError::Environment`].
    pub fn load(settings: &RuntimeSettings) -> Result<Self, RuntimeError> {
        let mut held = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(environment) = held.as_ref() {
            return Ok(Self {
                environment: environment.clone(),
            });
        }
        let path = paths::runtime_library(settings.library.as_deref());
        let builder = ort::init_from(&path).map_err(|error| RuntimeError::Library {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        // One pool for all sessions, so that four networks don't keep four sets of threads.
        let environment = GlobalThreadPoolOptions::default()
            .with_intra_threads(threads(settings))
            .and_then(|pool| pool.with_inter_threads(1))
            .and_then(|pool| {
                builder
                    .with_name("kith")
                    .with_telemetry(false)
                    .with_global_thread_pool(pool)
                    .build()
            })
            .map_err(RuntimeError::Environment)?;
        // Our own loops share the cores with the runtime's. A program that set up rayon before keeps its threads.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads(settings))
            .build_global();
        *held = Some(environment.clone());
        Ok(Self { environment })
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
            .map_err(|(network, source)| RuntimeError::Network { network, source })?;
        Ok((
            opened,
            ProviderInUse {
                provider: Provider::Cpu,
                passed_over,
            },
        ))
    }

    fn open_on<const N: usize>(
        &self,
        provider: Provider,
        networks: [(&'static str, &[u8]); N],
    ) -> Result<[Network; N], (&'static str, ort::Error)> {
        let mut opened = Vec::with_capacity(N);
        for (name, onnx) in networks {
            let session = self.session(provider, onnx).map_err(|error| (name, error))?;
            opened.push(Network {
                session,
                spent: Duration::ZERO,
                input: INPUT,
            });
        }
        // One was pushed for each of the N networks.
        opened
            .try_into()
            .map_err(|_| ("networks", ort::Error::new("a network went missing while opening")))
    }

    fn session(&self, provider: Provider, onnx: &[u8]) -> ort::Result<Session> {
        let builder = Session::builder(&self.environment)?;
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

/// The name of every network's only input.
const INPUT: &str = "image";

/// A session of one network, with a stopwatch.
pub struct Network {
    session: Session,
    spent: Duration,
    input: &'static str,
}

impl Network {
    /// Runs the network on `values` of `shape` (N, channels, height, width) and hands its outputs to `read`.
    ///
    /// # Errors
    /// What the runtime or `read` says.
    pub fn run<R>(
        &mut self,
        shape: [usize; 4],
        values: &[f32],
        read: impl FnOnce(&SessionOutputs<'_>) -> R,
    ) -> ort::Result<R> {
        let input = TensorRef::from_array_view((shape, values))?;
        let begun = Instant::now();
        let outputs = self.session.run(ort::inputs![self.input => input])?;
        self.spent += begun.elapsed();
        Ok(read(&outputs))
    }

    /// The time spent inside the runtime since the last call.
    pub fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }
}

fn threads(settings: &RuntimeSettings) -> usize {
    settings
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_string()
}
