//! The page with the log of the steps.

use std::fs;

use anyhow::{Context, Result, bail};

use super::steps::Entry;
use crate::checkout::{self, Checkout};

const PAGE: &str = "docs/reference/containers.md";
const FROM: &str = "<!-- from here: written by cargo xtask containers --check -->\n";
const TO: &str = "<!-- to here -->\n";

/// A variant and its entries.
pub(crate) type Chapter = (String, Vec<Entry>);

/// Writes the tables of the page.
///
/// # Errors
/// When the page can't be read or written.
pub(crate) fn write(checkout: &Checkout, chapters: &[Chapter]) -> Result<()> {
    let path = checkout.path(PAGE);
    let failed = || format!("can't read or write {}", path.display());
    let text = fs::read_to_string(&path).with_context(failed)?;
    let (before, rest) = text
        .split_once(FROM)
        .with_context(|| format!("{PAGE} has no line {FROM}"))?;
    let (_, after) = rest
        .split_once(TO)
        .with_context(|| format!("{PAGE} has no line {TO}"))?;
    let commit = checkout::capture(checkout.command("git").args(["log", "-1", "--format=%h, %cs"]))?;
    let tables = tables(commit.trim(), chapters);
    fs::write(&path, format!("{before}{FROM}{tables}{TO}{after}")).with_context(failed)
}

/// # Errors
/// When the page has no log.
pub(crate) fn look(checkout: &Checkout) -> Result<()> {
    let text = fs::read_to_string(checkout.path(PAGE)).with_context(|| format!("can't read {PAGE}"))?;
    let log = text
        .split_once(FROM)
        .and_then(|(_, rest)| rest.split_once(TO))
        .map(|(log, _)| log);
    if !log.is_some_and(|log| log.contains("\n| `")) {
        bail!("{PAGE} has no log of the steps; `cargo xtask containers --check` writes it");
    }
    Ok(())
}

fn tables(commit: &str, chapters: &[Chapter]) -> String {
    let mut text = format!("Run at commit {commit}.\n\n");
    for (name, entries) in chapters {
        text += &format!("### {name}\n\n| step | result | seconds |\n| --- | --- | --- |\n");
        for entry in entries {
            let took = entry
                .took
                .map(|took| format!("{:.1}", took.as_secs_f64()))
                .unwrap_or_default();
            text += &format!(
                "| `{}` | {} | {took} |\n",
                entry.step,
                entry.outcome.replace('|', "\\|")
            );
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Entry, tables};

    #[test]
    fn what_was_not_run_has_its_reason_and_no_time() {
        let entry = |outcome: &str, took| Entry {
            step: "image: RUN x".into(),
            outcome: outcome.into(),
            took,
        };
        let entries = vec![
            entry("ok", Some(Duration::from_millis(1500))),
            entry("not run: needs a:1", None),
        ];
        let text = tables("abc, 2026-11-29", &[("Dockerfile".into(), entries)]);
        assert!(text.contains("| `image: RUN x` | ok | 1.5 |\n"), "{text}");
        assert!(text.contains("| `image: RUN x` | not run: needs a:1 |  |\n"), "{text}");
    }
}
