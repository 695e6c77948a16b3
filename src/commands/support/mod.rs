//! `kith support`: what somebody who helps needs to know, in one file without faces, names and secrets.
//!
//! - `redact`: takes out what is known to be a secret or a person, wherever it stands
//! - `config`: the configuration without secrets
//! - `machine`: what this machine is

mod config;
mod machine;
mod redact;

use std::fs::Permissions;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::Common;
use super::check::{Context, Finding, Subject, daemon_socket, examine, spinner};
use super::terminal::say;
use crate::admin::{Client, Verb};
use crate::gallery::Gallery;
use crate::paths;
use redact::Redactor;

/// The folder inside the bundle.
const FOLDER: &str = "kith-support";
/// How long the checks may take.
const WITHIN: Duration = Duration::from_secs(90);
/// How long the daemon may take to give its metrics.
const METRICS_TIMEOUT: Duration = Duration::from_secs(5);
/// Lines of the journal.
const LOG_LINES: &str = "2000";

/// The arguments of `kith support`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The bundle holds no faces, no names or ids of people, no passwords, keys or tokens, and no picture. It is a plain
tar.gz: look into it before you give it away. An existing file is not replaced.

Example:
  sudo kith support kith-support.tar.gz
  tar xzf kith-support.tar.gz && less kith-support/*")]
pub struct Args {
    /// The file to write
    #[arg(value_name = "FILE.tar.gz")]
    pub file: PathBuf,
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/kith/kith.toml")]
    pub config: PathBuf,
    /// What is in it, as JSON
    #[arg(long)]
    pub json: bool,
}

/// A file of the bundle.
struct Part {
    name: &'static str,
    /// Why it is in.
    why: &'static str,
    /// The text, or why it isn't there.
    content: Result<String, String>,
}

/// Runs `kith support`.
///
/// # Errors
/// When the file is there already, or can't be written.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    // Before the minute that the checks may take.
    if args.file.symlink_metadata().is_ok() {
        bail!(
            "{} exists already; choose another name, or remove it",
            args.file.display()
        );
    }
    let context = Arc::new(Context::new(args.config.clone(), common));
    let redactor = Redactor::new(&context);
    let mut parts = gather(&context, &redactor)?;
    for part in &mut parts {
        part.content = match &part.content {
            Ok(text) => Ok(redactor.clean(text)),
            Err(why) => Err(redactor.clean(why)),
        };
    }
    parts.insert(0, manifest(&parts));
    write(&args.file, &parts)?;
    show(args, &parts)?;
    Ok(ExitCode::SUCCESS)
}

/// All that may be of use. Nothing here needs to be clean yet, but what nobody could clean afterwards is left out.
fn gather(context: &Arc<Context>, redactor: &Redactor) -> anyhow::Result<Vec<Part>> {
    let spinner = spinner("checking everything takes a moment");
    let findings = examine(context, &Subject::ALL, WITHIN, |_| Ok(()))?;
    spinner.finish_and_clear();
    let configuration = std::fs::read_to_string(&context.file)
        .map_err(|error| error.to_string())
        .and_then(|text| config::redacted(&text));
    // Without these, a secret or a name could stand anywhere in a line and not be known as one.
    let can_clean = match (&configuration, redactor.knows_all) {
        (Err(why), _) => Err(format!(
            "the configuration can't be read, so its secrets aren't known: {why}"
        )),
        _ if !is_services(context) => Err(
            "this is not the service's state folder, so the people in its log aren't known; `sudo kith support` knows them"
                .to_owned(),
        ),
        (_, false) => {
            Err("the gallery or a file with a password can't be read, so names and secrets aren't known".to_owned())
        }
        _ => Ok(()),
    };
    Ok(vec![
        Part {
            name: "machine.txt",
            why: "versions, kernel, processor, cards",
            content: Ok(machine::machine()),
        },
        Part {
            name: "check.txt",
            why: "what `kith check` found; people are counted, not named",
            content: Ok(findings
                .iter()
                .map(|finding| line(finding, configuration.is_ok()))
                .collect()),
        },
        Part {
            name: "kith.toml",
            why: "the configuration without comments, logins, paths and queries of addresses",
            content: configuration.clone(),
        },
        Part {
            name: "state.txt",
            why: "names, sizes and permissions in the state folder",
            content: machine::files(&context.state),
        },
        Part {
            name: "people.json",
            why: "how many people and faces there are",
            content: people(context),
        },
        Part {
            name: "status.json",
            why: "how the daemon is, in its own words",
            content: status(context),
        },
        Part {
            name: "metrics.txt",
            why: "the daemon's counters, as Prometheus sees them",
            content: metrics(context),
        },
        Part {
            name: "log.txt",
            why: "the last lines of the service's log; people are numbers",
            content: can_clean.and_then(|()| log()),
        },
    ])
}

/// Whether the gallery that was looked at is the one of the service whose log is in the journal.
fn is_services(context: &Context) -> bool {
    let named = context
        .loaded
        .as_ref()
        .is_ok_and(|settings| settings.state.as_ref() == Some(&context.state));
    context.loaded.is_ok() && (named || paths::is_service(&context.state) || !paths::has_service())
}

/// A finding without whom it is about. The parser's words about a broken configuration repeat a line of it, so only the
/// first stays.
fn line(finding: &Finding, readable: bool) -> String {
    let mut finding = finding.clone();
    if finding.subject == Subject::Config && !readable {
        finding.seen = finding.seen.lines().next().unwrap_or_default().to_owned();
    }
    let mend = finding
        .mend
        .as_ref()
        .map(|mend| format!("\n  mend: {mend}"))
        .unwrap_or_default();
    format!("{finding}{mend}\n")
}

fn people(context: &Context) -> Result<String, String> {
    if !Gallery::exists(&context.state) {
        return Err("nobody is enrolled".to_owned());
    }
    let gallery = Gallery::look_at(&context.state).map_err(|error| error.to_string())?;
    let gallery = gallery.ok_or("an earlier version of Kith wrote the gallery")?;
    let people = gallery.people().map_err(|error| error.to_string())?;
    let count = |of: fn(&crate::gallery::PersonSummary) -> u32| people.iter().map(of).map(u64::from).sum::<u64>();
    let answer = json!({
        "people": people.len(),
        "ignored": people.iter().filter(|one| one.person.ignored).count(),
        "faces": count(|one| one.faces),
        "negatives": count(|one| one.negatives),
        "crops": count(|one| one.crops),
        "fewest_faces": people.iter().map(|one| one.faces).min(),
        "most_faces": people.iter().map(|one| one.faces).max(),
    });
    Ok(format!("{answer:#}\n"))
}

fn status(context: &Context) -> Result<String, String> {
    let socket = daemon_socket(context);
    let daemon = Client::connect_to(&socket).map_err(|error| error.to_string())?;
    let mut daemon = daemon.ok_or("no daemon runs")?;
    let status: Value = daemon.ask(&Verb::Status).map_err(|error| error.to_string())?;
    Ok(format!("{status:#}\n"))
}

fn metrics(context: &Context) -> Result<String, String> {
    let settings = context.loaded.as_ref().map_err(|_| "the configuration can't be used")?;
    let mut address: SocketAddr = settings.http.ok_or("`http.listen` is \"off\"")?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(METRICS_TIMEOUT))
        .proxy(None)
        .build()
        .into();
    let mut answer = agent
        .get(format!("http://{address}/metrics"))
        .call()
        .map_err(|error| format!("no answer from {address}: {error}"))?;
    answer.body_mut().read_to_string().map_err(|error| error.to_string())
}

fn log() -> Result<String, String> {
    let arguments = [
        "-u",
        "kith",
        "-n",
        LOG_LINES,
        "--no-pager",
        "--no-hostname",
        "-o",
        "short-iso",
    ];
    let lines = machine::output("journalctl", &arguments)
        .ok_or("there is no journal, or this user may not read it (`sudo kith support …` may)")?;
    if lines.trim().is_empty() || lines.starts_with("-- No entries") {
        return Err("the journal has no lines of the service, or this user may not read them".to_owned());
    }
    Ok(lines)
}

fn manifest(parts: &[Part]) -> Part {
    let mut text = format!(
        "A support bundle of Kith {}. No faces, no names or ids of people, no passwords, keys or tokens.\n\n",
        env!("CARGO_PKG_VERSION")
    );
    for part in parts {
        text += &match &part.content {
            Ok(_) => format!("{:<12}  {}\n", part.name, part.why),
            Err(why) => format!("{:<12}  left out: {why}\n", part.name),
        };
    }
    Part {
        name: "MANIFEST.txt",
        why: "this list",
        content: Ok(text),
    }
}

/// Writes the bundle beside its place and moves it there when it is whole; never over another file.
fn write(file: &Path, parts: &[Part]) -> anyhow::Result<()> {
    let write = || format!("can't write {}", file.display());
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut unfinished = NamedTempFile::with_prefix_in(".kith-support-", folder).with_context(write)?;
    unfinished
        .as_file()
        .set_permissions(Permissions::from_mode(0o600))
        .with_context(write)?;
    let mut archive = tar::Builder::new(GzEncoder::new(&mut unfinished, Compression::default()));
    for part in parts {
        let Ok(text) = &part.content else { continue };
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default());
        archive
            .append_data(&mut header, format!("{FOLDER}/{}", part.name), text.as_bytes())
            .with_context(write)?;
    }
    archive.into_inner().and_then(GzEncoder::finish).with_context(write)?;
    unfinished.as_file().sync_all().with_context(write)?;
    unfinished
        .persist_noclobber(file)
        .map_err(|error| error.error)
        .with_context(write)?;
    Ok(())
}

fn show(args: &Args, parts: &[Part]) -> anyhow::Result<()> {
    if args.json {
        let files: Vec<Value> = parts
            .iter()
            .map(|part| match &part.content {
                Ok(text) => json!({"file": part.name, "bytes": text.len(), "why": part.why}),
                Err(why) => json!({"file": part.name, "left_out": why}),
            })
            .collect();
        say(json!({"bundle": args.file, "files": files}))?;
        return Ok(());
    }
    say(format_args!("{}:", args.file.display()))?;
    for part in parts {
        match &part.content {
            Ok(text) => say(format_args!(
                "  {:<12}  {:>8} bytes  {}",
                part.name,
                text.len(),
                part.why
            ))?,
            Err(why) => say(format_args!("  {:<12}       left out  {why}", part.name))?,
        }
    }
    say("No faces, names or secrets are in it; look before you give it away: tar xzf FILE")?;
    Ok(())
}
