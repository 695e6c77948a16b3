//! A run's files: the best weights, and the state to go on from, both safetensors, both written whole or not at all.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::Tensor;

use super::adam::Adam;
use super::net::Net;
use crate::weights::{Weights, safetensors};
use crate::whole_file::write_whole;

/// The best weights so far, as `kith-export import` reads them.
pub const BEST: &str = "best.safetensors";
/// The state after the last whole epoch.
pub const LAST: &str = "last.safetensors";

/// The metadata key of what the file says about itself, as JSON.
const ABOUT: &str = "kith";

/// Writes the network's weights, with `about` in the metadata.
///
/// # Errors
/// When the disk is full or the folder not writable; the old file is whole then.
pub fn write_weights(path: &Path, net: &Net, about: &impl Serialize) -> anyhow::Result<()> {
    write(path, &net.weights()?, about)
}

/// Reads weights with what the file says about itself.
///
/// # Errors
/// When it is not such a file; names it.
pub fn read_weights<A: DeserializeOwned>(path: &Path) -> anyhow::Result<(Weights, A)> {
    let shown = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("can't read {shown}"))?;
    let safetensors::Contents { weights, metadata } =
        safetensors::read(&bytes).with_context(|| format!("can't use {shown}"))?;
    let Some(about) = metadata.get(ABOUT) else {
        bail!("{shown} is no checkpoint; `kith-export fit` and `distil` write them");
    };
    let about = serde_json::from_str(about)
        .with_context(|| format!("{shown} is of another kind or version than what was expected"))?;
    Ok((weights, about))
}

/// Writes all that a run needs to go on.
///
/// # Errors
/// As [`write_weights`].
pub fn write_state(path: &Path, net: &Net, adam: &Adam, about: &impl Serialize) -> anyhow::Result<()> {
    let net = net
        .weights()?
        .into_iter()
        .map(|(name, tensor)| (format!("net/{name}"), tensor));
    let mut all: Weights = net.collect();
    for (name, tensor) in adam.state() {
        all.insert(format!("adam/{name}"), super::net::from_torch(tensor)?);
    }
    write(path, &all, about)
}

/// Reads what [`write_state`] wrote: weights, the optimiser's tensors, and what the file says about itself.
///
/// # Errors
/// When it is not such a file; names it.
pub fn read_state<A: DeserializeOwned>(path: &Path) -> anyhow::Result<(Weights, BTreeMap<String, Tensor>, A)> {
    let (all, about) = read_weights(path)?;
    let (mut net, mut adam) = (Weights::new(), BTreeMap::new());
    for (name, tensor) in all {
        if let Some(name) = name.strip_prefix("net/") {
            net.insert(name.to_owned(), tensor);
        } else if let Some(name) = name.strip_prefix("adam/") {
            adam.insert(name.to_owned(), super::net::to_torch(&tensor)?);
        } else {
            bail!("{} holds {name:?}, which is no part of a run's state", path.display());
        }
    }
    Ok((net, adam, about))
}

fn write(path: &Path, weights: &Weights, about: &impl Serialize) -> anyhow::Result<()> {
    let metadata = BTreeMap::from([(ABOUT.to_owned(), serde_json::to_string(about)?)]);
    write_whole(path, &safetensors::write(weights, &metadata))
}
