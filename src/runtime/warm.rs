//! Building TensorRT's engines ahead.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::engine_cache::forget;
use super::error::first_line;
use super::session::Place;
use super::{EngineCache, EngineKey, Machine, NetworkFile, Precision, Provider, Runtime, proof};

/// What was done about one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warmed {
    /// It was in the cache, and runs.
    Kept,
    /// It was built.
    Built {
        /// How long that took.
        took: Duration,
        /// Its size on disk.
        bytes: u64,
        /// Why the one that was in the cache, if there was one, does not do.
        instead: Option<String>,
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

    /// Sees to it that the engine of `file` is in `cache` and runs. To build it takes minutes.
    ///
    /// # Errors
    /// When TensorRT can't build it, or would leave a part of the network to another provider, or the cache can't be
    /// written.
    pub fn warm(&self, cache: &EngineCache, file: &NetworkFile<'_>, key: &EngineKey) -> anyhow::Result<Warmed> {
        see_to(cache, key, |folder| self.run_by_tensorrt(file, key, folder))
    }

    /// Runs the network once with the engine in `folder`, which is built at the latest then if it is missing.
    fn run_by_tensorrt(&self, file: &NetworkFile<'_>, key: &EngineKey, folder: PathBuf) -> ort::Result<()> {
        let key = Box::new(key.clone());
        let place = Place::Tensorrt { key, folder };
        let notebook = proof::notebook();
        let prefix = notebook.as_ref().map(|folder| folder.path().join(file.name));
        let mut session = self.session(&place, file.onnx, prefix.as_deref())?;
        match prefix {
            Some(_) => proof::by_a_run(file.name, Provider::Tensorrt, &mut session).map(|_| ()),
            None => proof::run_on_zeros(&mut session),
        }
    }
}

/// Keeps the engine of `key` if it is there and `run`s, and builds it anew otherwise: what it hangs on may have changed
/// without a sign.
fn see_to<E: fmt::Display>(
    cache: &EngineCache,
    key: &EngineKey,
    mut run: impl FnMut(PathBuf) -> Result<(), E>,
) -> anyhow::Result<Warmed> {
    let mut instead = None;
    if cache.has(key) {
        match run(cache.place(key)) {
            Ok(()) if cache.has(key) => return Ok(Warmed::Kept),
            Ok(()) => instead = Some("TensorRT put another one in its place".to_owned()),
            Err(error) => instead = Some(first_line(&error.to_string())),
        }
    }
    let began = Instant::now();
    let unwritable = || format!("can't write to {}", cache.folder().display());
    // A card that has no memory left just now is no reason to lose an engine.
    let aside = cache.set_aside(key).with_context(unwritable)?;
    let folder = cache.begin(key).with_context(unwritable)?;
    if let Err(error) = run(folder) {
        cache.put_back(key, &aside).with_context(unwritable)?;
        return Err(anyhow!("TensorRT can't build an engine for {}: {error}", key.network));
    }
    let bytes = cache.finish(key).with_context(unwritable)?;
    forget(&aside).with_context(unwritable)?;
    Ok(Warmed::Built {
        took: began.elapsed(),
        bytes,
        instead,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Takes;
    use super::*;

    #[test]
    fn an_engine_is_kept_only_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let cache = EngineCache::in_folder(folder.path());
        let file = NetworkFile {
            name: "rnet",
            onnx: &[],
            sha256: "aa",
            takes: Takes::Crops { side_px: 24 },
            half_precision: false,
        };
        let machine = Machine::made_up();
        let key = EngineKey::of(&file, Precision::Auto, &machine).unwrap();
        // A TensorRT of some version: it builds what is missing, and refuses what another version built.
        let tensorrt = |version: &'static str| {
            move |folder: PathBuf| {
                let engine = folder.join("graph.engine");
                match fs::read_to_string(&engine) {
                    Ok(built_by) if built_by != version => Err(format!("built by {built_by}")),
                    Ok(_) => Ok(()),
                    Err(_) => {
                        fs::write(engine, version).unwrap();
                        Ok(())
                    }
                }
            }
        };
        let instead = |warmed| match warmed {
            Warmed::Kept => panic!("it was kept"),
            Warmed::Built { instead, .. } => instead,
        };
        let warm = |version| see_to(&cache, &key, tensorrt(version)).unwrap();
        assert_eq!(instead(warm("10.3")), None);
        assert_eq!(warm("10.3"), Warmed::Kept);
        // The update shows nowhere but here.
        assert_eq!(instead(warm("10.7")).as_deref(), Some("built by 10.3"));
        assert_eq!(warm("10.7"), Warmed::Kept);
        // TensorRT may also replace it in silence.
        let mut runs = 0;
        let replaces = |folder: PathBuf| {
            runs += 1;
            fs::write(folder.join("graph.engine"), format!("run {runs}")).unwrap();
            Ok::<_, String>(())
        };
        let silently = see_to(&cache, &key, replaces).unwrap();
        assert!(instead(silently).is_some_and(|reason| reason.contains("another one")));
        assert!(cache.has(&key));
        // One that can't be built is an error, and the one of before stays.
        let fails = |_| Err("no memory");
        let said = see_to(&cache, &key, fails).unwrap_err().to_string();
        assert!(said.contains("rnet") && said.contains("no memory"), "{said}");
        assert!(cache.has(&key));
        assert_eq!(fs::read_dir(cache.folder()).unwrap().count(), 1);
        fs::remove_dir_all(cache.place(&key)).unwrap();
        see_to(&cache, &key, fails).unwrap_err();
        assert!(!cache.has(&key), "there was none to keep");
    }
}
