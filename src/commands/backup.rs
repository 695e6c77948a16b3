//! `kith backup`: everything that can't be installed again, in one file.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tempfile::NamedTempFile;

use super::terminal::{complain, say};
use super::{Common, passphrase};
use crate::backup::{self, Configuration, Manifest, Source};
use crate::paths;

/// Where the configuration of the service lies.
pub(super) const SERVICE_CONFIG: &str = "/etc/kith/kith.toml";

/// The arguments of `kith backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith backup /mnt/stick/kith.backup         asks for a passphrase
  kith backup kith.backup --config kith.toml --passphrase-file /root/kith.passphrase --force

Inside: the gallery, kith.toml, the node's name, your own models and trained heads. A running daemon goes on meanwhile.
Not inside: files with passwords and keys that kith.toml names, and visits, which are meant to be forgotten.
Whoever has the file and the passphrase has everybody's faces; without the passphrase nobody can open it, nor can you.")]
pub struct Args {
    /// The file to write
    pub file: PathBuf,
    /// The configuration [default: /etc/kith/kith.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Read the passphrase from the first line of this file
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Do not encrypt: whoever can read the file has everybody's faces
    #[arg(long, conflicts_with = "passphrase_file")]
    pub plain: bool,
    /// Visits and unknown visitors, too
    #[arg(long)]
    pub with_visits: bool,
    /// Replace the file if there is one
    #[arg(long)]
    pub force: bool,
    /// JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Runs `kith backup`.
///
/// # Errors
/// With a sentence for the person at the terminal; then there is no new file, and an old one is as it was.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let file = &args.file;
    ensure!(
        !file.is_dir(),
        "{} is a folder; name the file to write in it",
        file.display()
    );
    if file.exists() && !args.force {
        bail!("{} exists already; --force replaces it", file.display());
    }
    let configuration = configuration(args.config.as_deref())?;
    let state = state(common, configuration.as_ref());
    let models_d = common
        .models_d
        .clone()
        .or_else(|| configuration.as_ref().and_then(Configuration::models_d));
    let has_password = configuration.as_ref().is_some_and(Configuration::has_password);
    let gathered = backup::gather(&Source {
        state,
        models_d: paths::models_d(models_d.as_deref()),
        configuration,
        with_visits: args.with_visits,
    })?;
    let passphrase = if args.plain {
        let passwords = if has_password {
            ", and the passwords in its addresses"
        } else {
            ""
        };
        complain(format_args!(
            "kith: warning: the backup is not encrypted: whoever can read it has everybody's faces{passwords}"
        ));
        None
    } else {
        Some(passphrase::new(args.passphrase_file.as_deref())?)
    };

    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let write = || format!("can't write {}", file.display());
    // Written beside its place with mode 0600 and moved there when it is on the disk: what bears the name is whole.
    let unfinished = NamedTempFile::with_prefix_in(".kith-backup-", folder).with_context(write)?;
    let manifest = gathered.manifest.clone();
    let bar = progress_bar(manifest.bytes());
    let to = BufWriter::new(unfinished.as_file());
    let mut to = backup::write(gathered, to, passphrase.as_ref(), &|bytes| bar.inc(bytes)).with_context(write)?;
    to.flush().with_context(write)?;
    drop(to);
    unfinished.as_file().sync_all().with_context(write)?;
    let placed = if args.force {
        unfinished.persist(file)
    } else {
        unfinished.persist_noclobber(file)
    };
    placed.map_err(|error| error.error).with_context(write)?;
    // The name is on the disk once its folder is; some file systems have no such thing.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    bar.finish_and_clear();
    tell(args, &manifest)?;
    Ok(ExitCode::SUCCESS)
}

/// The one that is named, else the service's if there is one.
pub(super) fn configuration(named: Option<&Path>) -> anyhow::Result<Option<Configuration>> {
    let service = Path::new(SERVICE_CONFIG);
    match named {
        Some(file) => Configuration::read(file).map(Some),
        None if service.exists() => Configuration::read(service).map(Some),
        None => Ok(None),
    }
}

/// The state folder: as the command line or the configuration says, else as for every command.
pub(super) fn state(common: &Common, configuration: Option<&Configuration>) -> PathBuf {
    let named = common
        .state
        .clone()
        .or_else(|| configuration.and_then(Configuration::state));
    paths::state_dir(named.as_deref())
}

/// Hidden where stderr is no terminal, or there is little to do.
pub(super) fn progress_bar(bytes: u64) -> ProgressBar {
    const WORTH_A_BAR_BYTES: u64 = 64 * 1024 * 1024;
    let bar = if bytes < WORTH_A_BAR_BYTES {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(bytes)
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn tell(args: &Args, manifest: &Manifest) -> anyhow::Result<()> {
    let bytes = fs::metadata(&args.file)?.len();
    if args.json {
        say(json!({
            "file": args.file, "bytes": bytes, "encrypted": !args.plain, "people": manifest.people,
            "faces": manifest.faces, "files": manifest.files, "left_out": manifest.left_out,
        }))?;
        return Ok(());
    }
    say(format_args!(
        "{} holds {}; it is {}",
        args.file.display(),
        inside(manifest).join(", "),
        if args.plain { "NOT encrypted" } else { "encrypted" },
    ))?;
    for left_out in &manifest.left_out {
        complain(format_args!(
            "kith: not in it: {}, which {} names; keep it elsewhere",
            left_out.file, left_out.named_by
        ));
    }
    Ok(())
}

/// What is in a backup, in words.
pub(super) fn inside(manifest: &Manifest) -> Vec<String> {
    let count = |count: u64, one: &str, more: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    };
    let mut inside = vec![format!(
        "{} with {}",
        count(manifest.people, "person", "people"),
        count(manifest.faces, "face", "faces")
    )];
    let named = [
        (backup::CONFIG, "the configuration"),
        (backup::NODE_ID, "the node's name"),
        (backup::SIGHTINGS, "the visits"),
    ];
    inside.extend(
        named
            .into_iter()
            .filter(|(name, _)| manifest.file(name).is_some())
            .map(|(_, words)| words.to_owned()),
    );
    let models = manifest
        .models()
        .filter(|(_, path)| path.extension().is_some_and(|ending| ending == "toml"));
    match models.count() {
        0 => {}
        models => inside.push(count(
            models as u64,
            "catalogue file of your own",
            "catalogue files of your own",
        )),
    }
    inside
}
