//! Which TensorRT there is. Its engines hang on its version, and the runtime says none; so the library is looked for as
//! the system's loader does it once the runtime asks for it. It is not loaded for that.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// What TensorRT's library is called, before its version.
const STEM: &str = "libnvinfer.so.";
/// The part of the runtime that asks for it; it lies beside the runtime.
const ASKS: &str = "libonnxruntime_providers_tensorrt.so";
/// Where the loader notes the libraries that the system has.
const LOADERS_NOTES: &str = "/etc/ld.so.cache";

/// Where to look, in turn.
struct Places {
    /// Before the loader's notes.
    folders: Vec<PathBuf>,
    notes: PathBuf,
    /// After them.
    system: Vec<PathBuf>,
}

/// File and size of TensorRT's library, such as `libnvinfer.so.10.3.0, 235213968 bytes`: the size tells versions apart
/// where the file's name does not, as in TensorRT's Python package. `unknown` where it is not found.
pub(super) fn version(runtime_library: &Path) -> String {
    let named = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let beside = folders_of(runtime_library);
    let mut folders: Vec<PathBuf> = env::split_paths(&named)
        .filter(|folder| !folder.as_os_str().is_empty())
        .collect();
    folders.extend(beside.iter().cloned());
    let system = [
        format!("/usr/lib/{}-linux-gnu", env::consts::ARCH),
        "/usr/lib64".to_owned(),
        "/usr/lib".to_owned(),
        "/usr/local/lib".to_owned(),
        "/usr/local/cuda/lib64".to_owned(),
    ];
    let places = Places {
        folders,
        notes: LOADERS_NOTES.into(),
        system: system.map(PathBuf::from).to_vec(),
    };
    let wanted = beside.iter().find_map(|folder| asked_for(&folder.join(ASKS)));
    let found = find(&places, wanted.as_deref());
    found.as_deref().and_then(described).unwrap_or("unknown".to_owned())
}

/// The folder of a library, and that of the file if it is a link.
fn folders_of(library: &Path) -> Vec<PathBuf> {
    let real = library.canonicalize().ok();
    let folder = |file: &Path| file.parent().map(Path::to_path_buf);
    let mut folders: Vec<PathBuf> = folder(library)
        .into_iter()
        .chain(real.as_deref().and_then(folder))
        .collect();
    folders.dedup();
    folders
}

/// The name by which a library asks for TensorRT's, such as `libnvinfer.so.10`.
fn asked_for(library: &Path) -> Option<String> {
    let bytes = fs::read(library).ok()?;
    let is_name = |text: &&str| {
        text.strip_prefix(STEM)
            .is_some_and(|version| !version.is_empty() && version.chars().all(|c| c.is_ascii_digit() || c == '.'))
    };
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok())
        .find(is_name)
        .map(str::to_owned)
}

/// The file of the library `wanted`, of the newest where nobody says which.
fn find(places: &Places, wanted: Option<&str>) -> Option<PathBuf> {
    let is_wanted = |name: &OsStr| {
        let name = name.to_string_lossy();
        wanted.map_or_else(|| name.starts_with(STEM), |wanted| name == wanted)
    };
    let newest = |mut files: Vec<PathBuf>| {
        files.sort();
        files.iter().rev().find_map(|file| file.canonicalize().ok())
    };
    let in_folder = |folder: &PathBuf| {
        let entries = fs::read_dir(folder).ok()?.flatten();
        newest(
            entries
                .filter(|entry| is_wanted(&entry.file_name()))
                .map(|entry| entry.path())
                .collect(),
        )
    };
    let in_notes = || {
        let notes = fs::read(&places.notes).ok()?;
        let files = notes
            .split(|byte| *byte == 0)
            .filter_map(|text| std::str::from_utf8(text).ok())
            .filter(|text| text.starts_with('/'))
            .map(PathBuf::from);
        newest(files.filter(|file| file.file_name().is_some_and(is_wanted)).collect())
    };
    places
        .folders
        .iter()
        .find_map(in_folder)
        .or_else(in_notes)
        .or_else(|| places.system.iter().find_map(in_folder))
}

fn described(file: &Path) -> Option<String> {
    let bytes = fs::metadata(file).ok()?.len();
    Some(format!("{}, {bytes} bytes", file.file_name()?.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_library_is_found_as_the_loader_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for name in ["named", "noted", "system"] {
            fs::create_dir(place(name)).unwrap();
        }
        let places = Places {
            folders: vec![place("missing"), place("named")],
            notes: place("ld.so.cache"),
            system: vec![place("system")],
        };
        let found = |wanted| find(&places, wanted).as_deref().and_then(described);
        assert_eq!(found(None), None);
        let library = |folder: &str, version: &str, text: &str| {
            let name = format!("{STEM}{version}");
            fs::write(place(folder).join(&name), text).unwrap();
            let major = version.split('.').next().unwrap();
            symlink(&name, place(folder).join(format!("{STEM}{major}"))).unwrap();
        };
        library("system", "8.6.2", "12345");
        library("system", "9.0.0", "1");
        assert_eq!(
            found(Some("libnvinfer.so.8")).as_deref(),
            Some("libnvinfer.so.8.6.2, 5 bytes")
        );
        assert_eq!(found(None).as_deref(), Some("libnvinfer.so.9.0.0, 1 bytes"));
        assert_eq!(found(Some("libnvinfer.so.10")), None);
        library("noted", "10.3.0", "123");
        let noted = place("noted").join("libnvinfer.so.10");
        fs::write(
            &places.notes,
            format!("glibc-ld.so.cache1.1\0{}\0/lib/libz.so.1\0", noted.display()),
        )
        .unwrap();
        assert_eq!(
            found(Some("libnvinfer.so.10")).as_deref(),
            Some("libnvinfer.so.10.3.0, 3 bytes")
        );
        // As in a Python package: the name says no version.
        let plain = place("named").join("libnvinfer.so.10");
        for text in ["12", "1234"] {
            fs::write(&plain, text).unwrap();
            let said = format!("libnvinfer.so.10, {} bytes", text.len());
            assert_eq!(found(Some("libnvinfer.so.10")), Some(said));
        }
    }

    #[test]
    fn the_runtime_says_which_one_it_asks_for() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join(ASKS);
        assert_eq!(asked_for(&library), None);
        fs::write(
            &library,
            b"\x7fELF\0\xff\xfe\0libnvinfer.so.%d\0libnvinfer.so.\0libnvinfer_plugin.so.10\0libnvinfer.so.10\0",
        )
        .unwrap();
        assert_eq!(asked_for(&library).as_deref(), Some("libnvinfer.so.10"));
    }
}
