//! The configuration, in two steps: what the file and the environment say ([`raw`]), checked key by key against a
//! table ([`keys`]), then what the program may rely on ([`Settings`]). Every mistake is reported, not only the first.

mod check;
mod error;
mod keys;
mod mqtt;
mod raw;
mod secret;
mod secret_files;
mod settings;

use std::path::Path;

pub use error::{ConfigError, Mistake};
pub use keys::reference;
pub use mqtt::{HomeAssistantSettings, MqttSettings};
pub use secret::Secret;
pub use secret_files::{SecretFile, secret_files};
pub(crate) use secret_files::{each_text, resolve};
pub use settings::{CameraSettings, DECIDE_WITHIN, LogSettings, MIN_SHOTS, Settings};

/// Reads `file`, lays the environment over it (`KITH__MQTT__URL` is `mqtt.url`; tables of cameras come from the file
/// only), and checks all of it. Relative paths in it count from the file's folder.
///
/// # Errors
/// When the file can't be read or is no TOML, or with all mistakes in it.
pub fn load(file: &Path) -> Result<Settings, ConfigError> {
    load_with(file, environment())
}

/// As [`load`], of `text` that is to stand in `file`.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, file: &Path) -> Result<Settings, ConfigError> {
    parse_with(text, file, environment())
}

fn environment() -> config::Environment {
    config::Environment::with_prefix("KITH")
        .prefix_separator("__")
        .separator("__")
}

fn load_with(file: &Path, environment: config::Environment) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Unreadable {
        file: file.to_path_buf(),
        problem: error.to_string(),
    })?;
    parse_with(&text, file, environment)
}

fn parse_with(text: &str, file: &Path, environment: config::Environment) -> Result<Settings, ConfigError> {
    let unreadable = |problem: String| ConfigError::Unreadable {
        file: file.to_path_buf(),
        problem,
    };
    let layers = config::Config::builder()
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .add_source(environment)
        .build()
        .map_err(|error| unreadable(error.to_string()))?;
    let mut mistakes = Vec::new();
    let checked = check::table(keys::TOP, &layers.cache, &mut mistakes);
    let raw: raw::Raw = serde_json::from_value(checked).map_err(|error| unreadable(error.to_string()))?;
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let settings = settings::build(raw, folder, &mut mistakes);
    match settings {
        Some(settings) if mistakes.is_empty() => Ok(settings),
        _ => Err(ConfigError::Mistakes {
            file: file.to_path_buf(),
            mistakes,
        }),
    }
}

#[cfg(test)]
mod tests;
