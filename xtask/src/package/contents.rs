//! What is in the package and not in the checkout, made into `target/package`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::checkout::{self, Checkout};

/// Makes all of it anew.
///
/// # Errors
/// When a program can't say its pages, or a file can't be written.
pub(super) fn write(checkout: &Checkout) -> Result<()> {
    let folder = checkout.path("target/package");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
    }
    for part in ["man", "bash", "zsh", "fish", "doc"] {
        let part = folder.join(part);
        fs::create_dir_all(&part).with_context(|| format!("can't make {}", part.display()))?;
    }
    let release = super::release(checkout)?;
    for program in ["kith", "kith-export"] {
        let command = || checkout.command(release.join(program));
        checkout::capture(command().arg("man").arg(folder.join("man")))?;
        for (shell, file) in [
            ("bash", format!("bash/{program}")),
            ("zsh", format!("zsh/_{program}")),
            ("fish", format!("fish/{program}.fish")),
        ] {
            let script = checkout::capture(command().args(["completions", shell]))?;
            put(&folder.join(file), script.as_bytes())?;
        }
    }
    let notices = checkout.path(".cache/onnxruntime/notices.txt");
    let mut gzip = checkout.command("gzip");
    gzip.args(["--best", "--no-name", "--stdout"]).arg(&notices);
    let output = gzip.output().context("can't start gzip")?;
    anyhow::ensure!(output.status.success(), "gzip can't pack {}", notices.display());
    put(&folder.join("doc/onnxruntime-notices.txt.gz"), &output.stdout)?;
    put(&folder.join("doc/rust-crates.txt"), crates(checkout)?.as_bytes())
}

fn put(file: &Path, contents: &[u8]) -> Result<()> {
    fs::write(file, contents).with_context(|| format!("can't write {}", file.display()))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    authors: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// None: part of the program. Otherwise `dev` or `build`.
    kind: Option<String>,
}

/// A line for each crate that is linked into the two programs.
fn crates(checkout: &Checkout) -> Result<String> {
    let mut command = checkout.cargo();
    command.args(["metadata", "--locked", "--format-version", "1", "--filter-platform"]);
    command.arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    let text = checkout::capture(&mut command)?;
    let metadata: Metadata = serde_json::from_str(&text).context("in what cargo metadata says")?;
    let mut linked = BTreeSet::new();
    let mut to_visit: Vec<&str> = metadata
        .packages
        .iter()
        .filter(|package| ["kith", "kith-export"].contains(&package.name.as_str()))
        .map(|package| package.id.as_str())
        .collect();
    while let Some(id) = to_visit.pop() {
        if !linked.insert(id) {
            continue;
        }
        let node = metadata.resolve.nodes.iter().find(|node| node.id == id);
        to_visit.extend(
            node.iter()
                .flat_map(|node| &node.deps)
                .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()))
                .map(|dependency| dependency.pkg.as_str()),
        );
    }
    let mut text =
        String::from("The Rust crates that the programs hold, with their licences, their homes and their authors.\n\n");
    for package in metadata
        .packages
        .iter()
        .filter(|package| linked.contains(package.id.as_str()))
    {
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "{} {}; {}; {}; {}",
            package.name,
            package.version,
            package.license.as_deref().unwrap_or("licence in its sources"),
            package.repository.as_deref().unwrap_or("-"),
            package.authors.join(", ")
        );
    }
    Ok(text)
}
