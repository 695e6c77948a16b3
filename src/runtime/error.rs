//! Why the networks can't run.

use std::path::PathBuf;

use super::Provider;
use super::telemetry::VARIABLE;

/// Why the networks can't run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The library could send usage data.
    #[error(
        "ONNX Runtime is not loaded: {VARIABLE}=1 is not in the environment, and from version 1.32 on it sends usage data \
         without it; set it before the program starts"
    )]
    Telemetry,
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
    /// None of the providers on a card can be had, and the CPU is not to do.
    #[error(
        "no card runs the networks ({reasons}), and runtime.when_card_is_lost is \"stop\"; set it to \"cpu\" to go on \
         without a card"
    )]
    NoCard {
        /// What the runtime said of each.
        reasons: String,
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

impl RuntimeError {
    /// Of the providers that were tried and can't be had, each with its reason.
    pub(super) fn without_card(tried: Vec<(Provider, String)>) -> Self {
        match <[_; 1]>::try_from(tried) {
            Ok([(provider, reason)]) => Self::Provider { provider, reason },
            Err(tried) => Self::NoCard {
                reasons: in_words(&tried),
            },
        }
    }

    /// What the runtime says of a network that it does not open.
    pub(super) fn refused(network: &'static str, source: ort::Error) -> Self {
        // Networks are given as bytes, so that the runtime has no folder to look for other files in.
        let said = source.to_string().to_lowercase();
        let signs = ["external data", "external_data", "model_path must not be empty"];
        if signs.iter().any(|sign| said.contains(sign)) {
            Self::ExternalData { network }
        } else {
            Self::Network { network, source }
        }
    }
}

/// Providers, each with what is against it.
pub(super) fn in_words(tried: &[(Provider, String)]) -> String {
    let each: Vec<String> = tried
        .iter()
        .map(|(provider, reason)| format!("{provider}: {reason}"))
        .collect();
    each.join("; ")
}

pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_string()
}
