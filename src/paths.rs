//! Where Kith keeps and finds its files: systemd's directories for a service, XDG's for a person, the checkout for a
//! developer.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::gallery::Gallery;

/// The state folder of the installed service.
const SERVICE_STATE: &str = "/var/lib/kith";

/// The folder of gallery, outbox and node id: `given` (`--state`, `KITH_STATE`), else systemd's `STATE_DIRECTORY`,
/// else a person's own, `$XDG_STATE_HOME/kith` or `~/.local/state/kith`. For root and the service's own user, who have
/// no gallery of their own, the service's, `/var/lib/kith`, where there is one. It may not exist yet.
pub fn state_dir(given: Option<&Path>) -> PathBuf {
    given
        .map(Path::to_path_buf)
        .or_else(|| env::var_os("STATE_DIRECTORY").map(PathBuf::from))
        .unwrap_or_else(|| persons_or_service(personal_state(), Path::new(SERVICE_STATE)))
}

fn personal_state() -> Option<PathBuf> {
    env::var_os("XDG_STATE_HOME")
        .filter(|home| !home.is_empty())
        .map(|home| PathBuf::from(home).join("kith"))
        .or_else(|| env::home_dir().map(|home| home.join(".local/state/kith")))
}

fn persons_or_service(personal: Option<PathBuf>, service: &Path) -> PathBuf {
    let may_use_service = || {
        let user = geteuid();
        fs::metadata(service).is_ok_and(|folder| folder.is_dir() && (user.is_root() || folder.uid() == user.as_raw()))
    };
    match personal {
        Some(personal) if Gallery::exists(&personal) || !may_use_service() => personal,
        _ => service.to_path_buf(),
    }
}

/// Whether the service is installed here, whoever may look into its folder.
pub fn has_service() -> bool {
    Path::new(SERVICE_STATE).is_dir()
}

/// Whether `state_dir` is the installed service's.
pub fn is_service(state_dir: &Path) -> bool {
    state_dir == Path::new(SERVICE_STATE)
}

/// The folder of what can be made again, such as the engines of a graphics card: `given` (`runtime.cache`), else
/// `KITH_CACHE`, else systemd's `CACHE_DIRECTORY`, else `$XDG_CACHE_HOME/kith`, else `~/.cache/kith`. It may not exist yet.
pub fn cache_dir(given: Option<&Path>) -> PathBuf {
    // systemd lists several folders with colons between them.
    let of_service = || env::split_paths(&env::var_os("CACHE_DIRECTORY")?).next();
    let personal = || {
        env::var_os("XDG_CACHE_HOME")
            .filter(|home| !home.is_empty())
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".cache")))
            .map(|cache| cache.join("kith"))
    };
    given
        .map(Path::to_path_buf)
        .or_else(|| env::var_os("KITH_CACHE").map(PathBuf::from))
        .or_else(of_service)
        .filter(|folder| !folder.as_os_str().is_empty())
        .or_else(personal)
        .unwrap_or_else(|| PathBuf::from("/var/cache/kith"))
}

/// The folder of the daemon's socket, where systemd gives one (`RUNTIME_DIRECTORY`).
pub fn runtime_dir() -> Option<PathBuf> {
    let folders = env::var_os("RUNTIME_DIRECTORY")?;
    // systemd lists several folders with colons between them.
    env::split_paths(&folders)
        .next()
        .filter(|folder| !folder.as_os_str().is_empty())
}

/// The folder that holds `models.toml` and the `.onnx` files: `given` (`runtime.models`, `KITH_MODELS`), else the first
/// `onnx/models.toml` beside or above the program, as in a checkout, else the package's `/usr/share/kith/models`.
pub fn models_dir(given: Option<&Path>) -> PathBuf {
    given
        .map(Path::to_path_buf)
        .or_else(|| env::var_os("KITH_MODELS").map(PathBuf::from))
        .or_else(|| above_program("onnx/models.toml").and_then(|file| file.parent().map(Path::to_path_buf)))
        .unwrap_or_else(|| PathBuf::from("/usr/share/kith/models"))
}

/// The folder of models that the user added, `*.toml` of the form of `models.toml`: `given` (`--models-d`,
/// `runtime.models_d`), else `KITH_MODELS_D`, else `models.d` in systemd's `CONFIGURATION_DIRECTORY`, else the first that
/// exists of `$XDG_CONFIG_HOME/kith/models.d` (`~/.config`) and `/etc/kith/models.d`, else the first of these. It may
/// not exist yet.
pub fn models_d(given: Option<&Path>) -> PathBuf {
    let personal = || {
        let config = env::var_os("XDG_CONFIG_HOME")
            .filter(|home| !home.is_empty())
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".config")));
        config.map(|config| config.join("kith/models.d"))
    };
    let found = || {
        let shared = PathBuf::from("/etc/kith/models.d");
        match personal() {
            Some(personal) if personal.is_dir() || !shared.is_dir() => personal,
            _ => shared,
        }
    };
    // systemd lists several folders with colons between them.
    let of_service = || {
        let folders = env::var_os("CONFIGURATION_DIRECTORY")?;
        let first = env::split_paths(&folders).next()?;
        Some(first.join("models.d"))
    };
    given
        .map(Path::to_path_buf)
        .or_else(|| env::var_os("KITH_MODELS_D").map(PathBuf::from))
        .or_else(of_service)
        .unwrap_or_else(found)
}

/// The ONNX Runtime library: `given` (`runtime.library`, `KITH_RUNTIME_LIBRARY`), else the one that the package or
/// the checkout's set-up brought, else the bare name, which the system's loader looks up.
pub fn runtime_library(given: Option<&Path>) -> PathBuf {
    given
        .map(Path::to_path_buf)
        .or_else(|| env::var_os("KITH_RUNTIME_LIBRARY").map(PathBuf::from))
        .or_else(|| above_program(".cache/onnxruntime/libonnxruntime.so"))
        .or_else(|| Some(PathBuf::from("/usr/lib/kith/libonnxruntime.so")).filter(|path| path.exists()))
        .unwrap_or_else(|| PathBuf::from("libonnxruntime.so"))
}

/// The nearest existing `relative` in the folder of the running program or in one above it.
fn above_program(relative: &str) -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    program
        .ancestors()
        .skip(1)
        .map(|folder| folder.join(relative))
        .find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests run as the owner of their folders, as the service's user does.
    #[test]
    fn the_services_state_is_taken_where_we_may_and_have_no_gallery_of_our_own() {
        let folder = tempfile::tempdir().unwrap();
        let (personal, service) = (folder.path().join("personal"), folder.path().join("service"));
        let chosen = || persons_or_service(Some(personal.clone()), &service);
        assert_eq!(chosen(), personal, "no service is installed");
        fs::create_dir(&service).unwrap();
        assert_eq!(chosen(), service);
        assert_eq!(persons_or_service(None, &service), service);
        drop(Gallery::open(&personal).unwrap());
        assert_eq!(chosen(), personal, "one's own gallery comes first");
    }
}
