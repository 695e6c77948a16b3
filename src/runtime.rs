//! The ONNX Runtime: finding its library, choosing an execution provider, proving it, making sessions.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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

/// How to run the networks; the `[runtime]` table of the configuration.
#[derive(Debug, Clone, Default)]
pub struct RuntimeSettings {
    /// Which execution provider.
    pub provider: Provider,
    /// Threads inside an operator; `None`: as many as there are cores.
    pub threads: Option<usize>,
    /// The runtime library, if not the one that [`crate::paths`] finds.
    pub library: Option<PathBuf>,
    /// The folder with `models.toml`, if not the one that [`crate::paths`] finds.
    pub models: Option<PathBuf>,
}
