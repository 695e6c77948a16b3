//! Writing a file so that it is either the old one or the whole new one, whatever happens in between.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use tempfile::NamedTempFile;

/// What the name of a file ends with while it is written.
const UNFINISHED: &str = ".unfinished";

/// Writes `bytes` to `path`.
///
/// # Errors
/// When the disk is full or the folder not writable; names the file, which is as it was before.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_all_whole(&[(path, bytes)])
}

/// Writes several files that belong together. None takes its name before all are on the disk, so a disk that gets full
/// leaves each as it was; they take their names in the order given.
///
/// # Errors
/// As [`write_whole`].
pub fn write_all_whole(files: &[(&Path, &[u8])]) -> anyhow::Result<()> {
    let failed = |path: &Path| format!("can't write {}", path.display());
    let mut written = Vec::with_capacity(files.len());
    for (path, bytes) in files {
        written.push((path, write_beside(path, bytes).with_context(|| failed(path))?));
    }
    for (path, file) in written {
        file.persist(path).with_context(|| failed(path))?;
    }
    Ok(())
}

fn write_beside(path: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".")
        .suffix(UNFINISHED)
        .tempfile_in(folder)?;
    // Not through `file` itself, whose errors tell of the unfinished name.
    file.as_file_mut().write_all(bytes)?;
    file.as_file().sync_all()?;
    #[cfg(unix)]
    {
        // A temporary file is private; what is kept is readable like any other file.
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(file)
}

/// Removes what a killed program was writing into `folder`. Nothing else may be writing into it.
pub fn remove_unfinished(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(UNFINISHED) {
            // What can't be removed only takes room.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
