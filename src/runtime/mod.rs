//! The ONNX Runtime: finding its library, choosing an execution provider, proving it, making sessions.
//!
//! - `settings`: how the networks are to be run
//! - `telemetry`: the library's own, which is switched off before there is a second thread
//! - `library`: loads it, once per process
//! - `open`: tries the providers in turn and opens all networks on one
//! - `plan`: where each network runs on a provider; TensorRT only when its engines are built
//! - `session`: one session, with what each provider wants to be told
//! - `network`: open networks, as the detector and the embedder use them
//! - `proof`: which provider really ran each network
//! - `in_use`: what came of it, for people and programs to read
//! - `tensorrt`: which TensorRT there is
//! - `engine_cache`, `warm`: TensorRT's engines on disk, and how they get there
//! - `error`: why the networks can't run

mod engine_cache;
mod error;
mod in_use;
mod library;
mod network;
mod open;
mod plan;
mod proof;
mod session;
mod settings;
pub mod telemetry;
mod tensorrt;
mod warm;

pub use engine_cache::{EngineCache, EngineKey, Machine};
pub use error::RuntimeError;
pub use in_use::{Lost, ProviderInUse};
pub use library::Runtime;
pub use network::{Lane, Network};
pub use open::{NetworkFile, Takes};
pub use proof::{NetworkProof, Proven};
pub use settings::{Precision, Provider, RuntimeSettings, WhenCardIsLost};
pub use warm::Warmed;
