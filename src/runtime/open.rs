//! Tries the providers in turn and opens all networks on one.

use std::path::Path;

use ort::session::Session;

use super::error::first_line;
use super::network::{Lane, Network, PICTURES, batch};
use super::plan::plan;
use super::session::Place;
use super::{NetworkProof, Provider, ProviderInUse, Runtime, RuntimeError, RuntimeSettings, proof};
use crate::card::Card;

/// Pixels of crops in one run of a network on the CPU: 16 crops for R-Net, 4 for O-Net, one for an embedder.
const CPU_BATCH_PX: usize = 16 * 24 * 24;
/// The same on a card, which wants many at once.
const CARD_BATCH_PX: usize = 32 * 112 * 112;

/// A network that is to be opened.
#[derive(Debug, Clone, Copy)]
pub struct NetworkFile<'a> {
    /// `pnet`, `rnet`, `onet` or `embedder`.
    pub name: &'static str,
    /// The file, as the catalogue has it.
    pub onnx: &'a [u8],
    /// Of the file.
    pub sha256: &'a str,
    /// The pictures that it is given.
    pub takes: Takes,
    /// Whether the catalogue says that it is as accurate with 16 bits.
    pub half_precision: bool,
}

/// The pictures that a network is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// One at a time, each of its own size.
    AnySize,
    /// Square crops, many at once.
    Crops {
        /// Width and height.
        side_px: usize,
    },
}

/// So many crops go through a card at once, at most.
pub(super) fn batch_on_a_card(side_px: usize) -> usize {
    batch(CARD_BATCH_PX, side_px)
}

impl Runtime {
    /// Opens `networks` on the best provider that `settings` allow. Every network runs on the same one, and wholly, but
    /// that CUDA runs P-Net beside TensorRT; see [`NetworkProof`] for how it is known what really runs them.
    ///
    /// # Errors
    /// [`RuntimeError::Provider`], [`RuntimeError::NoCard`] where the CPU would not do; [`RuntimeError::Network`].
    pub fn open<const N: usize>(
        &self,
        settings: &RuntimeSettings,
        networks: [NetworkFile<'_>; N],
    ) -> Result<([Network; N], ProviderInUse), RuntimeError> {
        let candidates = settings.on_a_card();
        let card = if candidates.is_empty() { None } else { Card::find() };
        let mut in_use = ProviderInUse {
            provider: Provider::Cpu,
            passed_over: Vec::new(),
            networks: Vec::new(),
            card,
            lost: None,
        };
        for &provider in candidates {
            let opened = plan(self, provider, settings, in_use.card.as_ref(), &networks).and_then(|places| {
                self.open_in(&places, networks)
                    .map_err(|(_, error)| first_line(&error.to_string()))
            });
            match opened {
                Ok((opened, proofs)) => {
                    in_use.provider = provider;
                    in_use.networks = proofs;
                    return Ok((opened, in_use));
                }
                Err(reason) => in_use.passed_over.push((provider, reason)),
            }
        }
        if !settings.cpu_will_do() {
            return Err(RuntimeError::without_card(in_use.passed_over));
        }
        let (opened, proofs) = self
            .open_in(&vec![Place::Cpu; N], networks)
            .map_err(|(network, source)| RuntimeError::refused(network, source))?;
        in_use.networks = proofs;
        Ok((opened, in_use.noticing_a_loss(settings.provider)))
    }

    /// Opens one network on the CPU, for one thread at a time. `input` is its only input.
    ///
    /// # Errors
    /// [`RuntimeError::ExternalData`], [`RuntimeError::Network`].
    pub fn open_small(&self, network: &'static str, onnx: &[u8], input: &'static str) -> Result<Lane, RuntimeError> {
        let session = self
            .session(&Place::Cpu, onnx, None)
            .map_err(|source| RuntimeError::refused(network, source))?;
        Ok(Lane::new(session, input))
    }

    /// Opens each network in its place.
    #[expect(
        clippy::type_complexity,
        reason = "the networks, what is known of them, and which one failed"
    )]
    fn open_in<const N: usize>(
        &self,
        places: &[Place],
        networks: [NetworkFile<'_>; N],
    ) -> Result<([Network; N], Vec<NetworkProof>), (&'static str, ort::Error)> {
        let mut opened = Vec::with_capacity(N);
        let mut proofs = Vec::with_capacity(N);
        for (file, place) in networks.iter().zip(places) {
            let (network, proof) = self.open_one(place, file).map_err(|error| (file.name, error))?;
            opened.push(network);
            proofs.push(proof);
        }
        // One was pushed for each of the N networks.
        let opened = opened
            .try_into()
            .map_err(|_| ("networks", ort::Error::new("a network went missing while opening")))?;
        Ok((opened, proofs))
    }

    /// Opens a network with one lane, that takes notes at `prefix` and is proven by them, or by less where there can't be
    /// any.
    fn open_first(
        &self,
        place: &Place,
        file: &NetworkFile<'_>,
        prefix: Option<&Path>,
    ) -> ort::Result<(Session, NetworkProof)> {
        let provider = place.provider();
        if let Some(Ok(mut session)) = prefix.map(|prefix| self.session(place, file.onnx, Some(prefix))) {
            let proof = proof::by_a_run(file.name, provider, &mut session)?;
            return Ok((session, proof));
        }
        let session = self.session(place, file.onnx, None)?;
        Ok((session, proof::by_construction(file.name, provider)))
    }

    /// Opens a network, and finds out with its first lane what really runs it. The other lanes are made as that one is.
    fn open_one(&self, place: &Place, file: &NetworkFile<'_>) -> ort::Result<(Network, NetworkProof)> {
        let provider = place.provider();
        // A card runs one thing at a time anyway.
        let (lanes, batch_px) = if provider == Provider::Cpu {
            (self.threads, CPU_BATCH_PX)
        } else {
            (1, CARD_BATCH_PX)
        };
        let notebook = proof::notebook();
        let prefix = notebook.as_ref().map(|folder| folder.path().join(file.name));
        let (first, proof) = self.open_first(place, file, prefix.as_deref())?;
        let mut all = vec![Lane::new(first, PICTURES)];
        for _ in 1..lanes {
            all.push(Lane::new(self.session(place, file.onnx, None)?, PICTURES));
        }
        Ok((Network { lanes: all, batch_px }, proof))
    }
}
