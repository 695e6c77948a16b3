//! Building TensorRT's engines ahead.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::session::Place;
use super::{EngineCache, EngineKey, Machine, NetworkFile, Precision, Provider, Runtime, proof};

/// What was done about one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warmed {
    /// It was in the cache.
    Kept,
    /// It was built.
    Built {
        /// How long that took.
        took: Duration,
        /// Its size on disk.
        bytes: u64,
    },
}

impl Runtime {
    /// The engines that `networks` take on `machine`.
    pub fn engines<'a>(
        &self,
        networks: &[NetworkFile<'a>],
        precision: Precision,
        machine: &Machine,
    ) -> Vec<(NetworkFile<'a>, EngineKey)> {
        let key = |file: &NetworkFile<'a>| Some((*file, EngineKey::of(file, precision, machine)?));
        networks.iter().filter_map(key).collect()
    }

    /// Sees to it that the engine of `file` is in `cache`. To build it takes minutes.
    ///
    /// # Errors
    /// When TensorRT can't build it, or would leave a part of the network to another provider, or the cache can't be
    /// written.
    pub fn warm(&self, cache: &EngineCache, file: &NetworkFile<'_>, key: &EngineKey) -> anyhow::Result<Warmed> {
        if cache.has(key) {
            return Ok(Warmed::Kept);
        }
        let began = Instant::now();
        let unwritable = || format!("can't write to {}", cache.folder().display());
        let folder = cache.begin(key).with_context(unwritable)?;
        let place = Place::Tensorrt {
            key: Box::new(key.clone()),
            folder,
        };
        let notebook = proof::notebook();
        let prefix = notebook.as_ref().map(|folder| folder.path().join(file.name));
        self.session(&place, file.onnx, prefix.as_deref())
            .and_then(|mut session| match prefix {
                // The engine is built at the latest when the network runs for the first time.
                Some(_) => proof::by_a_run(file.name, Provider::Tensorrt, &mut session).map(|_| ()),
                None => proof::run_on_zeros(&mut session),
            })
            .map_err(|error| anyhow!("TensorRT can't build an engine for {}: {error}", file.name))?;
        let bytes = cache.finish(key).with_context(unwritable)?;
        Ok(Warmed::Built {
            took: began.elapsed(),
            bytes,
        })
    }
}
