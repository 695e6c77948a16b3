//! The options of every command that runs networks in ONNX Runtime.

use std::path::PathBuf;

use kith::runtime::{Provider, RuntimeSettings};

/// Where ONNX Runtime and the networks are.
#[derive(Debug, Clone, clap::Args)]
pub struct RuntimeArgs {
    /// Folder of models.toml and the .onnx files
    #[arg(long, env = "KITH_MODELS", value_name = "DIR", help_heading = "ONNX Runtime")]
    pub models: Option<PathBuf>,
    /// The ONNX Runtime library to load
    #[arg(
        long,
        env = "KITH_RUNTIME_LIBRARY",
        value_name = "FILE",
        help_heading = "ONNX Runtime"
    )]
    pub runtime_library: Option<PathBuf>,
    /// What runs the networks [default: auto]
    #[arg(long, value_enum, value_name = "PROVIDER", help_heading = "ONNX Runtime")]
    pub provider: Option<Provider>,
}

impl RuntimeArgs {
    /// As the kith library takes them; a thread for each core.
    pub fn settings(&self) -> RuntimeSettings {
        RuntimeSettings {
            provider: self.provider.unwrap_or_default(),
            threads: None,
            library: self.runtime_library.clone(),
            models: self.models.clone(),
            ..RuntimeSettings::default()
        }
    }
}
