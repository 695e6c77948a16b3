//! The unit and its drop-in as systemd reads them.

use std::fs;
use std::path::{Path, PathBuf};

/// The two ways in which the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// With what a card and a webcam need.
    Gpu,
    /// With `cpu.conf`.
    Cpu,
}

/// A unit file of `deploy/systemd/`.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd").join(name)
}

/// Its text.
pub(crate) fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// Settings in the order in which systemd reads them.
#[derive(Debug, Clone)]
pub(crate) struct Settings(Vec<(String, String)>);

impl Settings {
    /// All of a variant.
    pub(crate) fn of(variant: Variant) -> Self {
        let mut all = text("kith.service");
        if variant == Variant::Cpu {
            all += &text("cpu.conf");
        }
        Self(settings(&all))
    }

    /// The same without those that `unwanted` picks by key and value.
    pub(crate) fn without(&self, unwanted: impl Fn(&str, &str) -> bool) -> Self {
        let wanted = self.0.iter().filter(|(key, value)| !unwanted(key, value));
        Self(wanted.cloned().collect())
    }

    /// The same with one more.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.0.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The values of `key`, in order.
    pub(crate) fn all(&self, key: &str) -> Vec<&str> {
        let values = self.0.iter().filter(|(one, _)| one == key);
        values.map(|(_, value)| value.as_str()).collect()
    }

    /// The value that counts, if there is one.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.all(key).last().copied()
    }

    /// Whether it is `yes`.
    pub(crate) fn is_on(&self, key: &str) -> bool {
        self.get(key) == Some("yes")
    }
}

/// The settings of a file: no line is continued in ours.
pub(crate) fn settings(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
