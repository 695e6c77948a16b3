//! `kith run`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Common;
use crate::config::{self, Settings};
use crate::daemon::{self, Ended, Start};
use crate::log::{Log, LogFormat};
use crate::paths;

/// The arguments of `kith run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/kith/kith.toml")]
    pub config: PathBuf,
    /// How the log is written; `log.format` otherwise. `RUST_LOG` says how much of it (kith=debug)
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log: Option<LogFormat>,
}

/// Runs `kith run`: until a signal, or until every camera is a file or folder that came to its end. Exit code 1 when
/// the networks failed for good.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let (settings, state) = settings(&args.config, common)?;
    let log = Log::start(args.log.unwrap_or(settings.log.format), settings.log.level);
    let (file, options) = (args.config.clone(), common.clone());
    let start = Start {
        settings,
        state,
        log,
        file: args.config.clone(),
        load: Box::new(move || Ok(self::settings(&file, &options)?.0)),
    };
    Ok(match daemon::run(&start)? {
        Ended::ByWish | Ended::AllSeen => ExitCode::SUCCESS,
        Ended::NetworksFailed => ExitCode::FAILURE,
    })
}

/// The configuration, with what the command line says about the same things laid over it, and the state folder.
///
/// # Errors
/// See [`config::load`].
pub(super) fn settings(file: &std::path::Path, common: &Common) -> Result<(Settings, PathBuf), config::ConfigError> {
    let mut settings = config::load(file)?;
    let runtime = &mut settings.runtime;
    runtime.provider = common.provider.unwrap_or(runtime.provider);
    runtime.library = common.runtime_library.clone().or(runtime.library.take());
    runtime.models = common.models.clone().or(runtime.models.take());
    runtime.models_d = common.models_d.clone().or(runtime.models_d.take());
    runtime.embedder = common.embedder.clone().or(runtime.embedder.take());
    let state = paths::state_dir(common.state.as_deref().or(settings.state.as_deref()));
    Ok((settings, state))
}
