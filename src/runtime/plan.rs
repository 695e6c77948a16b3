//! Where each network is to run.

use ort::ep::{self, ExecutionProvider};

use super::session::Place;
use super::{EngineCache, EngineKey, Machine, NetworkFile, Precision, Provider, Runtime, RuntimeSettings, tensorrt};
use crate::card::Card;
use crate::paths;

/// A place for each of `networks` on `provider`; the reason where it can't be had.
pub(super) fn plan(
    runtime: &Runtime,
    provider: Provider,
    settings: &RuntimeSettings,
    card: Option<&Card>,
    networks: &[NetworkFile<'_>],
) -> Result<Vec<Place>, String> {
    match provider {
        Provider::Tensorrt => {
            let machine = runtime.machine(card)?;
            let cache = EngineCache::in_folder(&paths::cache_dir(settings.cache.as_deref()));
            only_if_warm(&cache, &machine, settings.precision, networks)
        }
        Provider::Cuda => Ok(vec![Place::Cuda; networks.len()]),
        Provider::Auto | Provider::Cpu => Ok(vec![Place::Cpu; networks.len()]),
    }
}

impl Runtime {
    /// What TensorRT's engines hang on here; the reason where there can't be any.
    ///
    /// # Errors
    /// With a sentence: the library is built without TensorRT, or there is no card.
    pub fn machine(&self, card: Option<&Card>) -> Result<Machine, String> {
        // That it was built with it proves nothing, but that it was built without it does.
        if !ep::TensorRT::is_available().unwrap_or(false) {
            return Err("this ONNX Runtime library is built without it".to_owned());
        }
        let card = card.ok_or("no NVIDIA card was found, neither by nvidia-smi nor by the driver's files")?;
        Ok(Machine {
            runtime: self.build().to_owned(),
            tensorrt: tensorrt::version(&self.library),
            card: card.clone(),
        })
    }
}

/// TensorRT's places, if all of its engines are in the cache. To build them takes minutes, in which nobody would be
/// recognised, so that is left to `kith warm`.
fn only_if_warm(
    cache: &EngineCache,
    machine: &Machine,
    precision: Precision,
    networks: &[NetworkFile<'_>],
) -> Result<Vec<Place>, String> {
    let mut places = Vec::new();
    let mut cold = Vec::new();
    for file in networks {
        places.push(match EngineKey::of(file, precision, machine) {
            None => Place::Cuda,
            Some(key) => {
                if !cache.has(&key) {
                    cold.push(file.name);
                }
                let folder = cache.place(&key);
                let key = Box::new(key);
                Place::Tensorrt { key, folder }
            }
        });
    }
    if cold.is_empty() {
        Ok(places)
    } else {
        Err(format!(
            "its engines for {} are not in {}; build them with `kith warm` and start again",
            cold.join(", "),
            cache.folder().display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Takes;
    use super::*;

    #[test]
    fn tensorrt_is_taken_only_when_all_its_engines_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = EngineCache::in_folder(folder.path());
        let machine = Machine::made_up();
        let file = |name, takes| NetworkFile {
            name,
            onnx: &[],
            sha256: name,
            takes,
            half_precision: false,
        };
        let networks = [
            file("pnet", Takes::AnySize),
            file("rnet", Takes::Crops { side_px: 24 }),
            file("embedder", Takes::Crops { side_px: 112 }),
        ];
        let plan = || only_if_warm(&cache, &machine, Precision::Auto, &networks);
        let cold = plan().unwrap_err();
        assert!(cold.contains("rnet, embedder") && cold.contains("kith warm"), "{cold}");
        for network in &networks[1..] {
            assert!(plan().is_err());
            let key = EngineKey::of(network, Precision::Auto, &machine).unwrap();
            fs::write(cache.begin(&key).unwrap().join("graph.engine"), "x").unwrap();
            cache.finish(&key).unwrap();
        }
        let providers: Vec<Provider> = plan().unwrap().iter().map(Place::provider).collect();
        assert_eq!(providers, [Provider::Cuda, Provider::Tensorrt, Provider::Tensorrt]);
    }
}
