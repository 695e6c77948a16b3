//! `kith warm`: builds TensorRT's engines ahead.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Common;
use super::terminal::{complain, say};
use crate::card::Card;
use crate::config::Settings;
use crate::identify::IdentifierSource;
use crate::networks::{self, Files};
use crate::paths;
use crate::runtime::{EngineCache, EngineKey, Machine, Runtime, RuntimeSettings, Warmed};

/// There is no TensorRT here.
const NOTHING_TO_WARM: u8 = 3;

/// The arguments of `kith warm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Builds the engines that TensorRT needs for the networks of the configuration, which takes minutes, and keeps them.
The daemon runs the networks by CUDA until it is started with all of them there. Exit code 3: there is no TensorRT here.

Example, for the service:
  sudo -u kith KITH_CACHE=/var/cache/kith kith warm --config /etc/kith/kith.toml && systemctl restart kith")]
pub struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/kith/kith.toml")]
    pub config: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Report {
    folder: PathBuf,
    /// Why there is nothing to build, if that is so.
    nothing: Option<String>,
    card: Option<Card>,
    engines: Vec<Engine>,
    /// The folders of engines that could not be used any more.
    removed: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Engine {
    network: String,
    half_precision: bool,
    largest_batch: usize,
    folder: PathBuf,
    built: bool,
    took_s: Option<f64>,
    bytes: Option<u64>,
    /// Why the one that was there does not do.
    instead: Option<String>,
}

/// Runs `kith warm`. Exit code 3 where there is no TensorRT.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let (settings, _) = super::run::settings(&args.config, common)?;
    let runtime_settings = embedder_in_use(&settings)?;
    let files = Files::read(&runtime_settings)?;
    let runtime = Runtime::load(&runtime_settings)?;
    let cache = EngineCache::in_folder(&paths::cache_dir(runtime_settings.cache.as_deref()));
    let mut report = Report {
        folder: cache.folder().to_path_buf(),
        card: Card::find(),
        ..Report::default()
    };
    let machine = match runtime.machine(report.card.as_ref()) {
        Ok(machine) => machine,
        Err(reason) => {
            if args.json {
                report.nothing = Some(reason);
                say(serde_json::to_string(&report)?)?;
            } else {
                complain(format_args!(
                    "kith: there is nothing to warm, since TensorRT can't be had here: {reason}; the networks run by CUDA \
                     or on the CPU without it"
                ));
            }
            return Ok(ExitCode::from(NOTHING_TO_WARM));
        }
    };
    let networks = files.networks();
    let engines = runtime.engines(&networks, runtime_settings.precision, &machine);
    let bar = ProgressBar::new(engines.len() as u64).with_style(ProgressStyle::with_template(
        "{spinner} {msg}  {bar:20} {pos}/{len} engines, {elapsed}",
    )?);
    bar.enable_steady_tick(Duration::from_millis(200));
    for (file, key) in engines {
        bar.set_message(format!("{:<8}", file.name));
        let warmed = runtime.warm(&cache, &file, &key)?;
        let engine = Engine::of(&key, cache.place(&key), &warmed);
        if !args.json {
            bar.suspend(|| say(engine.line()))?;
        }
        report.engines.push(engine);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let known: Vec<String> = networks::catalogue(&runtime_settings)?
        .models()
        .flat_map(|model| model.files.values().map(|file| file.sha256.clone()))
        .collect();
    report.removed = cache.prune(|key| is_of_use(key, &machine, &known))?;
    if args.json {
        say(serde_json::to_string(&report)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for folder in &report.removed {
        say(format_args!("removed   {folder}, which can't be used any more"))?;
    }
    say(format_args!("in {}", report.folder.display()))?;
    if report.engines.iter().any(|engine| engine.built) {
        say("The daemon takes them up when it is started again: systemctl restart kith")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings with the embedder that a head brings along, as the daemon has them.
fn embedder_in_use(settings: &Settings) -> anyhow::Result<RuntimeSettings> {
    let mut runtime = settings.runtime.clone();
    IdentifierSource::open(&settings.identify_by, &mut runtime)?;
    Ok(runtime)
}

/// Whether an engine may serve on this machine, with a model of the catalogue.
fn is_of_use(key: &EngineKey, machine: &Machine, known_sha256: &[String]) -> bool {
    key.machine == *machine && known_sha256.contains(&key.model_sha256)
}

impl Engine {
    fn of(key: &EngineKey, folder: PathBuf, warmed: &Warmed) -> Self {
        let (built, took, bytes, instead) = match warmed {
            Warmed::Kept => (false, None, None, None),
            Warmed::Built { took, bytes, instead } => (true, Some(took), Some(*bytes), instead.clone()),
        };
        Self {
            network: key.network.clone(),
            half_precision: key.half_precision,
            largest_batch: key.largest_batch,
            folder,
            built,
            took_s: took.map(|took| (took.as_secs_f64() * 10.0).round() / 10.0),
            bytes,
            instead,
        }
    }

    fn line(&self) -> String {
        let precision = if self.half_precision { "16 bits" } else { "32 bits" };
        let about = format!("{:<8}  up to {} crops, {precision}", self.network, self.largest_batch);
        let instead = self.instead.as_ref();
        let instead = instead.map_or(String::new(), |reason| {
            format!("; the one that was there does not run: {reason}")
        });
        match (self.took_s, self.bytes) {
            (Some(took_s), Some(bytes)) => format!("built     {about}, in {took_s} s, {} KiB{instead}", bytes / 1024),
            _ => format!("was there {about}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_of_another_driver_or_of_a_model_that_is_gone_is_of_no_use() {
        let machine = Machine::made_up();
        let key = EngineKey {
            network: "onet".to_owned(),
            model_sha256: "aa".to_owned(),
            side_px: 48,
            largest_batch: 174,
            half_precision: false,
            machine: machine.clone(),
        };
        let known = ["aa".to_owned(), "bb".to_owned()];
        assert!(is_of_use(&key, &machine, &known));
        assert!(!is_of_use(&key, &machine, &known[1..]));
        let mut newer = machine.clone();
        newer.card.driver = "560.1".to_owned();
        assert!(!is_of_use(&key, &newer, &known));
        let built = Warmed::Built {
            took: Duration::from_millis(61_230),
            bytes: 2_048,
            instead: None,
        };
        let line = |warmed| Engine::of(&key, PathBuf::new(), warmed).line();
        assert_eq!(
            line(&built),
            "built     onet      up to 174 crops, 32 bits, in 61.2 s, 2 KiB"
        );
        assert_eq!(line(&Warmed::Kept), "was there onet      up to 174 crops, 32 bits");
    }
}
