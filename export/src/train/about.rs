//! What a checkpoint says about itself: which network, what it takes, and how it was made.

use std::path::Path;

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use kith::align::Alignment;
use kith::model::{Channels, Input};
use serde::{Deserialize, Serialize};

use super::checkpoint::{self, BEST};
use super::course::State;
use super::net::Net;
use super::samples::Preprocessing;
use crate::faces::AlignedFolder;
use crate::nets::Network;

/// A trained embedder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// As on the command line, such as `nn4-small2`.
    pub network: String,
    /// What it takes.
    pub preprocessing: Preprocessing,
    /// `distil` or `fit`.
    pub made_by: String,
    /// What it learned from.
    pub data: Data,
    /// sha256 of the weight file that it began with; `None`: at random.
    pub started_from: Option<String>,
    /// The command's own settings.
    pub settings: serde_json::Value,
}

/// Faces that were learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// The name of the folder of photos.
    pub from: String,
    /// sha256 of its `faces.json`.
    pub sha256: String,
    /// Photos learned from.
    pub photos: usize,
    /// People on them; 0: without names.
    pub people: usize,
}

impl Data {
    /// Describes `photos` photos of `people` people of a folder.
    ///
    /// # Errors
    /// When its `faces.json` can't be read.
    pub fn of(folder: &AlignedFolder, photos: usize, people: usize) -> anyhow::Result<Self> {
        let list = folder.root.join("faces.json");
        let bytes = std::fs::read(&list).with_context(|| format!("can't read {}", list.display()))?;
        Ok(Self {
            from: folder.from.clone(),
            sha256: crate::make::sha256(&bytes),
            photos,
            people,
        })
    }
}

/// What each embedder takes when nobody says otherwise.
///
/// # Errors
/// When the network is no embedder.
pub fn usual_preprocessing(network: Network) -> anyhow::Result<Preprocessing> {
    let (alignment, mean, scale) = match network {
        Network::MobileFaceNet => (Alignment::FivePoint112, 127.5, 0.007_812_5),
        Network::Nn4Small2 => (Alignment::FivePoint96, 0.0, 1.0 / 255.0),
        Network::MtcnnPnet | Network::MtcnnRnet | Network::MtcnnOnet => {
            anyhow::bail!("{} finds faces; what can be trained here are embedders", name_of(network))
        }
    };
    Ok(Preprocessing {
        alignment,
        input: input_of(alignment, mean, scale),
    })
}

/// The input of an embedder with faces cut out by `alignment`.
pub fn input_of(alignment: Alignment, mean: f32, scale: f32) -> Input {
    Input {
        channels: Channels::Rgb,
        width_px: Some(alignment.side_px()),
        height_px: Some(alignment.side_px()),
        mean,
        scale,
    }
}

/// As on the command line.
pub fn name_of(network: Network) -> String {
    network
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

/// The best weights of a run's folder, in a network, with what they say about themselves.
///
/// # Errors
/// When the folder holds no run, or one of a network that is not known.
pub fn open_best(folder: &Path, device: tch::Device) -> anyhow::Result<(Net, State<About>)> {
    let path = folder.join(BEST);
    let (weights, state) = checkpoint::read_weights::<State<About>>(&path)?;
    let network = Network::from_str(&state.about.network, false)
        .map_err(|_| anyhow!("{} is of {:?}, a network not known here", path.display(), state.about.network))?;
    let net = Net::new(network.graph(), &weights, device).with_context(|| format!("can't use {}", path.display()))?;
    Ok((net, state))
}
