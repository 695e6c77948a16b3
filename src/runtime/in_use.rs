//! What came of opening the networks, for people and programs to read.

use std::fmt;

use serde::Serialize;

use super::error::{first_line, in_words};
use super::{NetworkProof, Provider};
use crate::card::Card;

/// The provider that runs the networks, and why not a better one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderInUse {
    /// Never `Auto`.
    pub provider: Provider,
    /// The better ones that were tried first or lost, with the reason.
    pub passed_over: Vec<(Provider, String)>,
    /// What ran each network, and how that was found out.
    pub networks: Vec<NetworkProof>,
    /// The graphics card, where one was looked for and found.
    pub card: Option<Card>,
    /// What ran the networks until its card was lost; the CPU runs them since.
    pub lost: Option<Provider>,
}

impl ProviderInUse {
    /// What ran each network and how that is known, in a line.
    pub fn proofs(&self) -> String {
        let each: Vec<String> = self.networks.iter().map(ToString::to_string).collect();
        each.join(", ")
    }

    /// What is in use now, after `before` failed again and again, at last with `error`.
    pub fn after_the_loss_of(self, before: &Self, error: &str) -> Self {
        let mut passed_over = before.passed_over.clone();
        passed_over.push((before.provider, format!("lost while it worked: {}", first_line(error))));
        Self {
            passed_over,
            card: before.card.clone(),
            lost: Some(before.provider),
            ..self
        }
    }

    /// What is known of `network`.
    pub fn of(&self, network: &str) -> Option<&NetworkProof> {
        self.networks.iter().find(|proof| proof.network == network)
    }
}

impl fmt::Display for ProviderInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.provider)?;
        if !self.passed_over.is_empty() {
            write!(f, " ({})", in_words(&self.passed_over))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Proven;
    use super::*;

    #[test]
    fn what_runs_the_networks_is_said_in_a_line() {
        let proof = |network, proven| NetworkProof {
            network,
            provider: Provider::Cuda,
            proven,
        };
        let mut in_use = ProviderInUse {
            provider: Provider::Cuda,
            passed_over: vec![(Provider::Tensorrt, "not there".to_owned())],
            networks: vec![
                proof("pnet", Proven::EveryNode { nodes: 14 }),
                proof("rnet", Proven::NoFallback),
            ],
            card: None,
            lost: None,
        };
        assert_eq!(in_use.to_string(), "cuda (tensorrt: not there)");
        assert_eq!(
            in_use.proofs(),
            "pnet on cuda (all 14 nodes of a run), rnet on cuda (the session allows nothing else)"
        );
        let cpu = ProviderInUse {
            provider: Provider::Cpu,
            passed_over: Vec::new(),
            ..in_use.clone()
        };
        in_use = cpu.after_the_loss_of(&in_use, "CUDA failure 999");
        assert_eq!(in_use.lost, Some(Provider::Cuda));
        assert_eq!(
            in_use.to_string(),
            "cpu (tensorrt: not there; cuda: lost while it worked: CUDA failure 999)"
        );
    }
}
