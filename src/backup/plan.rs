//! What a restore would do: the backup is unpacked beside the gallery, checked as a whole, and compared with what is here.
//! Nothing that is in use is touched.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use tempfile::TempDir;
use ulid::Ulid;

use super::configuration::Configuration;
use super::gather::{remove_left_copies, sum};
use super::manifest::{CONFIG, LeftOut, MODELS_D, Manifest, NODE_ID, SIGHTINGS};
use super::open::{Backup, remove_leftovers};
use super::place::adopt;
use crate::config::{self, ConfigError, Settings};
use crate::gallery::{Gallery, GalleryError, RESTORE_PREFIX};
use crate::identify::IdentifyBy;
use crate::model::{Catalogue, Kind};
use crate::networks::EMBEDDER;
use crate::sightings::Sightings;
use crate::state_dir;

/// Where a backup is to be restored, and how much of it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The state folder.
    pub state: PathBuf,
    /// The configuration's file.
    pub config: PathBuf,
    /// The folder of the user's own models.
    pub models_d: PathBuf,
    /// The folder of the shipped models.
    pub models: PathBuf,
    /// The embedder that is asked for, whatever the configuration says.
    pub embedder: Option<String>,
    /// Leave configuration, own models and the node's name as they are.
    pub people_only: bool,
    /// Bring people back who were removed here since.
    pub bring_back: bool,
    /// The caller has the lock of the state folder, so that nobody else restores there.
    pub alone: bool,
}

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// There is none here.
    New,
    /// It is here already.
    Same,
    /// Another one is here, which is kept under another name.
    Replaced,
}

/// What a restore would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// How many people there will be.
    pub people: usize,
    /// How many people in the backup were removed here since.
    pub removed_since: usize,
    /// The ids of people who are here and not in the backup, and would be gone.
    pub only_here: Vec<String>,
    /// What becomes of the configuration, if there is one in the backup.
    pub configuration: Option<Change>,
    /// What becomes of files in the folder of own models.
    pub models: Vec<(PathBuf, Change)>,
    /// Whether the node gets its name of before.
    pub node: bool,
    /// Whether visits come back. They don't where there are some.
    pub visits: bool,
    /// How many faces will be embedded for the embedder in use.
    pub reembed: usize,
    /// The ids of people whom the embedder in use can't compare with anybody: they need new photos.
    pub enrol_again: Vec<String>,
    /// What is not in the backup and not here either.
    pub put_back: Vec<LeftOut>,
    /// What could not be checked, in words.
    pub warnings: Vec<String>,
}

/// A backup that was found good, unpacked.
pub struct Staged {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it would do.
    pub plan: Plan,
    /// The embedder in use afterwards, and the folder of own models that has it for now; nothing where people are
    /// recognised by a head.
    pub embedder: Option<(String, PathBuf)>,
    pub(super) gallery: Gallery,
    /// In the state folder; goes when this is dropped.
    pub(super) folder: TempDir,
}

impl Staged {
    /// The gallery that was unpacked, and may still be changed.
    pub fn gallery(&mut self) -> &mut Gallery {
        &mut self.gallery
    }
}

/// Unpacks `backup` and checks all of it.
///
/// # Errors
/// When anything about it is wrong, or doesn't fit what is here.
pub fn stage(backup: &Backup<'_>, target: &Target, progress: &dyn Fn(u64)) -> anyhow::Result<Staged> {
    state_dir::prepare(&target.state)?;
    remove_left_copies(&target.state);
    // A restore that goes on has its folder here, too.
    if target.alone {
        remove_leftovers(&target.state, RESTORE_PREFIX);
    }
    let folder = tempfile::Builder::new()
        .prefix(RESTORE_PREFIX)
        .tempdir_in(&target.state)
        .with_context(|| format!("can't write to {}", target.state.display()))?;
    // Whoever removes people has to be able to remove what a killed restore left.
    adopt(folder.path(), &target.state);
    let manifest = backup.unpack(folder.path(), progress)?;
    let mut gallery = checked_gallery(folder.path(), &manifest)?;
    let mut plan = Plan {
        people: 0,
        removed_since: 0,
        only_here: Vec::new(),
        configuration: None,
        models: Vec::new(),
        node: false,
        visits: false,
        reembed: 0,
        enrol_again: Vec::new(),
        put_back: Vec::new(),
        warnings: Vec::new(),
    };
    if Gallery::exists(&target.state) {
        let now = Gallery::open(&target.state)?;
        let removed = gallery.removed_from(&now)?;
        plan.removed_since = removed.len();
        if !target.bring_back {
            gallery.remove(&removed)?;
        }
        gallery.note_removed_from(&now)?;
        let uids: Vec<Ulid> = gallery.people()?.into_iter().map(|one| one.person.uid).collect();
        plan.only_here = now.ids_not_among(&uids)?;
    }
    plan.people = gallery.people()?.len();
    let identified = checked_configuration(folder.path(), &manifest, target, &mut plan)?;
    let catalogue = checked_models(folder.path(), &manifest, target, &mut plan)?;
    plan.node = !target.people_only && manifest.file(NODE_ID).is_some() && !target.state.join(NODE_ID).exists();
    if manifest.file(SIGHTINGS).is_some() {
        Sightings::open(folder.path())
            .and_then(|visits| visits.check())
            .context("its visits can't be used")?;
        plan.visits = !Sightings::exists(&target.state) || Sightings::open(&target.state)?.is_empty()?;
    }
    let name = identified.embedder(target);
    let mut staged_embedder = None;
    if let Some(name) = name {
        match catalogue.embedder(&name) {
            Ok(model) => {
                plan.reembed = gallery.to_reembed(&model.embedding_space)?.len();
                let here = catalogue.file_of(Kind::Embedder, &name);
                let is_staged = here.is_some_and(|file| file.starts_with(folder.path()));
                let models_d = if is_staged {
                    folder.path().join(MODELS_D)
                } else {
                    target.models_d.clone()
                };
                let people = gallery.people()?.into_iter();
                plan.enrol_again = people
                    .filter(|one| one.lacks(&model.embedding_space) && one.crops == 0)
                    .map(|one| one.person.id)
                    .collect();
                staged_embedder = Some((name, models_d));
            }
            Err(error) => plan.warnings.push(format!(
                "it can't be told whether the embedder {name} knows these people: {error}"
            )),
        }
    }
    Ok(Staged {
        manifest,
        plan,
        embedder: staged_embedder,
        gallery,
        folder,
    })
}

fn checked_gallery(folder: &Path, manifest: &Manifest) -> anyhow::Result<Gallery> {
    let gallery = match Gallery::open(folder) {
        Err(GalleryError::NewerSchema { found, known, .. }) => bail!(
            "its gallery has schema version {found}, but this Kith knows only up to {known}; use the Kith that made it \
             ({}) or a newer one",
            manifest.kith
        ),
        opened => opened.context("its gallery can't be used")?,
    };
    gallery
        .check()
        .and_then(|()| gallery.check_form())
        .and_then(|()| gallery.check_rows())
        .context("its gallery can't be used")?;
    let people = gallery.people()?;
    let faces: u64 = people
        .iter()
        .map(|one| u64::from(one.faces) + u64::from(one.negatives))
        .sum();
    ensure!(
        (people.len() as u64, faces) == (manifest.people, manifest.faces),
        "its gallery holds {} people with {faces} faces, but its manifest says {} with {}",
        people.len(),
        manifest.people,
        manifest.faces
    );
    Ok(gallery)
}

/// Checks the configuration as if it stood where it goes. Files that it names and that are not here are no mistake.
fn checked_configuration(
    folder: &Path,
    manifest: &Manifest,
    target: &Target,
    plan: &mut Plan,
) -> anyhow::Result<Identified> {
    if target.people_only || manifest.file(CONFIG).is_none() {
        return Ok(
            config::load(&target.config).map_or_else(|_| Identified::default(), |settings| Identified::by(&settings))
        );
    }
    let staged = folder.join(CONFIG);
    let text = fs::read_to_string(&staged).context("its configuration can't be read")?;
    plan.configuration = Some(change(&staged, &target.config)?);
    let read = Configuration::parse(&target.config, text).context("its configuration can't be used")?;
    let missing: Vec<_> = read.files().into_iter().filter(|(_, file)| !file.exists()).collect();
    plan.put_back.extend(missing.iter().map(|(named_by, file)| LeftOut {
        file: file.display().to_string(),
        named_by: named_by.clone(),
    }));
    match config::parse(&read.text, &target.config) {
        Ok(settings) => Ok(Identified::by(&settings)),
        Err(ConfigError::Mistakes { mut mistakes, .. }) => {
            mistakes.retain(|mistake| !missing.iter().any(|(key, _)| *key == mistake.key));
            let lines: Vec<String> = mistakes.iter().map(|mistake| format!("\n  {mistake}")).collect();
            ensure!(
                mistakes.is_empty(),
                "its configuration has mistakes; --people-only leaves it out:{}",
                lines.concat()
            );
            // Settings need the files that are missing; this doesn't.
            Ok(Identified {
                by_head: read.by_head(),
                embedder: read.embedder(),
            })
        }
        Err(error) => Err(error).context("its configuration can't be used"),
    }
}

/// Checks that the backup's own models are whole and go together with what stays here. Gives the catalogue of afterwards.
fn checked_models(folder: &Path, manifest: &Manifest, target: &Target, plan: &mut Plan) -> anyhow::Result<Catalogue> {
    let mut catalogue = Catalogue::default();
    if let Err(error) = catalogue.add(&target.models.join(crate::model::FILE_NAME)) {
        plan.warnings.push(format!("the shipped models can't be read: {error}"));
    }
    let staged = folder.join(MODELS_D);
    if !target.people_only {
        for (file, path) in manifest.models() {
            let there = target.models_d.join(path);
            let staged = folder.join(&file.name);
            plan.models.push((path.to_path_buf(), change(&staged, &there)?));
            if is_catalogue(path) {
                catalogue.add(&staged).context("its own models can't be used")?;
            }
        }
        for (model, _) in catalogue.entries().filter(|(_, file)| file.starts_with(&staged)) {
            for network in model.files.values() {
                let in_backup = network.path.strip_prefix(folder).ok().and_then(Path::to_str);
                match in_backup.and_then(|name| manifest.file(name)) {
                    Some(file) => ensure!(
                        file.sha256 == network.sha256,
                        "its model {} is another file ({}) than its entry says",
                        model.name,
                        file.name
                    ),
                    None => plan.put_back.extend(elsewhere(manifest, &model.name, &network.path)),
                }
            }
        }
    }
    for file in Catalogue::own(&target.models_d)?.files() {
        let name = file.strip_prefix(&target.models_d).unwrap_or(file);
        let is_replaced = plan.models.iter().any(|(path, _)| path == name);
        if !is_replaced {
            catalogue.add(file).context(
                "the backup's own models don't go together with those that are here; move one of them away, or leave \
                 the backup's out with --people-only",
            )?;
        }
    }
    Ok(catalogue)
}

pub(super) fn is_catalogue(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "toml")
}

/// What the manifest says about a network that is not in the backup.
fn elsewhere(manifest: &Manifest, model: &str, network: &Path) -> Option<LeftOut> {
    let name = network.file_name()?.to_str()?;
    let left_out = manifest.left_out.iter().find(|left_out| left_out.file.ends_with(name));
    let file = left_out.map_or_else(|| network.display().to_string(), |left_out| left_out.file.clone());
    (!Path::new(&file).exists()).then(|| LeftOut {
        file,
        named_by: format!("the model {model}"),
    })
}

/// By what people will be recognised.
#[derive(Debug, Default)]
struct Identified {
    by_head: bool,
    /// The embedder, if it is not the shipped one.
    embedder: Option<String>,
}

impl Identified {
    fn by(settings: &Settings) -> Self {
        Self {
            by_head: matches!(settings.identify_by, IdentifyBy::Head(_)),
            embedder: settings.runtime.embedder.clone(),
        }
    }

    /// What will embed faces; nothing where people are recognised by a head.
    fn embedder(self, target: &Target) -> Option<String> {
        if target.embedder.is_none() && self.by_head {
            return None;
        }
        let name = target.embedder.clone().or(self.embedder);
        Some(name.unwrap_or_else(|| EMBEDDER.to_owned()))
    }
}

/// What becomes of `there` when `new` goes there.
fn change(new: &Path, there: &Path) -> anyhow::Result<Change> {
    let read = |path: &Path| -> anyhow::Result<_> {
        let mut file = fs::File::open(path).with_context(|| format!("can't read {}", path.display()))?;
        sum(&mut file).with_context(|| format!("can't read {}", path.display()))
    };
    if fs::symlink_metadata(there).is_err() {
        return Ok(Change::New);
    }
    ensure!(
        !there.is_dir(),
        "{} is a folder, where the backup has a file; move it away",
        there.display()
    );
    Ok(if read(new)? == read(there)? {
        Change::Same
    } else {
        Change::Replaced
    })
}
