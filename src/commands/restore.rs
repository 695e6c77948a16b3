//! `kith restore`: a backup back to where it belongs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::json;

use super::Common;
use super::backup::{SERVICE_CONFIG, inside, progress_bar, state};
use super::passphrase;
use super::terminal::{complain, say};
use crate::backup::{self, Backup, Change, Configuration, Placed, Plan, Staged, Target};
use crate::gallery::{Gallery, GalleryError};
use crate::networks::Networks;
use crate::runtime::RuntimeSettings;
use crate::{daemon, enrolment, paths, state_dir};

/// The arguments of `kith restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith restore kith.backup --check           says whether it is whole and what would change, and changes nothing
  systemctl stop kith
  kith restore kith.backup                   asks for the passphrase
  systemctl start kith

All of the backup is read and checked before anything changes. The gallery and each file that are replaced are kept beside
their places, with `before-restore` and the time in their names.")]
pub struct Args {
    /// The backup
    pub file: PathBuf,
    /// Where the configuration goes [default: /etc/kith/kith.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Read the passphrase from the first line of this file
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Only say whether it is whole and what would change
    #[arg(long)]
    pub check: bool,
    /// Restore the gallery, and leave configuration, own models and the node's name as they are
    #[arg(long)]
    pub people_only: bool,
    /// Go on although people are enrolled here who are not in the backup, and would be gone
    #[arg(long)]
    pub replace: bool,
    /// Bring people back who were removed here after the backup was made
    #[arg(long)]
    pub bring_back: bool,
    /// JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Runs `kith restore`. Exit code 1 when the backup is good, but was not restored.
///
/// # Errors
/// With a sentence for the person at the terminal; unless it says something else, nothing was changed.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let ask = || passphrase::known(args.passphrase_file.as_deref());
    let backup = Backup::new(&args.file, &ask);
    let refused = || format!("nothing was restored from {}", args.file.display());
    let (manifest, text) = backup.peek().with_context(refused)?;
    let target = target(args, common, text).with_context(refused)?;

    state_dir::prepare(&target.state)?;
    // Held to the end: no daemon starts meanwhile.
    let lock = (!args.check).then(|| daemon::lock(&target.state)).transpose();
    let _alone = lock.with_context(|| {
        format!(
            "the gallery in {} is in use; stop the service first, with `systemctl stop kith`",
            target.state.display()
        )
    })?;
    let now = match Gallery::exists(&target.state).then(|| Gallery::open(&target.state)) {
        Some(Err(error @ (GalleryError::Damaged(_) | GalleryError::Foreign { .. }))) => {
            return Err(error).context("move the gallery.sqlite* that are here away, and restore in their place");
        }
        now => now.transpose()?,
    };
    let bar = progress_bar(manifest.bytes());
    let mut staged = backup::stage(&backup, &target, &|bytes| bar.inc(bytes)).with_context(refused)?;
    bar.finish_and_clear();
    if !args.json {
        tell_plan(&staged, &target)?;
        tell_removed(&staged.plan, args.bring_back);
    }
    let only_here = &staged.plan.only_here;
    if !only_here.is_empty() && !args.replace {
        let words = format!(
            "{} here and not in the backup, and would be gone: {}; --replace restores all the same, `kith people export` \
             keeps them",
            if only_here.len() == 1 {
                "somebody is"
            } else {
                "people are"
            },
            only_here.join(", ")
        );
        if !args.check {
            return Err(anyhow::anyhow!(words)).with_context(refused);
        }
        complain(format_args!("kith: {words}"));
    }
    let mut placed = None;
    if !args.check {
        embed_again(&mut staged, &target, common);
        placed = Some(backup::place(&mut staged, &target, now)?);
    }
    tell(args, &staged, placed.as_ref())?;
    let is_well = staged.plan.only_here.is_empty() || args.replace;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where things go. `text`: the configuration in the backup, which says it unless the command line does.
fn target(args: &Args, common: &Common, text: Option<String>) -> anyhow::Result<Target> {
    let config = args.config.clone().unwrap_or_else(|| PathBuf::from(SERVICE_CONFIG));
    let configuration = match text.filter(|_| !args.people_only) {
        Some(text) => Some(Configuration::parse(&config, text)?),
        None => Configuration::read(&config).ok(),
    };
    let of_configuration = |folder: fn(&Configuration) -> Option<PathBuf>| configuration.as_ref().and_then(folder);
    let models = common
        .models
        .clone()
        .or_else(|| of_configuration(Configuration::models));
    let models_d = common
        .models_d
        .clone()
        .or_else(|| of_configuration(Configuration::models_d))
        // Where systemd's CONFIGURATION_DIRECTORY leads the service to.
        .or_else(|| {
            Some(Path::new(SERVICE_CONFIG).with_file_name("models.d")).filter(|_| config == Path::new(SERVICE_CONFIG))
        });
    if config.is_dir() {
        bail!("{} is a folder; name the file to write in it", config.display());
    }
    Ok(Target {
        state: state(common, configuration.as_ref()),
        config,
        models_d: paths::models_d(models_d.as_deref()),
        models: paths::models_dir(models.as_deref()),
        embedder: common.embedder.clone(),
        people_only: args.people_only,
        bring_back: args.bring_back,
        alone: !args.check,
    })
}

/// Embeds the kept crops of people whom the embedder in use does not know yet. What fails here needn't stop anybody.
fn embed_again(staged: &mut Staged, target: &Target, common: &Common) {
    let Some((embedder, models_d)) = staged.embedder.clone().filter(|_| staged.plan.reembed > 0) else {
        return;
    };
    let settings = RuntimeSettings {
        models: Some(target.models.clone()),
        models_d: Some(models_d),
        embedder: Some(embedder.clone()),
        ..common.runtime_settings(None)
    };
    let done = Networks::open(&settings).and_then(|mut networks| enrolment::reembed(staged.gallery(), &mut networks));
    match done {
        Ok(done) => staged.plan.reembed = done,
        Err(error) => staged.plan.warnings.push(format!(
            "{} kept faces could not be embedded for {embedder} now: {error:#}; `kith identify PHOTO` does it later",
            std::mem::take(&mut staged.plan.reembed)
        )),
    }
}

fn tell_plan(staged: &Staged, target: &Target) -> anyhow::Result<()> {
    let Staged { manifest, plan, .. } = staged;
    say(format_args!(
        "whole: {}; of {}, by Kith {}",
        inside(manifest).join(", "),
        manifest.made_at.strftime("%Y-%m-%d %H:%M UTC"),
        manifest.kith
    ))?;
    let files = plan
        .models
        .iter()
        .map(|(path, change)| (target.models_d.join(path), *change));
    for (file, change) in plan
        .configuration
        .map(|change| (target.config.clone(), change))
        .into_iter()
        .chain(files)
    {
        let words = match change {
            Change::New => "is new",
            Change::Same => continue,
            Change::Replaced => "is replaced",
        };
        say(format_args!("  {} {words}", file.display()))?;
    }
    if manifest.file(backup::SIGHTINGS).is_some() && !plan.visits {
        say("  visits stay as they are here, since there are some")?;
    }
    Ok(())
}

fn tell_removed(plan: &Plan, bring_back: bool) {
    let (people, were) = match plan.removed_since {
        0 => return,
        1 => ("1 person".to_owned(), "was"),
        count => (format!("{count} people"), "were"),
    };
    if bring_back {
        complain(format_args!("kith: back again: {people} who {were} removed here since"));
    } else {
        complain(format_args!(
            "kith: left out: {people} in this backup who {were} removed here since; --bring-back brings them back"
        ));
    }
}

fn tell(args: &Args, staged: &Staged, placed: Option<&Placed>) -> anyhow::Result<()> {
    let Staged { manifest, plan, .. } = staged;
    let set_aside = placed.map(|placed| placed.set_aside.clone()).unwrap_or_default();
    if args.json {
        say(json!({
            "file": args.file, "made_at": manifest.made_at, "kith": manifest.kith, "restored": placed.is_some(),
            "plan": plan, "set_aside": set_aside, "not_forgotten": placed.and_then(|placed| placed.not_forgotten.as_ref()),
        }))?;
        return Ok(());
    }
    let not_forgotten = placed.and_then(|placed| placed.not_forgotten.as_ref());
    for warning in plan.warnings.iter().chain(not_forgotten) {
        complain(format_args!("kith: warning: {warning}"));
    }
    tell_embedded(plan, placed.is_some())?;
    for left_out in &plan.put_back {
        complain(format_args!(
            "kith: put back by hand: {}, which {} names",
            left_out.file, left_out.named_by
        ));
    }
    if placed.is_none() {
        say("nothing was changed")?;
        return Ok(());
    }
    let people = if plan.people == 1 {
        "1 person is".to_owned()
    } else {
        format!("{} people are", plan.people)
    };
    say(format_args!("{people} restored"))?;
    for file in set_aside {
        say(format_args!("  what was here before is in {}", file.display()))?;
    }
    Ok(())
}

fn tell_embedded(plan: &Plan, is_done: bool) -> anyhow::Result<()> {
    if plan.reembed > 0 {
        let words = if is_done {
            "were embedded again"
        } else {
            "will be embedded again"
        };
        say(format_args!(
            "  {} kept faces {words} for this installation's embedder",
            plan.reembed
        ))?;
    }
    if !plan.enrol_again.is_empty() {
        complain(format_args!(
            "kith: this installation's embedder knows no face of {}; enrol new photos with `kith enroll ID PHOTO…`, or \
             remove them with `kith people remove ID`",
            plan.enrol_again.join(", ")
        ));
    }
    Ok(())
}
