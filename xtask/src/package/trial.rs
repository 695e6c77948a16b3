//! Whether the package keeps its word on a clean Debian 12, without a network.

mod steps;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use super::older;
use crate::checkout::Checkout;
use crate::progress;
use crate::root::{Copy, Recipe, Root};
use crate::setup::{Role, Setup};

/// What the package depends on; nothing that it might have forgotten to name.
const CLEAN: [&str; 3] = ["ffmpeg", "libstdc++6", "systemd"];
/// lintian is not to make the other root less clean.
const WITH_LINTIAN: [&str; 1] = ["lintian"];

/// A root in which the package is tried.
struct Trial<'a> {
    checkout: &'a Checkout,
    copy: Copy,
    failed: u32,
}

/// How a script inside the root ended.
struct Outcome {
    well: bool,
    /// Standard output, then standard error.
    said: String,
}

/// Tries `deb`, and prints a line for each claim.
///
/// # Errors
/// When the roots can't be made or a step can't be done at all.
pub(super) fn run(checkout: &Checkout, setup: &Setup<'_>, deb: &Path) -> Result<ExitCode> {
    progress::headline("clean roots");
    setup.packages(&[Role::Photos])?;
    let root = Root::prepare(checkout, setup, &Recipe::bookworm(&CLEAN))?;
    let with_lintian = Root::prepare(checkout, setup, &Recipe::bookworm(&WITH_LINTIAN))?;
    let since = Instant::now();
    let mut trial = Trial {
        checkout,
        copy: root.unpack(checkout)?,
        failed: 0,
    };
    fs::copy(deb, trial.copy.path("new.deb")).context("can't copy the package into the root")?;
    for photo in ["obama.jpg", "obama2.jpg", "biden.jpg"] {
        let from = checkout.path(".cache/photos").join(photo);
        fs::copy(from, trial.copy.path("srv").join(photo)).context("can't copy the photos into the root")?;
    }
    older::package(&trial.copy)?;

    steps::all(&mut trial)?;
    progress::headline("lintian");
    trial.lintian(&with_lintian.unpack(checkout)?, deb)?;

    let control = trial.sh("dpkg-deb --field /new.deb Installed-Size Version");
    eprintln!(
        "\n    {} kB; {}; tried in {}",
        fs::metadata(deb)?.len() / 1000,
        control.said.trim().replace('\n', ", "),
        progress::seconds(since.elapsed())
    );
    if trial.failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("    {} claims do not hold", trial.failed);
    Ok(ExitCode::FAILURE)
}

impl Trial<'_> {
    /// Runs a script inside, as root, without a network.
    fn sh(&self, script: &str) -> Outcome {
        shell(&self.copy, script)
    }

    /// A line about something that has to be.
    fn claim(&mut self, what: &str, holds: bool, evidence: &str) {
        if holds {
            eprintln!("    ok    {what}");
        } else {
            eprintln!("    FAIL  {what}\n{}", evidence.trim_end());
            self.failed += 1;
        }
    }

    /// Claims that a script ends well.
    fn works(&mut self, what: &str, script: &str) {
        let outcome = self.sh(script);
        self.claim(what, outcome.well, &format!("{script}\n{}", outcome.said));
    }

    /// Claims that a script ends badly and says `words`.
    fn refuses(&mut self, what: &str, script: &str, words: &str) {
        let outcome = self.sh(script);
        let holds = !outcome.well && outcome.said.contains(words);
        self.claim(what, holds, &format!("{script}\n{}", outcome.said));
    }

    /// Claims that a script ends well and says `words`.
    fn says(&mut self, what: &str, script: &str, words: &str) {
        let outcome = self.sh(script);
        let holds = outcome.well && outcome.said.contains(words);
        self.claim(
            what,
            holds,
            &format!("{script}\nwas to say {words:?}, said:\n{}", outcome.said),
        );
    }

    fn lintian(&mut self, copy: &Copy, deb: &Path) -> Result<()> {
        fs::copy(deb, copy.path("kith.deb")).context("can't copy the package into the root")?;
        let outcome = shell(copy, "lintian --allow-root --fail-on error,warning /kith.deb");
        self.claim("lintian has no errors and no warnings", outcome.well, &outcome.said);
        // With these it would count what is overridden.
        let outcome = shell(copy, "lintian --allow-root --show-overrides /kith.deb");
        let used = outcome.said.lines().filter(|line| line.starts_with("O: ")).count();
        let needed = !["unused-override", "mismatched-override"]
            .iter()
            .any(|tag| outcome.said.contains(tag));
        self.claim(
            &format!("its {used} overrides are all needed"),
            used > 0 && needed,
            &outcome.said,
        );
        Ok(())
    }
}

fn shell(copy: &Copy, script: &str) -> Outcome {
    match copy.command_offline("sh").args(["-c", script]).output() {
        Ok(output) => Outcome {
            well: output.status.success(),
            said: format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
        },
        Err(error) => Outcome {
            well: false,
            said: format!("can't start it: {error}"),
        },
    }
}
