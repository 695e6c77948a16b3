//! Putting a backup that was found good in its place. Everything that may fail comes first; then the gallery changes, as
//! one change of the database; then files that lie ready beside their places are renamed.
//!
//! Killed before the gallery's change, it has changed nothing. Killed after it, the same command does the rest.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::gather::{Summing, empty_copy, ensure_in_place};
use super::manifest::{CONFIG, MODELS_D, NODE_ID};
use super::plan::{Change, Staged, Target, is_catalogue};
use crate::gallery::{Gallery, GalleryError, SNAPSHOT_SUFFIX};
use crate::sightings::Sightings;

/// What a restore did.
#[derive(Debug, Default)]
pub struct Placed {
    /// Where what was here before lies now.
    pub set_aside: Vec<PathBuf>,
    /// Why the people of before are still in the database's log, if they are.
    pub not_forgotten: Option<String>,
}

/// How the name of a file begins that lies ready beside its place.
const READY_PREFIX: &str = ".kith-restore-";
/// How the name of the gallery of before begins.
const BEFORE_PREFIX: &str = "gallery.before-restore-";

/// A file that lies ready beside its place.
struct Ready {
    file: NamedTempFile,
    place: PathBuf,
    change: Change,
}

/// Restores what was staged. The caller holds the lock of the state folder.
///
/// # Errors
/// When something can't be written, or the gallery is changed meanwhile; then nothing was changed. When it fails after the
/// gallery was changed, the error says so.
pub fn place(staged: &mut Staged, target: &Target, gallery_of_now: Option<Gallery>) -> anyhow::Result<Placed> {
    let moment = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let ready = ready(staged, target)?;
    let mut placed = Placed::default();
    let changed = (|| -> anyhow::Result<()> {
        for one in ready.iter().filter(|one| one.change == Change::Replaced) {
            placed.set_aside.push(set_aside(&one.place, &moment)?);
        }
        let mut gallery = match gallery_of_now {
            None => Gallery::open(&target.state)?,
            Some(mut gallery) => {
                // Nothing to keep where the same was restored already, perhaps by a run that was killed.
                let is_worth_keeping =
                    !gallery.people()?.is_empty() && digest(&mut gallery)? != digest(&mut staged.gallery)?;
                if is_worth_keeping {
                    placed
                        .set_aside
                        .push(set_gallery_aside(&gallery, &target.state, &moment)?);
                }
                ensure!(
                    !gallery.changed()?,
                    "somebody changed the gallery meanwhile, so nothing was restored; try again"
                );
                gallery
            }
        };
        match gallery.replace_with(&staged.gallery) {
            // It is done, so what was set aside stays.
            Err(error @ GalleryError::NotForgotten(_)) => placed.not_forgotten = Some(error.to_string()),
            done => done?,
        }
        Ok(())
    })();
    if let Err(error) = changed {
        for file in &placed.set_aside {
            let _ = fs::remove_file(file);
        }
        return Err(error);
    }
    rename(ready)
        .and_then(|()| the_rest(staged, target))
        .context("the people are restored, but not all of the rest; run the same command again")?;
    remove_older_gallery(&target.state, &placed);
    Ok(placed)
}

/// Writes every file that is new or changes beside its place.
fn ready(staged: &Staged, target: &Target) -> anyhow::Result<Vec<Ready>> {
    let plan = &staged.plan;
    let mut wanted = Vec::new();
    if let Some(change) = plan.configuration {
        wanted.push((staged.folder.path().join(CONFIG), target.config.clone(), change));
    }
    for (path, change) in &plan.models {
        let from = staged.folder.path().join(MODELS_D).join(path);
        wanted.push((from, target.models_d.join(path), *change));
    }
    // Entries after the networks that they name.
    wanted.sort_by_key(|(_, place, _)| is_catalogue(place));
    let wanted = wanted.into_iter().filter(|(_, _, change)| *change != Change::Same);
    wanted
        .map(|(from, place, change)| {
            let write = || format!("can't write {}", place.display());
            let folder = place.parent().unwrap_or(Path::new("."));
            if !folder.is_dir() {
                fs::create_dir_all(folder).with_context(write)?;
                // Whatever root's umask is: the service has to find its models.
                fs::set_permissions(folder, Permissions::from_mode(0o755)).with_context(write)?;
            }
            remove_old(folder);
            let mut file = NamedTempFile::with_prefix_in(READY_PREFIX, folder).with_context(write)?;
            io::copy(&mut File::open(&from)?, &mut file).with_context(write)?;
            permit(&file, &place, &target.config).with_context(write)?;
            file.as_file().sync_all().with_context(write)?;
            Ok(Ready { file, place, change })
        })
        .collect()
}

/// Who may read it: as the file that it replaces. A new model is for everybody to read, a new configuration for the group
/// of the service, if there is one.
fn permit(file: &NamedTempFile, place: &Path, config: &Path) -> io::Result<()> {
    let (mode, owner) = match fs::metadata(place) {
        Ok(old) => (old.mode() & 0o777, Some((old.uid(), old.gid()))),
        Err(_) if place != config => (0o644, None),
        Err(_) => match crate::admin::group_id().filter(|_| rustix::process::geteuid().is_root()) {
            Some(group) => (0o640, Some((0, group))),
            None => (0o600, None),
        },
    };
    if let Some((user, group)) = owner.filter(|_| rustix::process::geteuid().is_root()) {
        lchown(file.path(), Some(user), Some(group))?;
    }
    file.as_file().set_permissions(Permissions::from_mode(mode))
}

/// Gives `path` the owner of `folder`, where root works for a service.
pub(super) fn adopt(path: &Path, folder: &Path) {
    if let Ok(folder) = fs::metadata(folder)
        && rustix::process::geteuid().is_root()
    {
        // Never through a link that somebody laid there.
        let _ = lchown(path, Some(folder.uid()), Some(folder.gid()));
    }
}

/// Removes what killed restores left in `folder`.
fn remove_old(folder: &Path) {
    // Younger ones may be ours.
    const OLD: std::time::Duration = std::time::Duration::from_secs(3600);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_ready = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(READY_PREFIX.as_bytes());
        let is_old = entry
            .metadata()
            .and_then(|about| about.modified())
            .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > OLD));
        if is_ready && is_old {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Keeps a copy of `file` under a name that says when.
fn set_aside(file: &Path, moment: &str) -> anyhow::Result<PathBuf> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".before-restore-{moment}"));
    let aside = file.with_file_name(name);
    let write = || format!("can't keep {} as {}", file.display(), aside.display());
    // With its permissions; a link would do, where file systems have them.
    fs::copy(file, &aside).with_context(write)?;
    File::open(&aside)
        .and_then(|aside| aside.sync_all())
        .with_context(write)?;
    Ok(aside)
}

/// The sum over everybody in a gallery.
fn digest(gallery: &mut Gallery) -> anyhow::Result<Vec<u8>> {
    let mut sum = Summing {
        sum: Sha256::new(),
        to: io::sink(),
    };
    gallery.export(&[], &mut sum)?;
    Ok(sum.sum.finalize().to_vec())
}

fn set_gallery_aside(gallery: &Gallery, state: &Path, moment: &str) -> anyhow::Result<PathBuf> {
    let aside = state.join(format!("{BEFORE_PREFIX}{moment}{SNAPSHOT_SUFFIX}"));
    let write = || format!("can't keep the gallery of now as {}", aside.display());
    let copy = empty_copy(state)?;
    gallery.snapshot(copy.path()).with_context(write)?;
    ensure_in_place(&copy)?;
    copy.as_file().sync_all().with_context(write)?;
    copy.persist(&aside).map_err(|error| error.error).with_context(write)?;
    adopt(&aside, state);
    Ok(aside)
}

fn rename(ready: Vec<Ready>) -> anyhow::Result<()> {
    for Ready { file, place, .. } in ready {
        file.persist(&place)
            .map_err(|error| error.error)
            .with_context(|| format!("can't write {}", place.display()))?;
        sync(place.parent().unwrap_or(Path::new(".")));
    }
    Ok(())
}

/// The node's name and the visits, which only come where there are none.
fn the_rest(staged: &Staged, target: &Target) -> anyhow::Result<()> {
    let state = &target.state;
    if staged.plan.node {
        let write = || format!("can't write {}", state.join(NODE_ID).display());
        let mut file = NamedTempFile::with_prefix_in(READY_PREFIX, state).with_context(write)?;
        io::copy(&mut File::open(staged.folder.path().join(NODE_ID))?, &mut file).with_context(write)?;
        file.as_file().sync_all().with_context(write)?;
        adopt(file.path(), state);
        file.persist(state.join(NODE_ID))
            .map_err(|error| error.error)
            .with_context(write)?;
    }
    if staged.plan.visits {
        let mut old = Sightings::open(staged.folder.path())?;
        let people: Vec<_> = staged.gallery.people()?.into_iter().map(|one| one.person.uid).collect();
        old.keep_people(&people)?;
        let mut visits = Sightings::open(state)?;
        visits.replace_with(&old)?;
    }
    sync(state);
    Ok(())
}

/// One gallery of before is enough: whoever was removed since must not stay in many.
fn remove_older_gallery(state: &Path, placed: &Placed) {
    let is_before = |file: &Path| {
        let name = file.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(BEFORE_PREFIX.as_bytes())
    };
    // Where no newer one was made, the older one is of before.
    if !placed.set_aside.iter().any(|file| is_before(file)) {
        return;
    }
    for entry in fs::read_dir(state).into_iter().flatten().flatten() {
        let file = entry.path();
        if is_before(&file) && !placed.set_aside.contains(&file) {
            let _ = fs::remove_file(file);
        }
    }
}

/// A renaming is on the disk once its folder is.
fn sync(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
