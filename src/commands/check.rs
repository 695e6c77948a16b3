//! `kith check`: tries everything that `kith run` needs, one line each.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::Common;
use super::terminal::say;
use crate::config::{ConfigError, Settings};
use crate::daemon;
use crate::gallery::Gallery;
use crate::identify::IdentifierSource;
use crate::model::{Catalogue, Kind};
use crate::networks::Networks;
use crate::paths;
use crate::publish;

/// The arguments of `kith check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/kith/kith.toml")]
    pub config: PathBuf,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
}

/// Prints lines as the checks are done.
struct Report {
    json: bool,
    well: bool,
    /// The first failure to print.
    written: io::Result<()>,
}

impl Report {
    fn line(&mut self, what: &str, outcome: Result<String, String>) {
        self.well &= outcome.is_ok();
        let (ok, detail) = match outcome {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        if self.written.is_err() {
            return;
        }
        self.written = if self.json {
            say(json!({"ok": ok, "what": what, "detail": detail}))
        } else {
            say(format_args!(
                "{:<4}  {what:<16}  {detail}",
                if ok { "ok" } else { "fail" }
            ))
        };
    }
}

/// Runs `kith check`. Exit code 1 when something is not as it should be.
///
/// # Errors
/// When the output can't be written.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let mut report = Report {
        json: args.json,
        well: true,
        written: Ok(()),
    };
    match super::run::settings(&args.config, common) {
        Ok((settings, state)) => {
            let detail = format!("{}, {} camera(s)", args.config.display(), settings.cameras.len());
            report.line("config", Ok(detail));
            check(&settings, &state, &mut report);
        }
        Err(ConfigError::Mistakes { mistakes, .. }) => {
            for mistake in mistakes {
                report.line("config", Err(mistake.to_string()));
            }
        }
        Err(error) => report.line("config", Err(error.to_string())),
    }
    report.written?;
    Ok(if report.well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn check(settings: &Settings, state: &Path, report: &mut Report) {
    // The slow ones wait for others, not for the processor, so all of them run at the same time.
    std::thread::scope(|scope| {
        let broker = scope.spawn(|| broker(settings));
        let cameras: Vec<_> = settings
            .cameras
            .iter()
            .map(|camera| (camera, scope.spawn(move || daemon::check_camera(camera))))
            .collect();
        let fell_over = |_| "the check itself fell over".to_owned();
        let source = networks(settings, report);
        report.line("gallery", gallery(state, source.as_ref()));
        report.line("broker", broker.join().unwrap_or_else(|_| Err(fell_over(()))));
        for (camera, thread) in cameras {
            let outcome = match thread.join() {
                Ok(Ok(None)) => Ok(format!(
                    "{} is subscribed to; pictures come when they come",
                    camera.address
                )),
                Ok(Ok(Some((width, height)))) => Ok(format!("{} delivers {width}x{height}", camera.address)),
                Ok(Err(error)) => Err(format!("{}: {error}", camera.address)),
                Err(_) => Err(fell_over(())),
            };
            report.line(&format!("camera {}", camera.id), outcome);
        }
    });
}

/// Checks models and runtime; returns what names faces if the networks can be opened.
fn networks(settings: &Settings, report: &mut Report) -> Option<IdentifierSource> {
    let (catalogue, problems) = Catalogue::gather(
        &paths::models_dir(settings.runtime.models.as_deref()),
        &paths::models_d(settings.runtime.models_d.as_deref()),
    );
    for problem in problems {
        report.line("models", Err(problem.to_string()));
    }
    for model in catalogue.models() {
        for (role, file) in &model.files {
            let outcome = catalogue
                .read_file(file)
                .map(|_| format!("sha256 {}…", short(&file.sha256)));
            report.line(
                &format!("model {}/{role}", model.name),
                outcome.map_err(|error| error.to_string()),
            );
        }
        let whole = match model.kind {
            Kind::Detector => Ok(()),
            Kind::Embedder => catalogue.embedder(&model.name).map(|_| ()),
            Kind::Head => catalogue.head(&model.name).map(|_| ()),
        };
        if let Err(error) = whole {
            report.line(&format!("model {}", model.name), Err(error.to_string()));
        }
    }
    let mut runtime = settings.runtime.clone();
    let source = match IdentifierSource::open(&settings.identify_by, &mut runtime) {
        Ok(source) => {
            if let IdentifierSource::Head(head) = &source {
                let head = head.model();
                let detail = format!("{} people, on {}", head.classes.len(), head.embedder);
                report.line(&format!("head {}", head.name), Ok(detail));
            }
            Some(source)
        }
        Err(error) => {
            report.line("identify", Err(format!("{error:#}")));
            None
        }
    };
    match Networks::open(&runtime) {
        Ok(networks) => {
            let library = paths::runtime_library(settings.runtime.library.as_deref());
            report.line("runtime", Ok(format!("{} on {}", library.display(), networks.provider)));
            source
        }
        Err(error) => {
            report.line("runtime", Err(format!("{error:#}")));
            None
        }
    }
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

fn gallery(state: &Path, source: Option<&IdentifierSource>) -> Result<String, String> {
    if !Gallery::exists(state) {
        return Ok(format!("nobody is enrolled yet in {}", state.display()));
    }
    let gallery = Gallery::open_read_only(state).map_err(|error| error.to_string())?;
    gallery.check().map_err(|error| error.to_string())?;
    let people = gallery.people().map_err(|error| error.to_string())?;
    let all = format!("{} people in {}", people.len(), state.display());
    match source {
        None => Ok(all),
        Some(IdentifierSource::Head(head)) => {
            let name = &head.model().name;
            let classes = gallery.class_people(name).map_err(|error| error.to_string())?;
            let mut removed: Vec<&str> = Vec::new();
            for (class, person) in &classes {
                if person.is_none() {
                    removed.push(class);
                }
            }
            if removed.is_empty() {
                Ok(all)
            } else {
                Ok(format!(
                    "{all}; the head {name} names nobody for {}",
                    removed.join(", ")
                ))
            }
        }
        Some(IdentifierSource::Gallery { space, .. }) => {
            let without: Vec<&str> = people
                .iter()
                .filter(|one| one.lacks(space))
                .map(|one| one.person.id.as_str())
                .collect();
            if without.is_empty() {
                Ok(format!("{all}, space {space}"))
            } else {
                Err(format!(
                    "{} have no vector in the space {space}; enrol new photos of them with `kith enroll ID PHOTO…`",
                    without.join(", ")
                ))
            }
        }
    }
}

fn broker(settings: &Settings) -> Result<String, String> {
    let mqtt = &settings.mqtt;
    let place = format!("mqtt{}://{}:{}", if mqtt.tls { "s" } else { "" }, mqtt.host, mqtt.port);
    let tried = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(publish::check_broker(mqtt)));
    match tried {
        Ok(()) => Ok(format!("{place} accepts us")),
        Err(error) => Err(format!("{place}: {error}")),
    }
}
