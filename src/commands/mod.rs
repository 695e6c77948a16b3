//! The command line: one file per command, each with its arguments and one function.

pub mod as_camera;
pub mod backup;
pub mod bench;
pub mod calibrate;
pub mod check;
pub mod completions;
pub mod detect;
pub mod embed;
pub mod enroll;
pub mod evaluate;
pub mod explain;
pub mod heads;
pub mod health;
pub mod identify;
pub mod man;
pub mod passphrase;
pub mod people;
pub mod photos;
pub mod reload;
pub mod restore;
pub mod run;
pub mod sightings;
pub mod status;
pub mod support;
pub mod terminal;
pub mod unknown;
pub mod warm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::admin::{self, Client, Keeper};
use crate::gallery::Gallery;
use crate::paths;
use crate::runtime::{Provider, RuntimeSettings};

/// Knows the faces that cameras see, and says over MQTT who is there.
#[derive(Debug, Parser)]
#[command(name = "kith", version, about, max_term_width = 100)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The options that every command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// Folder of the gallery and the outbox
    #[arg(
        long,
        global = true,
        env = "KITH_STATE",
        value_name = "DIR",
        help_heading = "Everywhere"
    )]
    pub state: Option<PathBuf>,
    /// The running daemon's socket [default: in the state folder, or /run/kith/kith.sock]
    #[arg(
        long,
        global = true,
        env = "KITH_SOCKET",
        value_name = "FILE",
        help_heading = "Everywhere"
    )]
    pub socket: Option<PathBuf>,
    /// Folder of models.toml and the .onnx files
    #[arg(
        long,
        global = true,
        env = "KITH_MODELS",
        value_name = "DIR",
        help_heading = "Everywhere"
    )]
    pub models: Option<PathBuf>,
    /// Folder of your own models, `*.toml` of the form of models.toml, and their .onnx files
    #[arg(
        long,
        global = true,
        env = "KITH_MODELS_D",
        value_name = "DIR",
        help_heading = "Everywhere"
    )]
    pub models_d: Option<PathBuf>,
    /// The ONNX Runtime library to load
    #[arg(
        long,
        global = true,
        env = "KITH_RUNTIME_LIBRARY",
        value_name = "FILE",
        help_heading = "Everywhere"
    )]
    pub runtime_library: Option<PathBuf>,
    /// What runs the networks [default: auto]
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "PROVIDER",
        help_heading = "Everywhere"
    )]
    pub provider: Option<Provider>,
    /// What embeds faces, by its name in the catalogue [default: mobilefacenet, or the head's]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Everywhere")]
    pub embedder: Option<String>,
}

impl Common {
    /// Whether a daemon may keep the gallery though there is none in the state folder.
    pub fn may_be_served(&self) -> bool {
        self.socket.is_some() || (self.state.is_none() && admin::service_socket().exists())
    }

    /// The gallery, kept by the running daemon if there is one.
    ///
    /// # Errors
    /// When there is a daemon that doesn't let us, or the database can't be opened.
    pub fn keeper(&self) -> anyhow::Result<Keeper> {
        let state_dir = paths::state_dir(self.state.as_deref());
        let socket = self.socket_to_use(&state_dir);
        self.ensure_service_is_reachable(&state_dir)?;
        let keeper = Keeper::open(&state_dir, socket.as_deref())?;
        anyhow::ensure!(
            self.socket.is_none() || keeper.is_daemon(),
            "no daemon listens at {}",
            self.socket.as_deref().unwrap_or(&admin::service_socket()).display()
        );
        Ok(keeper)
    }

    /// The running daemon.
    ///
    /// # Errors
    /// When there is none, or it doesn't let us.
    pub fn daemon(&self) -> anyhow::Result<Client> {
        let state_dir = paths::state_dir(self.state.as_deref());
        let socket = self
            .socket_to_use(&state_dir)
            .unwrap_or_else(|| state_dir.join(admin::FILE_NAME));
        Client::connect_to(&socket)?.with_context(|| {
            format!(
                "no daemon listens at {}; start one with `kith run` or `systemctl start kith`, or name its socket with \
                 --socket",
                socket.display()
            )
        })
    }

    /// Refuses where somebody who administers the service would begin a gallery of their own, since it doesn't run:
    /// that gallery would hide the service's from then on.
    ///
    /// # Errors
    /// Just then.
    pub fn ensure_service_is_reachable(&self, state_dir: &Path) -> anyhow::Result<()> {
        let service = admin::service_socket();
        let begins_own = self.socket.is_none()
            && self.state.is_none()
            && !paths::is_service(state_dir)
            && !Gallery::exists(state_dir)
            && !service.exists();
        anyhow::ensure!(
            !(begins_own && paths::has_service() && admin::is_in_group()),
            "you are in the group kith, but the service can't be reached at {}: start it with `systemctl start kith`, log \
             in anew if you joined the group just now, or name a folder of your own with --state",
            service.display()
        );
        Ok(())
    }

    /// The socket to connect to, if not that of the state folder.
    fn socket_to_use(&self, state_dir: &Path) -> Option<PathBuf> {
        let service = admin::service_socket();
        // A person without a gallery of their own means the service's; so does who means its state folder, since its
        // socket lies elsewhere.
        let means_service = self.socket.is_none()
            && (paths::is_service(state_dir) || (self.state.is_none() && !Gallery::exists(state_dir)))
            && service.exists();
        self.socket.clone().or(means_service.then_some(service))
    }

    /// The runtime settings of a command that reads no configuration file.
    pub fn runtime_settings(&self, threads: Option<usize>) -> RuntimeSettings {
        RuntimeSettings {
            provider: self.provider.unwrap_or_default(),
            threads,
            library: self.runtime_library.clone(),
            models: self.models.clone(),
            models_d: self.models_d.clone(),
            embedder: self.embedder.clone(),
            ..RuntimeSettings::default()
        }
    }
}

/// More threads than this are a typing mistake: each takes its own sessions and their memory.
const MOST_THREADS: usize = 128;

/// Reads `--threads`.
fn parse_threads(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|threads| (1..=MOST_THREADS).contains(threads))
        .ok_or_else(|| format!("threads are counted from 1 to {MOST_THREADS}"))
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the cameras and publish who is there
    Run(run::Args),
    /// Say how the running daemon is
    Status(status::Args),
    /// Ask the running daemon whether it lives, for a health check
    Health(health::Args),
    /// Let the running daemon read its configuration again
    Reload(reload::Args),
    /// Look at everything that it needs, and say how to mend what is wrong
    Check(check::Args),
    /// Write what a helper needs to know into one file, without faces, names and secrets
    Support(support::Args),
    /// Add a person to the gallery
    Enroll(enroll::Args),
    /// List, show, rename, ignore, remove, export or import people
    People(people::Args),
    /// Say who was seen when and where, or forget it
    Sightings(sightings::Args),
    /// List, show, name or forget unknown visitors
    Unknown(unknown::Args),
    /// Install, list or remove trained heads
    Heads(heads::Args),
    /// Write gallery, configuration and own models into one encrypted file
    Backup(backup::Args),
    /// Check a backup and put everything in it back
    Restore(restore::Args),
    /// Say who is on photos
    Identify(identify::Args),
    /// Measure how right it is about clips whose visitors are known
    Evaluate(evaluate::Args),
    /// Say step by step why faces in a clip or photo came out as they did
    Explain(explain::Args),
    /// Find faces in photos
    Detect(detect::Args),
    /// Find faces in photos and embed them
    Embed(embed::Args),
    /// Build TensorRT's engines ahead, so that the daemon can use them
    Warm(warm::Args),
    /// Measure how fast this machine is, stage by stage
    Bench(bench::Args),
    /// Fit threshold and calibration on a folder of people
    #[command(hide = true)]
    Calibrate(calibrate::Args),
    /// Print what a shell needs to complete commands and options
    Completions(completions::Args),
    /// Print the manual page, or write all of them
    Man(man::Args),
}

/// Runs the command that was given.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let common = &cli.common;
    match &cli.command {
        Command::Run(args) => run::run(args, common),
        Command::Status(args) => status::run(args, common),
        Command::Health(args) => health::run(args, common),
        Command::Reload(args) => reload::run(args, common),
        Command::Check(args) => check::run(args, common),
        Command::Support(args) => support::run(args, common),
        Command::Enroll(args) => enroll::run(args, common),
        Command::People(args) => people::run(args, common),
        Command::Sightings(args) => sightings::run(args, common),
        Command::Unknown(args) => unknown::run(args, common),
        Command::Heads(args) => heads::run(args, common),
        Command::Backup(args) => backup::run(args, common),
        Command::Restore(args) => restore::run(args, common),
        Command::Identify(args) => identify::run(args, common),
        Command::Evaluate(args) => evaluate::run(args, common),
        Command::Explain(args) => explain::run(args, common),
        Command::Detect(args) => detect::run(args, common),
        Command::Embed(args) => embed::run(args, common),
        Command::Warm(args) => warm::run(args, common),
        Command::Bench(args) => bench::run(args, common),
        Command::Calibrate(args) => calibrate::run(args, common),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}
