//! The state directory: gallery, outbox, node id. It holds what can't be revoked, so nobody else may look into it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// Permissions of the folder.
pub const FOLDER_MODE: u32 = 0o700;
/// Permissions of each file in it.
pub const FILE_MODE: u32 = 0o600;

/// Why a folder can't be the state directory.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// The folder can't be made or looked at.
    #[error("can't use the state folder {path}: {source}; name another one with --state or KITH_STATE")]
    Unusable {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can look into it, and it holds things that aren't Kith's, so changing its permissions is not ours.
    #[error(
        "other users can look into the state folder {path} (mode {mode:03o}), and it holds other things too; \
         run `chmod 700 {path}`, or name a folder of its own with --state"
    )]
    Open {
        /// Which folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Makes sure that `folder` exists and that only its owner can look into it. An existing folder that is open to others
/// is closed if it is empty or already Kith's (`gallery.sqlite` or `node-id` is in it), and refused otherwise.
///
/// # Errors
/// See [`StateDirError`].
pub fn prepare(folder: &Path) -> Result<(), StateDirError> {
    let unusable = |source| StateDirError::Unusable {
        path: folder.to_path_buf(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
        .map_err(unusable)?;
    let mode = fs::metadata(folder).map_err(unusable)?.mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let is_empty = fs::read_dir(folder).map_err(unusable)?.next().is_none();
    let is_ours = ["gallery.sqlite", "node-id"]
        .iter()
        .any(|name| folder.join(name).exists());
    if !is_empty && !is_ours {
        return Err(StateDirError::Open {
            path: folder.to_path_buf(),
            mode,
        });
    }
    fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)).map_err(unusable)
}

/// Opens `path` for reading and writing, made with [`FILE_MODE`] if it isn't there, closed to others if it was open,
/// and durable as a name in its folder. Never follows a symbolic link. Root gives it to the owner of the folder.
///
/// # Errors
/// What the system said.
pub fn open_private_file(path: &Path) -> io::Result<File> {
    #[expect(clippy::cast_possible_wrap, reason = "the flag is a small positive number")]
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .custom_flags(no_follow)
        .open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    if let Some(folder) = path.parent() {
        let folder = File::open(folder)?;
        let owner = folder.metadata()?;
        // What root makes in the service's folder has to be the service's; SQLite does so with its other files.
        if geteuid().is_root() && owner.uid() != file.metadata()?.uid() {
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        folder.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_new_folder_and_file_are_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a/b");
        prepare(&state).unwrap();
        assert_eq!(mode(&state), 0o700);
        open_private_file(&state.join("x")).unwrap();
        assert_eq!(mode(&state.join("x")), 0o600);
    }

    #[test]
    fn an_open_folder_is_closed_if_it_is_ours_and_refused_if_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), open.clone()).unwrap();
        prepare(folder.path()).unwrap();
        assert_eq!(mode(folder.path()), 0o700, "an empty folder is taken");

        fs::set_permissions(folder.path(), open.clone()).unwrap();
        fs::write(folder.path().join("letter.txt"), "not ours").unwrap();
        let refusal = prepare(folder.path()).unwrap_err();
        assert!(matches!(refusal, StateDirError::Open { mode: 0o755, .. }), "{refusal}");
        assert_eq!(mode(folder.path()), 0o755, "a refused folder stays as it was");

        fs::write(folder.path().join("gallery.sqlite"), "").unwrap();
        prepare(folder.path()).unwrap();
        assert_eq!(mode(folder.path()), 0o700, "a folder that was ours is closed");
    }

    /// Only root can give files away, so elsewhere nothing is tested.
    #[test]
    fn what_root_makes_in_somebodys_folder_is_theirs() {
        if !geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534)).unwrap();
        let file = open_private_file(&folder.path().join("x")).unwrap();
        let about = file.metadata().unwrap();
        assert_eq!((about.uid(), about.gid()), (65534, 65534));
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("target"), "").unwrap();
        std::os::unix::fs::symlink(folder.path().join("target"), folder.path().join("link")).unwrap();
        assert!(open_private_file(&folder.path().join("link")).is_err());
    }
}
