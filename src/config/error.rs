//! What may be wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such file, or not TOML.
    #[error("can't read the configuration {}: {problem}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system or the TOML parser said.
        problem: String,
    },
    /// It was read, and some of it is wrong.
    #[error("{} in {}:\n{}", count(mistakes), file.display(), list(mistakes))]
    Mistakes {
        /// The file.
        file: PathBuf,
        /// All that is wrong.
        mistakes: Vec<Mistake>,
    },
}

/// One thing that is wrong in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key's path, such as `camera[1].url`.
    pub key: String,
    /// What is wrong with it and what would be valid.
    pub problem: String,
}

impl Mistake {
    pub(super) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

fn count(mistakes: &[Mistake]) -> String {
    match mistakes.len() {
        1 => "1 mistake".to_owned(),
        n => format!("{n} mistakes"),
    }
}

fn list(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(|mistake| format!("  {mistake}")).collect();
    lines.join("\n")
}
