//! TensorRT's engines on disk. TensorRT compiles each network for one card, for minutes; `kith warm` does that ahead, and
//! keeps the result here: one folder for each engine, named by all that it hangs on. An engine counts once its folder has
//! the description, which is written last and holds the sha256 of the rest: what a power cut or somebody else left there is
//! never loaded.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::open::batch_on_a_card;
use super::{NetworkFile, Precision, Takes};
use crate::card::Card;
use crate::model::sha256_hex;

/// The description in an engine's folder.
const ABOUT: &str = "about.json";
/// Letters of the sha256 in a folder's name.
const NAME_LETTERS: usize = 16;

/// What the engines of a machine hang on, beside the networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The build of ONNX Runtime.
    pub runtime: String,
    /// File and size of TensorRT's library, which tell its versions apart.
    pub tensorrt: String,
    /// The card, with its driver.
    pub card: Card,
}

#[cfg(test)]
impl Machine {
    /// One that there isn't.
    pub(crate) fn made_up() -> Self {
        Self {
            runtime: "git-commit-id=1".to_owned(),
            tensorrt: "libnvinfer.so.10.3.0".to_owned(),
            card: Card::made_up(),
        }
    }
}

/// What one engine hangs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineKey {
    /// `rnet`, `onet` or `embedder`.
    pub network: String,
    /// Of the network's file.
    pub model_sha256: String,
    /// Width and height of its crops.
    pub side_px: usize,
    /// So many crops at once, at most; each number up to it is served by the same engine.
    pub largest_batch: usize,
    /// Whether it computes with 16 bits where TensorRT finds that faster.
    pub half_precision: bool,
    /// Where.
    pub machine: Machine,
}

impl EngineKey {
    /// The key of `file` on `machine`; `None` for a network that TensorRT does not run. P-Net is given a picture of another
    /// size for each scale of each camera, and TensorRT would compile for each: CUDA runs it.
    pub fn of(file: &NetworkFile<'_>, precision: Precision, machine: &Machine) -> Option<Self> {
        let Takes::Crops { side_px } = file.takes else {
            return None;
        };
        Some(Self {
            network: file.name.to_owned(),
            model_sha256: file.sha256.to_owned(),
            side_px,
            largest_batch: batch_on_a_card(side_px),
            half_precision: precision == Precision::Auto && file.half_precision,
            machine: machine.clone(),
        })
    }

    fn folder_name(&self) -> String {
        let all = serde_json::to_vec(self).unwrap_or_default();
        let digest = sha256_hex(&all);
        format!("{}-{}", self.network, digest.get(..NAME_LETTERS).unwrap_or(&digest))
    }
}

/// What stands in an engine's folder about it.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    key: EngineKey,
    /// Of each other file, by its name.
    sha256: BTreeMap<String, String>,
}

/// The folder of all engines.
#[derive(Debug, Clone)]
pub struct EngineCache {
    folder: PathBuf,
}

impl EngineCache {
    /// The engines in `cache`; see [`crate::paths::cache_dir`].
    pub fn in_folder(cache: &Path) -> Self {
        Self {
            folder: cache.join("engines"),
        }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of an engine, whether it is there or not.
    pub fn place(&self, key: &EngineKey) -> PathBuf {
        self.folder.join(key.folder_name())
    }

    /// Whether the engine is there, whole.
    pub fn has(&self, key: &EngineKey) -> bool {
        let place = self.place(key);
        let about = read_about(&place).filter(|about| about.key == *key && !about.sha256.is_empty());
        about.is_some_and(|about| sha256_of_files(&place).is_ok_and(|found| found == about.sha256))
    }

    /// Makes an empty folder for an engine that is to be built.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn begin(&self, key: &EngineKey) -> io::Result<PathBuf> {
        let place = self.place(key);
        forget(&place)?;
        fs::create_dir_all(&place)?;
        Ok(place)
    }

    /// Moves what is there of an engine out of the way, and says where to.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub(super) fn set_aside(&self, key: &EngineKey) -> io::Result<PathBuf> {
        let aside = self.place(key).with_extension("before");
        forget(&aside)?;
        match fs::rename(self.place(key), &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(aside),
        }
    }

    /// Puts back what was set `aside`, if there was anything, in place of what is there now.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub(super) fn put_back(&self, key: &EngineKey, aside: &Path) -> io::Result<()> {
        forget(&self.place(key))?;
        match fs::rename(aside, self.place(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The engine is built: from now on [`Self::has`] it. Gives its size in bytes.
    ///
    /// # Errors
    /// When TensorRT left nothing there, or the description can't be written.
    pub fn finish(&self, key: &EngineKey) -> io::Result<u64> {
        let place = self.place(key);
        let sha256 = sha256_of_files(&place)?;
        if sha256.is_empty() {
            return Err(io::Error::other(format!(
                "TensorRT wrote no engine to {}",
                place.display()
            )));
        }
        for name in sha256.keys() {
            fs::File::open(place.join(name))?.sync_all()?;
        }
        let about = About {
            key: key.clone(),
            sha256,
        };
        let mut file = tempfile::NamedTempFile::new_in(&place)?;
        file.write_all(&serde_json::to_vec_pretty(&about)?)?;
        file.as_file().sync_all()?;
        file.persist(place.join(ABOUT)).map_err(|error| error.error)?;
        bytes_in(&place)
    }

    /// Removes the engines that can't be used any more: those that `keep` does not want, and what was never finished.
    /// Gives the names of their folders.
    ///
    /// # Errors
    /// When a folder can't be read or removed.
    pub fn prune(&self, keep: impl Fn(&EngineKey) -> bool) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut removed = Vec::new();
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let kept = read_about(&entry.path()).is_some_and(|about| {
                self.place(&about.key) == entry.path() && keep(&about.key) && self.has(&about.key)
            });
            if !kept {
                fs::remove_dir_all(entry.path())?;
                removed.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        removed.sort();
        Ok(removed)
    }
}

/// Removes `folder`, if it is there.
///
/// # Errors
/// When it can't be removed.
pub(super) fn forget(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read_about(place: &Path) -> Option<About> {
    serde_json::from_slice(&fs::read(place.join(ABOUT)).ok()?).ok()
}

/// Of every file in `place` but the description.
fn sha256_of_files(place: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != ABOUT && entry.file_type()?.is_file() {
            all.insert(name, sha256_hex(&fs::read(entry.path())?));
        }
    }
    Ok(all)
}

fn bytes_in(place: &Path) -> io::Result<u64> {
    fs::read_dir(place)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> EngineKey {
        let file = NetworkFile {
            name: "rnet",
            onnx: &[],
            sha256: "aa",
            takes: Takes::Crops { side_px: 24 },
            half_precision: true,
        };
        EngineKey::of(&file, Precision::Auto, &Machine::made_up()).unwrap()
    }

    fn build(cache: &EngineCache, key: &EngineKey) -> PathBuf {
        let place = cache.begin(key).unwrap();
        fs::write(place.join("graph_0.engine"), b"an engine").unwrap();
        assert!(cache.finish(key).unwrap() > 9);
        place
    }

    #[test]
    fn an_engine_is_of_one_network_runtime_card_driver_and_precision() {
        let folder = tempfile::tempdir().unwrap();
        let cache = EngineCache::in_folder(folder.path());
        build(&cache, &key());
        assert!(cache.has(&key()));
        let changes: [fn(&mut EngineKey); 10] = [
            |key| key.model_sha256 = "bb".to_owned(),
            |key| key.side_px = 48,
            |key| key.largest_batch += 1,
            |key| key.half_precision = false,
            |key| key.machine.runtime.push('2'),
            |key| key.machine.tensorrt.push('1'),
            |key| key.machine.card.name.push('2'),
            |key| key.machine.card.driver.push('2'),
            |key| key.machine.card.compute_capability = Some("8.7".to_owned()),
            |key| key.machine.card.uuid = Some("GPU-2b".to_owned()),
        ];
        let mut places = vec![cache.place(&key())];
        for change in changes {
            let mut other = key();
            change(&mut other);
            assert!(!cache.has(&other), "{other:?}");
            places.push(cache.place(&other));
        }
        places.sort();
        places.dedup();
        assert_eq!(places.len(), 11);
    }

    #[test]
    fn half_precision_takes_the_catalogue_and_the_configuration() {
        let half = |half_precision, precision| {
            let file = NetworkFile {
                name: "rnet",
                onnx: &[],
                sha256: "aa",
                takes: Takes::Crops { side_px: 24 },
                half_precision,
            };
            EngineKey::of(&file, precision, &Machine::made_up())
                .unwrap()
                .half_precision
        };
        assert!(half(true, Precision::Auto));
        assert!(!half(false, Precision::Auto));
        assert!(!half(true, Precision::Full));
    }

    #[test]
    fn p_net_is_not_for_tensorrt() {
        let pnet = NetworkFile {
            name: "pnet",
            onnx: &[],
            sha256: "aa",
            takes: Takes::AnySize,
            half_precision: true,
        };
        assert_eq!(EngineKey::of(&pnet, Precision::Auto, &Machine::made_up()), None);
    }

    #[test]
    fn an_engine_that_was_not_finished_or_was_changed_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = EngineCache::in_folder(folder.path());
        let place = cache.begin(&key()).unwrap();
        assert!(cache.finish(&key()).unwrap_err().to_string().contains("no engine"));
        fs::write(place.join("graph_0.engine"), b"half of an eng").unwrap();
        assert!(!cache.has(&key()), "nobody said that it is finished");
        build(&cache, &key());
        fs::write(place.join("graph_0.engine"), b"another engine").unwrap();
        assert!(!cache.has(&key()), "the sha256 is another");
        build(&cache, &key());
        fs::write(place.join("graph_1.engine"), b"one more").unwrap();
        assert!(!cache.has(&key()), "there is one too many");
        build(&cache, &key());
        fs::remove_file(place.join("graph_0.engine")).unwrap();
        assert!(!cache.has(&key()), "it is gone");
    }

    #[test]
    fn what_can_not_be_used_any_more_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = EngineCache::in_folder(folder.path());
        assert_eq!(cache.prune(|_| true).unwrap(), Vec::<String>::new());
        build(&cache, &key());
        let mut old = key();
        old.machine.card.driver = "540.1".to_owned();
        build(&cache, &old);
        let mut half = key();
        half.network = "onet".to_owned();
        cache.begin(&half).unwrap();
        fs::write(cache.folder().join("a-file"), "of somebody else").unwrap();
        let removed = cache.prune(|key| key.machine == Machine::made_up()).unwrap();
        assert_eq!(removed.len(), 2, "{removed:?}");
        assert!(cache.has(&key()) && !cache.place(&old).exists() && !cache.place(&half).exists());
        assert!(cache.folder().join("a-file").exists());
    }
}
