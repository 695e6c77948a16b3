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
    /// Since when the CPU runs the networks although a card should; `None` where that is not so.
    pub lost: Option<Lost>,
}

/// Since when the CPU does a card's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// Since the start: a card was found or asked for by name, and did not run the networks.
    AtTheStart,
    /// Since the card on which that provider ran them failed.
    AtWork(Provider),
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
            lost: Some(Lost::AtWork(before.provider)),
            ..self
        }
    }

    /// Of a start on the CPU: whether it is a loss. `wish` is what was asked for.
    pub(super) fn noticing_a_loss(mut self, wish: Provider) -> Self {
        let by_name = matches!(wish, Provider::Tensorrt | Provider::Cuda);
        if self.provider == Provider::Cpu && (by_name || self.card.is_some()) {
            self.lost = Some(Lost::AtTheStart);
        }
        self
    }

    /// Why the CPU does a card's work, in a line; `None` where it does not.
    pub fn why_lost(&self) -> Option<String> {
        let why = match self.lost? {
            Lost::AtTheStart => self.passed_over.as_slice(),
            Lost::AtWork(_) => self.passed_over.last().map(std::slice::from_ref).unwrap_or_default(),
        };
        Some(in_words(why))
    }

    /// What runs the networks, and since when it is not what should, in a few words.
    pub fn in_short(&self) -> String {
        match self.lost {
            None => self.provider.to_string(),
            Some(Lost::AtTheStart) => format!("{} without its card", self.provider),
            Some(Lost::AtWork(lost)) => format!("{} since {lost} lost its card", self.provider),
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
        assert_eq!(in_use.lost, Some(Lost::AtWork(Provider::Cuda)));
        assert_eq!(in_use.in_short(), "cpu since cuda lost its card");
        assert_eq!(
            in_use.why_lost().as_deref(),
            Some("cuda: lost while it worked: CUDA failure 999")
        );
        assert_eq!(
            in_use.to_string(),
            "cpu (tensorrt: not there; cuda: lost while it worked: CUDA failure 999)"
        );
    }
    #[test]
    fn a_card_that_is_dead_after_a_reboot_is_lost_too() {
        let started = |provider, card: bool, wish| {
            let in_use = ProviderInUse {
                provider,
                passed_over: vec![(Provider::Cuda, "CUDA failure 100".to_owned())],
                networks: Vec::new(),
                card: card.then(Card::made_up),
                lost: None,
            };
            in_use.noticing_a_loss(wish)
        };
        // A card was found, or asked for by name, and the CPU works.
        for (card, wish) in [
            (true, Provider::Auto),
            (false, Provider::Cuda),
            (true, Provider::Tensorrt),
        ] {
            let in_use = started(Provider::Cpu, card, wish);
            assert_eq!(in_use.lost, Some(Lost::AtTheStart), "{card} {wish}");
            assert_eq!(in_use.in_short(), "cpu without its card");
            assert_eq!(in_use.why_lost().as_deref(), Some("cuda: CUDA failure 100"));
        }
        // No card anywhere, or one that works.
        for (provider, card, wish) in [
            (Provider::Cpu, false, Provider::Auto),
            (Provider::Cpu, false, Provider::Cpu),
            (Provider::Cuda, true, Provider::Auto),
            (Provider::Cuda, false, Provider::Tensorrt),
        ] {
            assert_eq!(
                started(provider, card, wish).why_lost(),
                None,
                "{provider} {card} {wish}"
            );
        }
    }
}
