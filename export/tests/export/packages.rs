//! Where the tests find what is not committed. Tests that need it say that they skip when it is not there.

use std::path::PathBuf;

/// A file of the packages, from `KITH_PACKAGES` or the checkout's cache.
pub(crate) fn weight_file(path: &str) -> Option<Vec<u8>> {
    let folder = folder()?;
    Some(std::fs::read(folder.join(path)).unwrap())
}

/// The folder of the packages.
pub(crate) fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("KITH_PACKAGES").map_or_else(|| checkout().join(".cache/packages"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "skipped: no packages in {} (`cargo xtask models` fetches them)",
        folder.display()
    );
    None
}

/// The ONNX Runtime library, from `KITH_RUNTIME_LIBRARY` or the checkout's cache.
pub(crate) fn runtime_library() -> Option<PathBuf> {
    let in_cache = || checkout().join(".cache/onnxruntime/libonnxruntime.so");
    let library = std::env::var_os("KITH_RUNTIME_LIBRARY").map_or_else(in_cache, PathBuf::from);
    if library.is_file() {
        return Some(library);
    }
    println!(
        "skipped: no ONNX Runtime library {} (`cargo xtask models` fetches it)",
        library.display()
    );
    None
}

/// The library of the oldest ONNX Runtime that is supported, from `KITH_RUNTIME_LIBRARY_OLD` or the checkout's cache.
pub(crate) fn old_runtime_library() -> Option<PathBuf> {
    let in_cache = || checkout().join(".cache/onnxruntime-1.19.2/libonnxruntime.so");
    let library = std::env::var_os("KITH_RUNTIME_LIBRARY_OLD").map_or_else(in_cache, PathBuf::from);
    if library.is_file() {
        return Some(library);
    }
    println!("skipped: no old ONNX Runtime library {}", library.display());
    None
}

/// The root of the checkout.
pub(crate) fn checkout() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

/// A file of the folder of data for development, which `KITH_DATA` names.
pub(crate) fn data_file(path: &str) -> Option<Vec<u8>> {
    let Some(folder) = std::env::var_os("KITH_DATA") else {
        println!("skipped: KITH_DATA is not set");
        return None;
    };
    Some(std::fs::read(PathBuf::from(folder).join(path)).unwrap())
}
