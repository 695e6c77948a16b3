//! Which provider really ran a network.
//!
//! That a provider was registered says nothing: the runtime falls back to the CPU in silence, node by node. So each
//! network runs once, on zeros, while the runtime writes down which provider computed each node; the session that is
//! looked at is the one that serves afterwards. Where that file can't be had or read (a full disk is no reason to stay
//! down), two weaker proofs are left: a session on a card was made with the fallback forbidden, and one on the CPU knows
//! no other provider.

use std::fmt;
use std::fs;

use ort::session::Session;
use ort::value::{Tensor, ValueType};
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;

use super::Provider;
use crate::paths;

/// Width and height of the picture where a network takes any: the smallest that O-Net's relatives take.
const ANY_SIDE: i64 = 48;

/// What ran one network, and how that was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkProof {
    /// `pnet`, `rnet`, `onet` or `embedder`.
    pub network: &'static str,
    /// Never `Auto`.
    pub provider: Provider,
    /// How it is known.
    #[serde(flatten)]
    pub proven: Proven,
}

/// How the provider of a network is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "proven", rename_all = "snake_case")]
pub enum Proven {
    /// The runtime wrote down who computed each node of a run.
    EveryNode {
        /// Nodes of that run, after the runtime put some together.
        nodes: usize,
    },
    /// The session was made with the fallback to the CPU forbidden.
    NoFallback,
    /// The session knows no other provider.
    OnlyProvider,
}

impl Proven {
    /// As in `info`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EveryNode { .. } => "every_node",
            Self::NoFallback => "no_fallback",
            Self::OnlyProvider => "only_provider",
        }
    }
}

impl fmt::Display for NetworkProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.network, self.provider)?;
        match self.proven {
            Proven::EveryNode { nodes } => write!(f, " (all {nodes} nodes of a run)"),
            Proven::NoFallback => f.write_str(" (the session allows nothing else)"),
            Proven::OnlyProvider => f.write_str(" (the session knows nothing else)"),
        }
    }
}

/// A folder for the runtime's notes, or `None` where nothing can be written.
pub(super) fn notebook() -> Option<TempDir> {
    tempfile::tempdir()
        .or_else(|_| tempfile::tempdir_in(paths::cache_dir(None)))
        .ok()
}

/// What is known without a run.
pub(super) fn by_construction(network: &'static str, provider: Provider) -> NetworkProof {
    NetworkProof {
        network,
        provider,
        proven: match provider {
            Provider::Tensorrt | Provider::Cuda => Proven::NoFallback,
            Provider::Auto | Provider::Cpu => Proven::OnlyProvider,
        },
    }
}

/// Runs `session` once and reads who computed it. The session was made to take notes, and takes none afterwards. Notes
/// that are missing, unreadable or empty leave what is known without them.
///
/// # Errors
/// When the run fails, or a node was computed by another provider than `provider`.
pub(super) fn by_a_run(network: &'static str, provider: Provider, session: &mut Session) -> ort::Result<NetworkProof> {
    run_on_zeros(session)?;
    let notes = session
        .end_profiling()
        .map_err(|error| error.to_string())
        .and_then(|file| fs::read_to_string(&file).map_err(|error| format!("{file}: {error}")))
        .unwrap_or_else(|reason| {
            tracing::debug!(network, %reason, "the runtime left no notes on who computed what");
            String::new()
        });
    from_notes(network, provider, &notes).map_err(ort::Error::new)
}

/// What the notes of a run prove.
fn from_notes(network: &'static str, provider: Provider, notes: &str) -> Result<NetworkProof, String> {
    match nodes_all_on(provider, notes).map_err(|reason| format!("{network}: {reason}"))? {
        0 => Ok(by_construction(network, provider)),
        nodes => Ok(NetworkProof {
            network,
            provider,
            proven: Proven::EveryNode { nodes },
        }),
    }
}

/// Runs `session` once.
///
/// # Errors
/// What the runtime says.
pub(super) fn run_on_zeros(session: &mut Session) -> ort::Result<()> {
    let input = session
        .inputs()
        .first()
        .ok_or_else(|| ort::Error::new("the network has no input"))?;
    let ValueType::Tensor { shape, .. } = input.dtype() else {
        return Err(ort::Error::new("the network's input is no tensor"));
    };
    let shape: Vec<i64> = shape
        .iter()
        .enumerate()
        .map(|(axis, length)| match (axis, *length) {
            (0, ..0) => 1,
            (_, ..0) => ANY_SIDE,
            (_, length) => length,
        })
        .collect();
    let name = input.name().to_owned();
    let values = shape
        .iter()
        .map(|length| usize::try_from(*length).unwrap_or(1))
        .product();
    let zeros = Tensor::from_array((shape, vec![0.0_f32; values]))?;
    session.run(ort::inputs![name => zeros])?;
    Ok(())
}

/// How many nodes the notes tell of, if `provider` computed all of them; 0 where they can't be read.
fn nodes_all_on(provider: Provider, notes: &str) -> Result<usize, String> {
    let events: Vec<Value> = serde_json::from_str(notes).unwrap_or_default();
    let mut nodes = 0;
    for event in &events {
        let Some(computed_by) = event["args"]["provider"].as_str() else {
            continue;
        };
        // Copies between card and memory have a node of their own, on the card.
        if computed_by != name_in_notes(provider) {
            let node = event["name"].as_str().unwrap_or("a node");
            return Err(format!("{node} was computed by {computed_by}, not by {provider}"));
        }
        nodes += 1;
    }
    Ok(nodes)
}

/// As the runtime calls it.
const fn name_in_notes(provider: Provider) -> &'static str {
    match provider {
        Provider::Tensorrt => "TensorrtExecutionProvider",
        Provider::Cuda => "CUDAExecutionProvider",
        Provider::Auto | Provider::Cpu => "CPUExecutionProvider",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(providers: &[&str]) -> String {
        let node = |provider: &&str| {
            format!(r#"{{"cat":"Node","name":"conv_kernel_time","args":{{"op_name":"Conv","provider":"{provider}"}}}}"#)
        };
        let mut all = vec![r#"{"cat":"Session","name":"model_run","args":{}}"#.to_owned()];
        all.extend(providers.iter().map(node));
        format!("[{}]", all.join(","))
    }

    #[test]
    fn a_single_node_elsewhere_is_no_proof() {
        let (cuda, cpu) = ("CUDAExecutionProvider", "CPUExecutionProvider");
        assert_eq!(nodes_all_on(Provider::Cuda, &notes(&[cuda, cuda])), Ok(2));
        assert_eq!(nodes_all_on(Provider::Cpu, &notes(&[cpu])), Ok(1));
        let mixed = nodes_all_on(Provider::Cuda, &notes(&[cuda, cpu, cuda])).unwrap_err();
        assert!(
            mixed.contains("conv_kernel_time was computed by CPUExecutionProvider"),
            "{mixed}"
        );
        assert!(nodes_all_on(Provider::Tensorrt, &notes(&[cuda])).is_err());
    }

    #[test]
    fn notes_that_a_full_disk_cut_off_leave_what_is_known_without_them() {
        let (cuda, cpu) = ("CUDAExecutionProvider", "CPUExecutionProvider");
        let whole = notes(&[cuda, cuda]);
        let proven = |provider, notes: &str| from_notes("pnet", provider, notes).map(|proof| proof.proven);
        assert_eq!(proven(Provider::Cuda, &whole), Ok(Proven::EveryNode { nodes: 2 }));
        for cut in ["", "[", &whole[..whole.len() / 2], &notes(&[])] {
            assert_eq!(proven(Provider::Cuda, cut), Ok(Proven::NoFallback), "{cut}");
            assert_eq!(proven(Provider::Cpu, cut), Ok(Proven::OnlyProvider), "{cut}");
        }
        assert!(
            proven(Provider::Cuda, &notes(&[cpu]))
                .unwrap_err()
                .starts_with("pnet: ")
        );
    }
}
