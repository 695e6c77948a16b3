//! How the networks are to be run.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An execution provider, or the wish for the best one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
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

impl Provider {
    /// As in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Tensorrt => "tensorrt",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happens when the card that the networks should run on is not there, or fails while they run on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenCardIsLost {
    /// The CPU takes over, which is announced.
    Cpu,
    /// An error; a daemon that runs says `offline` and ends.
    Stop,
}

impl WhenCardIsLost {
    /// The words of the configuration.
    pub const NAMES: &'static [&'static str] = &["cpu", "stop"];
}

/// How exactly a card computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// With 16 bits where TensorRT runs a network of which the catalogue says that it is as accurate so.
    #[default]
    Auto,
    /// With 32 bits, always.
    Full,
}

impl Precision {
    /// The words of the configuration.
    pub const NAMES: &'static [&'static str] = &["auto", "full"];
}

/// How to run the networks; the `[runtime]` table of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// Which execution provider.
    pub provider: Provider,
    /// What happens without the card; `None`: what [`Self::when_card_is_lost`] says.
    pub when_card_is_lost: Option<WhenCardIsLost>,
    /// How exactly a card computes.
    pub precision: Precision,
    /// The folder of TensorRT's engines, if not in the one that [`crate::paths`] finds.
    pub cache: Option<PathBuf>,
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

impl RuntimeSettings {
    /// Who asks for a card by name wants the card, and who asks for the best wants to go on.
    pub fn when_card_is_lost(&self) -> WhenCardIsLost {
        self.when_card_is_lost.unwrap_or(match self.provider {
            Provider::Auto => WhenCardIsLost::Cpu,
            Provider::Tensorrt | Provider::Cuda | Provider::Cpu => WhenCardIsLost::Stop,
        })
    }

    /// The providers on a card that are tried, the best first. Who would even go on without a card goes on without
    /// TensorRT's engines.
    pub(super) fn on_a_card(&self) -> &'static [Provider] {
        match self.provider {
            Provider::Auto => &[Provider::Tensorrt, Provider::Cuda],
            Provider::Tensorrt if self.when_card_is_lost() == WhenCardIsLost::Cpu => {
                &[Provider::Tensorrt, Provider::Cuda]
            }
            Provider::Tensorrt => &[Provider::Tensorrt],
            Provider::Cuda => &[Provider::Cuda],
            Provider::Cpu => &[],
        }
    }

    /// Whether the CPU is good enough when none of these can be had.
    pub(super) fn cpu_will_do(&self) -> bool {
        self.provider == Provider::Cpu || self.when_card_is_lost() == WhenCardIsLost::Cpu
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_was_asked_for_by_name_is_not_replaced_unless_it_is_said_so() {
        let of = |provider, when_card_is_lost| RuntimeSettings {
            provider,
            when_card_is_lost,
            ..RuntimeSettings::default()
        };
        for (provider, unsaid) in [
            (Provider::Auto, true),
            (Provider::Cuda, false),
            (Provider::Tensorrt, false),
            (Provider::Cpu, true),
        ] {
            assert_eq!(of(provider, None).cpu_will_do(), unsaid, "{provider}");
            assert!(of(provider, Some(WhenCardIsLost::Cpu)).cpu_will_do(), "{provider}");
            let stops = !of(provider, Some(WhenCardIsLost::Stop)).cpu_will_do();
            assert_eq!(stops, provider != Provider::Cpu, "{provider}");
        }
    }
}
