//! What a COPY takes from the checkout: everything but what `.dockerignore` leaves out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::checkout::Checkout;

/// The rules of `.dockerignore`; the last that fits a path decides.
pub(crate) struct Ignored {
    rules: Vec<Rule>,
}

struct Rule {
    /// Segments of the path; `*` within one stands for anything but `/`.
    segments: Vec<String>,
    /// Whether it takes files back in.
    back: bool,
}

impl Ignored {
    /// The checkout's.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(crate) fn read(checkout: &Checkout) -> Result<Self> {
        let text = fs::read_to_string(checkout.path(".dockerignore")).context("can't read .dockerignore")?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let rules = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rules = rules.map(|line| Rule {
            segments: line.trim_start_matches('!').split('/').map(str::to_owned).collect(),
            back: line.starts_with('!'),
        });
        Self { rules: rules.collect() }
    }

    /// Whether the file `path`, relative to the checkout, is left out.
    fn leaves_out(&self, path: &Path) -> bool {
        let rule = self.rules.iter().rfind(|rule| rule.fits(path));
        rule.is_some_and(|rule| !rule.back)
    }

    /// Whether something below `folder` may be taken in.
    fn may_hold(&self, folder: &Path) -> bool {
        let begins = |rule: &Rule| {
            let names: Vec<String> = names(folder);
            names
                .iter()
                .zip(&rule.segments)
                .all(|(name, segment)| fits(segment, name))
        };
        !self.leaves_out(folder) || self.rules.iter().any(|rule| rule.back && begins(rule))
    }

    /// The files below `from` that are not left out, relative to the checkout, sorted.
    ///
    /// # Errors
    /// When a folder can't be listed.
    pub(crate) fn files(&self, checkout: &Checkout, from: &str) -> Result<Vec<PathBuf>> {
        let from = PathBuf::from(from.trim_start_matches("./").trim_matches('/'));
        let from = if from == Path::new(".") { PathBuf::new() } else { from };
        let mut files = Vec::new();
        let mut folders = vec![from];
        while let Some(folder) = folders.pop() {
            let whole = checkout.root().join(&folder);
            if whole.is_file() {
                files.push(folder);
                continue;
            }
            for entry in fs::read_dir(&whole).with_context(|| format!("can't list {}", whole.display()))? {
                let entry = entry?;
                let path = folder.join(entry.file_name());
                let is_folder = entry.file_type()?.is_dir();
                if is_folder && self.may_hold(&path) {
                    folders.push(path);
                } else if !is_folder && !self.leaves_out(&path) {
                    files.push(path);
                }
            }
        }
        files.sort();
        Ok(files)
    }
}

impl Rule {
    /// Whether it is about `path` or a folder above it.
    fn fits(&self, path: &Path) -> bool {
        let names = names(path);
        names.len() >= self.segments.len()
            && self
                .segments
                .iter()
                .zip(&names)
                .all(|(segment, name)| fits(segment, name))
    }
}

fn names(path: &Path) -> Vec<String> {
    path.iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

/// Whether `name` is `pattern`, where a `*` stands for anything; ours have one at most.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((begin, end)) => name.len() >= begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Ignored;

    #[test]
    fn the_last_rule_that_fits_decides() {
        let rules = Ignored::parse("# comment\n*\n!src\n!onnx\nonnx/*.onnx\n!deploy/kith.toml\n");
        let out = |path: &str| rules.leaves_out(Path::new(path));
        for taken in ["src/main.rs", "src/a/b.rs", "onnx/models.toml", "deploy/kith.toml"] {
            assert!(!out(taken), "{taken}");
        }
        for left in [
            "target/x",
            "secret",
            "onnx/pnet.onnx",
            "deploy/other.toml",
            ".git/config",
        ] {
            assert!(out(left), "{left}");
        }
        let may = |path: &str| rules.may_hold(Path::new(path));
        assert!(may("deploy") && may("src/a") && !may("target") && !may("deploy/docker"));
    }
}
