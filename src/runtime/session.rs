//! One session, with what each provider wants to be told.

use std::path::{Path, PathBuf};

use ort::ep;
use ort::session::Session;

use super::network::PICTURES;
use super::{EngineKey, Provider, Runtime};

/// Where a session runs.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// On the CPU.
    Cpu,
    /// On a card, by CUDA.
    Cuda,
    /// On a card, by TensorRT, with the engine in `folder`; one that is missing is built there.
    Tensorrt {
        /// What the engine is.
        key: Box<EngineKey>,
        /// The engine's folder.
        folder: PathBuf,
    },
}

impl Place {
    pub(super) const fn provider(&self) -> Provider {
        match self {
            Self::Cpu => Provider::Cpu,
            Self::Cuda => Provider::Cuda,
            Self::Tensorrt { .. } => Provider::Tensorrt,
        }
    }
}

impl Runtime {
    /// Makes a session in `place` and, but for the CPU, nowhere else: where the runtime would leave a node to another
    /// provider, this is an error. With `profile` the runtime writes down what ran each node, to files whose names begin
    /// with that path, until [`Session::end_profiling`].
    pub(super) fn session(&self, place: &Place, onnx: &[u8], profile: Option<&Path>) -> ort::Result<Session> {
        let mut builder = Session::builder(&self.environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?;
        if let Some(prefix) = profile {
            builder = builder.with_profiling(prefix)?;
        }
        let on_a_card = match place {
            Place::Cpu => None,
            Place::Cuda => Some(ep::CUDA::default().build()),
            Place::Tensorrt { key, folder } => Some(tensorrt(key, folder).build()),
        };
        let mut builder = match on_a_card {
            Some(provider) => builder
                .with_execution_providers([provider.error_on_failure()])?
                .with_disable_cpu_fallback()?,
            None => builder,
        };
        builder.commit_from_memory(onnx)
    }
}

/// One engine for every number of crops up to the largest, tuned for that.
fn tensorrt(key: &EngineKey, folder: &Path) -> ep::TensorRT {
    let crops = |count: usize| format!("{PICTURES}:{count}x3x{side}x{side}", side = key.side_px);
    ep::TensorRT::default()
        .with_fp16(key.half_precision)
        .with_engine_cache(true)
        .with_engine_cache_path(folder.display())
        .with_profile_min_shapes(crops(1))
        .with_profile_opt_shapes(crops(key.largest_batch))
        .with_profile_max_shapes(crops(key.largest_batch))
}
