//! What of `kith.toml` concerns a backup. It is read as TOML only, since a configuration with mistakes is worth a backup,
//! too.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use toml::{Table, Value};
use url::Url;

use crate::config::{each_text, resolve};

/// A configuration file.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The file.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
    table: Table,
}

impl Configuration {
    /// Reads `file`.
    ///
    /// # Errors
    /// When it can't be read, or is no TOML.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
        Self::parse(file, text)
    }

    /// Reads `text` as if it stood in `file`.
    ///
    /// # Errors
    /// When it is no TOML.
    pub fn parse(file: &Path, text: String) -> anyhow::Result<Self> {
        let table = toml::from_str(&text).with_context(|| format!("{} is no TOML", file.display()))?;
        Ok(Self {
            file: file.to_path_buf(),
            text,
            table,
        })
    }

    /// The state folder that it names.
    pub fn state(&self) -> Option<PathBuf> {
        self.path(self.table.get("state"))
    }

    /// The folder of own models that it names.
    pub fn models_d(&self) -> Option<PathBuf> {
        self.path(self.runtime("models_d"))
    }

    /// The folder of shipped models that it names.
    pub fn models(&self) -> Option<PathBuf> {
        self.path(self.runtime("models"))
    }

    /// The embedder that it names.
    pub fn embedder(&self) -> Option<String> {
        Some(self.table.get("identify")?.get("embedder")?.as_str()?.to_owned())
    }

    /// Whether people are recognised by a trained head.
    pub fn by_head(&self) -> bool {
        let by = self.table.get("identify").and_then(|identify| identify.get("by"));
        by.and_then(Value::as_str).is_some_and(|by| by.starts_with("head:"))
    }

    fn runtime(&self, key: &str) -> Option<&Value> {
        self.table.get("runtime")?.get(key)
    }

    fn path(&self, value: Option<&Value>) -> Option<PathBuf> {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        Some(folder.join(value?.as_str()?))
    }

    /// The keys that name a file, such as `mqtt.password_file`, each with the file as the daemon finds it: what is not in
    /// a backup.
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        let mut found = Vec::new();
        let mut each = |key: &str, value: &str| {
            if key.ends_with("_file") {
                let folder = self.file.parent().unwrap_or(Path::new(""));
                found.push((key.to_owned(), resolve(Path::new(value), folder)));
            }
        };
        each_text("", &Value::Table(self.table.clone()), &mut each);
        found
    }

    /// Whether an address in it holds a password.
    pub fn has_password(&self) -> bool {
        let mut has = false;
        let mut each = |_: &str, value: &str| has |= Url::parse(value).is_ok_and(|url| url.password().is_some());
        each_text("", &Value::Table(self.table.clone()), &mut each);
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_passwords_are_found_wherever_they_stand() {
        let text = "state = \"s\"\n[mqtt]\nurl = \"mqtt://h\"\npassword_file = \"mqtt.pw\"\n[identify]\nby = \"head:h\"\nembedder = \"mine\"\n[runtime]\nmodels_d = \"/m\"\n\
                    [[camera]]\nurl = \"rtsp://u:p@h/\"\npassword_file = \"/x/cam.pw\"\n";
        let read = Configuration::parse(Path::new("/etc/kith/kith.toml"), text.to_owned()).unwrap();
        assert_eq!(read.state(), Some("/etc/kith/s".into()));
        assert_eq!(read.models_d(), Some("/m".into()));
        assert_eq!(read.models(), None);
        assert_eq!((read.by_head(), read.embedder()), (true, Some("mine".to_owned())));
        let expected = [
            ("camera[0].password_file", "/x/cam.pw"),
            ("mqtt.password_file", "/etc/kith/mqtt.pw"),
        ];
        assert_eq!(
            read.files(),
            expected.map(|(key, file)| (key.to_owned(), PathBuf::from(file)))
        );
        assert!(read.has_password());
        let without = Configuration::parse(Path::new("k"), text.replace("u:p@", "")).unwrap();
        assert!(!without.has_password());
    }
}
