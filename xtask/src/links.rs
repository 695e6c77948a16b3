//! The check that links between the project's Markdown files lead somewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::checkout::{self, Checkout};

/// Follows every relative link and anchor of the Markdown files that git tracks. Links to other sites are left alone.
///
/// # Errors
/// With all links that lead nowhere.
pub(crate) fn check(checkout: &Checkout) -> Result<()> {
    let listed = checkout::capture(checkout.command("git").args(["ls-files", "-z", "--", "*.md"]))?;
    let mut pages = BTreeMap::new();
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        let path = checkout.path(name);
        // Listed, but removed in this working tree.
        if path.exists() {
            let text = fs::read_to_string(&path).with_context(|| format!("can't read {name}"))?;
            pages.insert(PathBuf::from(name), text);
        }
    }
    let broken = broken_links(&pages, |path| checkout.root().join(path).exists());
    if !broken.is_empty() {
        bail!("links that lead nowhere:\n{}", broken.join("\n"));
    }
    eprintln!("    the links of {} pages lead somewhere", pages.len());
    Ok(())
}

/// `page: link` for each that leads nowhere. Paths are relative to the root.
fn broken_links(pages: &BTreeMap<PathBuf, String>, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut broken = Vec::new();
    for (page, text) in pages {
        for link in links(text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                normal(&page.with_file_name(file))
            };
            let anchor_is_there = match pages.get(&target) {
                Some(text) if !anchor.is_empty() => anchors(text).iter().any(|known| known == anchor),
                _ => true,
            };
            if !exists(&target) || !anchor_is_there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    broken
}

/// The lines of a page that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    })
}

/// Where `[text](target)` and `![text](target)` lead to within the project.
fn links(text: &str) -> Vec<&str> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')'))
        // A title may follow the target.
        .filter_map(|(target, _)| target.split_whitespace().next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// The anchors of a page's headings, made as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    prose(text)
        .filter_map(|line| {
            line.trim_start_matches('#')
                .strip_prefix(' ')
                .filter(|_| line.starts_with('#'))
        })
        .map(|heading| {
            let slug: String = heading
                .trim()
                .to_lowercase()
                .chars()
                .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
                .map(|letter| if letter == ' ' { '-' } else { letter })
                .collect();
            let count = seen.entry(slug.clone()).or_default();
            *count += 1;
            if *count == 1 {
                slug
            } else {
                format!("{slug}-{}", *count - 1)
            }
        })
        .collect()
}

/// `path` without `.` and `..`, as text: the folders need not exist.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir if normal.pop() => {}
            other => normal.push(other),
        }
        normal
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::{anchors, broken_links};

    /// Pages of a made-up project; only pages and `docs/picture.jpg` exist.
    fn broken(pages: &[(&str, &str)]) -> Vec<String> {
        let pages: BTreeMap<PathBuf, String> = pages
            .iter()
            .map(|(name, text)| (PathBuf::from(name), (*text).to_owned()))
            .collect();
        broken_links(&pages, |path| {
            pages.contains_key(path) || path == Path::new("docs/picture.jpg")
        })
    }

    #[test]
    fn links_that_lead_somewhere_are_quiet() {
        let readme =
            "![a](docs/picture.jpg \"title\") [b](docs/a.md#two-words) [c](https://example.org/x) [d](#top)\n# Top";
        let page = "# Title\n## Two words\n[up](../README.md) [here](#title)\n```\n[not](a-link.md)\n```";
        assert_eq!(
            broken(&[("README.md", readme), ("docs/a.md", page)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn links_that_lead_nowhere_are_named() {
        let readme = "[a](docs/none.md) and [b](docs/a.md#three)";
        let page = "[c](README.md)";
        assert_eq!(
            broken(&[("README.md", readme), ("docs/a.md", page)]),
            [
                "README.md: docs/none.md",
                "README.md: docs/a.md#three",
                "docs/a.md: README.md"
            ]
        );
    }

    #[test]
    fn anchors_are_githubs() {
        let page = "# `kith run`: the daemon!\n## Same\n### Same\n#no-heading\n```\n# comment\n```";
        assert_eq!(anchors(page), ["kith-run-the-daemon", "same", "same-1"]);
    }
}
