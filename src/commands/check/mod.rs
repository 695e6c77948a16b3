//! `kith check`: looks at all that `kith run` needs, and says what is wrong with it and how to mend that.
//!
//! - `finding`: one line of the report
//! - `page`: the report, for people
//! - the others: a subject each, from `config` to `daemon`
//!
//! It changes nothing: state and databases are only read, and the broker and the cameras are met by the daemon's own
//! code, under another name than the daemon's.

mod broker;
mod cameras;
mod clock;
mod config;
mod daemon;
mod decoder;
mod disk;
mod finding;
mod gallery;
mod models;
mod page;
mod permissions;
mod runtime;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub use daemon::socket as daemon_socket;
pub use finding::{Finding, State, Subject};
use indicatif::ProgressBar;

use super::Common;
use super::terminal::say;
use crate::config::{ConfigError, Settings};
use crate::paths;

/// The arguments of `kith check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each thing that is not as it should be comes with its mend: a command, or a key of the configuration.
Nothing is changed, and a running daemon is not disturbed.

Exit code: 0 when nothing failed (warnings are no failure), 1 when something did.

Examples:
  kith check                                   all of it, with /etc/kith/kith.toml
  kith check --config kith.toml --only camera  the cameras only
  kith check --json | jq 'select(.state == \"failed\")'")]
pub struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/kith/kith.toml")]
    pub config: PathBuf,
    /// One JSON object a line instead of text: subject, about, state, seen, mend
    #[arg(long)]
    pub json: bool,
    /// Look at this only; can be given several times
    #[arg(long, value_enum, value_name = "SUBJECT")]
    pub only: Vec<Subject>,
    /// Give up on what takes longer than this, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub within: u64,
}

/// What the checks look at.
pub struct Context {
    /// The configuration file.
    pub file: PathBuf,
    /// What it says, or all that is wrong with it.
    pub loaded: Result<Settings, ConfigError>,
    /// The state folder; it may not exist.
    pub state: PathBuf,
    /// The command line.
    pub common: Common,
}

impl Context {
    /// Reads the configuration `file`, with the command line laid over it.
    pub fn new(file: PathBuf, common: &Common) -> Self {
        let (loaded, state) = match super::run::settings(&file, common) {
            Ok((settings, state)) => (Ok(settings), state),
            Err(error) => (Err(error), paths::state_dir(common.state.as_deref())),
        };
        Self {
            file,
            loaded,
            state,
            common: common.clone(),
        }
    }
}

/// Runs `kith check`.
///
/// # Errors
/// When the output can't be written.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let context = Arc::new(Context::new(args.config.clone(), common));
    let subjects = wanted(&context, &args.only);
    let page = page::Page::new();
    let within = Duration::from_secs(args.within);
    let spinner = spinner("cameras and the broker take a moment");
    let findings = examine(&context, &subjects, within, |finding| {
        let line = if args.json {
            serde_json::to_string(finding).map_err(io::Error::from)?
        } else {
            page.finding(finding)
        };
        spinner.suspend(|| say(line))
    })?;
    spinner.finish_and_clear();
    if !args.json {
        say(page.summary(&findings))?;
    }
    let well = findings.iter().all(|finding| finding.state != State::Failed);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says on a terminal that it goes on.
pub(super) fn spinner(message: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// The subjects to look at, in the report's order: `only`, or all. A configuration that can't be used is always named,
/// since most of the others need it.
fn wanted(context: &Context, only: &[Subject]) -> Vec<Subject> {
    let named = |subject: &Subject| {
        only.is_empty() || only.contains(subject) || (*subject == Subject::Config && context.loaded.is_err())
    };
    Subject::ALL.into_iter().filter(named).collect()
}

/// Looks at `subjects` side by side, and hands each finding to `tell` in their order. What isn't done `within` that time
/// is given up and counts as failed; its thread is left behind.
///
/// # Errors
/// The first of `tell`.
pub fn examine(
    context: &Arc<Context>,
    subjects: &[Subject],
    within: Duration,
    mut tell: impl FnMut(&Finding) -> io::Result<()>,
) -> io::Result<Vec<Finding>> {
    let deadline = Instant::now() + within;
    let (done, news) = mpsc::channel();
    for &subject in subjects {
        let (done, context) = (done.clone(), Arc::clone(context));
        let looking = thread::Builder::new()
            .name(format!("check-{}", subject.name()))
            .spawn(move || {
                // Nobody listens any more when time is up.
                let _ = done.send((subject, look(subject, &context)));
            });
        looking?;
    }
    drop(done);
    let mut found: BTreeMap<Subject, Vec<Finding>> = BTreeMap::new();
    let mut told = Vec::new();
    for &subject in subjects {
        while !found.contains_key(&subject) {
            let left = deadline.saturating_duration_since(Instant::now());
            match news.recv_timeout(left) {
                Ok((subject, findings)) => {
                    found.insert(subject, findings);
                }
                Err(why) => {
                    found.insert(subject, vec![given_up(subject, why, within)]);
                }
            }
        }
        for finding in found.remove(&subject).unwrap_or_default() {
            tell(&finding)?;
            told.push(finding);
        }
    }
    Ok(told)
}

fn given_up(subject: Subject, why: mpsc::RecvTimeoutError, within: Duration) -> Finding {
    match why {
        mpsc::RecvTimeoutError::Timeout => Finding::failed(
            subject,
            "",
            format!("not done within {} s", within.as_secs()),
            format!("give it more time: `kith check --only {} --within 600`", subject.name()),
        ),
        mpsc::RecvTimeoutError::Disconnected => Finding::failed(
            subject,
            "",
            "the check itself fell over",
            "this is a bug: please report it with what it said above",
        ),
    }
}

fn look(subject: Subject, context: &Context) -> Vec<Finding> {
    let with = |check: fn(&Settings, &Context) -> Vec<Finding>| match &context.loaded {
        Ok(settings) => check(settings, context),
        Err(_) => vec![Finding::not_checked(
            subject,
            "",
            "needs a configuration without mistakes",
        )],
    };
    match subject {
        Subject::Config => config::check(context),
        Subject::Models => with(models::check),
        Subject::Runtime => with(runtime::library),
        Subject::Provider => with(runtime::provider),
        Subject::Gallery => with(gallery::check),
        Subject::Disk => disk::check(context),
        Subject::Permissions => permissions::check(context),
        Subject::Clock => clock::check(),
        Subject::Decoder => with(decoder::check),
        Subject::Camera => with(cameras::check),
        Subject::Broker => with(broker::check),
        Subject::Daemon => daemon::check(context),
    }
}
