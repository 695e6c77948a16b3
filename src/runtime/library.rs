//! Loading the library, once per process.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;

use super::error::first_line;
use super::{RuntimeError, RuntimeSettings, telemetry};
use crate::paths;

/// One per process: ONNX Runtime allows one environment, and its library can't be exchanged once it is loaded.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Threads where nobody says how many: more lanes than this cost more memory than they save time.
const MOST_THREADS_UNASKED: usize = 4;

/// The loaded runtime library.
pub struct Runtime {
    pub(super) environment: Environment,
    pub(super) threads: usize,
    /// Where the library lies, as far as is known.
    pub(super) library: PathBuf,
}

impl Runtime {
    /// Loads the library that `settings` or [`crate::paths`] names. A second call of the process gets the library of
    /// the first.
    ///
    /// # Errors
    /// [`RuntimeError::Telemetry`], [`RuntimeError::Library`], [`RuntimeError::Environment`].
    pub fn load(settings: &RuntimeSettings) -> Result<Self, RuntimeError> {
        let cores = || {
            std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(MOST_THREADS_UNASKED)
        };
        let threads = settings.threads.unwrap_or_else(cores).max(1);
        let path = paths::runtime_library(settings.library.as_deref());
        let mut held = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(environment) = held.as_ref() {
            return Ok(Self {
                environment: environment.clone(),
                threads,
                library: path,
            });
        }
        if !telemetry::is_off() {
            return Err(RuntimeError::Telemetry);
        }
        let environment = ort::init_from(&path)
            .map_err(|error| RuntimeError::Library {
                path: path.clone(),
                reason: why_not_loaded(&path, &error),
            })?
            .with_name("kith")
            .with_telemetry(false)
            .build()
            .map_err(RuntimeError::Environment)?;
        // The lanes run in rayon's threads. A program that set up rayon before keeps its threads.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        *held = Some(environment.clone());
        Ok(Self {
            environment,
            threads,
            library: path,
        })
    }

    /// The runtime's own words about its build, such as `git-commit-id=fab30a4`.
    pub fn build(&self) -> &'static str {
        let words = ort::info();
        words
            .split(", ")
            .find(|word| word.starts_with("git-commit-id="))
            .unwrap_or(words)
    }
}

/// The loader's error does not tell a missing file from one that is no library.
fn why_not_loaded(path: &Path, error: &dyn fmt::Display) -> String {
    // A bare name is looked up by the system's loader, in folders that we don't know.
    if path.parent() == Some(Path::new("")) {
        return format!("{error} (the system's loader looked for it)");
    }
    match fs::metadata(path) {
        Err(missing) => missing.to_string(),
        Ok(metadata) if metadata.is_dir() => "it is a folder, not a library".into(),
        Ok(_) => format!(
            "{}; is it ONNX Runtime 1.17 or newer for {}?",
            first_line(&error.to_string()),
            std::env::consts::ARCH
        ),
    }
}
